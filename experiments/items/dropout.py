"""100 passes of a network with dropout in training mode, at all rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from peers.task import Task, each

from bnn import MCDropout, Training
from bnn.benchmark.item import Goal, Item
from bnn.seeds import Streams
from items.problems import given_of, problem_of, rows_of

RATE = 0.1
CHECKED = 2  # passes whose outputs both sides compute first


def item(task: str, rows: str) -> Item:
    """Return an item of this family."""
    return Item(
        f"dropout-{task}", "dropout", f"MC dropout, {task}, 100 passes over {rows} rows",
        "per prediction", (Goal("torch", 2, 4),), {"task": task, "draws": 100},
    )  # fmt: skip


ITEMS = (item("regression", "506"), item("digits", "1,797"))


def ours(settings: Mapping[str, Any], _: Mapping[str, np.ndarray]) -> Task:
    """Ask the posterior for outputs."""
    problem, draws = problem_of(settings), settings["draws"]
    x = rows_of(settings["task"])[0][None]
    method = MCDropout(rate=RATE, training=Training(epochs=1, learning_rate=1e-30))
    posterior = method.fit(problem, [0])
    # the very draws that `outputs` makes
    streams = Streams(posterior.seeds, "draws", problem.like.device, problem.like.dtype)
    weights, masks = posterior.family.draw(streams, CHECKED)
    given = {
        **given_of(problem),
        "x": problem.standardise(x)[0].numpy(),
        "loc": weights[0, 0].numpy(),
        "rate": np.float32(RATE),
        **{f"mask{i}": mask[0].numpy() for i, mask in enumerate(masks.values())},
    }

    def value() -> list[float]:
        return posterior.outputs(x, CHECKED)[0].flatten().tolist()

    return Task(lambda: each(lambda: posterior.outputs(x, draws)), value, given)
