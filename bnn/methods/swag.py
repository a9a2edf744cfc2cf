"""SWAG: a Normal posterior from the course of SGD around the mode.

    w_1, ..., w_T: SGD with momentum from the MAP, on its objective, once per epoch
    q(w) = Normal(m, S / 2 + D D^T / (2 (K - 1)))

Here m is the mean of the iterates, S the diagonal of their variances, and the columns of D are the
last K deviations w_t - m_t from the mean so far. The constant learning rate keeps SGD moving about
the mode; how widely depends on it and on the noise of minibatches, so the spread is that of SGD and
only by analogy the posterior's: with all rows in every step there is none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from bnn.errors import InputError
from bnn.forecast import Forecast, check, of_training
from bnn.gradients import of_joint
from bnn.methods.accuracy import Accuracy
from bnn.methods.langevin import Langevin, check_settings, check_share
from bnn.methods.maximum_likelihood import negative_log_likelihood
from bnn.methods.maximum_posterior import MAP, negative_log_joint
from bnn.optimise import Curve, Fit, Progress, Training, silent, train
from bnn.posterior import Masks, Posterior
from bnn.problem import Problem
from bnn.seeds import Streams, as_seeds


@dataclass(frozen=True)
class SWAG:
    """A low-rank-plus-diagonal Normal around the mean of SGD's iterates."""

    start: MAP = MAP()  # how the mode is found
    epochs: int = 100  # of SGD, from there
    learning_rate: float = 1e-3  # of SGD, constant
    momentum: float = 0.9  # share of the velocity kept per step
    batch_size: int | None = None  # rows per step; None: 128, or a tenth of the rows where fewer,
    # because SGD on all rows would come to rest
    settling: float = 0.25  # share of the epochs before iterates are collected
    rank: int = 20  # K, deviations kept; fewer where fewer iterates are collected

    name: ClassVar[str] = "swag"
    label: ClassVar[str] = "SWAG"
    reference: ClassVar[str] = "Maddox et al. 2019, https://arxiv.org/abs/1902.02476"
    version: ClassVar[int] = 1
    accuracy: ClassVar[Accuracy] = Accuracy("approximate", 0.1, 0.3, spread=(0.1, 0.2))

    def __post_init__(self) -> None:
        check_settings({"learning_rate": self.learning_rate}, {"epochs": self.epochs})
        check_share("momentum", self.momentum)
        check_share("settling", self.settling)
        if not isinstance(self.rank, int) or self.rank < 2:
            raise InputError("a rank of at least 2", repr(self.rank), "20 is usual.")
        if self.epochs - self._settling < 2:
            raise InputError(
                "at least two epochs to collect iterates of",
                f"epochs={self.epochs}, settling={self.settling}",
                "Raise epochs, or lower settling.",
            )

    def thorough(self) -> Self:
        """Return settings for a problem of a few weights, in float64."""
        return replace(self, start=self.start.thorough())

    def forecast(self, problem: Problem) -> Forecast:
        """Return what one replica takes: its deviations, and as many numbers for their factor."""
        deviations = 2 * self.rank * problem.layout.size * problem.like.element_size()
        remedy = "Use a smaller rank, or fewer replicas at once."
        return Forecast(of_training(problem).bytes + deviations, remedy)

    def fit(self, problem: Problem, seeds: Sequence[int], progress: Progress = silent) -> Posterior:
        """Find the modes of all seeds at once, and the iterates of SGD about them."""
        seeds = as_seeds(seeds)
        problem = problem.for_seeds(seeds)
        check(self.forecast(problem), problem)
        mode = self.start.fit(problem, seeds, lambda share: progress(share / 2)).fit
        size = self.batch_size or max(1, min(128, problem.points // 10))
        training = Training(self.epochs, 0, self.learning_rate, size)
        steps = problem.points // training.batch_of(problem.points)
        moments = Moments(mode.parameters, self.rank, steps, self._settling)
        fit = train(
            problem,
            seeds,
            training,
            mode.parameters,
            negative_log_joint,
            negative_log_likelihood,
            lambda share: progress((1 + share) / 2),
            update=self._sgd,
            visit=moments.visit,
            write_out=of_joint,
        )
        return Posterior(problem, moments.normal(), seeds, _joined(mode, fit, moments.mean))

    @property
    def _settling(self) -> int:
        return math.floor(self.settling * self.epochs)

    def _sgd(self, parameters: Tensor) -> Langevin:
        return Langevin(parameters, 1, 1 - self.momentum, lambda done: (self.learning_rate, 0.0))


class Moments:
    """Mean, variances and last deviations of each replica's iterates, one per epoch.

    Arguments:
        start: initial weights, `[replicas, parameters]`.
        rank: deviations kept.
        steps: per epoch.
        after: epochs before the first iterate.
    """

    def __init__(self, start: Tensor, rank: int, steps: int, after: int) -> None:
        self.mean = start.clone()
        self._squares = torch.zeros_like(start)  # of deviations, summed
        self._deviations = start.new_zeros(len(start), rank, start.shape[1])
        self._rank, self._steps, self._after = rank, steps, after
        self._count = 0

    def visit(self, replicas: Sequence[int], done: int, parameters: Tensor) -> None:
        """Take down the iterate at the end of an epoch."""
        epoch, rest = divmod(done, self._steps)
        if rest or epoch <= self._after:
            return
        self._count, rows = epoch - self._after, list(replicas)
        before = parameters - self.mean[rows]
        self.mean[rows] += before / self._count
        deviation = parameters - self.mean[rows]
        self._squares[rows] += before * deviation  # Welford: no difference of large squares
        self._deviations[rows, (self._count - 1) % self._rank] = deviation

    def normal(self) -> LowRankNormals:
        """Return the Normal with half of each covariance."""
        rank = min(self._count, self._rank)
        variance = self._squares / max(self._count, 1)  # 0 or 1 where all replicas have diverged
        factor = self._deviations[:, :rank] / math.sqrt(2 * max(rank - 1, 1))
        return LowRankNormals(self.mean[:, None], variance[:, None] / 2, factor[:, None])


@dataclass(frozen=True)
class LowRankNormals:
    """An equal mixture of Normals, each with a covariance of low rank plus a diagonal.

        q(w) = 1/M sum_m Normal(loc_m, diag(variance_m) + factor_m^T factor_m)

    Draws are divided among the components: draw i is of component i mod M.

    Arguments:
        loc: means, `[replicas, components, parameters]`.
        variance: of the diagonal part, `[replicas, components, parameters]`.
        factor: of the low-rank part, `[replicas, components, rank, parameters]`.
    """

    loc: Tensor
    variance: Tensor
    factor: Tensor

    atoms: ClassVar[None] = None

    @property
    def mean(self) -> Tensor:
        """E[w], `[replicas, parameters]`."""
        return self.loc.mean(1)

    @property
    def covariance(self) -> Tensor:
        """Cov[w], `[replicas, parameters, parameters]`: within components and between them."""
        within = torch.diag_embed(self.variance) + self.factor.mT @ self.factor
        apart = self.loc - self.mean[:, None]
        return within.mean(1) + apart.mT @ apart / self.loc.shape[1]

    def draw(self, streams: Streams, draws: int) -> tuple[Tensor, Masks]:
        """Draw weights."""
        components, rank, parameters = self.factor.shape[1:]
        before = streams.drawn
        noise = streams.normal(draws, rank + parameters)
        weights = noise.new_empty(*noise.shape[:2], parameters)
        for m in range(components):
            first = (m - before) % components
            own = noise[:, first::components]
            weights[:, first::components] = (
                self.loc[:, m, None]
                + own[..., rank:] * self.variance[:, m, None].sqrt()
                + own[..., :rank] @ self.factor[:, m]
            )
        return weights, {}

    def take(self, replicas: Sequence[int]) -> LowRankNormals:
        """Return the family of some of the replicas."""
        return LowRankNormals(self.loc[replicas], self.variance[replicas], self.factor[replicas])

    def mixed(self, size: int) -> LowRankNormals:
        """Return the family in which groups of `size` successive replicas are one mixture."""
        parts = (self.loc, self.variance, self.factor)
        return LowRankNormals(*(part.unflatten(0, (-1, size)).flatten(1, 2) for part in parts))


def _joined(first: Fit, second: Fit, parameters: Tensor) -> Fit:
    """Return the fit of one training and then another, which ended at some parameters."""
    curves = tuple(_followed(*pair) for pair in zip(first.curves, second.curves, strict=True))
    diverged = tuple(any(pair) for pair in zip(first.diverged, second.diverged, strict=True))
    return Fit(parameters, curves, diverged, first.seconds + second.seconds)


def _followed(first: Curve, second: Curve) -> Curve:
    past = first.epochs[-1] if first.epochs else 0
    return Curve(
        first.epochs + tuple(past + epoch for epoch in second.epochs),
        first.train + second.train,
        first.validation + second.validation,
    )
