"""Bands: a regression on one input, with its doubt split by source."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from bnn.plots.style import BLUE, DASHED, INK, legend, new_axes, tidy

SPREAD = 2.0  # standard deviations either side, a size and no coverage


def bands(
    x: np.ndarray,
    mean: np.ndarray,
    weight_sd: np.ndarray,
    *,
    interval: tuple[np.ndarray, np.ndarray] | None = None,
    truth: np.ndarray | None = None,
    data: tuple[np.ndarray, np.ndarray] | None = None,
    title: str = "",
    key: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draw the predictive mean with the doubt about the weights and the 95 % predictive interval.

    Arguments:
        x: inputs, `[points]`.
        mean: predictive mean, `[points]`.
        weight_sd: standard deviation of the mean over draws of the weights, `[points]`.
        interval: the 2.5 % and the 97.5 % quantile of the predictive distribution, `[points]`.
        truth: the true function, `[points]`, if it is known.
        data: inputs and targets of the training rows, if to be shown.
        title: shown above.
        key: show the legend.
        ax: where to draw; a new figure if absent.
    """
    ax = ax or new_axes(3.0, 2.2)
    order = np.argsort(x)
    x, mean, spread = x[order], mean[order], SPREAD * weight_sd[order]
    if interval is not None:
        low, high = (quantile[order] for quantile in interval)
        ax.fill_between(x, low, high, color=BLUE, alpha=0.22, linewidth=0, label="95 % interval")
    ax.fill_between(
        x,
        mean - spread,
        mean + spread,
        color=BLUE,
        alpha=0.45,
        linewidth=0,
        label="weights, ± 2 sd",
    )
    ax.plot(x, mean, color=BLUE, linewidth=1.4, label="mean")
    if truth is not None:
        ax.plot(x, truth[order], color=INK, linestyle=DASHED, linewidth=1.0, label="truth")
    if data is not None:
        ax.plot(*data, ".", color=INK, markersize=2.2, alpha=0.5)
        least, most = float(np.min(data[1])), float(np.max(data[1]))
        ax.set_ylim(least - 0.6 * (most - least), most + 0.6 * (most - least))
    ax.set_xlim(x[0], x[-1])
    if key:
        legend(ax, ncols=2, loc="upper left")
    return tidy(ax, "x", "y", title)
