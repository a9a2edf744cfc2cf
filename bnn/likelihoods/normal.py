"""Real targets: the Normal distribution about the network's first output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pyro.distributions as dist
from pyro.distributions import TorchDistribution
from torch import Tensor

from bnn.data import Task
from bnn.likelihoods.likelihood import Latents
from bnn.likelihoods.noise import LearnedNoise, Noise
from bnn.predictive import NormalMixture, Predictive
from bnn.priors import Prior


@dataclass(frozen=True)
class Normal:
    """y = f(x, w) + scale * standard Normal noise.

    Arguments:
        noise: where the scale comes from.
    """

    noise: Noise = LearnedNoise()
    task: ClassVar[Task] = "regression"

    @property
    def latents(self) -> Mapping[str, Prior]:
        """The noise's parameters."""
        return self.noise.latents

    def width(self, classes: int) -> int:
        """One output for the mean, and what the noise reads."""
        return self.noise.width

    def targets(self, y: Tensor, like: Tensor) -> Tensor:
        """Standardised targets, as they are."""
        return y.to(like)

    def distribution(self, outputs: Tensor, latents: Latents, unit: Tensor) -> TorchDistribution:
        """Return the Normal distribution of the standardised target."""
        return dist.Normal(outputs[..., 0], self.noise.scale(outputs, latents, unit))

    def predictive(
        self, outputs: Tensor, latents: Latents, shift: Tensor, unit: Tensor
    ) -> Predictive:
        """Return the mixture of Normal distributions, in original units."""
        loc = outputs[..., 0].double()
        scale = self.noise.scale(outputs, latents, unit[:, None, None])
        return NormalMixture(loc, scale.double().expand_as(loc), shift.double(), unit.double())
