"""Predictions beside targets: what scores, their errors and single points need is computed once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bnn.predictive import CategoricalMixture, Predictive
from bnn.run import Score
from bnn.scores import classification, regression
from bnn.scores.check import check, check_aligned
from bnn.scores.classification import Classified
from bnn.scores.estimates import Estimate, draw_error, draw_groups
from bnn.scores.regression import Regressed

Rows = Classified | Regressed  # the predictions for some rows: all that their scores depend on


@dataclass(frozen=True)
class Compared:
    """The predictions for the test rows and others.

    Arguments:
        rows: by the name of the condition, "test" among them.
        groups: the same by groups of draws, for their errors over draws; empty if they have none.
        aligned: the conditions whose rows are the test rows disturbed.
    """

    rows: Mapping[str, Rows]
    groups: Mapping[str, Rows]
    aligned: Collection[str]

    @staticmethod
    def of(
        predictives: Mapping[str, Predictive],
        labels: Mapping[str, Tensor],
        random_draws: bool,
        aligned: Collection[str] = (),
    ) -> Compared:
        """Compare predictions with targets, both by condition; the rest as in `bnn.scores.score`.

        Raises:
            InputError: as in `bnn.scores.score`.
        """
        test = predictives["test"]
        for condition, other in predictives.items():
            check(other, labels.get(condition), test, condition)
        check_aligned(aligned, predictives)
        groups = draw_groups(test.draws) if random_draws and test.draws > 2 else None
        both = {
            name: _whole_and_groups(other, labels.get(name), groups)
            for name, other in predictives.items()
        }
        rows = {name: whole for name, (whole, _) in both.items()}
        parts = {name: part for name, (_, part) in both.items() if part is not None}
        return Compared(rows, parts, aligned)

    def scores(self, seeds: Sequence[int] | None = None) -> list[dict[str, Score]]:
        """Return the scores of each replica by name; `seeds` as in `bnn.scores.score`."""
        found, test = _estimates(self.rows, self.aligned), self.rows["test"]
        replicas = len(found["nll"].value)
        if isinstance(test, Classified):
            found |= classification.null(test, (0,) * replicas if seeds is None else seeds)
        errors = self._draw_errors()
        return [_scores(found, errors, replica) for replica in range(replicas)]

    def _draw_errors(self) -> dict[str, Tensor]:
        """Return the Monte-Carlo errors `[R]`; the draws are left out of all conditions at once."""
        if not self.groups:
            return {}

        def without(kept: list[int]) -> dict[str, Tensor]:
            some = {name: part.subset(kept) for name, part in self.groups.items()}
            return {name: found.value for name, found in _estimates(some, self.aligned).items()}

        return draw_error(without, self.groups["test"].components)


def rows_of(predictive: Predictive, y: Tensor | None) -> Rows:
    """Return the predictions for some rows, whose targets `y` may be unknown, and all draws."""
    return _whole_and_groups(predictive, y, None)[0]


def _whole_and_groups(
    predictive: Predictive, y: Tensor | None, groups: Tensor | None
) -> tuple[Rows, Rows | None]:
    """Return the predictions of all draws, and by groups of them `[G, size]`, if wanted."""
    if isinstance(predictive, CategoricalMixture):
        classified = Classified.of(predictive, y)
        return classified, None if groups is None else classified.grouped(groups)
    if groups is None:
        return Regressed.of(predictive, y), None
    used = groups.numel()
    grouped = Regressed.of(predictive.subset(slice(used)), y, len(groups))
    return grouped if used == predictive.draws else Regressed.of(predictive, y), grouped


def _estimates(rows: Mapping[str, Rows], aligned: Collection[str]) -> dict[str, Estimate]:
    classified = {name: part for name, part in rows.items() if isinstance(part, Classified)}
    regressed = {name: part for name, part in rows.items() if isinstance(part, Regressed)}
    if classified:
        return classification.estimates(classified, aligned)
    return regression.estimates(regressed)


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
