"""bnn: what does going Bayesian buy over the same network trained with cross-entropy?"""
