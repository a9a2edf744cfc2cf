"""Ranks: the mean rank of each method over data sets, and which cannot be told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from bnn.plots.style import INK, new_axes, plain, style_of, tidy
from bnn.plots.svg import METHOD

BRACKET = 0.06  # distance of the brackets from the axes and each other, as a share of the width


def ranks(
    mean: Mapping[str, float],
    critical: float,
    groups: Sequence[Sequence[str]] = (),
    *,
    labels: Mapping[str, str] | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw mean ranks, one row per method, and a bracket around those that may be equal.

    Arguments:
        mean: mean rank by method, the best first.
        critical: the critical difference, drawn to scale above the rows.
        groups: methods, neighbours in rank, that are not told apart.
        labels: what readers call the methods, where it is not their name.
        title: shown above.
        ax: where to draw; a new figure if absent.
    """
    ax = ax or new_axes(5.0, 1.2 + 0.3 * len(mean))
    names = list(mean)
    for row, method in enumerate(names):
        ax.axhline(row, color=INK, linewidth=0.5, alpha=0.15)
        ax.plot(
            [mean[method]], [row], linestyle="none", **style_of(method).point, gid=METHOD + method
        )
    ax.plot([1.0, 1.0 + critical], [-1.0, -1.0], color=INK, linewidth=1.6, marker="|", markersize=6)
    words = f"critical difference {critical:.2f}"
    ax.annotate(
        words, (1.0 + critical, -1.0), (6, 0), textcoords="offset points", va="center", fontsize=8
    )
    for place, group in enumerate(groups, 1):
        ends = [names.index(group[0]) - 0.2, names.index(group[-1]) + 0.2]
        across = 1.0 + BRACKET * place
        ax.plot(
            [across] * 2,
            ends,
            color=INK,
            linewidth=2.2,
            transform=ax.get_yaxis_transform(),
            clip_on=False,
        )
    ax.set_yticks(range(len(names)), [plain((labels or {}).get(m, m)) for m in names])
    ax.set(xlim=(0.8, len(names) + 0.2), ylim=(len(names) - 0.4, -1.6))
    tidy(ax, "mean rank over data sets\nbetter to the left", title=title)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    return ax
