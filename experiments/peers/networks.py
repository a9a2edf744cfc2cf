"""The networks and the minibatches of the peers that are made of torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import vector_to_parameters

BATCH = 128
ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "silu": nn.SiLU}
WIDTHS = {
    "regression": [13, 50, 1],
    "yacht": [6, 50, 1],
    "digits": [64, 100, 100, 10],
    "moons": [2, 16, 16, 1],
}
TANH = ("yacht", "moons")


def network_of(settings: Mapping[str, Any], flat: np.ndarray | None = None) -> nn.Sequential:
    """Return the network of a task.

    Arguments:
        settings: "task", and "activation" if it is not the usual one.
        flat: its weights; those that torch starts with unless given.
    """
    task = settings["task"]
    activation = settings.get("activation", "tanh" if task in TANH else "relu")
    network = lenet() if task == "lenet" else perceptron(WIDTHS[task], ACTIVATIONS[activation])
    if flat is not None:
        vector_to_parameters(torch.from_numpy(flat), network.parameters())
    return network


def perceptron(widths: list[int], activation: type[nn.Module]) -> nn.Sequential:
    """Return a perceptron of these widths, inputs and outputs included."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*layers[:-1])


def lenet() -> nn.Sequential:
    """Return the convolutional network of LeCun et al. 1998, 28 x 28 pixels, 61,706 weights."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


def batches(x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield minibatches without end: a new order every epoch, a ragged last batch left out."""
    while True:
        order = torch.randperm(len(x))
        for start in range(0, len(x) - BATCH + 1, BATCH):
            rows = order[start : start + BATCH]
            yield x[rows], y[rows]


def rows_of(given: Mapping[str, np.ndarray]) -> tuple[Tensor, Tensor]:
    """Return the given inputs and targets."""
    return torch.from_numpy(given["x"]), torch.from_numpy(given["y"])
