"""Reliability: how often the forecast event happened, against the probability it was given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from bnn.metrics.calibration import Reliability
from bnn.plots.style import BLUE, INK, new_axes, tidy

BINS = 20


def reliability(
    replicas: Sequence[Reliability],
    forecasts: np.ndarray | None = None,
    *,
    colour: str = BLUE,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw reliability curves, the consistency band of the first, and how often what was forecast.

    Where a curve leaves the band, the forecasts are not calibrated, beyond what chance does to a
    perfect model of the same forecasts. Below the diagonal they are overconfident.

    Arguments:
        replicas: diagrams of `bnn.metrics.calibration.reliability`, one per replica.
        forecasts: all confidences, for the histogram along the bottom.
        colour: of the curves.
        title: shown above.
        ax: where to draw; a new figure if absent.

    Reference: Dimitriadis, Gneiting, Jordan (2021), https://doi.org/10.1073/pnas.2016191118
    """
    ax = ax or new_axes(2.6, 2.6)
    if forecasts is not None and len(forecasts):
        counts, edges = np.histogram(forecasts, bins=BINS, range=(0.0, 1.0))
        heights = 0.18 * counts / max(counts.max(), 1)
        ax.bar(edges[:-1], heights, np.diff(edges), align="edge", color=INK, alpha=0.22, lw=0)
    for first in replicas[:1]:
        band = first.confidence, first.low, first.high
        ax.fill_between(*band, color=INK, alpha=0.14, linewidth=0)
    ax.plot([0, 1], [0, 1], color=INK, linewidth=0.7, alpha=0.6)
    alpha = max(0.25, min(1.0, 1.6 / max(len(replicas), 1)))
    for curve in replicas:
        ax.plot(curve.confidence, curve.frequency, color=colour, linewidth=1.3, alpha=alpha)
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    ax.set_xticks([0, 0.5, 1])
    ax.set_yticks([0, 0.5, 1])
    return tidy(ax, "confidence", "share correct", title)
