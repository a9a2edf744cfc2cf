"""Curves: the loss of a fit over its epochs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from bnn.plots.style import BLUE, DASHED, ORANGE, SOLID, Dash, legend, new_axes, tidy
from bnn.run import Curve

BLOCKS = 120  # of epochs, at least, over which a range is shown


def curves(
    replicas: Sequence[Curve], *, title: str = "", key: bool = True, ax: Axes | None = None
) -> Axes:
    """Draw the median loss over replicas and its range; ticks below mark the epochs that were kept.

    Arguments:
        replicas: one curve per replica, losses in nats per row; they may end at different epochs.
        title: shown above.
        key: show the legend.
        ax: where to draw; a new figure if absent.
    """
    ax = ax or new_axes(2.9, 2.0)
    losses = [(curve.epochs, curve.train) for curve in replicas]
    _draw(ax, losses, BLUE, SOLID, "training")
    _draw(ax, [(c.epochs, c.validation) for c in replicas], ORANGE, DASHED, "validation")
    kept = [curve.best for curve in replicas if curve.best is not None]
    ax.plot(kept, np.full(len(kept), 0.02), "|", color=ORANGE, transform=ax.get_xaxis_transform())
    if key:
        legend(ax)
    return tidy(ax, "epoch", "loss (nats per row)", title)


def _draw(
    ax: Axes,
    losses: Sequence[tuple[Sequence[int], Sequence[float]]],
    colour: str,
    dash: Dash,
    name: str,
) -> None:
    """Draw median and range of the replicas that are still training at each epoch."""
    epochs = sorted({e for steps, values in losses if values for e in steps[: len(values)]})
    if not epochs:
        return
    table = np.full((len(losses), len(epochs)), np.nan)
    column = {epoch: number for number, epoch in enumerate(epochs)}
    for row, (steps, values) in zip(table, losses, strict=True):
        for epoch, value in zip(steps, values, strict=False):
            row[column[epoch]] = value if np.isfinite(value) else np.nan
    shown = ~np.isnan(table).all(0)
    x, table = np.array(epochs)[shown], table[:, shown]
    blocks = np.arange(0, len(x), max(1, len(x) // BLOCKS))  # long fits need no more detail
    low = np.minimum.reduceat(np.nanmin(table, 0), blocks)
    high = np.maximum.reduceat(np.nanmax(table, 0), blocks)
    ax.fill_between(x[blocks], low, high, color=colour, alpha=0.18, linewidth=0)
    ax.plot(x, np.nanmedian(table, 0), color=colour, linestyle=dash, linewidth=1.3, label=name)
