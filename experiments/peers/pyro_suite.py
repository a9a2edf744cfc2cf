"""All methods of the end-to-end item in plain Pyro."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyro
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoDelta, AutoNormal, init_to_value
from torch import Tensor, nn

from peers.networks import batches, network_of
from peers.pyro_models import Observed, to_pyro, with_priors
from peers.splits import Rows, dropped, last_layer_laplace, task_of
from peers.task import Task


def at(network: nn.Sequential, sample: Mapping[str, Tensor]) -> nn.Sequential:
    """Return the plain network at weights by site."""
    network.load_state_dict({name.removeprefix("network."): w for name, w in sample.items()})
    return network


def suite(settings: Mapping[str, Any], given: Mapping[str, np.ndarray]) -> Task:
    """All methods on one split, each by SVI."""
    steps, draws, rate = settings["steps"], settings["draws"], settings["learning_rate"]

    def train(model: Any, guide: Any, rows: Rows) -> None:
        svi = SVI(model, guide, pyro.optim.Adam({"lr": rate}), Trace_ELBO())
        few = batches(rows.x, rows.y)
        for _ in range(steps):
            svi.step(*next(few))

    def outputs(network: Any, rows: Rows, count: int = 1) -> Tensor:
        with torch.no_grad():
            return torch.stack([network(rows.test_x)[:, 0] for _ in range(count)])

    def likeliest(rows: Rows) -> Tensor:
        """Train the network's own parameters, without a prior."""
        pyro.clear_param_store()
        network = to_pyro(network_of({"task": "regression"}))
        model = Observed(network, len(rows.x), rows.noise)
        train(model, lambda x, y: None, rows)
        return outputs(network, rows)

    def mode(rows: Rows, drop: float = 0.0) -> Any:
        """Train a point estimate under the prior, and return the plain network there."""
        pyro.clear_param_store()
        plain = network_of({"task": "regression"})
        plain = dropped(plain, drop) if drop else plain
        start = {f"network.{name}": v.detach().clone() for name, v in plain.named_parameters()}
        model = with_priors(copy.deepcopy(plain), len(rows.x), rows.noise)
        guide = AutoDelta(model, init_loc_fn=init_to_value(values=start))
        train(model, guide, rows)
        return at(plain, guide())

    def modes(rows: Rows) -> list[Tensor]:
        network = mode(rows)
        return [outputs(network, rows), last_layer_laplace(network, rows, draws)]

    def mean_field(rows: Rows) -> list[Tensor]:
        pyro.clear_param_store()
        plain = network_of({"task": "regression"})
        start = {f"network.{name}": v.detach().clone() for name, v in plain.named_parameters()}
        model = with_priors(copy.deepcopy(plain), len(rows.x), rows.noise)
        guide = AutoNormal(model, init_loc_fn=init_to_value(values=start), init_scale=0.01)
        train(model, guide, rows)
        drawn = [guide(rows.test_x) for _ in range(draws)]
        return [torch.cat([outputs(at(plain, sample), rows) for sample in drawn])]

    return task_of(
        {
            "mle": lambda rows: [likeliest(rows)],
            "map,laplace": modes,
            "dropout": lambda rows: [outputs(mode(rows, settings["rate"]), rows, draws)],
            "ensemble": lambda rows: [
                torch.cat([likeliest(rows) for _ in range(settings["members"])])
            ],
            "mean field": mean_field,
        },
        given,
    )
