"""Noise models: where the standard deviation of a Normal likelihood comes from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn.functional import softplus

from bnn.errors import InputError
from bnn.likelihoods.likelihood import NO_LATENTS, Latents
from bnn.priors import Normal as NormalPrior
from bnn.priors import Prior


class Noise(Protocol):
    """Where the standard deviation of a Normal likelihood comes from."""

    @property
    def latents(self) -> Mapping[str, Prior]:
        """Parameters of the noise, with their priors."""

    @property
    def width(self) -> int:
        """Outputs of the network per target: 1 for the mean, and what the noise reads."""

    def scale(self, outputs: Tensor, latents: Latents, unit: Tensor) -> Tensor:
        """Return the standardised noise scale, broadcastable to `[..., points]`."""


@dataclass(frozen=True)
class FixedNoise:
    """Noise of known standard deviation.

    Arguments:
        value: the standard deviation, in the target's original units.
    """

    value: float
    latents: ClassVar[Mapping[str, Prior]] = NO_LATENTS
    width: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not (isinstance(self.value, Real) and 0 < self.value < math.inf):
            raise InputError(
                "a positive, finite noise scale", repr(self.value), "It is a standard deviation."
            )

    def scale(self, outputs: Tensor, latents: Latents, unit: Tensor) -> Tensor:
        """Return value / unit."""
        return self.value / unit


@dataclass(frozen=True)
class LearnedNoise:
    """One unknown standard deviation for all rows, inferred with the weights.

    Its logarithm is a latent with a Normal prior, in units of the training targets' standard
    deviation.

    Arguments:
        median: prior median of the standard deviation.
        spread: prior standard deviation of its logarithm.
        floor: smallest standard deviation, so that a point estimate cannot collapse onto its rows.
    """

    median: float = 0.3
    spread: float = 1.0
    floor: float = 0.003
    width: ClassVar[int] = 1

    @property
    def latents(self) -> Mapping[str, Prior]:
        """The log of the noise scale."""
        return {"noise.log_scale": NormalPrior(scale=self.spread, loc=math.log(self.median))}

    def scale(self, outputs: Tensor, latents: Latents, unit: Tensor) -> Tensor:
        """Return sqrt(floor^2 + exp(2 log_scale))."""
        return _floored(latents["noise.log_scale"][..., None], self.floor)


@dataclass(frozen=True)
class InputNoise:
    """A standard deviation that depends on the input: the exponential of a second output.

    Arguments:
        floor: smallest standard deviation, in units of the training targets'.
    """

    floor: float = 0.003
    latents: ClassVar[Mapping[str, Prior]] = NO_LATENTS
    width: ClassVar[int] = 2

    def scale(self, outputs: Tensor, latents: Latents, unit: Tensor) -> Tensor:
        """Return sqrt(floor^2 + exp(2 f_2(x)))."""
        return _floored(outputs[..., 1], self.floor)


@dataclass(frozen=True)
class SoftplusNoise:
    """A variance that depends on the input: softplus of a second output, as of deep ensembles.

    Arguments:
        floor: smallest variance, in units of the training targets'.

    Reference: Lakshminarayanan, Pritzel, Blundell 2017, https://arxiv.org/abs/1612.01474
    """

    floor: float = 1e-6
    latents: ClassVar[Mapping[str, Prior]] = NO_LATENTS
    width: ClassVar[int] = 2

    def scale(self, outputs: Tensor, latents: Latents, unit: Tensor) -> Tensor:
        """Return sqrt(floor + log(1 + exp f_2(x)))."""
        return (softplus(outputs[..., 1]) + self.floor).sqrt()


def _floored(log_scale: Tensor, floor: float) -> Tensor:
    scale = log_scale.exp()
    return torch.hypot(scale, torch.full_like(scale, floor))
