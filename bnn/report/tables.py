"""The tables of a report: rows of text, ready to be printed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bnn.report.compare import cost_ratio, leaders, seconds, value
from bnn.report.group import Group
from bnn.report.words import (
    DASH,
    decimals_of,
    interval,
    multiple,
    number,
    probability,
    ranges,
    rounded,
    short,
    verdict,
    with_error,
)
from bnn.run import Run
from bnn.scores import CLASSIFICATION, REGRESSION, SCORES
from bnn.statistics import Difference

DIRECTION = {"lower": "lower is better", "higher": "higher is better", None: ""}
FOLDED = {"nll_bits", "ece_null", "ece_null_95"}  # shown in the cell of another score
ROUNDING = 1e-9  # an error that small is one of arithmetic
DOUBT = ("entropy", "expected_entropy", "mutual_information", "mutual_information_corrected")


@dataclass(frozen=True)
class Cell:
    """What stands in a field of a table."""

    text: str
    notes: Sequence[str] = ()  # below, smaller, a line each
    sort: str = ""  # what a column is sorted by; empty sorts last
    mark: bool = False  # among the best
    words: bool = False  # set as words, not as a number
    caveat: bool = False  # not to be read without the note below the table


@dataclass(frozen=True)
class Column:
    """The head of a column."""

    label: str
    second: str = ""
    meaning: str = ""
    words: bool = False


@dataclass(frozen=True)
class Row:
    """A row; `method` is empty where it is not about one."""

    label: str
    cells: Sequence[Cell]
    method: str = ""


@dataclass(frozen=True)
class Table:
    """A table with a title and the head of its first column; `notes` stand below it."""

    title: str
    first: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    notes: Sequence[str] = ()


NOTHING = Cell(DASH)


def warned(table: Table, group: Group, *also: str) -> Table:
    """Return a table of scores with a mark on every number that has a caveat, and the caveats.

    Arguments:
        table: its rows are about methods.
        group: whose runs they show.
        also: methods that every row depends on, as differences do on the baseline.
    """
    rows = [
        replace(row, cells=[_marked(cell) for cell in row.cells])
        if any(method in group.caveats for method in (row.method, *also))
        else row
        for row in table.rows
    ]
    methods = dict.fromkeys([*also, *(row.method for row in table.rows)])
    notes = [note for method in methods for note in group.caveats.get(method, ())]
    return replace(table, rows=rows, notes=notes)


def _marked(cell: Cell) -> Cell:
    return cell if cell.words or cell.text == DASH else replace(cell, caveat=True)


def numeric(text: str, by: float, *notes: str, mark: bool = False) -> Cell:
    """Return a field that sorts by a number."""
    key = "" if math.isnan(by) else str(by).replace("inf", "Infinity")
    return Cell(text, notes, key, mark)


def textual(text: str, *notes: str) -> Cell:
    """Return a field of words."""
    return Cell(text, notes, text, words=True)


def head(name: str, condition: str = "") -> Column:
    """Return the head of a score's column."""
    kind = SCORES[name]
    notes = [kind.unit if kind.unit != "y" else "unit of the target", DIRECTION[kind.better]]
    if kind.target is not None:
        notes.append(f"{kind.target:g} if calibrated")
    second = ", ".join(note for note in notes if note)
    return Column(condition or kind.label, second, kind.meaning)


def scores(group: Group) -> Table:
    """Return the scores on the test rows: mean ± standard error, spread and draw error below."""
    kinds = CLASSIFICATION if group.task == "classification" else REGRESSION
    present = {name for m in group.finished for run in group.of(m) for name in run.scores}
    names = [k.name for k in kinds if k.name in present - FOLDED - set(DOUBT)]
    best = {name: leaders(group, name) for name in names}
    rows = [
        Row(group.labels[m], [_score(group, m, n, m in best[n]) for n in names], m)
        for m in group.finished
    ]
    return Table(
        f"Scores on the test rows of {short(group.dataset)}", "Method", [*map(head, names)], rows
    )


def _score(group: Group, method: str, name: str, mark: bool = False) -> Cell:
    found = value(group, method, name)
    if found is None:
        return NOTHING
    notes = []
    if name == "ece":
        notes = _null(group, method)
    elif name == "nll" and (bits := value(group, method, "nll_bits")):
        notes = [f"{number(bits.mean)} bits"]
    if found.sd is not None:
        notes.append(f"sd {rounded(found.sd, decimals_of(found.sd))}")
    if found.point_error is not None and found.n > 1:
        notes.append(f"rows ± {rounded(found.point_error, decimals_of(found.point_error))}")
    if found.draw_error is not None:
        error = found.draw_error if found.draw_error > ROUNDING else 0.0
        notes.append(f"draws ± {rounded(error, decimals_of(error))}")
    return numeric(with_error(found.mean, found.error), found.mean, *notes, mark=mark)


def _null(group: Group, method: str) -> list[str]:
    null, top = (value(group, method, f"ece_null{end}") for end in ("", "_95"))
    if null is None:
        return ["null unknown"]
    notes = [f"if calibrated {number(null.mean, 2)}"]
    if top:  # of one replica: the mean over several varies less
        notes.append(f"{'one replica: ' if top.n > 1 else ''}95 % < {number(top.mean, 2)}")
    return notes


def doubt(group: Group) -> Table | None:
    """Return the entropy of the test rows and its parts, for classification."""
    names = [n for n in DOUBT if any(value(group, m, n) for m in group.finished)]
    rows = [Row(group.labels[m], [_score(group, m, n) for n in names], m) for m in group.finished]
    return (
        Table("Entropy on the test rows, and its parts", "Method", [*map(head, names)], rows)
        if names
        else None
    )


def differences(
    group: Group, name: str, found: Mapping[str, Difference], missing: Mapping[str, str]
) -> Table:
    """Return the differences to the baseline on a score."""
    kind = SCORES[name]
    level = f"{next(iter(found.values())).level:.0%}" if found else "95%"
    level = level.replace("%", " %")
    columns = [
        Column("Difference", kind.unit if kind.unit != "y" else "unit of the target"),
        Column(f"{level} interval"),
        Column("Naive interval", "too narrow"),
        Column("p", "Holm-adjusted"),
        Column("Better", "in replicas"),
        Column("Verdict", words=True),
    ]
    rows = [
        Row(group.labels[m], _difference(found.get(m), kind.better, missing.get(m, "")), m)
        for m in group.finished
        if m in found or m in missing
    ]
    scopes = {d.scope for d in found.values()}
    title = f"{kind.label}: difference to {group.labels[group.baseline]}"
    if len(scopes) == 1:
        title += f", {scopes.pop()}"
    return Table(title, "Method", columns, rows)


def _difference(difference: Difference | None, better: str | None, why: str) -> list[Cell]:
    if difference is None:
        return [*[NOTHING] * 5, textual("not compared", why)]
    d = difference
    naive = NOTHING
    if d.naive_low is not None and d.naive_high is not None:
        naive = numeric(interval(d.naive_low, d.naive_high), d.naive_low)
    p = d.p_value if d.holm_p is None else d.holm_p
    estimate = rounded(d.estimate, decimals_of((d.high - d.low) / 2))
    return [
        numeric(estimate, d.estimate),
        numeric(interval(d.low, d.high), d.low),
        naive,
        numeric(probability(p), p),
        numeric(f"{d.wins if better == 'lower' else d.losses} of {d.replicas}", d.wins),
        textual(verdict(d, better)),
    ]


def costs(group: Group) -> Table | None:
    """Return what each method took."""
    rows = [Row(group.labels[m], cells, m) for m in group.finished if (cells := _cost(group, m))]
    columns = [
        Column("Training", "seconds per replica"),
        Column("Multiple", "of the baseline"),
        Column("Prediction", "seconds per replica"),
        Column("Batch", "seconds, replicas"),
        Column("Weights", "of one network"),
        Column("Networks", "averaged in a prediction"),
    ]
    return Table("Cost, mean over replicas", "Method", columns, rows) if rows else None


def _cost(group: Group, method: str) -> list[Cell]:
    found = [run.cost for run in group.of(method) if run.cost is not None]
    train, ratio = seconds(group, method), cost_ratio(group, method)
    if not found or train is None:
        return []
    predict, first = float(np.mean([c.predict_seconds for c in found])), found[0]
    return [
        numeric(number(train), train),
        NOTHING if ratio is None else numeric(multiple(ratio), ratio),
        numeric(number(predict), predict),
        numeric(number(first.batch_seconds), first.batch_seconds, f"{first.replicas} together"),
        numeric(
            f"{first.parameters:,}".replace(",", "\N{NARROW NO-BREAK SPACE}"), first.parameters
        ),
        numeric(str(first.draws), first.draws),
    ]


def unfinished(runs: Sequence[Run]) -> Table | None:
    """Return all runs that diverged or failed, those with one message together."""
    return _told([run for run in runs if run.status != "finished"], "Runs that did not finish")


def remarks(runs: Sequence[Run]) -> Table | None:
    """Return all finished runs that have something to say."""
    told = [run for run in runs if run.status == "finished" and (run.message or run.caveats)]
    return _told(told, "Remarks on finished runs")


def _told(runs: Sequence[Run], title: str) -> Table | None:
    cases: dict[tuple[str, str, str, str], list[Run]] = {}
    for run in runs:
        for message in [*filter(None, [run.message]), *run.caveats] or [""]:
            cases.setdefault((run.dataset, run.method, run.status, message), []).append(run)
    rows = [
        Row(
            short(str(some[0].settings.get("label", method))),
            [
                textual(short(dataset)),
                textual(ranges(run.seed for run in some), f"split {ranges(r.split for r in some)}"),
                textual(status),
                textual(message[:600] or "no message"),
            ],
            method,
        )
        for (dataset, method, status, message), some in cases.items()
    ]
    names = ("Data set", "Seeds", "Status", "Message")
    return Table(title, "Method", [Column(n, words=True) for n in names], rows) if rows else None
