"""End to end: 20 splits of a table of 506 rows, six methods, training and test predictions.

The suite trains all splits of a method at once. A peer trains one network after the other: each
round it does one split, another one every time, and its seconds are taken twentyfold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

import numpy as np
from peers.task import Task, timed

from bnn import (
    MAP,
    MLE,
    MLP,
    DeepEnsemble,
    Laplace,
    MCDropout,
    MeanField,
    Problem,
    Training,
    predict,
)
from bnn.benchmark.item import Goal, Item, Repeat
from bnn.data import Dataset, Provenance
from bnn.data.protocols import standard_splits
from bnn.likelihoods import FixedNoise, Normal
from items.problems import NOISE, rows_of

SPLITS, BATCH, DRAWS = 20, 128, 100
TRAINING = Training(epochs=0, steps=2000, batch_size=BATCH, learning_rate=3e-3)
METHODS = {
    "mle": MLE(training=TRAINING),
    "map": MAP(training=TRAINING),
    "dropout": MCDropout(rate=0.05, training=TRAINING),
    "ensemble": DeepEnsemble(members=5, member=MLE(training=TRAINING)),
    "mean field": MeanField(training=TRAINING),
    "laplace": Laplace(structure="last_layer", evidence=False, training=TRAINING),
}


def alike(ours: Sequence[Repeat], theirs: Sequence[Repeat]) -> str:
    """Say which method's test errors differ by more than two standard errors of the difference."""
    done = [one["split"] for one in theirs]
    if len(done) < 2:
        return "one split does not tell whether the errors are alike"
    for method in METHODS:
        a = [ours[0]["rmse"][method][split] for split in done]
        b = [one["rmse"][method] for one in theirs]
        error = ((stdev(a) ** 2 + stdev(b) ** 2) / len(done)) ** 0.5
        if not abs(mean(a) - mean(b)) <= 2 * error:
            return f"test errors of {method} differ: {mean(a):.3f} and {mean(b):.3f} ± {error:.3f}"
    return ""


ITEMS = (
    Item(
        "suite",
        "suite",
        "20 splits × MLE, MAP, MC dropout, ensemble of 5, mean field, last-layer Laplace",
        "for all",
        (Goal("torch", 12, 35), Goal("pyro", 65, 190)),
        {"steps": 2000, "draws": DRAWS, "rate": 0.05, "members": 5, "learning_rate": 3e-3},
        judge=alike,
    ),
)


def ours(settings: Mapping[str, Any], _: Mapping[str, np.ndarray]) -> Task:
    """Fit every method to all splits, and predict their test rows."""
    x, y = rows_of("regression")
    split = standard_splits(len(x), range(SPLITS))
    source = Provenance("made up", "none", "")
    data = Dataset("benchmark", "regression", x, y, split, source)
    problem = Problem.of(data, MLP(13, [50], 1), likelihood=Normal(FixedNoise(NOISE)))

    def seconds() -> dict[str, Any]:
        rmse: dict[str, list[float]] = {}

        def run() -> None:
            for name, method in METHODS.items():
                posterior = method.fit(problem, range(SPLITS))
                found = predict(posterior, data.test.x, DRAWS).mean
                rmse[name] = (found - data.test.y).square().mean(1).sqrt().tolist()

        return {"seconds": timed(run), "rmse": rmse}

    given = {
        "x": x.numpy(),
        "y": y.numpy(),
        "train": split.train.numpy(),
        "test": split.test.numpy(),
        "noise": np.float32(NOISE),
    }
    return Task(seconds, given=given, warm=False)
