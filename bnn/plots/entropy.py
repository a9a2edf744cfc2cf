"""Entropy: how unsure a method says it is, on rows it should know and on rows it should not."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from bnn.plots.style import (
    BLUE,
    DASHED,
    DOTTED,
    GREEN,
    ORANGE,
    SOLID,
    VERMILLION,
    legend,
    new_axes,
    plain,
    tidy,
)

LOOKS = ((BLUE, SOLID), (ORANGE, DASHED), (VERMILLION, DOTTED), (GREEN, (0, (5, 1.5, 1, 1.5))))


def entropy(
    values: Mapping[str, np.ndarray],
    classes: int | None = None,
    *,
    title: str = "",
    key: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draw the distribution of predictive entropy for each condition, shares on a root scale.

    Arguments:
        values: entropies in nats by the name of the condition (test, a shift, unseen).
        classes: how many classes, so that the axis ends at log(classes), total ignorance.
        title: shown above.
        key: show the legend.
        ax: where to draw; a new figure if absent.
    """
    ax = ax or new_axes(2.9, 2.1)
    present = {name: part for name, part in values.items() if len(part)}
    top = np.log(classes) if classes else max((p.max() for p in present.values()), default=1.0)
    edges = np.linspace(0.0, max(float(top), 1e-6), 31)
    for (name, part), (colour, dash) in zip(present.items(), LOOKS, strict=False):
        share = np.histogram(np.clip(part, 0.0, edges[-1]), edges)[0] / len(part)
        ax.stairs(share, edges, color=colour, linestyle=dash, linewidth=1.4, label=plain(name))
        ax.stairs(share, edges, color=colour, fill=True, alpha=0.12, linewidth=0)
    # Most test rows have next to no entropy; a root scale keeps the others in sight.
    ax.set_yscale("function", functions=(_root, np.square))
    ax.set(xlim=(0.0, edges[-1]), ylim=(0.0, 1.0))
    ax.set_yticks([0.0, 0.01, 0.05, 0.2, 0.5, 1.0], ["0", ".01", ".05", ".2", ".5", "1"])
    if key:
        legend(ax)
    return tidy(ax, "entropy (nats)", "share of rows", title)


def _root(share: np.ndarray) -> np.ndarray:
    return np.sqrt(np.clip(share, 0.0, None))
