"""Outcomes: the test scores of classifications, split by split, beside figures that are remembered.

Means are over splits, +- sd / sqrt(splits), as in `bnn.report.results`. What publications report
was not read again but remembered, so it is shown for orientation, and no verdict follows from it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bnn.report.results import average
from bnn.report.sections import Part, Section
from bnn.report.tables import NOTHING, Cell, Row, Table, head, numeric
from bnn.report.words import count, number, with_error
from bnn.run import Run
from bnn.scores import SCORES

SHOWN = ("nll", "accuracy", "brier", "ece", "entropy")  # each in a table of its own
BELOW = {  # in the cell of another score
    "ece": ("ece_null", "if calibrated"),
    "entropy": ("mutual_information", "of it by weights"),
}


@dataclass(frozen=True)
class Outcome:
    """What came out on one split; scores by the names of `bnn.scores.SCORES`, in their units."""

    dataset: str
    method: str
    label: str
    split: int
    nll: float
    accuracy: float
    brier: float
    ece: float
    ece_null: float
    entropy: float
    mutual_information: float  # not a number where a single network predicts
    seconds: float  # of training, a replica's share
    caveats: int = 0  # how many sentences must be known with the numbers
    validation: float = math.nan  # log-likelihood of the rows on which settings were chosen


def outcomes(runs: Iterable[Run]) -> list[Outcome]:
    """Return the outcomes of finished runs of classifications, in order."""
    found = [_outcome(run) for run in runs if run.status == "finished"]
    return sorted(found, key=lambda o: (o.dataset, o.method, o.split))


def _outcome(run: Run) -> Outcome:
    names = [*SHOWN, *(name for name, _ in BELOW.values())]
    values = {n: run.scores[n].value if n in run.scores else math.nan for n in names}
    return Outcome(
        dataset=run.dataset,
        method=run.method,
        label=str(run.settings["label"]),
        split=run.split,
        **values,
        seconds=run.cost.seconds if run.cost else math.nan,
        caveats=len(run.caveats),
        validation=run.diagnostics.get("validation_log_likelihood", math.nan),
    )


def section(
    found: Sequence[Outcome],
    remembered: Mapping[str, Mapping[str, float]],
    source: str,
    words: Sequence[str] = (),
) -> Section:
    """Return the report's section: a table for each score, methods by data sets.

    Arguments:
        found: all outcomes.
        remembered: negative log-likelihoods by method and set.
        source: of what is remembered, author and year.
        words: what else to know of settings and protocol.
    """
    by: dict[str, dict[str, list[Outcome]]] = {}
    for one in found:
        by.setdefault(one.method, {}).setdefault(one.dataset, []).append(one)
    most = max((len(some) for on in by.values() for some in on.values()), default=0)
    sets = list(dict.fromkeys(one.dataset for one in found))

    def cell(on: Mapping[str, list[Outcome]], name: str, score: str) -> Cell:
        if name not in on:
            return NOTHING
        printed = remembered.get(on[name][0].method, {}).get(name) if score == "nll" else None
        notes = [] if printed is None else [f"published {_printed(printed)}, from memory"]
        return _cell(on[name], score, notes, most)

    shown = [
        Table(
            f"{SCORES[score].label}, test rows",
            "Method",
            [head(score, name) for name in sets],
            [
                Row(next(iter(on.values()))[0].label, [cell(on, n, score) for n in sets], method)
                for method, on in by.items()
            ],
        )
        for score in SHOWN
    ]
    summary = f"{len(found)} results: {len(by)} methods on {count(len(sets), 'data set')}."
    reading = [READING, MEMORY.format(source=source), *words]
    parts = [Part("How to read the tables", reading), Part("All methods on all sets", [], shown)]
    return Section("Beside published results", "published", summary, parts)


def _cell(found: Sequence[Outcome], score: str, notes: Sequence[str], most: int) -> Cell:
    ours = average([getattr(one, score) for one in found])
    below, words = BELOW.get(score, ("", ""))
    part = sum(getattr(one, below) for one in found) / len(found) if below else math.nan
    notes = [*notes, *([] if math.isnan(part) else [f"{words} {number(part, 2)}"])]
    notes += [f"{count(ours.splits, 'split')} finished"] if ours.splits < most else []
    warned = sum(one.caveats > 0 for one in found)
    notes += [f"† on {count(warned, 'split')}"] if warned else []
    return numeric(with_error(ours.mean, ours.error), ours.mean, *notes)


def _printed(figure: float) -> str:
    """Return a figure as it is printed, with two decimals or three."""
    return f"{figure:.3f}".removesuffix("0")


READING = (
    "Mean over splits ± standard error, sd/√splits, which takes splits for independent: they share"
    " rows, so the corrected intervals below count. A calibration error is never zero; below it is"
    " what a perfectly calibrated model would show. Below an entropy is the part of it that is"
    " doubt about the weights, as the draws show it. †: there is a caveat, told with the set."
)
MEMORY = (
    "The published figures, of {source}, are from memory, unchecked: orientation only, and no"
    " verdict is given."
)
