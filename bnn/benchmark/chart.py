"""The figures of the benchmark: ratios, and how cost grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from bnn.plots.style import BLUE, INK, VERMILLION, new_axes, plain, tidy

Row = Mapping[str, Any]


def ratios(rows: Sequence[tuple[str, Row]]) -> Axes:
    """Draw the ratio of each row with its spread, and what must be and should be reached.

    Arguments:
        rows: a label and a comparison, as `Comparison.to_json` returns it, none of them void.
    """
    ax = new_axes(7.2, 0.8 + 0.24 * len(rows))
    for place, (_, row) in enumerate(reversed(rows)):
        low, high = row["spread"]
        colour = VERMILLION if row["verdict"] == "not reached" else BLUE
        ax.plot([low, high], [place, place], color=colour, linewidth=1.5)
        ax.plot(row["found"], place, "o", color=colour, markersize=4.5)
        for name, marker in (("must", "|"), ("aim", 5)):
            if row[name] is not None:
                ax.plot(row[name], place, marker=marker, color=INK, markersize=6, linestyle="none")
    ax.set_xscale("log")
    ax.set_yticks(range(len(rows)), [plain(label, 60) for label, _ in reversed(rows)])
    ax.axvline(1, color=INK, linewidth=0.6, alpha=0.6)
    _plain_numbers(ax.xaxis)
    return tidy(ax, "their seconds over ours")


def growth(size: Sequence[float], cost: Sequence[float], x: str, y: str, slope: str) -> Axes:
    """Draw a cost against a size, both logarithmic, with the line fitted to it.

    Arguments:
        size, cost: of each measurement.
        x, y: names of the axes.
        slope: of the line, in words.
    """
    ax = new_axes(3.2, 2.3)
    ax.loglog(size, cost, "o", color=BLUE, markersize=4)
    power, level = np.polyfit(np.log(size), np.log(cost), 1)
    ends = np.array([min(size), max(size)], dtype=float)
    ax.loglog(ends, np.exp(level) * ends**power, color=INK, linewidth=0.8)
    return tidy(ax, x, y, f"slope {slope}")


def _plain_numbers(axis: Any) -> None:
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
