"""bnn: what does going Bayesian buy over the same network trained with cross-entropy?

The public names, re-exported; nothing is computed here.
"""

from bnn import data, likelihoods, priors
from bnn.data import Dataset, from_arrays
from bnn.errors import InputError
from bnn.methods import (
    CORE,
    HMC,
    IVON,
    MAP,
    METHODS,
    MLE,
    NUTS,
    SGHMC,
    SGLD,
    SWAG,
    AnchoredEnsemble,
    ConcreteDropout,
    CyclicalSGMCMC,
    DeepEnsemble,
    Flow,
    FullRank,
    Hypernet,
    LabelSmoothing,
    Laplace,
    LowRank,
    MCDropout,
    MeanField,
    Mixture,
    MultiSWAG,
    TemperatureScaled,
    Under,
    Validated,
    VectorScaled,
)
from bnn.networks import MLP
from bnn.optimise import Training
from bnn.posterior import Posterior, predict
from bnn.problem import Problem
from bnn.scores import score
from bnn.study import Study

__all__ = [
    "CORE",
    "HMC",
    "IVON",
    "MAP",
    "METHODS",
    "MLE",
    "MLP",
    "NUTS",
    "SGHMC",
    "SGLD",
    "SWAG",
    "AnchoredEnsemble",
    "ConcreteDropout",
    "CyclicalSGMCMC",
    "Dataset",
    "DeepEnsemble",
    "Flow",
    "FullRank",
    "Hypernet",
    "InputError",
    "LabelSmoothing",
    "Laplace",
    "LowRank",
    "MCDropout",
    "MeanField",
    "Mixture",
    "MultiSWAG",
    "Posterior",
    "Problem",
    "Study",
    "TemperatureScaled",
    "Training",
    "Under",
    "Validated",
    "VectorScaled",
    "data",
    "from_arrays",
    "likelihoods",
    "predict",
    "priors",
    "score",
]
