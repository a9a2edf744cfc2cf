"""Methods: ways from a problem to a posterior, one file each, all in the same shape.

A method file holds, in this order: a docstring with the equations and the idea, a frozen dataclass
of settings (each field with its meaning and unit) whose class carries `name`, `label`, `reference`
and `version`, its `fit(problem, seeds, progress) -> Posterior`, and, where it is a new one, the
family of distributions that it fits. To add a method, write its file and list it in `METHODS`; the
contract tests, the command line and the report follow. Raise `version` when a change alters what a
fit returns, so that finished runs of the old version are not taken for new ones.
"""

from collections.abc import Sequence
from typing import Protocol

from bnn.methods.anchored_ensemble import AnchoredEnsemble
from bnn.methods.concrete_dropout import ConcreteDropout
from bnn.methods.cyclical_sgmcmc import CyclicalSGMCMC
from bnn.methods.dropout import MCDropout
from bnn.methods.ensemble import DeepEnsemble
from bnn.methods.flow import Flow
from bnn.methods.full_rank import FullRank
from bnn.methods.hmc import HMC
from bnn.methods.hypernet import Hypernet
from bnn.methods.ivon import IVON
from bnn.methods.label_smoothing import LabelSmoothing
from bnn.methods.laplace import Laplace
from bnn.methods.low_rank import LowRank
from bnn.methods.maximum_likelihood import MLE
from bnn.methods.maximum_posterior import MAP
from bnn.methods.mean_field import MeanField
from bnn.methods.mixture import Mixture
from bnn.methods.multi_swag import MultiSWAG
from bnn.methods.nuts import NUTS
from bnn.methods.sghmc import SGHMC
from bnn.methods.sgld import SGLD
from bnn.methods.swag import SWAG
from bnn.methods.temperature import TemperatureScaled
from bnn.methods.under import Under
from bnn.methods.validated import Validated
from bnn.methods.vector_scaling import VectorScaled
from bnn.optimise import Progress, silent
from bnn.posterior import Posterior
from bnn.problem import Problem


class Method(Protocol):
    """What a method must offer; see the recipe above."""

    @property
    def name(self) -> str:
        """A short identifier."""

    @property
    def label(self) -> str:
        """What a reader sees."""

    @property
    def reference(self) -> str:
        """Author, year and link."""

    @property
    def version(self) -> int:
        """Of what a fit returns."""

    def fit(self, problem: Problem, seeds: Sequence[int], progress: Progress = silent) -> Posterior:
        """Fit all replicas of a problem, one per seed."""


# The five that a comparison starts with, and all there are.
CORE: tuple[Method, ...] = (MLE(), MAP(), MCDropout(), DeepEnsemble(), MeanField())
METHODS: tuple[Method, ...] = (
    MLE(),
    MAP(),
    LabelSmoothing(),
    MCDropout(),
    ConcreteDropout(),
    DeepEnsemble(),
    AnchoredEnsemble(),
    MeanField(),
    LowRank(),
    FullRank(),
    Flow(),
    Hypernet(),
    IVON(),
    Laplace(),
    SWAG(),
    MultiSWAG(),
    SGLD(),
    SGHMC(),
    CyclicalSGMCMC(),
    HMC(),
    NUTS(),
)

__all__ = [
    "CORE",
    "HMC",
    "IVON",
    "MAP",
    "METHODS",
    "MLE",
    "NUTS",
    "SGHMC",
    "SGLD",
    "SWAG",
    "AnchoredEnsemble",
    "ConcreteDropout",
    "CyclicalSGMCMC",
    "DeepEnsemble",
    "Flow",
    "FullRank",
    "Hypernet",
    "LabelSmoothing",
    "Laplace",
    "LowRank",
    "MCDropout",
    "MeanField",
    "Method",
    "Mixture",
    "MultiSWAG",
    "TemperatureScaled",
    "Under",
    "Validated",
    "VectorScaled",
]
