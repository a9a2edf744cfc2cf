"""The work in NumPy, written as the formulas are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from peers.task import Task, each


def scores(settings: Mapping[str, Any], given: Mapping[str, np.ndarray]) -> Task:
    """Likelihood, Brier score, accuracy, entropy and expected entropy of a mixture."""
    outputs, y = given["outputs"], given["y"]

    def found() -> list[float]:
        powers = np.exp(outputs - outputs.max(-1, keepdims=True))
        each_draw = powers / powers.sum(-1, keepdims=True)
        mixed = each_draw.mean(0)
        rows = np.arange(len(y))
        hot = np.eye(mixed.shape[1])[y]
        return [
            float(-np.log(mixed[rows, y]).mean()),
            float(((mixed - hot) ** 2).sum(-1).mean()),
            float((mixed.argmax(-1) == y).mean()),
            float(-(mixed * np.log(mixed)).sum(-1).mean()),
            float(-(each_draw * np.log(each_draw)).sum(-1).mean()),
        ]

    return Task(lambda: each(found), found)


WORK = {"scores": scores}
