"""Reproduction: the test scores of a study's runs beside published ones, with a verdict on each.

Both sides of a comparison have the standard error over splits, sd / sqrt(splits); see
`bnn.report.results`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np

from bnn.report import rival as rivals
from bnn.report.published import Row, splits
from bnn.report.results import SCORES, TITLES, Mean, Result, average, mean_of
from bnn.report.sections import Part, Section
from bnn.report.tables import NOTHING, Cell, Column, Table, numeric
from bnn.report.tables import Row as TableRow
from bnn.report.words import count, with_error

Verdict = Literal["reproduced", "no different", "better", "worse"]

FAMILIES: Mapping[str, str] = {
    "published": "Settings as published",
    "validated": "Settings validated on training rows",
    "fixed": "Settings fixed beforehand, the same on all sets",
}
ENOUGH = 2.0  # combined standard errors that make a difference
ALL = 20  # splits of a published mean; on fewer there is no verdict, for others may have diverged


def verdict(
    ours: tuple[float, float],
    theirs: tuple[float, float],
    better: Literal["higher", "lower"],
    *,
    may_reproduce: bool,
) -> Verdict:
    """Return what a mean is beside a published one.

    They are apart if they differ by more than two combined standard errors,
    |a - b| > 2 sqrt(se_a^2 + se_b^2). Where they are not, that is a reproduction if the settings
    are the published ones and the published figure was read, and else just no difference.

    Arguments:
        ours, theirs: a mean and its standard error.
        better: which of two is.
        may_reproduce: see above.
    """
    gap = ours[0] - theirs[0]
    if abs(gap) <= ENOUGH * math.hypot(ours[1], theirs[1]):
        return "reproduced" if may_reproduce else "no different"
    return "better" if (gap > 0) == (better == "higher") else "worse"


def judge(
    found: Sequence[Result], score: str, published: Mapping[str, Row]
) -> tuple[Mean, str, Verdict | None]:
    """Return our mean, the published one in words, and the verdict, of one method on one set.

    Arguments:
        found: on all splits.
        score: of `SCORES`.
        published: rows by the names of methods.
    """
    ours, row = mean_of(found, score), published.get(found[0].method)
    if row is None or score not in ("rmse", row.score):
        return ours, "", None
    figure = (row.rmse if score == "rmse" else row.log_likelihood).get(found[0].dataset)
    if figure is None:
        return ours, "", None
    error = row.standard_error(figure)
    words = with_error(figure.mean, error)
    if error is None or ours.error is None or ours.splits < ALL:
        return ours, words, None
    return (
        ours,
        words,
        verdict(
            (ours.mean, ours.error),
            (figure.mean, error),
            "lower" if score == "rmse" else "higher",
            may_reproduce=found[0].family == "published" and row.read != "memory",
        ),
    )


def section(
    found: Sequence[Result], published: Mapping[str, Row], rival: str = "", first: str = ""
) -> Section:
    """Return the report's section of all families, every verdict in the cell it belongs to.

    Arguments:
        found: all results.
        published: rows by the names of methods.
        rival: the method that all others are compared with, split by split; empty: none.
        first: the method of which is said in words how it compares; empty: none.
    """
    parts = [Part("How to read the verdicts", [READING, *_sources(found, published)])]
    for family, title in FAMILIES.items():
        own = [result for result in found if result.family == family]
        if own:
            shown = [_table(own, score, published) for score in SCORES]
            parts.append(Part(title, [MEANING[family]], shown))
    if beside := _agreement(found):
        parts.append(Part("Split by split, beside the published splits", [AGREEMENT], [beside]))
    if any(result.method == rival for result in found):
        parts.append(rivals.part(found, rival, first))
    sets, methods = ({getattr(r, name) for r in found} for name in ("dataset", "method"))
    summary = f"{len(found)} results: {len(methods)} methods on {len(sets)} data sets."
    return Section("Beside published results", "published", summary, parts)


READING = (
    "Mean over splits ± standard error, sd/√splits. Below it, in a cell: the published mean ±"
    " standard error (a printed standard deviation is divided by √20, and the rounding of the mean"
    " is added), and the verdict. “Reproduced” is within two combined standard errors, said only of"
    " published settings and of figures that were read in a file or on a page. There is no verdict"
    " where fewer than 20 splits finished."
)
AGREEMENT = "Difference in test log-likelihood on the same splits, mean ± sd/√splits."
MEANING: Mapping[str, str] = {
    "published": (
        "As the papers fixed them. Rates, precisions and decays of MC dropout (2016) were chosen"
        " once per set with test rows in view, as its authors say; the ensembles' learning rate is"
        " 0.01, because the printed 0.1 diverges: it was chosen to land on the published figures,"
        " and so were the ensembles' form of the noise and where their weights start."
    ),
    "validated": (
        "Chosen per split on the last 20 % of its training rows, from at most six candidates, then"
        " refitted on all of them. No choice on a split saw a test row; but which candidates there"
        " are, for SWAG and for the mixture of Laplace approximations, and that SWAG is not among"
        " the picked, was settled after test scores of some sets had been seen. Of the mixture"
        " there is one candidate, with the settings of the single one below: validation only tells"
        " it from other methods."
    ),
    "fixed": (
        "The same on every set and every split. Not chosen by test scores set by set, but not blind"
        " to them either: the short training of the point estimates and the estimator of the mean"
        " field, where SWAG starts, how many and how long HMC's trajectories are, and Laplace's"
        " batch, steps and number of updates, were settled after others had been seen on some sets"
        " (Laplace's: about a dozen, on 8 splits). No publication has quite these settings: a"
        " published figure is a neighbour here. HMC has not converged, on yacht least of all: there"
        " the noise still falls when the chains end, and in ten times longer ones too, and what"
        " they score depends on their length."
    ),
}


def agreement(
    found: Sequence[Result], published: Mapping[str, Mapping[str, Sequence[float]]]
) -> Iterator[tuple[str, str, Mean, float]]:
    """Yield how far results are from published ones split by split, where all splits are known.

    Arguments:
        found: all results.
        published: log-likelihoods of the splits 0, 1, ..., by method and set.

    Returns:
        method, set, the paired difference, and the correlation over splits.
    """
    for method, sets in published.items():
        for dataset, theirs in sets.items():
            own = [r for r in found if (r.method, r.dataset) == (method, dataset)]
            ours = {result.split: result.log_likelihood for result in own}
            if sorted(ours) == list(range(len(theirs))):
                values = np.array([ours[split] for split in range(len(theirs))])
                r = float(np.corrcoef(values, theirs)[0, 1])
                yield method, dataset, average((values - theirs).tolist()), r


def _agreement(found: Sequence[Result]) -> Table | None:
    labels = {result.method: result.label for result in found}
    rows = [
        TableRow(
            f"{labels[method]}, {dataset}",
            [numeric(with_error(gap.mean, gap.error), gap.mean), numeric(f"{r:.2f}", r)],
            method,
        )
        for method, dataset, gap, r in agreement(found, splits())
    ]
    columns = [
        Column("Difference", "ours less published, nats"),
        Column("Correlation", "over splits"),
    ]
    title = "The published log-likelihood of every split beside ours"
    return Table(title, "Method and set", columns, rows) if rows else None


def _sources(found: Sequence[Result], published: Mapping[str, Row]) -> Iterator[str]:
    labels = {result.method: result.label for result in found}
    for method, label in labels.items():
        if row := published.get(method):
            read = {"file": "read in a file", "page": "read on the page"}.get(
                row.read, "for orientation only"
            )
            yield (
                f"{label} beside {row.label}: {row.source} ({read}; errors are {row.spread}s)."
                f" Protocol: {row.protocol}."
            )


def _table(found: Sequence[Result], score: str, published: Mapping[str, Row]) -> Table:
    sets = sorted({result.dataset for result in found})
    by: dict[str, dict[str, list[Result]]] = {}
    for result in found:
        by.setdefault(result.method, {}).setdefault(result.dataset, []).append(result)
    rows = [
        TableRow(
            next(iter(on.values()))[0].label,
            [_cell(on[name], score, published) if name in on else NOTHING for name in sets],
            method,
        )
        for method, on in by.items()
    ]
    better = "lower is better" if score == "rmse" else "higher is better"
    columns = [Column(name, f"{SCORES[score]}, {better}") for name in sets]
    return Table(TITLES[score], "Method", columns, rows)


def _cell(found: Sequence[Result], score: str, published: Mapping[str, Row]) -> Cell:
    ours, words, said = judge(found, score, published)
    notes = [f"published {words}"] if words else []
    notes += [said] if said else []
    notes += [f"{count(ours.splits, 'split')} finished"] if ours.splits < ALL else []
    return numeric(with_error(ours.mean, ours.error), ours.mean, *notes)
