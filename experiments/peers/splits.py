"""One split of a table after the other, as a plain script does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from peers.task import Task, timed


class Rows(NamedTuple):
    """A split, standardised by its training rows; test targets are in original units.

    Arguments:
        x, y, test_x, test_y: rows.
        shift, scale: of the targets.
        noise: standard deviation of the targets, standardised.
    """

    x: Tensor
    y: Tensor
    test_x: Tensor
    test_y: Tensor
    shift: Tensor
    scale: Tensor
    noise: float

    @staticmethod
    def of(given: Mapping[str, np.ndarray], split: int) -> Rows:
        """Return a split."""
        x, y = torch.from_numpy(given["x"]), torch.from_numpy(given["y"])
        train, test = (torch.from_numpy(given[name][split]) for name in ("train", "test"))
        middle, spread = x[train].mean(0), x[train].std(0)
        shift, scale = y[train].mean(), y[train].std()
        return Rows(
            (x[train] - middle) / spread,
            (y[train] - shift) / scale,
            (x[test] - middle) / spread,
            y[test],
            shift,
            scale,
            float(given["noise"]) / float(scale),
        )

    def rmse(self, outputs: Tensor) -> float:
        """Return the root mean squared error of outputs `[draws, points]`, averaged over draws."""
        found = outputs.mean(0) * self.scale + self.shift
        return float((found - self.test_y).square().mean().sqrt())


Method = Callable[[Rows], Tensor]  # trains, and returns test outputs `[draws, points]`


def task_of(methods: Mapping[str, Callable[[Rows], Sequence[Tensor]]], given: Any) -> Task:
    """Return what fits all methods to one split a time; its seconds count for all splits.

    Arguments:
        methods: by names with commas between them; each returns outputs for as many names.
        given: the table and its splits.
    """
    splits = cycle(range(len(given["train"])))

    def seconds() -> dict[str, Any]:
        split = next(splits)
        rmse: dict[str, float] = {}

        def run() -> None:
            rows = Rows.of(given, split)
            for names, fit in methods.items():
                for name, outputs in zip(names.split(","), fit(rows), strict=True):
                    rmse[name] = rows.rmse(outputs)

        spent = timed(run) * len(given["train"])
        return {"seconds": spent, "split": split, "rmse": rmse}

    return Task(seconds, warm=False)


def dropped(network: nn.Sequential, rate: float) -> nn.Sequential:
    """Return the network with dropout before its last layer."""
    *hidden, last = network
    return nn.Sequential(*hidden, nn.Dropout(rate), last)


def last_layer_laplace(network: nn.Sequential, rows: Rows, draws: int) -> Tensor:
    """Return test outputs drawn from a Normal over the last layer's weights, about the MAP.

    The model is linear in them: precision = I + F'F / noise^2.
    """
    with torch.no_grad():
        one, other = (
            torch.cat([hidden, torch.ones(len(hidden), 1)], dim=1)
            for hidden in (network[:-1](rows.x), network[:-1](rows.test_x))
        )
        precision = one.mT @ one / rows.noise**2 + torch.eye(one.shape[1])
        root = torch.linalg.cholesky(precision)
        mean = torch.cat([network[-1].weight[0], network[-1].bias])
        noise = torch.linalg.solve_triangular(root.mT, torch.randn(len(mean), draws), upper=True)
        return (other @ (mean[:, None] + noise)).mT
