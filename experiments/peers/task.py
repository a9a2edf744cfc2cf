"""What one side of a comparison does, and how its processor time is taken.

This file knows neither torch nor JAX, so that no process needs both.
"""

from __future__ import annotations

import ctypes
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

LONG_ENOUGH = 0.4  # seconds of a repeat, for which a step is repeated


def nothing() -> list[float]:
    """Return no value: what is compared is what comes out of the repeats."""
    return []


@dataclass(frozen=True)
class Task:
    """One side's share in an item.

    Arguments:
        seconds: does the work once and returns its processor seconds per unit, or a mapping with
            "seconds" and whatever else the repeat tells.
        value: numbers that every side must find; None where this side has no such number.
        given: what the other sides need to find them, by name; of the suite alone.
        warm: do the work once before it is timed.
    """

    seconds: Callable[[], float | Mapping[str, Any]]
    value: Callable[[], Sequence[float | None]] = nothing
    given: Mapping[str, np.ndarray] = field(default_factory=dict)
    warm: bool = True


def timed(work: Callable[[], object], clock: Callable[[], float] = time.process_time) -> float:
    """Return the processor seconds, all threads together, that some work takes."""
    began = clock()
    work()
    return clock() - began


def each(step: Callable[[], object], least: float = LONG_ENOUGH) -> float:
    """Return the processor seconds of a step, repeated until the repeats take long enough."""
    began, count = time.process_time(), 0
    while (spent := time.process_time() - began) < least or not count:
        step()
        count += 1
    return spent / count


def slope(
    work: Callable[[int], object],
    short: int,
    long: int,
    clock: Callable[[], float] = time.process_time,
) -> float:
    """Return the seconds of one unit of work, set-up not counted.

    Arguments:
        work: does so many units.
        short, long: two numbers of units.
        clock: in seconds; the processor's unless given.
    """
    first, second = (timed(lambda: work(short), clock), timed(lambda: work(long), clock))
    return (second - first) / (long - short)


def peak(work: Callable[[], object]) -> float:
    """Return the bytes that the process grows by while it works; NaN where Linux does not tell."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # what was freed goes back to the system first
        Path("/proc/self/clear_refs").write_text("5")  # forgets the highest use so far
        before = _kibibytes("VmRSS")
    except OSError:
        return math.nan
    work()
    return 1024.0 * (_kibibytes("VmHWM") - before)


def _kibibytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))
