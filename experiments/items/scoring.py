"""Scores of 100 draws at 10,000 rows and 10 classes: likelihood, Brier, accuracy, entropies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from peers.task import Task, each

from bnn.benchmark.item import Goal, Item
from bnn.likelihoods import Categorical
from bnn.scores import pointwise
from bnn.scores.classification import Classified

DRAWS, ROWS, CLASSES = 100, 10_000, 10

ITEMS = (
    Item(
        "scores",
        "scores",
        "Scores of 100 draws × 10,000 rows × 10 classes",
        "for all",
        (Goal("numpy", 11, 15), Goal("bnn", 0.06, 0.04, "share")),
    ),
)


def ours(settings: Mapping[str, Any], _: Mapping[str, np.ndarray]) -> Task:
    """Average the draws and score them; outputs lie as a posterior returns them."""
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(1, DRAWS, CLASSES, ROWS, generator=generator).mT
    y = torch.randint(0, CLASSES, (1, ROWS), generator=generator)
    one = torch.ones(1)

    def scores() -> list[float]:
        mixture = Categorical().predictive(outputs, {}, one, one)
        parts = Classified.of(mixture, y)
        each_row = pointwise(mixture, y)
        hit = (mixture.probs.argmax(-1) == y).double()
        found = [each_row["nll"], each_row["brier"], hit, parts.entropy]
        return [float(part.mean()) for part in (*found, parts.expected_entropy)]

    given = {"outputs": outputs[0].contiguous().numpy(), "y": y[0].numpy()}
    return Task(lambda: each(scores), scores, given)
