"""One gradient step of 20 networks that are trained to the mode of their posterior."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from peers.task import Task, slope

from bnn import MAP, Training
from bnn.benchmark.item import Goal, Item
from items.problems import given_of, problem_of

BATCH, RATE = 128, 1e-3


def item(task: str, goals: tuple[Goal, ...], steps: tuple[int, int]) -> Item:
    """Return an item of this family."""
    return Item(
        f"networks-{task}", "deterministic", f"20 deterministic networks, {task}",
        "per network and step", goals, {"task": task, "replicas": 20, "steps": steps},
    )  # fmt: skip


ITEMS = (
    item("regression", (Goal("torch", 15, 30), Goal("pyro", 100, 200)), (90, 1590)),
    item("digits", (Goal("torch", 2.7, 3.2), Goal("pyro", 13, 15)), (28, 196)),
)


def ours(settings: Mapping[str, Any], _: Mapping[str, np.ndarray]) -> Task:
    """Train all replicas at once, by the method itself."""
    problem = problem_of(settings)
    replicas, per_epoch = settings["replicas"], problem.points // BATCH
    short, long = (steps // per_epoch for steps in settings["steps"])

    def fit(epochs: int) -> None:
        training = Training(epochs=epochs, batch_size=BATCH, learning_rate=RATE)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of a gradient that is not autograd's
            MAP(training=training).fit(problem, range(replicas))

    def seconds() -> float:
        return slope(fit, short, long) / per_epoch / replicas

    one = problem.take([0])
    weights = one.initial([0]).detach()

    def value() -> list[float]:
        """Return minus the log joint density per row."""
        x, y = one.batch(one.train.at(torch.arange(BATCH)[None]))
        fitted = one.loss(weights[:, None], x, y)[0, 0]
        return [float(fitted - one.log_prior(weights)[0] / one.points)]

    return Task(seconds, value, {**given_of(problem), "loc": weights[0].cpu().numpy()})
