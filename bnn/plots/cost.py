"""Cost: what the quality of each method takes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from bnn.plots.style import legend, new_axes, plain, style_of, tidy
from bnn.plots.svg import METHOD


def cost(
    points: Mapping[str, tuple[float, float, float]],
    *,
    labels: Mapping[str, str] | None = None,
    y: str = "score",
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw quality against seconds, one point per method.

    Arguments:
        points: seconds of training per replica, score, and its standard error, by method.
        labels: what readers call the methods, where it is not their name.
        y: the name of the score, with its unit and direction.
        title: shown above.
        ax: where to draw; a new figure if absent.
    """
    ax = ax or new_axes(5.0, max(2.6, 0.2 * len(points)))  # the legend has a line for each
    for method, (seconds, value, error) in points.items():
        look = style_of(method)
        yerr = error if np.isfinite(error) else None
        name = plain((labels or {}).get(method, method))
        marks = {**look.point, "linestyle": "none", "elinewidth": 1.2}
        ax.errorbar(seconds, value, yerr=yerr, label=name, **marks, gid=METHOD + method)
    ax.set_xscale("log")
    ax.margins(x=0.12, y=0.12)
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    legend(ax, loc="center left", bbox_to_anchor=(1.02, 0.5))
    return tidy(ax, "seconds of training per replica", y, title)
