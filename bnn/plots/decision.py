"""Decision surfaces: a classifier of two inputs, seen from above."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap

from bnn.plots.style import BLUE, ORANGE, SKY, VERMILLION, new_axes, tidy

TWO_CLASSES = LinearSegmentedColormap.from_list("two classes", [BLUE, "#f4f4f4", ORANGE])
LEVELS = 12
LIGHT, DARK = "#ffffff", "#1a1a1a"  # marks on the surface, which is the same on a dark page


def probability(
    grid: np.ndarray,
    probs: np.ndarray,
    train_x: np.ndarray | None = None,
    train_y: np.ndarray | None = None,
    *,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw the predictive probability: of the second of two classes, or of the likeliest of more.

    Arguments:
        grid: inputs, `[points, 2]`.
        probs: predictive probabilities, `[points, classes]`.
        train_x, train_y: the training rows `[rows, 2]` and their classes `[rows]`, if to be shown.
        title: shown above.
        ax: where to draw; a new figure if absent.
    """
    two = probs.shape[1] == 2
    values, low = (probs[:, 1], 0.0) if two else (probs.max(1), 1 / probs.shape[1])
    ax = _surface(grid, values, low, 1.0, TWO_CLASSES if two else "cividis", ax)
    if two and values.min() < 0.5 < values.max():
        ax.tricontour(grid[:, 0], grid[:, 1], values, levels=[0.5], colors=DARK, linewidths=0.9)
    _points(ax, train_x, train_y)
    what = "probability of the second class" if two else "probability of the likeliest class"
    return tidy(ax, what, title=title)


def doubt(
    grid: np.ndarray,
    values: np.ndarray,
    classes: int,
    train_x: np.ndarray | None = None,
    train_y: np.ndarray | None = None,
    *,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw the predictive entropy (or the mutual information) in nats, from 0 to log(classes).

    Arguments:
        grid: inputs, `[points, 2]`.
        values: entropy, `[points]`, nats.
        classes: how many classes there are.
        train_x, train_y: the training rows, if to be shown.
        title: shown above.
        ax: where to draw; a new figure if absent.
    """
    ax = _surface(grid, values, 0.0, float(np.log(classes)), "cividis", ax)
    _points(ax, train_x, train_y)
    return tidy(ax, "entropy (nats)", title=title)


def _surface(
    grid: np.ndarray,
    values: np.ndarray,
    low: float,
    high: float,
    colours: str | LinearSegmentedColormap,
    ax: Axes | None,
) -> Axes:
    ax = ax or new_axes(2.9, 2.3)
    values = np.clip(values, low, high)  # rounding may leave a probability a hair above one
    rows = np.lexsort(grid.T)  # the second input slowest
    columns, lines = (np.unique(grid[:, axis]) for axis in (0, 1))
    extent = (columns[0], columns[-1], lines[0], lines[-1])
    look: dict[str, Any] = {"cmap": colours, "vmin": low, "vmax": high}
    filled: ScalarMappable
    if len(columns) * len(lines) == len(grid):  # a lattice: a small image, smoothed by the viewer
        image = values[rows].reshape(len(lines), len(columns))
        filled = ax.imshow(
            image, origin="lower", extent=extent, aspect="auto", interpolation="none", **look
        )
    else:
        levels = np.linspace(low, high, LEVELS + 1)
        filled = ax.tricontourf(grid[:, 0], grid[:, 1], values, levels=levels, **look)
    bar = ax.figure.colorbar(filled, ax=ax, ticks=[low, (low + high) / 2, high], format="%.2g")
    bar.ax.tick_params(labelsize=7, length=2)
    bar.outline.set_visible(False)
    ax.set(xlim=extent[:2], ylim=extent[2:])
    return ax


def _points(ax: Axes, x: np.ndarray | None, y: np.ndarray | None) -> None:
    if x is None or y is None:
        return
    looks = zip(np.unique(y), "o^sDvP<>" * 4, (LIGHT, DARK, SKY, VERMILLION) * 8, strict=False)
    for label, marker, colour in looks:
        rows, edge = x[y == label], DARK if colour == LIGHT else LIGHT
        ax.plot(rows[:, 0], rows[:, 1], marker, color=colour, ms=3, markeredgecolor=edge, mew=0.4)
