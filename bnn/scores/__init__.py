"""Scores: the numbers that are printed, each with what is known of its error.

A score is estimated from a finite test set and, for most methods, from a finite number of draws.
These are two errors and stay two numbers:

- over test points: a standard error (of a mean; by the delta method for a root; DeLong's for an
  area). It is absent where the points do not vary at all, which is no evidence of certainty.
- over draws: a delete-a-group jackknife. All points share the draws, so it is taken of the whole
  score; a sum of the points' variances would be far too small.

Shapes: replicas R, draws S, points N, classes C.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor

from bnn.errors import InputError, listed
from bnn.predictive import CategoricalMixture, NormalMixture, Predictive
from bnn.run import Score
from bnn.scores import classification, regression
from bnn.scores.check import check, check_aligned
from bnn.scores.classification import Classified
from bnn.scores.estimates import Estimate, draw_error, draw_groups
from bnn.scores.kinds import CLASSIFICATION, REGRESSION, SCORES, ScoreKind, kind_of
from bnn.scores.regression import Regressed

__all__ = [
    "CLASSIFICATION",
    "REGRESSION",
    "SCORES",
    "ScoreKind",
    "draw_error",
    "draw_groups",
    "kind_of",
    "pointwise",
    "score",
]

NOTHING: Mapping[str, Tensor] = MappingProxyType({})


class Predictions(Protocol):
    """Predictions for some rows, made of groups of draws."""

    def grouped(self, groups: Tensor) -> Self:
        """Return the same with groups of draws `[G, size]`."""

    def subset(self, kept: list[int]) -> Self:
        """Return the same of some of the groups."""


P = TypeVar("P", bound=Predictions)


def score(
    predictive: Predictive,
    y: Tensor,
    *,
    random_draws: bool,
    others: Mapping[str, Predictive] = MappingProxyType({}),
    other_labels: Mapping[str, Tensor] = NOTHING,
    aligned: Collection[str] = (),
    seeds: Sequence[int] | None = None,
) -> list[dict[str, Score]]:
    """Return the scores of each replica, by the names in `SCORES`.

    On other rows than the test rows a score is called `name@condition`. For classification these
    are the AUROC of telling the rows from the test rows and, where there are labels, likelihood,
    accuracy, Brier score and entropy. A score without a value, such as the mutual information of a
    single draw, is left out.

    Arguments:
        predictive: for the test rows.
        y: their targets, `[R, N]`, or label distributions `[R, N, C]`.
        random_draws: whether other draws could have been drawn, as opposed to a finite set of
            networks; then each score carries its Monte-Carlo error (from three draws on).
        others: predictions for other rows by the name of the condition, from the same draws.
        other_labels: targets of some of these.
        aligned: those of these whose rows are the test rows disturbed, in the same order; the error
            of their AUROC is that of pairs.
        seeds: one per replica, for the calibration errors of a perfect model; unless given, all
            replicas draw the same random numbers for it.

    Raises:
        InputError: on shapes that do not fit, labels out of range, or numbers that are not finite.
    """
    if "test" in others or set(other_labels) - set(others):
        raise InputError(
            "labels of the other conditions, none of which is called 'test'",
            f"predictions for {listed(others)} and labels for {listed(other_labels)}",
            "Name each condition once.",
        )
    predictives = {"test": predictive, **others}
    labels = {"test": y, **other_labels}
    for condition, other in predictives.items():
        check(other, labels.get(condition), predictive, condition)
    check_aligned(aligned, predictives)
    draws = draw_groups(predictive.draws) if random_draws and predictive.draws > 2 else None
    if isinstance(predictive, CategoricalMixture):
        classified = {
            name: Classified.of(other, labels.get(name))
            for name, other in predictives.items()
            if isinstance(other, CategoricalMixture)
        }
        estimates = partial(classification.estimates, aligned=aligned)
        seeds = (0,) * len(y) if seeds is None else seeds
        found = estimates(classified) | classification.null(classified["test"], seeds)
        errors = _draw_errors(estimates, classified, draws)
    else:
        regressed = {
            name: Regressed.of(other, labels.get(name), draws)
            for name, other in predictives.items()
            if isinstance(other, NormalMixture)
        }
        found = regression.estimates(regressed)
        errors = _draw_errors(regression.estimates, regressed, draws)
    return [_scores(found, errors, replica) for replica in range(len(y))]


def pointwise(predictive: Predictive, y: Tensor) -> dict[str, Tensor]:
    """Return the proper scores of each point by name, `[R, N]`, for comparing methods in pairs.

    Arguments:
        predictive: for some rows.
        y: their targets, `[R, N]`, or label distributions `[R, N, C]`.

    Raises:
        InputError: as in `score`.
    """
    check(predictive, y, predictive, "test")
    if isinstance(predictive, CategoricalMixture):
        return classification.pointwise(predictive, y)
    return regression.pointwise(predictive, y)


def _draw_errors(
    estimates: Callable[[Mapping[str, P]], Mapping[str, Estimate]],
    rows: Mapping[str, P],
    draws: Tensor | None,
) -> dict[str, Tensor]:
    """Return the Monte-Carlo errors `[R]`; the draws are left out of all conditions at once."""
    if draws is None:
        return {}
    grouped = {name: part.grouped(draws) for name, part in rows.items()}

    def without(kept: list[int]) -> dict[str, Tensor]:
        found = estimates({name: part.subset(kept) for name, part in grouped.items()})
        return {name: estimate.value for name, estimate in found.items()}

    return draw_error(without, len(draws))


def _scores(
    found: Mapping[str, Estimate], errors: Mapping[str, Tensor], replica: int
) -> dict[str, Score]:
    return {
        name: Score(
            value=float(estimate.value[replica]),
            error=_known(estimate.error[replica]),
            draw_error=_known(errors[name][replica]) if name in errors else None,
        )
        for name, estimate in found.items()
    }


def _known(error: Tensor) -> float | None:
    return float(error) if torch.isfinite(error) else None
