"""Chains of NUTS in plain Pyro."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.infer import MCMC, NUTS
from pyro.infer.mcmc.util import initialize_model
from torch import Tensor
from torch.func import functional_call, vmap

from peers.convergence import quantities, worst
from peers.networks import network_of, rows_of
from peers.pyro_models import bayesian
from peers.task import Task, timed


def density(settings: Mapping[str, Any], given: Mapping[str, np.ndarray]) -> tuple[Any, Any, Any]:
    """Return minus the log joint density, where it is to start, and its value there."""
    pyro.clear_param_store()
    model, start = bayesian(settings, given)
    initial, potential, _, _ = initialize_model(model, rows_of(given))
    place = {name: start[name].reshape(value.shape) for name, value in initial.items()}
    return potential, place, lambda: [float(potential(place))]


def sampling(settings: Mapping[str, Any], given: Mapping[str, np.ndarray]) -> Task:
    """NUTS, one chain: all leapfrog steps that it makes, those of the warm-up included."""
    potential, place, value = density(settings, given)
    calls = [0]

    def counted(position: dict[str, Tensor]) -> Tensor:
        calls[0] += 1
        return potential(position)

    def seconds() -> float:
        calls[0] = 0
        kernel = NUTS(potential_fn=counted, max_tree_depth=6, jit_compile=False)
        chain = MCMC(kernel, 6, 3, initial_params=place, disable_progbar=True)
        return timed(chain.run) / calls[0]

    return Task(seconds, value)


def effective(settings: Mapping[str, Any], given: Mapping[str, np.ndarray]) -> Task:
    """NUTS, chain after chain, until the samples are there."""
    potential, place, value = density(settings, given)
    x, y = rows_of(given)
    network = network_of(settings)

    def chain(seed: int) -> dict[str, Tensor]:
        pyro.set_rng_seed(seed)
        start = {name: torch.randn_like(value) for name, value in place.items()}
        run = MCMC(
            NUTS(potential_fn=potential, max_tree_depth=7), settings["samples"],
            settings["warmup"], initial_params=start, disable_progbar=True,
        )  # fmt: skip
        run.run()
        return run.get_samples()

    def log_likelihood(sample: Mapping[str, Tensor]) -> Tensor:
        weights = {name.removeprefix("network."): value for name, value in sample.items()}
        logits = functional_call(network, weights, (x,))[:, 0]
        return dist.Bernoulli(logits=logits).log_prob(y.float())

    def seconds() -> dict[str, float]:
        found: list[dict[str, Tensor]] = []
        spent = timed(lambda: found.extend(chain(seed) for seed in range(settings["chains"])))
        with torch.no_grad():
            likelihood = torch.stack([vmap(log_likelihood)(samples) for samples in found])
        prior = torch.stack(
            [
                sum(dist.Normal(0.0, 1.0).log_prob(value).flatten(1).sum(1) for value in s.values())
                for s in found
            ]
        )
        told = worst(quantities(likelihood.numpy(), prior.numpy()))
        return {"seconds": spent / max(told["ess"], 1e-9), "spent": spent, **told}

    return Task(seconds, value, warm=False)
