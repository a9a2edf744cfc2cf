"""Toy data in one and two dimensions, for pictures whose truth is known.

The table is drawn once, with a fixed seed; the split ids only choose which rows train and test.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from sklearn.datasets import make_moons
from torch import Tensor

from bnn.data.dataset import Dataset, Provenance, fingerprint
from bnn.data.split import random_splits

TABLE_SEED = 0
CENTRE = (0.5, 0.25)  # of the two moons
RING = 3.0  # radius of the unseen ring; without noise, no moon reaches beyond 1.6
REACH = 3.25  # half the edge of the lattice over the plane
GAP = (-1.0, 1.0)  # no row of the sine lies in here
RANGE = (-4.0, 4.0)  # all of them lie in here
MARGIN = 2.0  # how far the sine's grid goes beyond


def two_moons(splits: Iterable[int], points: int = 500, noise: float = 0.2) -> Dataset:
    """Return two half circles of radius 1 that reach into each other.

    With t evenly spaced on [0, pi] and e ~ N(0, noise^2) on each coordinate,

        upper: x = (cos t, sin t) + e,    lower: x = (1 - cos t, 1/2 - sin t) + e.

    Unseen: 200 points on a circle of radius 3 about (1/2, 1/4), far from both. Grid: a lattice of
    60 x 60 points that contains the circle, row by row from the bottom; the first coordinate runs
    fastest.

    Arguments:
        splits: one number per replica, which seeds its split.
        points: rows of the table, both classes together.
        noise: standard deviation of e.
    """
    table, labels = make_moons(points, noise=noise, random_state=TABLE_SEED)
    x, y = _tensor(table), torch.from_numpy(labels)
    angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    ring = RING * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    axis = np.linspace(-REACH, REACH, 60)
    lattice = np.stack([part.ravel() for part in np.meshgrid(axis, axis)], axis=1)
    return Dataset(
        name="two_moons",
        task="classification",
        x=x,
        y=y,
        split=random_splits(y, splits, stratify=True),
        provenance=_drawn("two half moons, scikit-learn's make_moons", x, y),
        classes=("upper", "lower"),
        unseen=_tensor(ring + CENTRE),
        grid=_tensor(lattice + CENTRE),
    )


def sine_mean(x: np.ndarray) -> np.ndarray:
    """Return the mean of the sine data at x: sin(2 x)."""
    return np.sin(2 * x)


def sine_noise(x: np.ndarray) -> np.ndarray:
    """Return the standard deviation of the sine data at x: 0.05 + 0.25 / (1 + exp(-x))."""
    return 0.05 + 0.25 / (1 + np.exp(-x))


def sine(splits: Iterable[int], points: int = 400) -> Dataset:
    """Return a sine with a gap in its inputs and noise that grows from left to right.

        x uniform on [-4, -1] and [1, 4],    y = sin(2 x) + s(x) e,    e ~ N(0, 1),
        s(x) = 0.05 + 0.25 / (1 + exp(-x))

    Unseen: 100 inputs inside the gap. Grid: 300 inputs from -6 to 6.

    Arguments:
        splits: one number per replica, which seeds its split.
        points: rows of the table.
    """
    # RandomState, because its stream is frozen: the table is the same in any version of NumPy.
    random = np.random.RandomState(TABLE_SEED)
    width = GAP[1] - GAP[0]
    inputs = random.uniform(RANGE[0], RANGE[1] - width, points)
    inputs = np.where(inputs < GAP[0], inputs, inputs + width)
    targets = sine_mean(inputs) + sine_noise(inputs) * random.standard_normal(points)
    x, y = _tensor(inputs[:, None]), _tensor(targets)
    grid = np.linspace(RANGE[0] - MARGIN, RANGE[1] + MARGIN, 300)
    return Dataset(
        name="sine",
        task="regression",
        x=x,
        y=y,
        split=random_splits(y, splits, stratify=False),
        provenance=_drawn("y = sin(2x) + (0.05 + 0.25 / (1 + exp(-x))) e", x, y),
        unseen=_tensor(np.linspace(*GAP, 102)[1:-1, None]),
        grid=_tensor(grid[:, None]),
        truth=_tensor(sine_mean(grid)),
    )


def _tensor(values: np.ndarray) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def _drawn(what: str, x: Tensor, y: Tensor) -> Provenance:
    return Provenance(f"{what}, drawn with seed {TABLE_SEED}", "none needed", fingerprint(x, y))
