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

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from torch import Tensor

from bnn.errors import InputError, listed
from bnn.predictive import Predictive
from bnn.run import Score
from bnn.scores.check import check
from bnn.scores.compared import Compared, rows_of
from bnn.scores.estimates import draw_error, draw_groups
from bnn.scores.kinds import CLASSIFICATION, REGRESSION, SCORES, ScoreKind, kind_of

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
    predictives, labels = {"test": predictive, **others}, {"test": y, **other_labels}
    return Compared.of(predictives, labels, random_draws, aligned).scores(seeds)


def pointwise(predictive: Predictive, y: Tensor) -> dict[str, Tensor]:
    """Return the proper scores of each point by name, `[R, N]`, for comparing methods in pairs.

    Arguments:
        predictive: for some rows.
        y: their targets, `[R, N]`, or label distributions `[R, N, C]`.

    Raises:
        InputError: as in `score`.
    """
    check(predictive, y, predictive, "test")
    return rows_of(predictive, y).pointwise
