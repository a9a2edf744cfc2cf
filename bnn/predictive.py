"""The posterior predictive distribution: an exact mixture over draws of the weights.

With draws w_1, ..., w_S from a posterior,

    p(y | x, D) = 1/S sum_s p(y | x, w_s),

the average of the densities: never the density of averaged parameters, and never a Normal with the
mixture's mean and variance. This file is the only place where draws are averaged.

Shapes: replicas R, draws S, points N, classes C. Everything is float64, natural logarithms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor


def log_mean_exp(log_values: Tensor, dim: int) -> Tensor:
    """Return log(1/S sum_s exp(v_s)) along `dim`, without underflow."""
    return log_values.logsumexp(dim) - math.log(log_values.shape[dim])


@dataclass(frozen=True)
class CategoricalMixture:
    """A mixture of categorical distributions.

    Arguments:
        draw_log_probs: log p(class | x, w_s), `[replicas, draws, points, classes]`.
    """

    draw_log_probs: Tensor

    @property
    def draws(self) -> int:
        """How many components the mixture has."""
        return self.draw_log_probs.shape[1]

    @cached_property
    def log_probs(self) -> Tensor:
        """log p(class | x, D), `[replicas, points, classes]`."""
        return log_mean_exp(self.draw_log_probs, dim=1)

    @cached_property
    def probs(self) -> Tensor:
        """p(class | x, D), `[replicas, points, classes]`."""
        return self.log_probs.exp()

    def draw_log_prob(self, y: Tensor) -> Tensor:
        """Return log p(y | x, w_s), `[replicas, draws, points]`; `y` as in `log_prob`."""
        return _log_prob(self.draw_log_probs, y[:, None].expand(-1, self.draws, *y.shape[1:]))

    def log_prob(self, y: Tensor) -> Tensor:
        """Return log p(y | x, D), `[replicas, points]`.

        Of a label distribution q it is the expected value, sum_k q_k log p(k | x, D).

        Arguments:
            y: class numbers `[replicas, points]`, or distributions `[replicas, points, classes]`.
        """
        return _log_prob(self.log_probs, y)

    def subset(self, draws: Sequence[int] | Tensor) -> CategoricalMixture:
        """Return the mixture of some of the draws."""
        return CategoricalMixture(self.draw_log_probs[:, draws])

    def take(self, replicas: Sequence[int] | slice) -> CategoricalMixture:
        """Return the predictive of some of the replicas."""
        return CategoricalMixture(self.draw_log_probs[replicas])


def _log_prob(log_probs: Tensor, labels: Tensor) -> Tensor:
    if not labels.is_floating_point():
        return log_probs.gather(-1, labels[..., None]).squeeze(-1)
    return torch.where(labels > 0, labels * log_probs, 0.0).sum(-1)


@dataclass(frozen=True)
class NormalMixture:
    """A mixture of Normal distributions, in the target's original units.

    The components are kept in standardised units z = (y - shift) / unit, in which nothing
    overflows, and brought to original units at the end: log p_y = log p_z - log unit.

    Arguments:
        loc: component means, standardised, `[replicas, draws, points]`.
        scale: component standard deviations, standardised, `[replicas, draws, points]`.
        shift: the training targets' mean, original units, `[replicas]`.
        unit: the training targets' standard deviation, original units, `[replicas]`.
    """

    loc: Tensor
    scale: Tensor
    shift: Tensor
    unit: Tensor

    @property
    def draws(self) -> int:
        """How many components the mixture has."""
        return self.loc.shape[1]

    def _standardise(self, y: Tensor) -> Tensor:
        return ((y - self.shift[:, None]) / self.unit[:, None])[:, None]

    def draw_log_prob(self, y: Tensor) -> Tensor:
        """Return log p(y | x, w_s) per original unit: `[replicas, draws, points]`."""
        density = torch.distributions.Normal(self.loc, self.scale).log_prob(self._standardise(y))
        return density - self.unit.log()[:, None, None]

    def log_prob(self, y: Tensor) -> Tensor:
        """Return log p(y | x, D) for `y [replicas, points]`: `[replicas, points]`."""
        return log_mean_exp(self.draw_log_prob(y), dim=1)

    def cdf(self, y: Tensor) -> Tensor:
        """Return P(Y <= y | x, D): `[replicas, points]`."""
        return torch.special.ndtr((self._standardise(y) - self.loc) / self.scale).mean(1)

    def quantile(self, level: float, iterations: int = 60) -> Tensor:
        """Return the value below which Y lies with probability `level`: `[replicas, points]`.

        Bisection between the outermost quantiles of the components, which bracket the mixture's.
        """
        normal = torch.special.ndtri(torch.tensor(level, dtype=self.loc.dtype)).item()
        component = self.loc + normal * self.scale
        low, high = component.amin(1), component.amax(1)
        for _ in range(iterations):
            middle = (low + high) / 2
            share = torch.special.ndtr((middle[:, None] - self.loc) / self.scale).mean(1)
            low, high = (
                torch.where(share < level, middle, low),
                torch.where(share < level, high, middle),
            )
        return self.shift[:, None] + self.unit[:, None] * (low + high) / 2

    @property
    def mean(self) -> Tensor:
        """E[Y | x, D], original units, `[replicas, points]`."""
        return self.shift[:, None] + self.unit[:, None] * self.loc.mean(1)

    @property
    def noise_variance(self) -> Tensor:
        """E_w Var[Y | x, w], the part that knowing the weights would not remove."""
        return (self.unit[:, None] ** 2) * (self.scale**2).mean(1)

    @property
    def weight_variance(self) -> Tensor:
        """Var_w E[Y | x, w], the part that is doubt about the weights; zero for one draw."""
        return (self.unit[:, None] ** 2) * self.loc.var(1, correction=0)

    @property
    def variance(self) -> Tensor:
        """Var[Y | x, D] = noise variance + weight variance, original units squared."""
        return self.noise_variance + self.weight_variance

    def subset(self, draws: Sequence[int] | Tensor) -> NormalMixture:
        """Return the mixture of some of the draws."""
        return replace(self, loc=self.loc[:, draws], scale=self.scale[:, draws])

    def take(self, replicas: Sequence[int] | slice) -> NormalMixture:
        """Return the predictive of some of the replicas."""
        parts = (self.loc, self.scale, self.shift, self.unit)
        return NormalMixture(*(part[replicas] for part in parts))


Predictive = CategoricalMixture | NormalMixture
