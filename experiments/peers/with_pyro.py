"""The work in plain Pyro, as its tutorials do it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyro
import torch
from pyro.infer import SVI, Predictive, Trace_ELBO
from pyro.infer.autoguide import AutoDelta, AutoNormal, init_to_value
from torch import Tensor

from peers.networks import BATCH, batches, rows_of
from peers.noise import given_noise
from peers.pyro_chains import effective, sampling
from peers.pyro_models import bayesian
from peers.pyro_suite import suite
from peers.task import Task, each


def variational(settings: Mapping[str, Any], given: Mapping[str, np.ndarray]) -> Task:
    """One step of SVI with AutoNormal, one network after the other."""
    pyro.clear_param_store()
    x, y = rows_of(given)
    model, start = bayesian(settings, given)
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


def deterministic(settings: Mapping[str, Any], given: Mapping[str, np.ndarray]) -> Task:
    """One step of SVI with AutoDelta, which is the MAP, one network after the other."""
    pyro.clear_param_store()
    x, y = rows_of(given)
    model, start = bayesian(settings, given)
    guide = AutoDelta(model, init_loc_fn=init_to_value(values=start))
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO())
    guide(x[:BATCH], y[:BATCH])
    rows = batches(x, y)

    def value() -> list[float]:
        return [svi.evaluate_loss(x[:BATCH], y[:BATCH]) / len(x)]

    return Task(lambda: each(lambda: svi.step(*next(rows))), value)


def prediction(settings: Mapping[str, Any], given: Mapping[str, np.ndarray]) -> Task:
    """Predictive, with its defaults."""
    pyro.clear_param_store()
    x, draws = torch.from_numpy(given["x"]), settings["draws"]
    model, start = bayesian(settings, given)
    model.points = len(x)
    guide = AutoNormal(
        model, init_loc_fn=init_to_value(values=start), init_scale=float(given["scale"])
    )
    guide(x, torch.zeros(len(x)))  # without targets they would be latent, too

    def predict(draws: int) -> Tensor:
        sites = ("_RETURN",)
        return Predictive(model, guide=guide, num_samples=draws, return_sites=sites)(x)["_RETURN"]

    def value() -> list[float]:
        found = []
        for eps in given["eps"]:
            # the weights' noise, and that of the targets that it draws as well
            with given_noise(np.concatenate([eps, np.zeros(len(x), np.float32)])):
                found.append(predict(1).flatten())
        return torch.cat(found).tolist()

    return Task(lambda: each(lambda: predict(draws)), value)


WORK = {
    "variational": variational,
    "deterministic": deterministic,
    "prediction": prediction,
    "sampling": sampling,
    "effective": effective,
    "suite": suite,
}
