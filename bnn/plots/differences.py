"""Differences: every method against the baseline, with intervals."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.axes import Axes

from bnn.plots.style import INK, new_axes, plain, style_of, tidy
from bnn.plots.svg import METHOD


def differences(
    intervals: Mapping[str, tuple[float, float, float]],
    *,
    labels: Mapping[str, str] | None = None,
    x: str = "difference",
    better: str = "",
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw a forest plot: one row per method, its difference and the interval around it.

    Arguments:
        intervals: difference, lower and upper end by method.
        labels: what readers call the methods, where it is not their name.
        x: what the difference is of, with its unit.
        better: which way is better, in words, such as "better to the left".
        title: shown above.
        ax: where to draw; a new figure if absent.
    """
    ax = ax or new_axes(4.6, 0.9 + 0.3 * len(intervals))
    ax.axvline(0.0, color=INK, linewidth=0.8, alpha=0.6)
    for row, (method, (value, low, high)) in enumerate(intervals.items()):
        look = style_of(method)
        ax.plot([low, high], [row, row], color=look.colour, linewidth=1.6, gid=METHOD + method)
        ax.plot([value], [row], linestyle="none", **look.point, gid=METHOD + method)
    names = [plain((labels or {}).get(method, method)) for method in intervals]
    ax.set_yticks(range(len(intervals)), names)
    ax.set_ylim(len(intervals) - 0.4, -0.6)
    tidy(ax, f"{x}\n{better}" if better else x, title=title)
    ax.locator_params(axis="x", nbins=6)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    return ax
