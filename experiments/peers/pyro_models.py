"""Networks as Pyro programs, as its tutorials write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
from pyro.nn import PyroModule, PyroSample
from pyro.nn.module import to_pyro_module_
from torch import Tensor, nn

from peers.networks import network_of


class Observed(PyroModule):
    """A network, Bayesian or not, and the likelihood of its outputs.

    Arguments:
        network: a PyroModule.
        points: training rows.
        noise: standard deviation of real targets.
    """

    binary = False  # whether the single output is the logit of two classes

    def __init__(self, network: nn.Module, points: int, noise: float) -> None:
        super().__init__()
        self.network, self.points, self.noise = network, points, noise

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Run the network and observe the targets."""
        outputs = self.network(x)
        with pyro.plate("data", self.points, subsample_size=len(x)):
            pyro.sample("y", self.likelihood(outputs), obs=y)
        return outputs

    def likelihood(self, outputs: Tensor) -> dist.TorchDistribution:
        """Return the distribution of targets: real ones, labels of two classes, or of more."""
        if outputs.shape[-1] > 1:
            return dist.Categorical(logits=outputs)
        if self.binary:
            return dist.Bernoulli(logits=outputs[:, 0])
        return dist.Normal(outputs[:, 0], self.noise)


def to_pyro(network: nn.Module) -> nn.Module:
    """Return the network as a PyroModule, whose parameters Pyro trains."""
    to_pyro_module_(network)
    return network


def with_priors(network: nn.Module, points: int, noise: float) -> Observed:
    """Return a network whose parameters have standard Normal priors, and its likelihood."""
    for module in to_pyro(network).modules():
        for name, value in list(module.named_parameters(recurse=False)):
            prior = dist.Normal(0.0, 1.0).expand(value.shape).to_event(value.dim())
            setattr(module, name, PyroSample(prior))
    return Observed(network, points, noise)


def bayesian(
    settings: Mapping[str, Any], given: Mapping[str, np.ndarray]
) -> tuple[Observed, dict[str, Tensor]]:
    """Return the model of an item, and the given weights by site."""
    plain = network_of(settings, given["loc"])
    start = {f"network.{name}": value.detach().clone() for name, value in plain.named_parameters()}
    model = with_priors(plain, int(given["points"]), float(given["noise"]))
    model.binary = settings["task"] == "moons"
    return model, start
