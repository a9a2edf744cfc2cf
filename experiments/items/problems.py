"""The problems on which items are measured, posed to the suite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from peers.networks import lenet
from sklearn.datasets import load_digits, make_moons
from torch import Tensor

from bnn import MLP, Problem
from bnn.data import Dataset, Provenance, Split
from bnn.likelihoods import Bernoulli, Categorical, FixedNoise, Normal

NOISE = 0.6  # standard deviation of the targets that are made up
ROWS = {"regression": (506, 13), "yacht": (308, 6)}  # and features, of the tables that are made up


def problem_of(settings: Mapping[str, Any]) -> Problem:
    """Pose a problem.

    Arguments:
        settings: "task", "replicas", and "activation" if it is not relu.
    """
    task, replicas = settings["task"], settings.get("replicas", 1)
    activation = settings.get("activation", "relu")
    network = {
        "regression": lambda: MLP(13, [50], 1, activation),
        "yacht": lambda: MLP(6, [50], 1, "tanh"),
        "digits": lambda: MLP(64, [100, 100], 10, activation),
        "moons": lambda: MLP(2, [16, 16], 1, "tanh"),
        "lenet": lenet,
    }[task]()
    x, y = rows_of(task)
    likelihood = Normal(FixedNoise(NOISE)) if y.is_floating_point() else Categorical()
    likelihood = Bernoulli() if task == "moons" else likelihood
    data = table(x, y, replicas=replicas)
    return Problem.of(data, network.to(settings.get("device", "cpu")), likelihood=likelihood)


def rows_of(task: str) -> tuple[Tensor, Tensor]:
    """Return inputs and targets, the same in every process."""
    generator = np.random.default_rng(0)
    if task == "lenet":
        x = generator.standard_normal((512, 1, 28, 28))
        return torch.tensor(x, dtype=torch.float32), torch.arange(512) % 10
    if task == "moons":
        x, y = make_moons(200, noise=0.2, random_state=0)
        return torch.tensor(x, dtype=torch.float32), torch.tensor(y).long()
    if task == "digits":
        digits = load_digits()
        return torch.tensor(digits.data, dtype=torch.float32), torch.tensor(digits.target).long()
    x = generator.standard_normal(ROWS[task])
    y = 2 * x[:, 0] + np.sin(2 * x[:, 1]) + 0.3 * generator.standard_normal(len(x))
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)


def table(x: Tensor, y: Tensor, replicas: int = 1, test: int = 1) -> Dataset:
    """Return a data set whose replicas train on all rows but the last few, which test."""
    classes = tuple("0123456789")[: int(y.max()) + 1] if not y.is_floating_point() else ()
    index = torch.arange(len(x)).expand(replicas, -1)
    none, trained = index[:, :0], len(x) - test
    split = Split(index[:, :trained], none, none, index[:, trained:], tuple(range(replicas)))
    data = Dataset(
        "benchmark", "classification" if classes else "regression", x, y, split,
        Provenance("made up, or scikit-learn's digits", "none", ""), classes,
    )  # fmt: skip
    return replace(data, scale_inputs="global") if len(classes) == 10 else data


def given_of(problem: Problem, rows: int | None = None) -> dict[str, np.ndarray]:
    """Return what any side needs of a problem's first replica, standardised.

    Arguments:
        rows: how many at most; all unless given.
    """
    x, y = problem.take([0]).batch(problem.train.take([0]))
    return {
        "x": x[0, :rows].cpu().numpy(),
        "y": y[0, :rows].cpu().numpy(),
        "points": np.int64(problem.points),
        "noise": np.float32(NOISE / problem.targets.scale[0].item()),
    }
