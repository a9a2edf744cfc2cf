"""bnn: what does going Bayesian buy over the same network trained with cross-entropy?

The public names, re-exported; nothing is computed here.
"""

__version__ = "0.1.0"
