"""The work in torch-uncertainty: its Bayesian layers and ELBOLoss, one network after the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch_uncertainty.layers.bayesian import BayesLinear
from torch_uncertainty.losses import ELBOLoss

from peers.networks import network_of
from peers.task import Task
from peers.training import by_layers, fitted, place


class Fitted(nn.Module):
    """Minus the log-likelihood of a batch, nats per row."""

    def __init__(self, noise: float) -> None:
        super().__init__()
        self.noise = noise

    def forward(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the mean over rows."""
        return fitted(outputs, y, self.noise)


def variational(settings: Mapping[str, Any], given: Mapping[str, np.ndarray]) -> Task:
    """One step of Adam."""
    network = nn.Sequential(
        *(
            BayesLinear(layer.in_features, layer.out_features, prior_sigma_1=1, prior_pi=1)
            if isinstance(layer, nn.Linear)
            else layer
            for layer in network_of(settings)
        )
    )
    layers = [layer for layer in network if isinstance(layer, BayesLinear)]
    pairs = [
        pair
        for layer in layers
        for pair in ((layer.weight_mu, layer.weight_sigma), (layer.bias_mu, layer.bias_sigma))
    ]
    place(pairs, given["loc"], float(given["scale"]))
    points = int(given["points"])
    # Its KL is a mean over layers, and lower by a half for every weight, which moves no gradient.
    half = len(given["loc"]) / 2 / points
    weight, inner = len(layers) / points, Fitted(float(given["noise"]))
    elbo = ELBOLoss(network, inner, kl_weight=weight, num_samples=1)
    return by_layers(network, lambda x, y: elbo(x, y).squeeze() + half, given, closed=False)


WORK = {"variational": variational}
