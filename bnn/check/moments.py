"""Check 1: mean and covariance of the weights of a linear regression, against the closed form.

What a method computes is held to its own stated relative error (Frobenius norm for the covariance).
What it samples is held to four Monte-Carlo standard errors in each of the P means and P (P + 1) / 2
(co)variances along the axes of the posterior, of which the shortest tells a step that is too long
and the longest a prior that is wrong: for P = 4, a right sampler misses that once in 1,100 times.
So that the standard errors are small enough to mean something, a least effective sample size is
asked for. Where weights do not tell the spread, or none is known in closed form, it is that of the
outputs at the training rows: of dropped inputs 4 standard errors from sum_i q w_i^2 x_i^2, of
approximate methods within what they state.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, cast

import arviz
import torch
from torch import Tensor

from bnn.check.row import Row
from bnn.check.subject import Subject
from bnn.posterior import Chains, Family
from bnn.seeds import Streams

DRAWS = 20_000  # of families without end
ERRORS = 4.0  # Monte-Carlo standard errors
LEAST = 400.0  # effective draws, of the worst mean or covariance


def moments(subject: Subject) -> list[Row]:
    """Return a row for each moment that the method claims."""
    claim, truth, name = subject.claim, subject.truth, subject.method.name
    if claim.linear == "none":
        return []
    family: Any = subject.posterior.family
    weights = _sampled(family)
    if claim.tolerance is None:
        chained = isinstance(family, Chains)
        return list(_by_errors(name, weights, truth.mean, truth.covariance, chained))
    if not hasattr(family, "covariance"):
        pooled = weights.flatten(0, 1)
        computed = _computed(subject, pooled.mean(0), pooled.mT.cov(correction=0))
        return [*computed, *_spread(subject)]
    mean, covariance = family.mean[0], family.covariance[0]
    drawn = _by_errors(name, weights, mean, covariance, False, "draws against their own ")
    return [*_computed(subject, mean, covariance), *_spread(subject), *drawn]


def _computed(subject: Subject, mean: Tensor, covariance: Tensor) -> list[Row]:
    """Compare moments by their relative errors."""
    claim, truth, name = subject.claim, subject.truth, subject.method.name
    tolerance = cast(float, claim.tolerance)
    if claim.linear == "approximate":
        away = ((mean - truth.mean) / truth.covariance.diagonal().sqrt()).abs().max().item()
        return [Row(name, "linear model: mean, posterior sds away", 0.0, away, tolerance)]
    what = f"linear model: {_NOUNS[claim.linear]}, relative error"
    rows = [Row(name, what, 0.0, _relative(mean, _expected_mean(subject)), tolerance)]
    if claim.linear in ("posterior", "factorised"):
        independent = truth.precision.diagonal().reciprocal().diag()
        exact = truth.covariance if claim.linear == "posterior" else independent
        what = "linear model: covariance, relative error"
        rows.append(Row(name, what, 0.0, _relative(covariance, exact), tolerance))
    return rows


def _spread(subject: Subject) -> list[Row]:
    """Compare the variance of the outputs, where it is known or stated."""
    claim, truth, name = subject.claim, subject.truth, subject.method.name
    if claim.linear != "dropout" and claim.spread is None:
        return []
    outputs = subject.posterior.outputs(subject.problem.train.x, DRAWS)[0][0, ..., 0]
    if claim.spread is not None:
        exact = (truth.design @ truth.covariance * truth.design).sum(1).mean()
        found = (outputs.var(0).mean() / exact).sqrt().item()
        middle, reach = sum(claim.spread) / 2, (claim.spread[1] - claim.spread[0]) / 2
        return [Row(name, "linear model: spread of outputs, posterior sds", middle, found, reach)]
    weights = _sampled(subject.posterior.family)[0, 0]
    squares = (outputs - truth.design @ weights).square().mean(1)
    expected = truth.dropped_variance(weights, subject.input_rate)
    away = (squares.mean() - expected) / (squares.std() / math.sqrt(DRAWS))
    what = "linear model: variance under dropped inputs, standard errors"
    return [Row(name, what, 0.0, away.item(), ERRORS)]


_NOUNS = {
    "posterior": "mean",
    "factorised": "mean",
    "mode": "mode",
    "least_squares": "least squares",
    "dropout": "mode under dropped inputs",
}


def _expected_mean(subject: Subject) -> Tensor:
    truth, claim = subject.truth, subject.claim
    if claim.linear == "least_squares":
        return truth.least_squares
    if claim.linear == "dropout":
        return truth.dropped(subject.input_rate)
    return truth.mean


def _sampled(family: Family) -> Tensor:
    """Return weights of replica 0, `[chains, draws, parameters]`; independent ones as one chain."""
    if isinstance(family, Chains):
        return family.weights[0]
    streams = Streams([1], "check moments", torch.device("cpu"), torch.float64)
    return family.take([0]).draw(streams, DRAWS)[0]


def _by_errors(
    name: str,
    weights: Tensor,
    mean: Tensor,
    covariance: Tensor,
    chained: bool,
    whose: str = "",
) -> Iterator[Row]:
    """Yield the worst moment, in standard errors, and the least effective sample size."""
    variances, axes = torch.linalg.eigh(covariance)
    white = (weights - mean) @ axes / variances.sqrt()
    upper = torch.triu_indices(len(mean), len(mean))
    products = (white[..., :, None] * white[..., None, :])[..., upper[0], upper[1]]
    sizes = []
    for noun, values, expected in (
        ("mean", white, torch.zeros_like(mean)),
        ("covariance", products, (upper[0] == upper[1]).to(mean)),
    ):
        size = _effective(values) if chained else torch.full_like(expected, values[..., 0].numel())
        away = (values.mean((0, 1)) - expected) / (values.flatten(0, 1).std(0) / size.sqrt())
        what = f"linear model: {whose}{noun}, standard errors"
        yield Row(name, what, 0.0, away.abs().max().item(), ERRORS)
        sizes.append(size.min().item())
    if not whose:
        yield Row(name, "linear model: least effective draws", LEAST, min(sizes), 0.0, ">=")


def _effective(values: Tensor) -> Tensor:
    """Return the effective sample size of each mean over `[chains, draws, quantities]`.

    It is no more than there are draws: of chains as short as 20 draws that hardly depend on each
    other, ArviZ finds up to a quarter more.
    """
    found = [float(arviz.ess(value.numpy(), method="mean")) for value in values.unbind(-1)]
    return torch.tensor(found, dtype=values.dtype).clamp(max=values[..., 0].numel())


def _relative(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()
