"""Estimates: a score of each replica with its error over test points and over draws.

Shapes: replicas R, draws S, points N.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

GROUPS = 10  # of draws, at most, for the jackknife


class Estimate(NamedTuple):
    """A score and its standard error over points, both `[R]`; NaN where the error is unknown."""

    value: Tensor
    error: Tensor


def mean(pointwise: Tensor) -> Estimate:
    """Return the mean over points `[R, N]` and its standard error, sd / sqrt(N).

    Points that do not vary at all, such as a test set without a single mistake, are no evidence of
    certainty: the error is then unknown.
    """
    value, points = pointwise.mean(-1), pointwise.shape[-1]
    if points < 2:
        return exactly(value)
    error = pointwise.std(-1) / points**0.5
    return Estimate(value, error.where(error > 0, torch.nan))


def root_mean(pointwise: Tensor) -> Estimate:
    """Return the root of the mean and, by the delta method, its error: se(mean) / (2 root)."""
    value, error = mean(pointwise)
    return Estimate(value.sqrt(), error / (2 * value.sqrt()))


def exactly(value: Tensor) -> Estimate:
    """Return a value that no standard error is known of."""
    return Estimate(value, torch.full_like(value, torch.nan))


def draw_groups(draws: int) -> Tensor:
    """Return draws in five to ten groups of equal size (single draws, if fewer than ten).

    Neighbours stay together, so that draws of a Markov chain lose little by their correlation. The
    number of groups is the one that leaves the fewest draws aside.

    Returns:
        Numbers of draws, `[groups, size]`.
    """
    counts = range(min(5, draws), min(GROUPS, draws) + 1)
    groups = max(counts, key=lambda count: (draws // count * count, count))
    return torch.arange(draws // groups * groups).view(groups, -1)


def draw_error(
    statistic: Callable[[list[int]], Mapping[str, Tensor]], groups: int
) -> dict[str, Tensor]:
    """Return the Monte-Carlo error of statistics of the draws: a delete-a-group jackknife.

        se^2 = (G - 1) / G sum_g (t_g - mean t)^2,  t_g the statistic without group g

    All points share the draws, so the statistic is to be the whole score, not that of a point. In a
    score that counts (accuracy, coverage, calibration error, AUROC) a point that flips counts in
    full, however little the draws have changed: there the error is too large, at times by a factor
    of two.

    Arguments:
        statistic: from the numbers of the kept groups to values `[R]` by name.
        groups: G, at least 2.

    Returns:
        Standard errors by name, `[R]`.

    Reference: Busing, Meijer, van der Leeden (1999), https://doi.org/10.1023/A:1008800423698
    """
    every = range(groups)
    without = [statistic([kept for kept in every if kept != group]) for group in every]
    factor = (groups - 1) / groups**0.5  # var(correction=1) has divided by G - 1 already
    return {
        name: torch.stack([values[name] for values in without]).std(0) * factor
        for name in without[0]
    }
