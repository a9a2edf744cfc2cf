"""The work in BLiTZ: its Bayesian layers and sample_elbo, one network after the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from blitz.modules import BayesianLinear
from blitz.utils import variational_estimator
from torch import Tensor, nn

from peers.networks import network_of
from peers.task import Task
from peers.training import by_layers, fitted, place


@variational_estimator
class Bayesian(nn.Module):
    """A perceptron of Bayesian layers under a standard Normal prior."""

    def __init__(self, plain: nn.Sequential) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(
                BayesianLinear(layer.in_features, layer.out_features, prior_sigma_1=1, prior_pi=1)
                if isinstance(layer, nn.Linear)
                else layer
                for layer in plain
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs."""
        return self.layers(x)


def variational(settings: Mapping[str, Any], given: Mapping[str, np.ndarray]) -> Task:
    """One step of Adam."""
    network = Bayesian(network_of(settings))
    layers = [layer for layer in network.layers if isinstance(layer, BayesianLinear)]
    pairs = [
        pair
        for layer in layers
        for pair in ((layer.weight_mu, layer.weight_rho), (layer.bias_mu, layer.bias_rho))
    ]
    place(pairs, given["loc"], float(given["scale"]))
    points, noise = int(given["points"]), float(given["noise"])

    def loss(x: Tensor, y: Tensor) -> Tensor:
        return network.sample_elbo(
            x,
            y,
            criterion=lambda outputs, y: fitted(outputs, y, noise),
            sample_nbr=1,
            complexity_cost_weight=1 / points,
        )

    return by_layers(network, loss, given, closed=False)


WORK = {"variational": variational}
