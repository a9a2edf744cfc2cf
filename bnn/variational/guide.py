"""Guides: families of distributions over the weights, with parameters to fit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Self

from pyro.distributions import TorchDistribution
from pyro.infer import ELBO, Trace_ELBO
from torch import Tensor

from bnn.posterior import Masks
from bnn.seeds import Streams


@dataclass(frozen=True)
class Guide(ABC):
    """A distribution over the weights with parameters to fit; also the posterior's family.

    Arguments:
        parameters: phi, `[replicas, ...]`.
    """

    parameters: Tensor

    atoms: ClassVar[None] = None

    @property
    @abstractmethod
    def numbers(self) -> int:
        """How many standard Normal numbers make a draw."""

    @abstractmethod
    def sample(self, noise: Tensor) -> Tensor:
        """Return weights `[replicas, draws, parameters]`, of `noise [replicas, draws, numbers]`."""

    @abstractmethod
    def with_divergence(self, noise: Tensor, prior: TorchDistribution) -> tuple[Tensor, Tensor]:
        """Return the same weights, and KL(q || prior) or its estimate at each, `[replicas, draws]`.

        A divergence in closed form may be `[replicas, 1]`.
        """

    @abstractmethod
    def distribution(self, noise: Tensor) -> TorchDistribution:
        """Return q as a distribution of Pyro, of batch shape `[replicas, 1]`.

        Arguments:
            noise: of the draw where its density is asked for, `[replicas, 1, numbers]`; for
                families whose density at other places is hard to tell.
        """

    @property
    def elbo(self) -> type[ELBO]:
        """Pyro's, with which `with_divergence` agrees."""
        return Trace_ELBO

    @property
    def density(self) -> Self:
        """The same guide, as log q sees it: with parameters through which gradients flow or not."""
        return self

    def draw(self, streams: Streams, draws: int) -> tuple[Tensor, Masks]:
        """Draw weights."""
        return self.sample(streams.normal(draws, self.numbers)), {}

    def take(self, replicas: Sequence[int]) -> Self:
        """Return the guide of some of the replicas."""
        return replace(self, parameters=self.parameters[replicas])


@dataclass(frozen=True)
class EstimatedGuide(Guide):
    """A guide whose divergence is estimated at each draw, by log q(w_s) - log p(w_s).

    Arguments:
        path: take the gradient along the path of the draw alone, with the parameters of log q held
            fixed (Roeder, Wu, Duvenaud 2017, https://arxiv.org/abs/1703.09194). What is left out
            has mean zero. Where q is the posterior, no noise is left in the gradient; where q is
            far narrower, there is more than without.
    """

    path: bool = field(default=False, kw_only=True)

    @property
    def density(self) -> Self:
        """The same guide, with fixed parameters where only the path counts."""
        return replace(self, parameters=self.parameters.detach()) if self.path else self

    @abstractmethod
    def log_prob(self, weights: Tensor) -> Tensor:
        """Return log q(w), `[replicas, draws]`; NaN, and no error, where parameters are lost."""

    def with_divergence(self, noise: Tensor, prior: TorchDistribution) -> tuple[Tensor, Tensor]:
        """Return weights, and log q - log p at each."""
        weights = self.sample(noise)
        return weights, self.density.log_prob(weights) - prior.log_prob(weights)


class NormalGuide(EstimatedGuide):
    """A Normal over all weights, by its mean and by offsets from it."""

    @property
    @abstractmethod
    def mean(self) -> Tensor:
        """E[w], `[replicas, parameters]`."""

    @abstractmethod
    def offset(self, noise: Tensor) -> Tensor:
        """Return w - E[w], `[replicas, draws, parameters]`, of noise."""

    @abstractmethod
    def log_density(self, offset: Tensor) -> Tensor:
        """Return log q(E[w] + offset), `[replicas, draws]`."""

    def sample(self, noise: Tensor) -> Tensor:
        """Return the mean plus the offset."""
        return self.mean[:, None] + self.offset(noise)

    def log_prob(self, weights: Tensor) -> Tensor:
        """Return log q(w)."""
        return self.log_density(weights - self.mean[:, None])

    def with_divergence(self, noise: Tensor, prior: TorchDistribution) -> tuple[Tensor, Tensor]:
        """Return weights, and log q - log p at each."""
        if self.path:
            return super().with_divergence(noise, prior)
        offset = self.offset(noise)
        weights = self.mean[:, None] + offset
        # Not by way of the weights, where offsets far smaller than the mean lose their digits, and
        # the mean's part of the gradient would not cancel.
        return weights, self.log_density(offset) - prior.log_prob(weights)


Estimator = Literal["reparameterised", "path"]  # of the gradient; see `EstimatedGuide`

Family = Callable[[Tensor], Guide]  # from parameters [replicas, ...] to the guide that has them
