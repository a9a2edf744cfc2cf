"""Leapfrog steps of Hamiltonian Monte Carlo: one gradient over all rows, for one chain."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from peers.task import Task, timed

from bnn import HMC
from bnn.benchmark.item import Goal, Item
from items.problems import given_of, problem_of

CHAINS, WARMUP = 16, 40

ITEMS = (
    Item(
        "leapfrogs",
        "sampling",
        "HMC, 308 × 6, tanh [50], 401 weights, 16 chains",
        "per leapfrog step of one chain",
        (Goal("pyro", 28, 80), Goal("numpyro", 2.3, 6)),
        {"task": "yacht", "chains": CHAINS, "samples": (5, 65)},
    ),
)


def ours(settings: Mapping[str, Any], _: Mapping[str, np.ndarray]) -> Task:
    """Run the method for a short and a long while; the difference is leapfrog steps alone."""
    problem, (short, long) = problem_of(settings), settings["samples"]

    def steps(samples: int) -> float:
        """Return how many leapfrog steps all chains made after the warm-up."""
        method = HMC(chains=CHAINS, warmup=WARMUP, samples=samples, thin=1, max_steps=64)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of a density that is not Pyro's
            posterior = method.fit(problem, [0])
        return posterior.fit.diagnostics[0]["gradients"] * samples * CHAINS

    made = {samples: steps(samples) for samples in (short, long)}

    def seconds() -> float:
        spent = [timed(lambda samples=samples: steps(samples)) for samples in (short, long)]
        return (spent[1] - spent[0]) / (made[long] - made[short])

    return Task(seconds, *potential(problem))


def potential(problem: Any) -> tuple[Any, dict[str, np.ndarray]]:
    """Return what computes minus the log joint density at the start, and what it is made of."""
    weights = problem.initial([0])[:, None].detach()
    given = {**given_of(problem), "loc": weights[0, 0].numpy()}
    return lambda: [-float(problem.log_joint(weights)[0, 0].detach())], given
