"""The work in plain Pyro, as its tutorials do it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoNormal, init_to_value
from pyro.nn import PyroModule, PyroSample
from pyro.nn.module import to_pyro_module_
from torch import Tensor, nn

from peers.networks import BATCH, batches, network_of, rows_of
from peers.noise import given_noise
from peers.task import Task, each


class Bayesian(PyroModule):
    """A network whose parameters have standard Normal priors, and its likelihood.

    Arguments:
        network: any module.
        points: training rows.
        noise: standard deviation of real targets.
    """

    def __init__(self, network: nn.Module, points: int, noise: float) -> None:
        super().__init__()
        self.points, self.noise = points, noise
        to_pyro_module_(network)
        for module in network.modules():
            for name, value in list(module.named_parameters(recurse=False)):
                prior = dist.Normal(0.0, 1.0).expand(value.shape).to_event(value.dim())
                setattr(module, name, PyroSample(prior))
        self.network = network

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Run the network and observe the targets."""
        outputs = self.network(x)
        real = outputs.shape[-1] == 1
        given = (
            dist.Normal(outputs[..., 0], self.noise) if real else dist.Categorical(logits=outputs)
        )
        with pyro.plate("data", self.points, subsample_size=len(x)):
            pyro.sample("y", given, obs=y)
        return outputs


def variational(settings: Mapping[str, Any], given: Mapping[str, np.ndarray]) -> Task:
    """One step of SVI with AutoNormal, one network after the other."""
    pyro.clear_param_store()
    x, y = rows_of(given)
    network = network_of(settings, given["loc"])
    start = {
        f"network.{name}": value.detach().clone() for name, value in network.named_parameters()
    }
    model = Bayesian(network, len(x), float(given["noise"]))
    guide = AutoNormal(
        model, init_loc_fn=init_to_value(values=start), init_scale=float(given["scale"])
    )
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO())
    guide(x[:BATCH], y[:BATCH])
    rows = batches(x, y)

    def value() -> list[float | None]:
        with given_noise(given["eps"]):
            return [None, svi.evaluate_loss(x[:BATCH], y[:BATCH]) / len(x)]

    return Task(lambda: each(lambda: svi.step(*next(rows))), value)


WORK = {"variational": variational}
