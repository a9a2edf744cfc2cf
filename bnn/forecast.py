"""Forecasts: what a fit takes, told before it starts; one that cannot end well is refused.

A method whose needs outgrow its network says so in `forecast(problem)`, for one replica. Its fit
begins by `check`, and a study asks before any of its fits has begun. Bytes are those of the arrays
alive at the peak, to a factor of two; minutes are those of the matrices alone.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from bnn.errors import InputError
from bnn.memory import available
from bnn.problem import Problem

COPIES = 12  # of numbers in training: themselves, their gradient, Adam's moments, what autograd
# and the first comparison with it hold
ROWS = 1.5  # numbers for each weight that are trained, where a method does not say: one or two
WORKING = 30  # numbers for each weight that a chain is moved with
NEGLIGIBLE = 2**28  # bytes that are not worth asking for
INSTANT = 1e12  # operations that are not worth measuring for: seconds
PATIENCE = 24 * 60  # minutes
PROBE = 2048  # rows of the matrix by which a machine's speed is measured


@dataclass(frozen=True)
class Forecast:
    """What one replica of a fit takes.

    Arguments:
        bytes: of the arrays that are alive at the peak.
        remedy: what to do where that is too much.
        flops: of matrices whose work grows faster than the network's; 0 where there are none.
    """

    bytes: float
    remedy: str = "Use fewer replicas at once, or a smaller network."
    flops: float = 0.0

    def times(self, count: int) -> Forecast:
        """Return what so many of them take at once, the members of an ensemble or replicas."""
        return Forecast(count * self.bytes, self.remedy, count * self.flops)


def of_training(problem: Problem, rows: float = 1, weights: int | None = None) -> Forecast:
    """Return the forecast of training some numbers for each weight, as a guide has.

    Arguments:
        rows: numbers for each weight.
        weights: how many are inferred; all unless given.
    """
    weights = problem.layout.size if weights is None else weights
    return Forecast(COPIES * rows * weights * problem.like.element_size())


def forecast(method: object, problem: Problem) -> Forecast:
    """Return what one replica of a method takes: as it says, or else as its members do."""
    own = getattr(method, "forecast", None)
    if own is not None:
        return own(problem)
    inner = getattr(method, "method", getattr(method, "member", None))
    found = of_training(problem, ROWS) if inner is None else forecast(inner, problem)
    return found.times(getattr(method, "members", 1))


def of_chains(problem: Problem, chains: int, samples: int, weights: int | None = None) -> Forecast:
    """Return the forecast of chains whose samples are kept; arguments as above."""
    weights = problem.layout.size if weights is None else weights
    numbers = chains * (samples + WORKING) * weights
    remedy = "Keep fewer samples, or use fewer chains or replicas at once."
    return Forecast(numbers * problem.like.element_size(), remedy)


def minutes(flops: float, device: torch.device) -> float:
    """Return how long operations on matrices take, by a measurement where they are not few."""
    return 0.0 if flops < INSTANT else flops / speed(device) / 60


def check(forecast: Forecast, problem: Problem) -> None:
    """Refuse what all replicas are to do where it takes more than the free memory, or a day.

    Raises:
        InputError: with what it takes, and a way out.
    """
    replicas, device = problem.replicas, problem.like.device
    whole = forecast.times(replicas)
    if whole.bytes > NEGLIGIBLE and whole.bytes > (free := available(device)):
        raise InputError(
            f"work that takes at most the {free / 2**30:.1f} GiB of memory that are free",
            f"one of {replicas} replicas that takes about {whole.bytes / 2**30:.1f} GiB",
            forecast.remedy,
        )
    if (needed := minutes(whole.flops, device)) > PATIENCE:
        raise InputError(
            "a fit of at most a day",
            f"one of {replicas} replicas whose matrices alone take about {needed / 1440:.0f} days",
            forecast.remedy,
        )


def speed(device: torch.device) -> float:
    """Return operations per second, of the Cholesky factor of a matrix in float64."""
    matrix = torch.eye(PROBE, dtype=torch.float64, device=device).add_(1e-4)
    torch.linalg.cholesky(matrix)[0, 0].item()  # the first call prepares
    began = time.perf_counter()
    torch.linalg.cholesky(matrix)[0, 0].item()  # which waits for an accelerator
    return PROBE**3 / 3 / (time.perf_counter() - began)
