"""Outputs of networks drawn from a mean-field posterior, at all rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from peers.task import Task, each, peak

from bnn import MeanField, Training
from bnn.benchmark.item import Goal, Item
from items.problems import given_of, problem_of, rows_of

SCALE = 0.1
UNTRAINED = Training(epochs=1, learning_rate=1e-30)  # stays where it starts
CHECKED = 2  # draws whose outputs both sides compute first
FLOPS = {"regression": 2 * (13 * 50 + 50), "digits": 2 * (64 * 100 + 100 * 100 + 100 * 10)}

ITEMS = (
    Item(
        "predict-regression",
        "prediction",
        "Predictive, regression, 1,000 draws at 506 rows",
        "per prediction",
        (Goal("pyro", 60, 90), Goal("tyxe", 26, 38)),
        {"task": "regression", "draws": 1000},
        quick=True,
    ),
    Item(
        "predict-digits",
        "prediction",
        "Predictive, digits, 100 draws at 1,797 rows",
        "per multiplication and addition",
        (Goal("torch", 0.75, 0.9, "peak"), Goal("torch", 64e6, 16e6, "memory")),
        {"task": "digits", "draws": 100, "per": "operation"},
    ),
)


def ours(settings: Mapping[str, Any], _: Mapping[str, np.ndarray]) -> Task:
    """Ask the posterior for outputs; how well it is fitted makes no difference to their cost."""
    problem, draws = problem_of(settings), settings["draws"]
    x = rows_of(settings["task"])[0][None]
    posterior = MeanField(initial_scale=SCALE, training=UNTRAINED).fit(problem, [0])
    operations = FLOPS[settings["task"]] * draws * x.shape[1] if settings.get("per") else 1
    answer = draws * x.shape[1] * problem.network.outputs * 4  # bytes of the outputs themselves

    def predict() -> object:
        return posterior.outputs(x, draws)

    def seconds() -> dict[str, float]:
        extra = max(0.0, peak(predict) - answer)
        return {"seconds": each(predict) / operations, "bytes": extra}

    weights = problem.layout.flat(posterior.weights(CHECKED))[0]
    loc = problem.initial([0])
    given = {
        **given_of(problem),
        "x": problem.standardise(x)[0].numpy(),
        "weights": weights.numpy(),
        "loc": loc[0].numpy(),
        "scale": np.float32(SCALE),
        "eps": ((weights - loc) / SCALE).numpy(),
    }

    def value() -> list[float]:
        return posterior.outputs(x, CHECKED)[0].flatten().tolist()

    return Task(seconds, value, given)
