"""What the scalings of logits share: a fitted method, and a map chosen on rows kept back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bnn.data import Rows
from bnn.errors import InputError
from bnn.optimise import Progress
from bnn.posterior import Affine, Posterior
from bnn.problem import Problem
from bnn.seeds import as_seeds

if TYPE_CHECKING:
    from bnn.methods import Method

NUMBERS_AT_ONCE = 2**22  # log-probabilities of calibration rows: 32 MiB, a few times over


def fit_scaled(
    method: Method,
    problem: Problem,
    seeds: Sequence[int],
    progress: Progress,
    choose: Callable[[Posterior], Affine],
) -> Posterior:
    """Fit a method, and then a map of its logits.

    Arguments:
        method: fitted as it is.
        problem: a classification with calibration rows.
        seeds: one per replica.
        progress: told the finished share of the method's work.
        choose: the map of each replica, told the method's posterior.

    Raises:
        InputError: on a problem without logits to scale, or without rows to choose a map on.
    """
    _check(problem)
    posterior = method.fit(problem, as_seeds(seeds), progress)
    began = time.perf_counter()
    scaling = choose(posterior).after(posterior.scaling)
    seconds = posterior.fit.seconds + time.perf_counter() - began
    return replace(posterior, scaling=scaling, fit=replace(posterior.fit, seconds=seconds))


def in_pieces(posterior: Posterior, rows: Rows, draws: int) -> Iterator[tuple[Posterior, Rows]]:
    """Yield as many replicas at once as there is memory for, with their rows."""
    numbers = posterior.draws(draws) * rows.points * posterior.problem.network.outputs
    size = max(1, NUMBERS_AT_ONCE // numbers)
    for start in range(0, rows.replicas, size):
        some = list(range(start, min(start + size, rows.replicas)))
        yield posterior.take(some), rows.take(some)


def _check(problem: Problem) -> None:
    if problem.likelihood.task != "classification":
        raise InputError(
            "a classification, whose logits can be scaled",
            problem.likelihood.task,
            "Scale the logits of classifiers only.",
        )
    if not problem.calibration.points:
        raise InputError(
            "calibration rows to choose the scale on",
            "none",
            "Split the data with some, as random_splits does.",
        )
