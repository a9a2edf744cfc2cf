"""Likelihoods: from a network's outputs to a distribution over the target.

Minimising -log p(y | x, w) under each is a loss of the field: categorical gives cross-entropy,
Bernoulli binary cross-entropy, Normal with fixed noise the squared error up to constants.

Shapes: outputs `[..., points, width]` become a distribution with batch shape `[..., points]`; a
likelihood's own parameters ("latents") have shape `[...]`. Targets of regression are standardised
by the `Problem`; `unit`, broadcastable to `[..., points]`, is the standard deviation that they were
divided by, so that a noise scale can be stated in original units.
"""

from bnn.likelihoods.choice import default
from bnn.likelihoods.classification import Bernoulli, Categorical
from bnn.likelihoods.likelihood import NO_LATENTS, Latents, Likelihood
from bnn.likelihoods.noise import FixedNoise, InputNoise, LearnedNoise, Noise, SoftplusNoise
from bnn.likelihoods.normal import Normal
from bnn.likelihoods.soft_labels import SoftCategorical, SoftLabels

__all__ = [
    "NO_LATENTS",
    "Bernoulli",
    "Categorical",
    "FixedNoise",
    "InputNoise",
    "Latents",
    "LearnedNoise",
    "Likelihood",
    "Noise",
    "Normal",
    "SoftCategorical",
    "SoftLabels",
    "SoftplusNoise",
    "default",
]
