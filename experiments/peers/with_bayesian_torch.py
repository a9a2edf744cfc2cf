"""The work in bayesian-torch: its reparameterised layers, one network after the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from bayesian_torch.layers import Conv2dReparameterization, LinearReparameterization
from torch import Tensor, nn

from peers.networks import network_of
from peers.task import Task
from peers.training import by_layers, fitted, place


class Linear(LinearReparameterization):
    """A linear layer whose KL is the sum over its weights, not their mean."""

    def kl_div(self, mu_q: Tensor, sigma_q: Tensor, mu_p: Tensor, sigma_p: Tensor) -> Tensor:
        """Return KL(q || p)."""
        return super().kl_div(mu_q, sigma_q, mu_p, sigma_p) * mu_q.numel()


class Convolution(Conv2dReparameterization):
    """A convolution whose KL is the sum over its weights, not their mean."""

    def kl_div(self, mu_q: Tensor, sigma_q: Tensor, mu_p: Tensor, sigma_p: Tensor) -> Tensor:
        """Return KL(q || p)."""
        return super().kl_div(mu_q, sigma_q, mu_p, sigma_p) * mu_q.numel()


class Bayesian(nn.Module):
    """A network of Bayesian layers, in place of those of a plain one."""

    def __init__(self, plain: nn.Sequential) -> None:
        super().__init__()
        self.layers = nn.ModuleList(self.layer_of(layer) for layer in plain)

    @staticmethod
    def layer_of(layer: nn.Module) -> nn.Module:
        """Return the Bayesian layer of the same shape; the layer itself if it has no weights."""
        if isinstance(layer, nn.Linear):
            return Linear(layer.in_features, layer.out_features)
        if isinstance(layer, nn.Conv2d):
            return Convolution(
                layer.in_channels, layer.out_channels, layer.kernel_size, padding=layer.padding
            )
        return layer

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return outputs, and the KL summed over layers."""
        total = x.new_zeros(())
        for layer in self.layers:
            if isinstance(layer, Linear | Convolution):
                x, kl = layer(x)
                total = total + kl
            else:
                x = layer(x)
        return x, total


def bayesian(plain: nn.Sequential, loc: np.ndarray, scale: float) -> Bayesian:
    """Return the Bayesian network of a plain one, at means (flat) and one standard deviation."""
    network, pairs = Bayesian(plain), []
    for layer in network.layers:
        if isinstance(layer, Linear):
            pairs += [(layer.mu_weight, layer.rho_weight), (layer.mu_bias, layer.rho_bias)]
        elif isinstance(layer, Convolution):
            pairs += [(layer.mu_kernel, layer.rho_kernel), (layer.mu_bias, layer.rho_bias)]
    place(pairs, loc, scale)
    return network


def variational(settings: Mapping[str, Any], given: Mapping[str, np.ndarray]) -> Task:
    """One step of Adam."""
    network = bayesian(network_of(settings), given["loc"], float(given["scale"]))
    points, noise = int(given["points"]), float(given["noise"])

    def loss(x: Tensor, y: Tensor) -> Tensor:
        outputs, kl = network(x)
        return fitted(outputs, y, noise) + kl / points

    return by_layers(network, loss, given, closed=True)


WORK = {"variational": variational}
