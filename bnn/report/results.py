"""Results: the test scores of a study's runs, split by split, and the table that keeps them.

Means are over splits, +- their standard error as the literature states it, sd / sqrt(splits). It is
too small as an error of the method, for splits share rows. Log-likelihoods are of two kinds: of the
predictive itself, a mixture over draws, and of the one Normal that has its mean and variance, which
some publications score instead.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar, get_type_hints

import numpy as np

from bnn.run import Arrays, Run
from bnn.statistics import summary
from bnn.store import write_whole

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Line = TypeVar("Line", bound="DataclassInstance")
Family = Literal["published", "validated", "fixed"]
SCORES = {"log_likelihood": "nats", "moment_matched": "nats", "rmse": "unit of the target"}
TITLES = {
    "log_likelihood": "Test log-likelihood",
    "moment_matched": "Test log-likelihood of a Normal with the predictive's moments",
    "rmse": "Test root mean squared error",
}


@dataclass(frozen=True)
class Result:
    """What came out on one split: natural units, original units of the target."""

    dataset: str
    family: Family
    method: str
    label: str
    split: int
    log_likelihood: float
    moment_matched: float
    rmse: float
    seconds: float  # of training, a replica's share
    caveats: int = 0  # how many sentences must be known with the numbers
    validation: float = math.nan  # log-likelihood of training rows kept back for a choice


@dataclass(frozen=True)
class Mean:
    """A score over splits, with its standard error; none for a single split."""

    mean: float
    error: float | None
    splits: int


def results(runs: Iterable[Run], arrays: Mapping[str, Arrays]) -> list[Result]:
    """Return the results of finished runs, in order.

    Arguments:
        runs: of regressions; their provenance names the family of their settings.
        arrays: of every run, by its key.
    """
    found = [_result(run, arrays[run.key]) for run in runs if run.status == "finished"]
    return sorted(found, key=lambda r: (r.dataset, r.family, r.method, r.split))


def _result(run: Run, arrays: Arrays) -> Result:
    return Result(
        dataset=run.dataset,
        family=run.provenance["family"],
        method=run.method,
        label=str(run.settings["label"]),
        split=run.split,
        log_likelihood=-run.scores["nll"].value,
        moment_matched=moment_matched(arrays),
        rmse=run.scores["rmse"].value,
        seconds=run.cost.seconds if run.cost else math.nan,
        caveats=len(run.caveats),
        validation=run.diagnostics.get("validation_log_likelihood", math.nan),
    )


def picked(found: Sequence[Result], methods: Sequence[str]) -> list[Result]:
    """Return for each set and split the result of the method that validated best.

    Only splits on which all of the methods finished are picked from, and no test score has a part
    in it. All of them are trained for it, so it takes the seconds of all.

    Arguments:
        found: results; those without a validation likelihood do not count.
        methods: names of those to pick from.
    """
    by: dict[tuple[str, int], list[Result]] = {}
    for result in found:
        if result.method in methods and math.isfinite(result.validation):
            by.setdefault((result.dataset, result.split), []).append(result)
    label = f"The best by validation of {len(methods)} methods"
    return [
        replace(
            max(some, key=lambda r: r.validation),
            method="picked",
            label=label,
            family="validated",
            seconds=sum(r.seconds for r in some),
        )
        for some in by.values()
        if len(some) == len(methods)
    ]


def moment_matched(arrays: Arrays) -> float:
    """Return the mean of log Normal(y; E[Y], Var[Y]) over the test points, nats.

    Arguments:
        arrays: `test_y`, `test_mean`, `test_noise_sd` and `test_weight_sd`, each `[points]`.

    Reference: Lakshminarayanan, Pritzel, Blundell 2017, https://arxiv.org/abs/1612.01474
    """
    y, mean, noise, weight = (
        np.asarray(arrays[f"test_{name}"], dtype=float)
        for name in ("y", "mean", "noise_sd", "weight_sd")
    )
    variance = noise**2 + weight**2
    return float(-0.5 * (np.log(2 * np.pi * variance) + (y - mean) ** 2 / variance).mean())


def mean_of(found: Sequence[Result], score: str) -> Mean:
    """Return the mean of a score over splits."""
    return average([getattr(result, score) for result in found])


def average(values: Sequence[float]) -> Mean:
    """Return the mean of values over splits, with its standard error."""
    if not np.isfinite(values).all():
        return Mean(float(np.mean(values)), None, len(values))
    total = summary(values)
    error = None if total.sd is None else total.sd / math.sqrt(total.n)
    return Mean(total.mean, error, total.n)


def to_csv(found: Iterable[Line], kind: type[Line]) -> str:
    """Return results of a kind as a table, a line each; numbers keep six significant digits."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(field.name for field in fields(kind))
    for result in found:
        table.writerow(f"{v:.6g}" if isinstance(v, float) else v for v in astuple(result))
    return text.getvalue()


def from_csv(text: str, kind: type[Line]) -> list[Line]:
    """Read what `to_csv` wrote."""
    types = get_type_hints(kind)
    numbers = {name: of for name, of in types.items() if of in (int, float)}
    return [
        kind(**{name: numbers.get(name, str)(value) for name, value in line.items()})
        for line in csv.DictReader(io.StringIO(text))
    ]


def write_csv(path: Path, found: Iterable[Line], kind: type[Line]) -> None:
    """Write results whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, to_csv(found, kind).encode(), replace=True)
