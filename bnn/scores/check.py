"""Check: what is refused before it becomes a wrong number."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor

from bnn.errors import InputError, listed
from bnn.predictive import CategoricalMixture, Predictive, check_targets


def check(predictive: Predictive, y: Tensor | None, test: Predictive, condition: str) -> None:
    """Check the predictions and targets of one condition, `test` being those for the test rows.

    Raises:
        InputError: on another family, other replicas or draws than for the test rows; on
            predictions that are not finite; on targets of another shape or out of range.
    """
    if type(predictive) is not type(test) or predictive.shape[:2] != test.shape[:2]:
        raise InputError(
            f"predictions for {condition!r} from the draws that predict the test rows",
            f"replicas, draws and points {predictive.shape}, and {test.shape} for the test",
            "Predict both from one posterior.",
        )
    _check_finite(predictive, condition)
    if y is not None:
        check_targets(predictive, y, f"targets for {condition!r}")
        _check_scorable(predictive, y, condition)


def check_aligned(aligned: Collection[str], predictives: Mapping[str, Predictive]) -> None:
    """Check that conditions said to be the test rows disturbed have as many rows.

    Raises:
        InputError: on a condition without predictions, or with another number of rows.
    """
    points = {name: predictive.shape[2] for name, predictive in predictives.items()}
    wrong = [name for name in aligned if points.get(name) != points["test"]]
    if wrong:
        raise InputError(
            f"predictions for {points['test']} rows, those of the test, for each aligned condition",
            f"{[points.get(name) for name in wrong]} rows for {listed(wrong)}",
            "Name as aligned only the test rows themselves, disturbed, in the same order.",
        )


def _check_finite(predictive: Predictive, condition: str) -> None:
    if isinstance(predictive, CategoricalMixture):  # log 0 = -inf is a prediction, NaN is none
        log_probs = predictive.log_probs[:, None]  # NaN or infinite where that of a draw is
        bad = (log_probs.isnan() | log_probs.isposinf()).any(-1)
    else:
        bad = ~(predictive.loc.isfinite() & predictive.scale.isfinite() & (predictive.scale > 0))
    if bad.any():
        raise InputError(
            f"finite predictions for {condition!r}",
            f"NaN or infinite ones, or a scale that is not positive, in {_where(bad)}",
            "Leave out replicas that diverged, with predictive.take, or train them more slowly.",
        )


def _where(bad: Tensor) -> str:
    """Say how many rows of which replicas have a bad draw, `[R, S, N]`."""
    rows, (replicas, _, points) = bad.any(1).sum(1).tolist(), bad.shape
    if replicas == 1:
        return f"{rows[0]} of {points} rows"
    return ", ".join(f"{n} of {points} rows of replica {r}" for r, n in enumerate(rows) if n)


def _check_scorable(predictive: Predictive, y: Tensor, condition: str) -> None:
    if predictive.shape[2] == 0:
        raise InputError(f"at least one row for {condition!r}", "none", "Keep rows to score.")
    soft = isinstance(predictive, CategoricalMixture) and y.is_floating_point()
    if soft and not ((y.sum(-1) - 1).abs() < 1e-4).all():
        raise InputError(
            f"label distributions for {condition!r} that sum to one",
            f"sums from {y.sum(-1).min():.6g} to {y.sum(-1).max():.6g}",
            "Divide counts of labels by their sum.",
        )
