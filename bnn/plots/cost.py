"""Cost: what the quality of each method takes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from bnn.plots.style import new_axes, plain, style_of, tidy
from bnn.plots.svg import METHOD


def cost(
    points: Mapping[str, tuple[float, float, float]],
    *,
    labels: Mapping[str, str] | None = None,
    y: str = "score",
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw quality against seconds, one labelled point per method.

    Arguments:
        points: seconds of training per replica, score, and its standard error, by method.
        labels: what readers call the methods, where it is not their name.
        y: the name of the score, with its unit and direction.
        title: shown above.
        ax: where to draw; a new figure if absent.
    """
    ax = ax or new_axes(4.2, 2.6)
    for method, (seconds, value, error) in points.items():
        look = style_of(method)
        yerr = error if np.isfinite(error) else None
        ax.errorbar(seconds, value, yerr=yerr, **look.point, linewidth=1.2, gid=METHOD + method)
        ax.annotate(
            plain((labels or {}).get(method, method), 24),
            (seconds, value),
            xytext=(6, 5),
            textcoords="offset points",
            fontsize=8,
            gid=METHOD + method,
        )
    ax.set_xscale("log")
    ax.margins(x=0.22, y=0.18)
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    return tidy(ax, "seconds of training per replica", y, title)
