"""Stress: how fast small networks are fitted while other processes keep every core busy."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

from bnn.benchmark.growth import problem
from bnn.benchmark.machine import usable_cores
from bnn.methods import MeanField
from bnn.optimise import Training

MUST = 0.4  # of what the share of a core permits
REPLICAS = 20
SETTLING = 0.5  # seconds that a process takes to start


@dataclass(frozen=True)
class Stress:
    """Fits per second of wall clock, and how many cores there are.

    Arguments:
        cores: as many other processes are kept busy.
        quiet, busy: fits per second without them and with them, in turn.
    """

    cores: int
    quiet: tuple[float, ...]
    busy: tuple[float, ...]

    @property
    def kept(self) -> float:
        """The busy rate over the quiet one, relative to what one process of so many can have."""
        permitted = self.cores / (self.cores + 1)
        return median(b / q for q, b in zip(self.quiet, self.busy, strict=True)) / permitted

    def to_json(self) -> Mapping[str, Any]:
        """Return everything."""
        numbers = {"quiet": list(self.quiet), "busy": list(self.busy)}
        return {"cores": self.cores, **numbers, "kept": self.kept, "must": MUST}


def measure(rounds: int = 5, seconds: float = 2.0) -> Stress:
    """Fit twenty small networks again and again, as torch is set to, in turn without and with load.

    Arguments:
        rounds: of both.
        seconds: each.
    """
    cores, quiet, busy = usable_cores(), [], []
    context = multiprocessing.get_context("spawn")
    with context.Pool(1, initializer=torch.set_num_threads, initargs=(cores,)) as pool:
        pool.apply(_rate, (0.1,))  # the first call prepares
        for _ in range(rounds):
            quiet.append(pool.apply(_rate, (seconds,)))
            with _load(cores):
                busy.append(pool.apply(_rate, (seconds,)))
    return Stress(cores, tuple(quiet), tuple(busy))


def _rate(seconds: float) -> float:
    """Return fits per second of wall clock."""
    posed, method = problem(), MeanField(training=Training(epochs=5))
    began, fits = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        method.fit(posed, range(REPLICAS))
        fits += 1
    return fits / (time.perf_counter() - began)


@contextmanager
def _load(cores: int) -> Iterator[None]:
    """Keep so many processes busy inside the block."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(cores)]
    time.sleep(SETTLING)
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()
