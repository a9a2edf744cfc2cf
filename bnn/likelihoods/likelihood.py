"""What a likelihood must offer, and its own parameters ("latents")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from pyro.distributions import TorchDistribution
from torch import Tensor

from bnn.data import Task
from bnn.predictive import Predictive
from bnn.priors import Prior

Latents = Mapping[str, Tensor]

NO_LATENTS: Mapping[str, Prior] = {}


@runtime_checkable
class Likelihood(Protocol):
    """What a likelihood must offer."""

    @property
    def task(self) -> Task:
        """What kind of target it is for."""

    @property
    def latents(self) -> Mapping[str, Prior]:
        """Scalar parameters of its own, by name, with their priors."""

    def width(self, classes: int) -> int:
        """Return how many outputs of the network it reads."""

    def targets(self, y: Tensor, like: Tensor) -> Tensor:
        """Return targets in the form in which `distribution` scores them."""

    def distribution(self, outputs: Tensor, latents: Latents, unit: Tensor) -> TorchDistribution:
        """Return p(y | outputs)."""

    def predictive(
        self, outputs: Tensor, latents: Latents, shift: Tensor, unit: Tensor
    ) -> Predictive:
        """Return the mixture over the draws of `outputs [replicas, draws, points, width]`."""
