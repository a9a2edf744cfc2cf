"""Bands: a regression on one input, with its doubt split by source."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from bnn.plots.style import BLUE, DASHED, INK, legend, new_axes, tidy

SPREAD = 1.96  # standard deviations either side, 95 % of a Normal


def bands(
    x: np.ndarray,
    mean: np.ndarray,
    noise_sd: np.ndarray,
    weight_sd: np.ndarray,
    *,
    truth: np.ndarray | None = None,
    data: tuple[np.ndarray, np.ndarray] | None = None,
    title: str = "",
    key: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draw the predictive mean with the doubt about the weights and, around it, the noise.

    Arguments:
        x: inputs, `[points]`.
        mean: predictive mean, `[points]`.
        noise_sd: standard deviation that knowing the weights would not remove, `[points]`.
        weight_sd: standard deviation of the mean over draws of the weights, `[points]`.
        truth: the true function, `[points]`, if it is known.
        data: inputs and targets of the training rows, if to be shown.
        title: shown above.
        key: show the legend.
        ax: where to draw; a new figure if absent.
    """
    ax = ax or new_axes(3.0, 2.2)
    order = np.argsort(x)
    x, mean, noise_sd, weight_sd = (part[order] for part in (x, mean, noise_sd, weight_sd))
    for spread, alpha, name in (
        (np.hypot(noise_sd, weight_sd), 0.22, "weights and noise"),
        (weight_sd, 0.45, "weights"),
    ):
        low, high = mean - SPREAD * spread, mean + SPREAD * spread
        ax.fill_between(x, low, high, color=BLUE, alpha=alpha, linewidth=0, label=name)
    ax.plot(x, mean, color=BLUE, linewidth=1.4, label="mean")
    if truth is not None:
        ax.plot(x, truth[order], color=INK, linestyle=DASHED, linewidth=1.0, label="truth")
    if data is not None:
        ax.plot(*data, ".", color=INK, markersize=2.2, alpha=0.5)
        low, high = float(np.min(data[1])), float(np.max(data[1]))
        ax.set_ylim(low - 0.6 * (high - low), high + 0.6 * (high - low))
    ax.set_xlim(x[0], x[-1])
    if key:
        legend(ax, ncols=2, loc="upper left")
    return tidy(ax, "x", "y", title)
