"""Paired differences of two methods on one data set, with intervals that fit the design.

A difference between two methods is uncertain for reasons that depend on how the runs were made:

- "resplit": every replica drew its own split. The replicas share rows, so they are not independent
  repetitions; the corrected t interval accounts for that (`_resplit`).
- "fixed": all replicas share one split and differ in their seeds. Both seeds and test points are
  samples; a two-way bootstrap covers both, for this split (`_fixed`).
- one replica: only the test points are a sample, for this split and seed.

Shapes: replicas R, points N.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from torch import Tensor

from bnn.errors import InputError
from bnn.run import Design

ROUNDING = 1e-12  # relative; means that differ by less agree to the last digit


@dataclass(frozen=True)
class Summary:
    """A score over replicas."""

    mean: float
    sd: float | None  # unknown for a single replica
    n: int


@dataclass(frozen=True)
class Difference:
    """A method minus the baseline, in the unit of the score.

    Arguments:
        estimate: the mean over replicas and points.
        low, high: the interval that fits the design.
        p_value: of no difference, two-sided, from the same distribution as the interval.
        scope: what the interval speaks of, in words.
        design: how the replicas were made.
        replicas, points: how many there were.
        wins, losses: in how many replicas the method's mean is below, and above, the baseline's.
        level: of both intervals.
        naive_low, naive_high: the t interval that takes replicas for independent repetitions, for
            comparison; too narrow. None for one replica.
        holm_p: the p-value adjusted for all methods compared, where they were.
        error, freedom: standard error of the estimate, and the degrees of freedom of the t
            distribution that the interval and the p-value are from.
    """

    estimate: float
    low: float
    high: float
    p_value: float
    scope: str
    design: Design
    replicas: int
    points: int
    wins: int
    losses: int
    level: float = 0.95
    naive_low: float | None = None
    naive_high: float | None = None
    holm_p: float | None = None
    error: float = math.nan
    freedom: float = math.nan


def summary(values: Sequence[float]) -> Summary:
    """Return mean and standard deviation of a score over replicas.

    Raises:
        InputError: on no value, or values that are not finite.
    """
    array = np.asarray(values, dtype=float)
    _check_finite(array, "a score over replicas")
    sd = float(array.std(ddof=1)) if len(array) > 1 else None
    return Summary(float(array.mean()), sd, len(array))


def paired_difference(
    a: Tensor, b: Tensor, design: Design, train_points: int, level: float = 0.95
) -> Difference:
    """Return how much two methods differ, a - b, with an interval that fits the design.

    Arguments:
        a, b: pointwise scores of a method and of the baseline, `[R, N]`: the same replicas and
            points in the same order.
        design: "resplit" if every replica drew its own split, "fixed" if all share one.
        train_points: rows the methods were fitted on, per replica.
        level: of the intervals.

    Raises:
        InputError: on shapes that differ, values that are not finite, or a single value.

    Reference: Nadeau and Bengio (2003), https://doi.org/10.1023/A:1024068626366;
        Owen (2007), https://arxiv.org/abs/0712.1111
    """
    gaps = _gaps(a, b, train_points)
    replicas, points = gaps.shape
    estimate = float(gaps.mean())
    naive: tuple[float | None, float | None] = (None, None)
    if replicas > 1:
        naive = _interval(estimate, gaps.mean(1).var(ddof=1) / replicas, replicas - 1, level)
    if replicas == 1:
        scope = "for this split and seed"
        variance, freedom = gaps.var(ddof=1) / points, points - 1.0
    elif design == "resplit":
        scope = "over re-drawn splits"
        variance, freedom = _resplit(gaps, points / train_points), replicas - 1.0
    else:
        scope = "for this split"
        variance, freedom = _fixed(gaps)
    low, high = _interval(estimate, variance, freedom, level)
    return Difference(
        estimate=estimate,
        low=low,
        high=high,
        p_value=_p_value(estimate, variance, freedom),
        scope=scope,
        design=design,
        replicas=replicas,
        points=points,
        wins=int((gaps.mean(1) < 0).sum()),
        losses=int((gaps.mean(1) > 0).sum()),
        level=level,
        naive_low=naive[0],
        naive_high=naive[1],
        error=math.sqrt(variance),
        freedom=freedom,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted so that a false claim among all of them is as rare as each states.

        p'_(k) = max_{j <= k} min(1, (m - j + 1) p_(j)), in increasing order of p

    Raises:
        InputError: on numbers outside [0, 1].

    Reference: Holm (1979), https://www.jstor.org/stable/4615733
    """
    p = np.asarray(p_values, dtype=float)
    if not ((p >= 0) & (p <= 1)).all():
        raise InputError("p-values from 0 to 1", str(list(p_values)), "Check where they come from.")
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(np.minimum(1.0, p[order] * np.arange(len(p), 0, -1)))
    adjusted = np.empty_like(p)
    adjusted[order] = steps
    return [float(value) for value in adjusted]


def _resplit(gaps: np.ndarray, ratio: float) -> float:
    """Return the corrected variance of the mean over re-drawn splits.

        (1/R + n_test / n_train) s^2,  s^2 the variance of the replicas' mean differences

    Splits of one data set overlap, so their differences correlate by about
    n_test / (n_test + n_train); 1/R alone would let the error vanish with enough splits of the same
    rows. Where all replicas agree to the last digit (few points, scores of 0 and 1), s^2 is the
    sampling variance of a replica's mean over its points, lest agreement pass for certainty.

    Reference: Nadeau and Bengio (2003), https://doi.org/10.1023/A:1024068626366
    """
    replicas, points = gaps.shape
    means = gaps.mean(1)
    between = means.var(ddof=1)
    if np.ptp(means) <= ROUNDING * np.abs(gaps).max() and points > 1:
        between = gaps.var(axis=1, ddof=1).mean() / points
    return float((1 / replicas + ratio) * between)


def _fixed(gaps: np.ndarray) -> tuple[float, float]:
    """Return the two-way bootstrap variance of the mean, and its degrees of freedom.

    Seeds and test points are resampled, each with its own multinomial weights w and v. The variance
    of w' D v over infinitely many resamples needs no resampling: with row means r, column means c
    and what they leave, e = D - r - c + mean,

        |r - mean|^2 / (R (R - 1)) + |c - mean|^2 / (N (N - 1)) + |e|^2 / (R N)^2.

    (The bootstrap proper has R^2 and N^2 below; R (R - 1) and N (N - 1) remove its downward bias,
    which matters for a handful of seeds.) It is conservative where seed and point interact. The
    degrees of freedom are Satterthwaite's, so that three seeds are not taken for many.

    Reference: Owen (2007), https://arxiv.org/abs/0712.1111;
        Satterthwaite (1946), https://doi.org/10.2307/3002019
    """
    replicas, points = gaps.shape
    mean, rows, columns = gaps.mean(), gaps.mean(1), gaps.mean(0)
    rest = gaps - rows[:, None] - columns + mean
    seeds = rows.var(ddof=1) / replicas
    tests = columns.var(ddof=1) / points if points > 1 else 0.0
    variance = float(seeds + tests + np.square(rest).sum() / (replicas * points) ** 2)
    if seeds + tests == 0:
        return variance, replicas - 1.0
    freedom = seeds**2 / (replicas - 1) + tests**2 / max(points - 1, 1)
    return variance, float((seeds + tests) ** 2 / freedom)


def _interval(
    estimate: float, variance: float, freedom: float, level: float
) -> tuple[float, float]:
    reach = float(stats.t.ppf((1 + level) / 2, freedom)) * math.sqrt(variance)
    return estimate - reach, estimate + reach


def _p_value(estimate: float, variance: float, freedom: float) -> float:
    """Return the two-sided p-value; without any variation, only equality is not refuted."""
    if variance == 0:
        return float(estimate == 0)
    return float(2 * stats.t.sf(abs(estimate) / math.sqrt(variance), freedom))


def _gaps(a: Tensor, b: Tensor, train_points: int) -> np.ndarray:
    if a.shape != b.shape or a.ndim != 2 or a.numel() < 2 or train_points < 1:
        raise InputError(
            "scores [replicas, points] of the same replicas and points, and rows to train on",
            f"shapes {tuple(a.shape)} and {tuple(b.shape)}, {train_points} training rows",
            "Keep the replicas that both methods finished.",
        )
    for scores in (a, b):
        _check_finite(scores.numpy(), "pointwise scores")
    return a.double().numpy() - b.double().numpy()


def _check_finite(values: np.ndarray, what: str) -> None:
    bad = int((~np.isfinite(values)).sum())
    if bad or not values.size:
        raise InputError(
            f"{what}, all of them finite",
            f"{bad} that are not, of {values.size}",
            "Leave out runs that diverged.",
        )
