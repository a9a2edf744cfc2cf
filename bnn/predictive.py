"""The posterior predictive distribution: an exact mixture over draws of the weights.

With draws w_1, ..., w_S from a posterior,

    p(y | x, D) = 1/S sum_s p(y | x, w_s),

the average of the densities: never the density of averaged parameters, and never a Normal with the
mixture's mean and variance. This file, with `bnn.averages` for classes, is the only place where
draws are averaged; of groups of draws, `bnn.scores` averages the averages.

Shapes: replicas R, draws S, points N, classes C. Logits stay as a network gives them; all that is
computed from them, and all else, is float64. Natural logarithms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from bnn.averages import Averages, averages
from bnn.errors import InputError


def log_mean_exp(log_values: Tensor, dim: int) -> Tensor:
    """Return log(1/S sum_s exp(v_s)) along `dim`, without underflow."""
    return log_values.logsumexp(dim) - math.log(log_values.shape[dim])


def label_log_prob(log_probs: Tensor, labels: Tensor) -> Tensor:
    """Return log p_y of a class number y, and sum_c q_c log p_c of a label distribution q.

    Arguments:
        log_probs: log p, `[..., C]`.
        labels: class numbers `[...]` or label distributions `[..., C]`; 0 log 0 = 0.

    Returns:
        `[...]`.
    """
    if not labels.is_floating_point():
        return log_probs.gather(-1, labels[..., None]).squeeze(-1)
    return torch.where(labels > 0, labels * log_probs, 0.0).sum(-1)


@dataclass(frozen=True)
class CategoricalMixture:
    """A mixture of categorical distributions.

    Arguments:
        logits: log p(class | x, w_s) up to a constant of each draw and point, as a network gives
            it, `[replicas, draws, points, classes]`.
    """

    logits: Tensor

    @property
    def shape(self) -> tuple[int, int, int]:
        """Replicas, draws and points."""
        replicas, draws, points, _ = self.logits.shape
        return replicas, draws, points

    @property
    def draws(self) -> int:
        """How many components the mixture has."""
        return self.logits.shape[1]

    @property
    def draw_log_probs(self) -> Tensor:
        """log p(class | x, w_s), float64, `[replicas, draws, points, classes]`: large, not kept."""
        return (self.logits.mT.double() - self._averages.log_masses.unsqueeze(-2)).mT

    @property
    def log_probs(self) -> Tensor:
        """log p(class | x, D), `[replicas, points, classes]`."""
        return self._averages.log_probs

    @property
    def draw_entropies(self) -> Tensor:
        """Entropy of p(y | x, w_s), nats, `[replicas, draws, points]`."""
        return self._averages.entropies

    @cached_property
    def _averages(self) -> Averages:
        return averages(self.logits)

    @cached_property
    def probs(self) -> Tensor:
        """p(class | x, D), `[replicas, points, classes]`."""
        return self.log_probs.exp()

    def draw_log_prob(self, y: Tensor) -> Tensor:
        """Return log p(y | x, w_s), `[replicas, draws, points]`; `y` as in `log_prob`."""
        check_targets(self, y)
        masses, every = self._averages.log_masses, y[:, None].expand(-1, self.draws, *y.shape[1:])
        if not y.is_floating_point():
            return label_log_prob(self.logits, every).double() - masses
        return label_log_prob(self.draw_log_probs, every)

    def log_prob(self, y: Tensor) -> Tensor:
        """Return log p(y | x, D), `[replicas, points]`.

        Of a label distribution q it is the expected value, sum_k q_k log p(k | x, D).

        Arguments:
            y: class numbers `[replicas, points]`, or distributions (or counts, whose labels'
                log-probabilities add up) `[replicas, points, classes]`.

        Raises:
            InputError: on targets of another shape, or out of range.
        """
        check_targets(self, y)
        return label_log_prob(self.log_probs, y)

    def subset(self, draws: Sequence[int] | Tensor | slice) -> CategoricalMixture:
        """Return the mixture of some of the draws."""
        return CategoricalMixture(self.logits.mT[:, draws].mT)  # points stay the last axis

    def take(self, replicas: Sequence[int] | slice) -> CategoricalMixture:
        """Return the predictive of some of the replicas."""
        return CategoricalMixture(self.logits[replicas])

    def to(self, device: torch.device | str) -> CategoricalMixture:
        """Return the same predictive on a device."""
        return CategoricalMixture(self.logits.to(device))


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
    def shape(self) -> tuple[int, int, int]:
        """Replicas, draws and points."""
        replicas, draws, points = self.loc.shape
        return replicas, draws, points

    @property
    def draws(self) -> int:
        """How many components the mixture has."""
        return self.loc.shape[1]

    def _standardise(self, y: Tensor) -> Tensor:
        check_targets(self, y)
        return ((y - self.shift[:, None]) / self.unit[:, None])[:, None]

    def draw_log_prob(self, y: Tensor) -> Tensor:
        """Return log p(y | x, w_s) per original unit: `[replicas, draws, points]`."""
        density = torch.distributions.Normal(self.loc, self.scale).log_prob(self._standardise(y))
        return density - self.unit.log()[:, None, None]

    def log_prob(self, y: Tensor) -> Tensor:
        """Return log p(y | x, D) for `y [replicas, points]`: `[replicas, points]`.

        Raises:
            InputError: on targets of another shape, or not finite.
        """
        return log_mean_exp(self.draw_log_prob(y), dim=1)

    def cdf(self, y: Tensor) -> Tensor:
        """Return P(Y <= y | x, D): `[replicas, points]`."""
        return torch.special.ndtr((self._standardise(y) - self.loc) / self.scale).mean(1)

    def quantile(self, level: float, iterations: int = 60) -> Tensor:
        """Return the value below which Y lies with probability `level`: `[replicas, points]`.

        Bisection between the outermost quantiles of the components, which bracket the mixture's.

        Raises:
            InputError: on a level that is not between 0 and 1.
        """
        if not 0 < level < 1:
            raise InputError("a level between 0 and 1", f"{level}", "0.5 is the median.")
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

    def subset(self, draws: Sequence[int] | Tensor | slice) -> NormalMixture:
        """Return the mixture of some of the draws."""
        return replace(self, loc=self.loc[:, draws], scale=self.scale[:, draws])

    def take(self, replicas: Sequence[int] | slice) -> NormalMixture:
        """Return the predictive of some of the replicas."""
        parts = (self.loc, self.scale, self.shift, self.unit)
        return NormalMixture(*(part[replicas] for part in parts))

    def to(self, device: torch.device | str) -> NormalMixture:
        """Return the same predictive on a device."""
        parts = (self.loc, self.scale, self.shift, self.unit)
        return NormalMixture(*(part.to(device) for part in parts))


Predictive = CategoricalMixture | NormalMixture


def check_targets(predictive: Predictive, y: Tensor, what: str = "targets") -> None:
    """Refuse targets that are not one per replica and point, or that no prediction can meet.

    Without the check they would be broadcast, or some of the predictions left out, in silence.

    Arguments:
        predictive: what they are to be compared with.
        y: as in its `log_prob`.
        what: they are called in the message.

    Raises:
        InputError: on another shape, on numbers that are not finite, on labels out of range.
    """
    if not isinstance(y, Tensor):
        raise InputError(
            f"{what} as a tensor", f"{type(y).__name__}", "Make them one with torch.as_tensor."
        )
    (replicas, _, points), axes = predictive.shape, "[replicas, points]"
    shape: tuple[int, ...] = (replicas, points)
    if isinstance(predictive, CategoricalMixture) and y.is_floating_point():
        shape, axes = (*shape, _classes(predictive)), "[replicas, points, classes]"
    if y.shape != shape:
        raise InputError(
            f"{what} {axes} of shape {list(shape)}",
            f"shape {list(y.shape)} and type {y.dtype}",
            "Give one target per replica and point; for a single replica, y[None].",
        )
    _check_range(predictive, y, what)


def _check_range(predictive: Predictive, y: Tensor, what: str) -> None:
    if isinstance(predictive, NormalMixture):
        sound, expected = torch.isfinite(y), f"finite {what}"
        remedy = "Impute or drop rows without a target."
    elif y.is_floating_point():
        sound, expected = torch.isfinite(y) & (y >= 0), f"{what} as label distributions"
        remedy = "Give shares of the classes, at least 0."
    else:
        last = _classes(predictive) - 1
        sound, expected = (y >= 0) & (y <= last), f"{what} as class numbers 0 to {last} in int64"
        sound = sound & (y.dtype == torch.int64)
        remedy = "Number the classes from zero."
    if not sound.all():
        first = y[~sound][0].item()
        found = f"{int((~sound).sum())} others of type {y.dtype}, the first {first}"
        raise InputError(expected, found, remedy)


def _classes(predictive: CategoricalMixture) -> int:
    return predictive.logits.shape[-1]
