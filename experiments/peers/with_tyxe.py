"""The work in TyXe: VariationalBNN with its mean-field guide and the KL in closed form."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from operator import attrgetter
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.infer import SVI, TraceMeanField_ELBO

from peers.networks import BATCH, batches, network_of, rows_of
from peers.noise import given_noise
from peers.task import Task, each

# Pyro had this function when TyXe was written: an attribute by its dotted name.
if not hasattr(pyro.util, "deep_getattr"):
    pyro.util.deep_getattr = lambda found, name: attrgetter(name)(found)

import tyxe


def network(settings: Mapping[str, Any], given: Mapping[str, np.ndarray]) -> Any:
    """Return the Bayesian network, its guide at the given means and scale."""
    pyro.clear_param_store()
    plain = network_of(settings, given["loc"])
    start = {name: value.detach().clone() for name, value in plain.named_parameters()}
    points = int(given["points"])
    real = settings["task"] == "regression"
    return tyxe.VariationalBNN(
        plain,
        tyxe.priors.IIDPrior(dist.Normal(0.0, 1.0)),
        tyxe.likelihoods.HomoskedasticGaussian(points, scale=float(given["noise"]))
        if real
        else tyxe.likelihoods.Categorical(points),
        partial(
            tyxe.guides.AutoNormal,
            init_loc_fn=lambda site: start[site["name"].removeprefix("net.")],
            init_scale=float(given["scale"]),
        ),
    )


def variational(settings: Mapping[str, Any], given: Mapping[str, np.ndarray]) -> Task:
    """One step of SVI, as its `fit` makes it, one network after the other."""
    x, y = rows_of(given)
    y = y[:, None] if y.is_floating_point() else y
    bayesian = network(settings, given)
    bayesian.net.train()
    svi = SVI(bayesian.model, bayesian.guide, pyro.optim.Adam({"lr": 1e-3}), TraceMeanField_ELBO())
    bayesian.guide(x[:BATCH], y[:BATCH])
    rows = batches(x, y)

    def value() -> list[float | None]:
        with given_noise(given["eps"]):
            return [svi.evaluate_loss(x[:BATCH], y[:BATCH]) / len(x), None]

    return Task(lambda: each(lambda: svi.step(*next(rows))), value)


def prediction(settings: Mapping[str, Any], given: Mapping[str, np.ndarray]) -> Task:
    """Outputs of networks drawn from the guide."""
    x = torch.from_numpy(given["x"])
    bayesian = network(settings, given)
    bayesian.guide(x)
    draws = settings["draws"]

    def predict(draws: int) -> torch.Tensor:
        with torch.no_grad():
            return bayesian.predict(x, num_predictions=draws, aggregate=False)

    def value() -> list[float]:
        found = []
        for eps in given["eps"]:
            with given_noise(eps):
                found.append(predict(1).flatten())
        return torch.cat(found).tolist()

    return Task(lambda: each(lambda: predict(draws)), value)


WORK = {"variational": variational, "prediction": prediction}
