"""How cost grows: processor time and peak memory against replicas, draws, points and parameters.

    log cost = level + slope log size

Every size has a process of its own, which has torch loaded and has computed nothing yet, so that
its peak of memory, above what it starts from, is that of the work. The fitted slope is that of the
sizes measured: where small ones are ruled by a constant, it is below that of large ones.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bnn.data import from_arrays
from bnn.methods import MLE, MeanField
from bnn.networks import MLP
from bnn.optimise import Training
from bnn.posterior import Posterior, predict
from bnn.problem import Problem
from bnn.threads import one_thread

UNIT = 1 if sys.platform == "darwin" else 1024  # bytes in which the system tells the peak
NAN = float("nan")

Work = Callable[[], object]


@dataclass(frozen=True)
class Axis:
    """What cost is measured against.

    Arguments:
        title: what is done, for a reader.
        name: what is varied.
        sizes: of it.
        quick: a few of them.
        work: prepares the work of a size, and returns what is measured.
    """

    title: str
    name: str
    sizes: tuple[int, ...]
    quick: tuple[int, ...]
    work: Callable[[int], Work]


@dataclass(frozen=True)
class Slope:
    """The exponent of a cost, and its standard error; NaN where there are too few sizes."""

    value: float
    error: float

    @staticmethod
    def of(size: Sequence[float], cost: Sequence[float]) -> Slope:
        """Fit a line to the logarithms, without the sizes whose cost is below what is told."""
        pairs = [(np.log(s), np.log(c)) for s, c in zip(size, cost, strict=True) if c > 0]
        if len(pairs) < 2:
            return Slope(NAN, NAN)
        x, y = np.array(pairs).T
        power, level = np.polyfit(x, y, 1)
        rest, free = np.sum((y - level - power * x) ** 2), len(pairs) - 2
        error = np.sqrt(rest / free / np.sum((x - x.mean()) ** 2)) if free else NAN
        return Slope(float(power), float(error))


@dataclass(frozen=True)
class Growth:
    """What was measured along an axis, size by size: processor seconds, and bytes at the peak."""

    axis: Axis
    size: tuple[int, ...]
    seconds: tuple[float, ...]
    bytes: tuple[float, ...]

    def slope(self, cost: str) -> Slope:
        """Return the exponent of "seconds" or "bytes"."""
        return Slope.of(self.size, getattr(self, cost))

    def to_json(self) -> Mapping[str, Any]:
        """Return everything; what is unknown is null."""
        slopes = {cost: self.slope(cost) for cost in ("seconds", "bytes")}
        return {
            "title": self.axis.title,
            "axis": self.axis.name,
            **{name: list(getattr(self, name)) for name in ("size", "seconds", "bytes")},
            **{f"{cost}_slope": _known(slope.value) for cost, slope in slopes.items()},
            **{f"{cost}_slope_error": _known(slope.error) for cost, slope in slopes.items()},
        }


def measure(axis: Axis, quick: bool = False, told: Callable[[], None] = lambda: None) -> Growth:
    """Measure an axis, each size in a fresh process; `told` is called after each."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    sizes, place = axis.quick if quick else axis.sizes, AXES.index(axis)
    found = []
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
        for size in sizes:
            found.append(pool.submit(_cost, place, size).result())
            told()
    seconds, peaks = zip(*found, strict=True)
    return Growth(axis, sizes, seconds, peaks)


def _cost(place: int, size: int) -> tuple[float, float]:
    """Return processor seconds of a size's work, and bytes of memory at its peak."""
    with one_thread():
        AXES[place].work(2)()  # the first call prepares
        work = AXES[place].work(size)
        before, began = _peak(), time.process_time()
        work()
        return time.process_time() - began, _peak() - before


def _peak() -> float:
    return float(UNIT * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def problem(rows: int = 506, features: int = 13, hidden: Sequence[int] = (50,)) -> Problem:
    """Return a regression of random numbers."""
    x = torch.randn(rows, features, generator=torch.Generator().manual_seed(0))
    return Problem.of(from_arrays("noise", x, x[:, 0]), MLP(features, list(hidden), 1))


def _fit(replicas: int) -> Work:
    posed, method = problem(), MeanField(training=Training(epochs=25))
    return lambda: method.fit(posed, range(replicas))


def _predict(draws: int, points: int) -> Work:
    posterior, x = fitted(), torch.randn(points, 13)
    return lambda: predict(posterior, x, draws)


def fitted() -> Posterior:
    """Return a posterior to draw from."""
    return MeanField(training=Training(epochs=1)).fit(problem(), [0])


def _wide(parameters: int) -> Work:
    width = max(1, round((-66 + (66**2 + 4 * parameters) ** 0.5) / 2))
    posed, method = problem(200, 64, (width, width)), MLE(Training(epochs=10, batch_size=32))
    return lambda: method.fit(posed, [0])


AXES = (
    Axis(
        "mean-field SVI, 506 rows x 13, [50], 25 epochs",
        "replicas",
        (1, 3, 10, 30, 100, 200),
        (1, 20),
        _fit,
    ),
    Axis(
        "prediction of 500 rows, [50]",
        "draws",
        (10, 100, 1000, 3000, 10_000),
        (10, 1000),
        lambda draws: _predict(draws, 500),
    ),
    Axis(
        "prediction with 20 draws, [50]",
        "points",
        (100, 1000, 10_000, 100_000, 1_000_000),
        (100, 10_000),
        lambda points: _predict(20, points),
    ),
    Axis(
        "training of one network, two hidden layers, 200 rows x 64, 10 epochs",
        "parameters",
        (1000, 10_000, 100_000, 1_000_000, 10_000_000),
        (1000, 100_000),
        _wide,
    ),
)


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None
