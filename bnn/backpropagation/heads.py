"""Heads: each likelihood's loss, averaged over rows, and its derivatives by a network's outputs.

Rows are the last axis, `[networks, width, rows]`, networks = replicas x draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from bnn.likelihoods import (
    Bernoulli,
    Categorical,
    FixedNoise,
    InputNoise,
    LearnedNoise,
    Likelihood,
    Normal,
    SoftLabels,
    SoftplusNoise,
)
from bnn.problem import Problem

HALF_LOG_2PI = math.log(2 * math.pi) / 2


class Head(Protocol):
    """A likelihood's loss, averaged over the rows, and its derivatives."""

    def __call__(
        self, outputs: Tensor, y: Tensor, own: Tensor, slope: Tensor, own_slope: Tensor
    ) -> Tensor:
        """Return the losses `[networks]`, and write their derivatives down.

        Arguments:
            outputs: `[networks, width, rows]`; may be overwritten.
            y: targets, `[replicas, rows, ...]`.
            own: the likelihood's parameters, `[networks, how many]`.
            slope: place for the derivative by the outputs.
            own_slope: place for the derivative by the likelihood's parameters.
        """


class _KnownNoise:
    """l = (y - f)^2 / (2 v) + log(v) / 2 + log(2 pi) / 2, with a known variance v per replica."""

    def __init__(self, problem: Problem, rows: int, draws: int) -> None:
        assert isinstance(problem.likelihood, Normal)
        unit = problem.targets.scale.to(problem.like)
        scale = problem.likelihood.noise.scale(problem.like, {}, unit).repeat_interleave(draws)
        self._draws = draws
        self._weight = 1 / (rows * scale.square())[:, None, None]
        self._constant = scale.log()[:, None, None] + HALF_LOG_2PI

    def __call__(
        self, outputs: Tensor, y: Tensor, own: Tensor, slope: Tensor, own_slope: Tensor
    ) -> Tensor:
        error = outputs.sub_(_repeated(y, self._draws).unsqueeze(1))
        torch.mul(error, self._weight, out=slope)
        return torch.baddbmm(self._constant, error, slope.mT, alpha=0.5)


class _LearnedNoise:
    """The same with v = floor^2 + exp(2 s), and dl/ds = (1 - (y - f)^2 / v) exp(2 s) / v."""

    def __init__(self, problem: Problem, rows: int, draws: int) -> None:
        noise = getattr(problem.likelihood, "noise", None)
        assert isinstance(noise, LearnedNoise)
        self._rows, self._draws, self._least = rows, draws, noise.floor**2

    def __call__(
        self, outputs: Tensor, y: Tensor, own: Tensor, slope: Tensor, own_slope: Tensor
    ) -> Tensor:
        free = own.mul(2).exp_()
        variance = free + self._least
        error = outputs.sub_(_repeated(y, self._draws).unsqueeze(1))
        torch.mul(error, (1 / (self._rows * variance))[..., None], out=slope)
        square = torch.bmm(error, slope.mT)[..., 0]  # the mean of (y - f)^2 / v
        torch.mul(1 - square, free.div_(variance), out=own_slope)
        return square.add_(variance.log_()).mul_(0.5).add_(HALF_LOG_2PI)


class _NoiseByInput:
    """The same of outputs m and s, with a variance v(s): dl/ds = (1 - (y - m)^2 / v) v' / 2v."""

    def __init__(self, problem: Problem, rows: int, draws: int) -> None:
        noise = getattr(problem.likelihood, "noise", None)
        assert isinstance(noise, InputNoise | SoftplusNoise)
        self._rows, self._draws, self._noise = rows, draws, noise

    def __call__(
        self, outputs: Tensor, y: Tensor, own: Tensor, slope: Tensor, own_slope: Tensor
    ) -> Tensor:
        error = outputs[:, :1].sub_(_repeated(y, self._draws).unsqueeze(1))
        log_variance, rise, precision = _variance(self._noise, outputs[:, 1:])
        by_mean = torch.mul(error, precision, out=slope[:, :1])
        square = error * by_mean  # (y - m)^2 / v
        torch.mul(1 - square, rise.mul_(0.5), out=slope[:, 1:])
        slope.div_(self._rows)
        return square.add_(log_variance).flatten(1).mean(1).mul_(0.5).add_(HALF_LOG_2PI)


def _variance(noise: InputNoise | SoftplusNoise, free: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return log v, its derivative by what it depends on, and 1 / v."""
    if isinstance(noise, SoftplusNoise):
        variance = softplus(free).add_(noise.floor)
        precision = variance.reciprocal()
        return variance.log_(), free.sigmoid().mul_(precision), precision
    # Not by way of v, which on a row far from all others is more than float32 can hold.
    twice = free.mul(2)
    log = torch.logaddexp(twice, twice.new_tensor(noise.floor**2).log())
    return log, twice.sub_(log).exp_().mul_(2), log.neg().exp_()


class _Classes:
    """l = -log p_y, with p = softmax(f), and dl/df = p - onehot(y)."""

    def __init__(self, problem: Problem, rows: int, draws: int) -> None:
        self._rows, self._draws = rows, draws
        self._minus = -torch.ones(problem.replicas * draws, 1, rows).to(problem.like)

    def __call__(
        self, outputs: Tensor, y: Tensor, own: Tensor, slope: Tensor, own_slope: Tensor
    ) -> Tensor:
        y, log_p = _repeated(y, self._draws).unsqueeze(1), outputs.log_softmax(1)
        losses = log_p.gather(1, y).mean(2).neg_()
        torch.exp(log_p, out=slope)
        slope.scatter_add_(1, y, self._minus).div_(self._rows)
        return losses


class _LabelDistributions:
    """l = -sum_k q_k log p_k, with p = softmax(f), and dl/df = p sum_k q_k - q."""

    def __init__(self, problem: Problem, rows: int, draws: int) -> None:
        self._rows, self._draws = rows, draws

    def __call__(
        self, outputs: Tensor, y: Tensor, own: Tensor, slope: Tensor, own_slope: Tensor
    ) -> Tensor:
        y, log_p = _repeated(y.mT / self._rows, self._draws), outputs.log_softmax(1)
        losses = (y * log_p).sum((1, 2)).neg_()
        torch.mul(log_p.exp_(), y.sum(1, keepdim=True), out=slope).sub_(y)
        return losses


class _Logit:
    """l = log(1 + exp f) - y f, and dl/df = sigmoid(f) - y."""

    def __init__(self, problem: Problem, rows: int, draws: int) -> None:
        self._rows, self._draws = rows, draws

    def __call__(
        self, outputs: Tensor, y: Tensor, own: Tensor, slope: Tensor, own_slope: Tensor
    ) -> Tensor:
        y = _repeated(y, self._draws).unsqueeze(1)
        torch.sigmoid(outputs, out=slope).sub_(y).div_(self._rows)
        return binary_cross_entropy_with_logits(outputs, y, reduction="none").mean((1, 2))


def _repeated(y: Tensor, draws: int) -> Tensor:
    """Return targets of each network: all draws of a replica have the same."""
    if draws == 1:
        return y
    if len(y) == 1:
        return y.expand(draws, *y.shape[1:])  # no number is copied
    return y.repeat_interleave(draws, 0)


HEADS: dict[type, Callable[[Problem, int, int], Head]] = {
    Categorical: _Classes,
    SoftLabels: _LabelDistributions,
    Bernoulli: _Logit,
    FixedNoise: _KnownNoise,
    LearnedNoise: _LearnedNoise,
    InputNoise: _NoiseByInput,
    SoftplusNoise: _NoiseByInput,
}


def kind(likelihood: Likelihood) -> type:
    """Return by what a likelihood is found among the heads."""
    return type(likelihood.noise if isinstance(likelihood, Normal) else likelihood)
