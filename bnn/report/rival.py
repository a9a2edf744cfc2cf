"""Every method beside one rival, split by split: differences in test log-likelihood.

    plain:      s / sqrt(R),    s the sd of the differences over R splits
    corrected:  s sqrt(1/R + n_test / n_train)

The plain error takes splits for independent repetitions, as publications do. They share rows, so
that their differences correlate by about n_test / (n_test + n_train), which the second allows for
(Nadeau and Bengio 2003, https://doi.org/10.1023/A:1024068626366).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from bnn.report.results import TITLES, Mean, Result, average
from bnn.report.sections import Part
from bnn.report.tables import NOTHING, Cell, Column, Row, Table, numeric
from bnn.report.words import listed, with_error

ENOUGH = 2.0  # standard errors that make a difference
RATIO = 1 / 9  # test rows over training rows of the standard splits
LIKELIHOODS = ("log_likelihood", "moment_matched")
PAIRED = (
    "Difference on the same splits, mean ± sd/√splits, which takes splits for independent"
    " repetitions, as publications do; below it, the error corrected for the rows that splits share"
    " (Nadeau & Bengio 2003), and on how many splits the method is better."
)


def paired(found: Sequence[Result], method: str, rival: str, score: str) -> dict[str, list[float]]:
    """Return by data set how much a method is above a rival, on each split that both finished."""
    theirs = {(r.dataset, r.split): getattr(r, score) for r in found if r.method == rival}
    gaps: dict[str, list[float]] = {}
    for result in found:
        if result.method == method and (result.dataset, result.split) in theirs:
            gap = getattr(result, score) - theirs[result.dataset, result.split]
            gaps.setdefault(result.dataset, []).append(gap)
    return gaps


def corrected(mean: Mean) -> float | None:
    """Return the standard error of a mean over splits of which a tenth are test rows."""
    return None if mean.error is None else mean.error * math.sqrt(1 + mean.splits * RATIO)


def part(found: Sequence[Result], rival: str, first: str) -> Part:
    """Return all methods beside the rival, and in words how the first of them does.

    Arguments:
        found: all results.
        rival, first: names of methods.
    """
    labels = {result.method: result.label for result in found}
    words = [PAIRED]
    for score in LIKELIHOODS if first in labels else ():
        gaps = paired(found, first, rival, score)
        means = {name: average(values) for name, values in gaps.items()}
        words += claims(means, f"{labels[first]} beside {labels[rival]}, {TITLES[score].lower()}")
    tables = [_table(found, rival, score, labels) for score in LIKELIHOODS]
    return Part(f"Split by split, beside {rival}", words, tables)


def claims(means: Mapping[str, Mean], whose: str) -> Iterator[str]:
    """Yield where a mean difference is above zero, below it or neither, by both errors.

    Arguments:
        means: by data set.
        whose: what is beside what, for the head of the sentence.
    """
    for noun, corrects in (("standard errors", False), ("corrected standard errors", True)):
        sides: dict[str, list[str]] = {"better": [], "worse": [], "neither": []}
        for name, mean in sorted(means.items()):
            error = corrected(mean) if corrects else mean.error
            if error is None and math.isfinite(mean.mean):
                continue  # a single split says nothing
            apart = abs(mean.mean) > ENOUGH * (error or 0.0)
            side = "better" if mean.mean > 0 else "worse"
            sides[side if apart else "neither"].append(name)
        told = ", ".join(f"{side} on {listed(names)}" for side, names in sides.items() if names)
        if told:
            yield f"{whose}, by more than {ENOUGH:g} {noun}: {told}."


def _table(found: Sequence[Result], rival: str, score: str, labels: Mapping[str, str]) -> Table:
    sets = sorted({result.dataset for result in found})
    rows = []
    for method in (name for name in labels if name != rival):
        gaps = paired(found, method, rival, score)
        cells = [_cell(gaps[name]) if name in gaps else NOTHING for name in sets]
        rows.append(Row(labels[method], cells, method))
    columns = [Column(name, "nats, higher is better") for name in sets]
    return Table(f"{TITLES[score]}, less that of {labels[rival]}", "Method", columns, rows)


def _cell(gaps: Sequence[float]) -> Cell:
    mean = average(gaps)
    wins = f"better on {sum(gap > 0 for gap in gaps)} of {len(gaps)}"
    error = corrected(mean)
    notes = [wins] if error is None else [f"corrected ± {error:.2g}", wins]
    return numeric(with_error(mean.mean, mean.error), mean.mean, *notes)
