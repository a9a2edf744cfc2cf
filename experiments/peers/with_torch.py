"""The work in plain torch: a loop over networks, a loop over draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from peers.networks import BATCH, batches, network_of, rows_of
from peers.splits import Rows, dropped, last_layer_laplace, task_of
from peers.task import Task, each
from peers.training import fitted

SIDE = 1024  # of the square matrices by which the machine's peak is taken


def deterministic(settings: Mapping[str, Any], given: Mapping[str, np.ndarray]) -> Task:
    """One step of Adam with weight decay, which is the prior."""
    x, y = rows_of(given)
    network, noise = network_of(settings, given["loc"]), float(given["noise"])
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=1 / len(x), fused=True)
    rows = batches(x, y)

    def step() -> None:
        optimiser.zero_grad()
        few, targets = next(rows)
        fitted(network(few), targets, noise).backward()
        optimiser.step()

    def value() -> list[float]:
        with torch.no_grad():
            weights = parameters_to_vector(network.parameters())
            prior = torch.distributions.Normal(0.0, 1.0).log_prob(weights).sum()
            return [float(fitted(network(x[:BATCH]), y[:BATCH], noise) - prior / len(x))]

    return Task(lambda: each(step), value)


def prediction(settings: Mapping[str, Any], given: Mapping[str, np.ndarray]) -> Task:
    """The machine's peak: a product of square matrices, per multiplication and addition."""
    x, network = torch.from_numpy(given["x"]), network_of(settings)
    a = torch.randn(SIDE, SIDE)

    def value() -> list[float]:
        found = []
        for weights in torch.from_numpy(given["weights"]):
            vector_to_parameters(weights, network.parameters())
            with torch.no_grad():
                found.append(network(x).flatten())
        return torch.cat(found).tolist()

    return Task(lambda: each(lambda: a @ a) / (2 * SIDE**3), value)


class Given(nn.Module):
    """Dropout by a mask that is given."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.mask = mask

    def forward(self, x: Tensor) -> Tensor:
        """Return the units that are left."""
        return x * self.mask


def dropout(settings: Mapping[str, Any], given: Mapping[str, np.ndarray]) -> Task:
    """Passes in training mode, one after the other; every row has a mask of its own."""
    x, draws = torch.from_numpy(given["x"]), settings["draws"]

    def with_dropout(masks: Sequence[nn.Module]) -> nn.Sequential:
        layers, left = [], list(masks)
        for layer in network_of(settings, given["loc"]):
            layers.append(layer)
            if not isinstance(layer, nn.Linear):
                layers.append(left.pop(0))
        return nn.Sequential(*layers)

    sites = sum(name.startswith("mask") for name in given)
    network = with_dropout([nn.Dropout(float(given["rate"])) for _ in range(sites)]).train()

    def passes() -> Tensor:
        with torch.no_grad():
            return torch.stack([network(x) for _ in range(draws)])

    def value() -> list[float]:
        found = []
        for draw in range(len(given["mask0"])):
            masks = [torch.from_numpy(given[f"mask{i}"][draw]) for i in range(sites)]
            with torch.no_grad():
                found.append(with_dropout([Given(mask) for mask in masks])(x).flatten())
        return torch.cat(found).tolist()

    return Task(lambda: each(passes), value)


def suite(settings: Mapping[str, Any], given: Mapping[str, np.ndarray]) -> Task:
    """All methods on one split; mean field by the layers of bayesian-torch."""
    from peers.with_bayesian_torch import bayesian

    steps, draws, rate = settings["steps"], settings["draws"], settings["learning_rate"]

    def train(network: nn.Module, loss: Any, rows: Rows, decay: float = 0.0) -> None:
        optimiser = torch.optim.Adam(network.parameters(), lr=rate, weight_decay=decay, fused=True)
        few = batches(rows.x, rows.y)
        for _ in range(steps):
            optimiser.zero_grad()
            loss(*next(few)).backward()
            optimiser.step()

    def trained(rows: Rows, drop: float = 0.0, decay: float = 0.0) -> nn.Sequential:
        network = network_of({"task": "regression"})
        network = dropped(network, drop) if drop else network
        train(network, lambda x, y: fitted(network(x), y, rows.noise), rows, decay)
        return network

    def outputs(network: nn.Module, rows: Rows, count: int = 1) -> Tensor:
        with torch.no_grad():
            return torch.stack([network(rows.test_x)[:, 0] for _ in range(count)])

    def mean_field(rows: Rows) -> list[Tensor]:
        plain = network_of({"task": "regression"})
        loc = parameters_to_vector(plain.parameters()).detach().numpy()
        network = bayesian(plain, loc, scale=0.01)

        def loss(x: Tensor, y: Tensor) -> Tensor:
            found, kl = network(x)
            return fitted(found, y, rows.noise) + kl / len(rows.x)

        train(network, loss, rows)
        with torch.no_grad():
            return [torch.stack([network(rows.test_x)[0][:, 0] for _ in range(draws)])]

    def modes(rows: Rows) -> list[Tensor]:
        network = trained(rows, decay=1 / len(rows.x))
        return [outputs(network, rows), last_layer_laplace(network, rows, draws)]

    return task_of(
        {
            "mle": lambda rows: [outputs(trained(rows), rows)],
            "map,laplace": modes,
            "dropout": lambda rows: [
                outputs(trained(rows, settings["rate"], 1 / len(rows.x)), rows, draws)
            ],
            "ensemble": lambda rows: [
                torch.cat([outputs(trained(rows), rows) for _ in range(settings["members"])])
            ],
            "mean field": mean_field,
        },
        given,
    )


WORK = {
    "deterministic": deterministic,
    "prediction": prediction,
    "dropout": dropout,
    "suite": suite,
}
