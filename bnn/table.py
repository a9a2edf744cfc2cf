"""The table on the terminal: methods by their main scores, mean ± spread over replicas."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from bnn.run import Run
from bnn.statistics import summary

SCORES = {
    "classification": {"nll": "NLL, nats", "accuracy": "Accuracy", "ece": "ECE (if calibrated)"},
    "regression": {"nll": "NLL, nats", "rmse": "RMSE", "coverage_95": "95 % covers"},
}
CAVEATS_SHOWN = 2  # of one method


def table(runs: Sequence[Run], methods: Sequence[str]) -> Table:
    """Return the table of one data set's runs.

    Arguments:
        runs: of one data set, at least one; those that did not finish are counted in a column.
        methods: their names, in the order of the rows.
    """
    scores = SCORES[runs[0].task]
    title = escape(f"{runs[0].dataset}: mean ± sd over replicas")
    grid = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    grid.add_column("Method", no_wrap=True)
    for heading in (*scores.values(), "Seconds"):
        grid.add_column(heading, justify="right", no_wrap=True)
    complete = all(run.status == "finished" for run in runs)
    if not complete:
        grid.add_column("Finished", justify="right")
    notes: list[str] = []
    for method in methods:
        mine = [run for run in runs if run.method == method]
        done = [run for run in mine if run.status == "finished"]
        told = {sentence for run in done for sentence in run.caveats}
        mark = " †" if told else ""
        notes += [f"† {method}: {sentence}" for sentence in sorted(told)[:CAVEATS_SHOWN]]
        if len(told) > CAVEATS_SHOWN:
            notes.append(f"† {method}: {len(told) - CAVEATS_SHOWN} more caveats are in the report.")
        cells = [_cell(done, name) + mark for name in scores]
        seconds = [run.cost.seconds for run in done if run.cost]
        cells.append(f"{summary(seconds).mean:.2f}" if seconds else "–")
        count = [] if complete else [f"{len(done)} of {len(mine)}"]
        grid.add_row(escape(method), *cells, *count)
    if notes:
        grid.caption, grid.caption_justify = escape("\n".join(notes)), "left"
    return grid


def _cell(runs: Sequence[Run], name: str) -> str:
    found = _values(runs, name)
    if not found:
        return "–"
    if not np.isfinite(found).all():
        return f"{np.mean(found):.3f}"
    mean, sd = summary(found).mean, summary(found).sd
    if name == "ece":  # never without what a calibrated model would score
        null = _values(runs, "ece_null")
        return f"{mean:.3f} ({np.mean(null):.3f})" if null else f"{mean:.3f} (unknown)"
    return f"{mean:.3f}" if sd is None else f"{mean:.3f} ± {sd:.3f}"


def _values(runs: Sequence[Run], name: str) -> list[float]:
    return [run.scores[name].value for run in runs if name in run.scores]
