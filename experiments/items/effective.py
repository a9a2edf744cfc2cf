"""Seconds per effective sample of predictions, compilation and warm-up included.

What is looked at is the log-probability of the label at 100 rows, and log-likelihood and log-prior:
the worst of them counts, in the bulk and in the tails. Both sides must pass the suite's own gate.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from peers.convergence import ROWS, worst
from peers.task import Task, timed

from bnn import HMC
from bnn.benchmark.item import Goal, Item, Repeat
from bnn.diagnostics import CHAINS, ESS, RHAT
from items.problems import problem_of
from items.sampling import potential


def gate(ours: Sequence[Repeat], theirs: Sequence[Repeat]) -> str:
    """Say which side does not pass the gate."""
    for name, repeats in (("the suite", ours), ("the peer", theirs)):
        for one in repeats:
            if not (one["rhat"] <= RHAT and one["ess"] >= ESS and one["chains"] >= CHAINS):
                return (
                    f"{name} does not pass the gate: {one['chains']} chains, worst R-hat "
                    f"{one['rhat']:.3f}, worst ESS {one['ess']:.0f}, in {one['spent']:.0f} s"
                )
    return ""


def item(peer: str, must: float, aim: float, repeats: int, **settings: Any) -> Item:
    """Return an item of this family."""
    return Item(
        f"effective-{peer}", "effective",
        "HMC against NUTS, two moons, tanh [16, 16], 337 weights", "per effective sample",
        (Goal(peer, must, aim),), {"task": "moons", **settings}, repeats=repeats, judge=gate,
    )  # fmt: skip


# A repeat of Pyro's takes many minutes: there is one.
ITEMS = (
    item("numpyro", 3, 10, 3, chains=16, warmup=500, samples=250),
    item("pyro", 60, 200, 1, chains=4, warmup=300, samples=1000),
)


def ours(settings: Mapping[str, Any], _: Mapping[str, np.ndarray]) -> Task:
    """Run the method with its own settings, but for the number of samples."""
    problem = problem_of(settings)
    value, given = potential(problem)
    x, y = problem.batch(problem.train)

    def seconds() -> dict[str, float]:
        found = {}

        def run() -> None:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                found["posterior"] = HMC(warmup=300, samples=500, thin=1).fit(problem, [0])

        spent = timed(run)
        weights = found["posterior"].family.weights.flatten(1, 2)
        outputs = problem.outputs(weights, x).detach()
        each = problem.log_likelihood(weights, outputs, y).detach()[0]
        prior = problem.log_prior(weights)[0]
        values = np.concatenate(
            [each[:, :ROWS].numpy(), each.sum(1, keepdim=True).numpy(), prior[:, None].numpy()], 1
        )
        told = worst(values.reshape(*found["posterior"].family.weights.shape[1:3], -1))
        return {"seconds": spent / max(told["ess"], 1e-9), "spent": spent, **told}

    return Task(seconds, value, given, warm=False)
