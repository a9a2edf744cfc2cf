"""The table of `bnn check`: expected, found, tolerance and verdict, row by row."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from bnn.check.row import Row

BEYOND = {"=": "", "<=": "≤ ", ">=": "≥ "}


def table(rows: Sequence[Row]) -> Table:
    """Return the table of some rows, method after method."""
    grid = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    grid.add_column("Method", no_wrap=True)
    grid.add_column("Check")
    for heading in ("Expected", "Found", "Tolerance"):
        grid.add_column(heading, justify="right", no_wrap=True)
    grid.add_column("Verdict", no_wrap=True)
    for row in rows:
        grid.add_row(
            escape(row.method),
            escape(row.check),
            f"{BEYOND[row.relation]}{row.expected:.6g}",
            f"{row.found:.6g}",
            f"{row.tolerance:.2g}",
            "passed" if row.passed else "[bold red]FAILED[/]",
        )
    return grid
