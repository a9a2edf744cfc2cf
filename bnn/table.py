"""The table on the terminal: methods by their main scores, mean ± spread over replicas."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from bnn.run import Run
from bnn.scores.kinds import kind_of
from bnn.statistics import summary

COLUMNS = {
    "classification": ("nll", "accuracy", "brier", "ece", "ece_null"),
    "regression": ("nll", "rmse", "crps", "coverage_95"),
}
TITLES = {"ece": "Calibration error", "ece_null": "... if calibrated", "coverage_95": "95 % covers"}


def table(runs: Sequence[Run]) -> Table:
    """Return the table of one data set's runs; whatever did not finish has a column of its own.

    Arguments:
        runs: of one data set, at least one.
    """
    scores = COLUMNS[runs[0].task]
    title = f"{runs[0].dataset}: mean ± standard deviation over replicas"
    grid = Table(title=escape(title), title_justify="left")
    grid.add_column("Method")
    for name in scores:
        kind = kind_of(name)
        unit = f" [{kind.unit}]" if kind.unit else ""
        grid.add_column(escape(TITLES.get(name, kind.label) + unit), justify="right")
    grid.add_column("Seconds", justify="right")
    grid.add_column("Finished", justify="right")
    for method in dict.fromkeys(run.method for run in runs):
        mine = [run for run in runs if run.method == method]
        done = [run for run in mine if run.status == "finished"]
        cells = [_cell([run.scores[name].value for run in done]) for name in scores]
        seconds = [run.cost.seconds for run in done if run.cost]
        cost = f"{summary(seconds).mean:.2f}" if seconds else "–"
        label = str(mine[0].settings.get("label", method))
        grid.add_row(escape(label), *cells, cost, f"{len(done)} of {len(mine)}")
    return grid


def _cell(values: Sequence[float]) -> str:
    if not values:
        return "–"
    found = summary(values)
    if found.sd is None:
        return f"{found.mean:.4f}"
    return f"{found.mean:.4f} ± {found.sd:.4f}"
