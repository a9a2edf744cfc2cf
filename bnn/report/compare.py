"""Comparisons: the runs of a group against each other, by `bnn.statistics`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from bnn.errors import InputError
from bnn.report.group import Group
from bnn.run import Arrays, Run, Score
from bnn.scores import SCORES
from bnn.statistics import Design, Difference, holm, paired_difference, summary

AGREEMENT = 1e-9  # replicas that differ by less, relatively, differ by rounding only
POINTWISE = {"nll": "test_nll", "brier": "test_brier", "crps": "test_crps"}  # the proper scores
SHARED = {"unseen"}  # conditions whose rows are the same in every replica


@dataclass(frozen=True)
class Value:
    """A score of a method over its replicas."""

    mean: float
    error: float | None  # standard error of the mean
    sd: float | None  # spread over replicas
    point_error: float | None  # standard error over the test rows of one replica
    draw_error: float | None  # Monte-Carlo error over draws, of one replica
    n: int


def value(group: Group, method: str, name: str) -> Value | None:
    """Return a score over the replicas of a method, None where no replica has it."""
    found = [run.scores[name] for run in group.of(method) if name in run.scores]
    if not found:
        return None
    point_error = _typical([score.error for score in found])
    draw_error = _typical([score.draw_error for score in found])
    values = [score.value for score in found]
    if not np.isfinite(values).all():
        return Value(float(np.mean(values)), None, None, point_error, draw_error, len(found))
    total = summary(values)
    ratio = points_ratio(group.of(method))
    sd = total.sd
    if sd is not None and sd <= AGREEMENT * abs(total.mean):
        sd = 0.0
    shared = name.partition("@")[2] in SHARED
    error = standard_error(found, sd, group.design, ratio, shared=shared)
    return Value(total.mean, error, sd, point_error, draw_error, total.n)


def standard_error(
    scores: Sequence[Score],
    sd: float | None,
    design: Design,
    ratio: float | None,
    *,
    shared: bool = False,
) -> float | None:
    """Return the standard error of a mean over replicas, as the design allows it.

        one replica:       the error over its test points
        re-drawn splits:   sd sqrt(1/R + n_test / n_train)
        one fixed split:   sqrt(sd^2 / R + the mean squared error over test points)

    Splits share rows, and a fixed split's test points are the same in each replica: neither error
    vanishes however many replicas there are. Where all replicas agree, sd gives way to the error
    over test points, lest agreement pass for certainty. Rows that all replicas share although
    their splits differ add their error as a fixed split does.

    Reference: Nadeau and Bengio (2003), https://doi.org/10.1023/A:1024068626366
    """
    points = _typical([score.error for score in scores])
    if sd is None:
        return points
    if design == "resplit":
        spread = sd or points
        if ratio is None or spread is None:
            return None
        error = spread * math.sqrt(1 / len(scores) + ratio)
        return math.hypot(error, points or 0.0) if shared else error
    return None if points is None else math.hypot(sd / math.sqrt(len(scores)), points)


def _typical(errors: Sequence[float | None]) -> float | None:
    """Return the root mean square of the errors that are known."""
    squares = [error**2 for error in errors if error is not None and math.isfinite(error)]
    return math.sqrt(np.mean(squares)) if squares else None


def points_ratio(runs: Sequence[Run]) -> float | None:
    """Return test rows per training row, None if the runs do not tell."""
    rows = [run.provenance.get("rows") for run in runs]
    if not rows or not all(isinstance(r, Mapping) and r.get("train") for r in rows):
        return None
    return float(np.mean([r["test"] / r["train"] for r in rows if r]))


def differences(
    group: Group, name: str, baseline: str, methods: Sequence[str]
) -> tuple[dict[str, Difference], dict[str, str]]:
    """Return each method minus the baseline on a pointwise score, over the replicas both finished.

    The second part says, for each method that cannot be compared, why.
    """
    found: dict[str, Difference] = {}
    missing: dict[str, str] = {}
    for method in methods:
        if method == baseline:
            continue
        try:
            found[method] = _difference(group, name, method, baseline)
        except InputError as error:
            missing[method] = str(error)
    adjusted = holm([difference.p_value for difference in found.values()])
    pairs = zip(found.items(), adjusted, strict=True)
    return {method: replace(d, holm_p=p) for (method, d), p in pairs}, missing


def _difference(group: Group, name: str, method: str, baseline: str) -> Difference:
    mine, theirs = (_pointwise(group, name, m) for m in (method, baseline))
    shared = [pair for pair in sorted(mine) if pair in theirs]
    if not shared:
        raise InputError(
            "a replica that both methods finished on the same test rows",
            "none",
            "Run both with the same seeds.",
        )
    rows = [run.provenance.get("rows") for run in group.of(method)]
    train = {r["train"] for r in rows if isinstance(r, Mapping) and "train" in r}
    if len(train) != 1:
        raise InputError("one number of training rows", f"{len(train)}", "Run the study again.")
    a, b = (torch.from_numpy(np.stack([m[pair] for pair in shared])) for m in (mine, theirs))
    return paired_difference(a, b, group.design, train.pop())


def relative_errors(group: Group) -> dict[str, Difference]:
    """Return the log of each method's test RMSE over the baseline's, which has no unit.

        log(RMSE_m / RMSE_b),    0.01 is one per cent

    It is taken split by split, with the corrected error. A fixed split has none, and a method that
    shares no two splits with the baseline is left out.
    """
    sizes = [run.provenance.get("rows") for run in group.of(group.baseline)]
    if group.design != "resplit" or not sizes or not isinstance(sizes[0], Mapping):
        return {}
    found = dict[str, Difference]()
    errors = {m: {run.split: _log_rmse(run) for run in group.of(m)} for m in group.finished}
    for method in (m for m in errors if m != group.baseline):
        shared = sorted(errors[method].keys() & errors[group.baseline].keys())
        a, b = (torch.tensor([errors[m][s] for s in shared]) for m in (method, group.baseline))
        if len(shared) > 1 and torch.isfinite(a - b).all():
            # A split's number stands for all of its test rows.
            every, theirs = (part[:, None].expand(-1, sizes[0]["test"]) for part in (a, b))
            found[method] = paired_difference(every, theirs, group.design, sizes[0]["train"])
    return found


def _log_rmse(run: Run) -> float:
    value = run.scores["rmse"].value if "rmse" in run.scores else math.nan
    return math.log(value) if value > 0 else math.nan


def _pointwise(group: Group, name: str, method: str) -> dict[tuple[int, int, bytes], np.ndarray]:
    """Return a pointwise score by split, seed and test rows, which pair the replicas."""
    found = {}
    for run, arrays in zip(group.of(method), group.arrays(method), strict=True):
        values = _of_points(name, arrays)
        if values is not None:
            rows = np.asarray(arrays.get("test_index", ())).tobytes()
            found[run.split, run.seed, rows] = values.astype(np.float64)
    return found


def _of_points(name: str, arrays: Arrays) -> np.ndarray | None:
    """Return a score of each test row, where a mean over rows is what it is."""
    if name in POINTWISE:
        return arrays.get(POINTWISE[name])
    if name == "accuracy" and "test_probs" in arrays:
        y = arrays["test_y"]
        return (arrays["test_probs"].argmax(-1) == (y.argmax(-1) if y.ndim == 2 else y)) * 1.0
    if name == "rmse" and "test_mean" in arrays:
        return np.square(arrays["test_mean"].astype(float) - arrays["test_y"])
    return None


def leaders(group: Group, name: str) -> set[str]:
    """Return the best method by the mean, and those whose difference to it may be nothing.

    Empty where the score has no better side, or its rows cannot be compared in pairs.
    """
    better = SCORES[name].better
    found = {m: v for m in group.finished if (v := value(group, m, name)) and math.isfinite(v.mean)}
    if better is None or len(found) < 2 or name not in (*POINTWISE, "accuracy", "rmse"):
        return set()
    best = (min if better == "lower" else max)(found, key=lambda m: found[m].mean)
    gaps, _ = differences(group, name, best, list(found))
    return {best, *(m for m, gap in gaps.items() if gap.low <= 0 <= gap.high)}


def seconds(group: Group, method: str) -> float | None:
    """Return seconds of training per replica, averaged over the finished runs that recorded it."""
    found = [run.cost.seconds for run in group.of(method) if run.cost is not None]
    return float(np.mean(found)) if found else None


def cost_ratio(group: Group, method: str) -> float | None:
    """Return the training time of a method over that of the baseline."""
    mine, base = seconds(group, method), seconds(group, group.baseline)
    return mine / base if mine is not None and base else None
