"""The work in NumPyro: compiled, its steps in a scan, its replicas under vmap."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import lax, random
from numpyro.infer import MCMC, NUTS, SVI, TraceMeanField_ELBO, log_likelihood
from numpyro.infer.autoguide import AutoNormal
from numpyro.infer.util import log_density

from peers.convergence import quantities, worst
from peers.task import Task, timed

BATCH, STEPS = 128, 500  # steps of a scan
WIDTHS = {
    "regression": [13, 50, 1],
    "yacht": [6, 50, 1],
    "digits": [64, 100, 100, 10],
    "moons": [2, 16, 16, 1],
}


def parts(flat: np.ndarray, task: str) -> dict[str, jax.Array]:
    """Return matrices `[out, in]` and biases by site from a flat vector."""
    found, at = {}, 0
    for i, (inputs, outputs) in enumerate(pairwise(WIDTHS[task])):
        for name, shape in ((f"weight{i}", (outputs, inputs)), (f"bias{i}", (outputs,))):
            size = int(np.prod(shape))
            found[name] = jnp.asarray(flat[at : at + size]).reshape(shape)
            at += size
    return found


def program(task: str, points: int, noise: float) -> Any:
    """Return the model: standard Normal weights, the network, its likelihood."""
    widths = WIDTHS[task]
    activation = jax.nn.relu if task in ("regression", "digits") else jnp.tanh

    def model(x: jax.Array, y: jax.Array | None = None) -> None:
        for i, (inputs, outputs) in enumerate(pairwise(widths)):
            weight = numpyro.sample(
                f"weight{i}", dist.Normal(0, 1).expand([outputs, inputs]).to_event(2)
            )
            bias = numpyro.sample(f"bias{i}", dist.Normal(0, 1).expand([outputs]).to_event(1))
            x = (activation(x) if i else x) @ weight.T + bias
        given = {
            "digits": lambda: dist.Categorical(logits=x),
            "moons": lambda: dist.Bernoulli(logits=x[:, 0]),
        }.get(task, lambda: dist.Normal(x[:, 0], noise))()
        with numpyro.plate("data", points, subsample_size=len(x)):
            numpyro.sample("y", given, obs=y)

    return model


def orders(points: int) -> np.ndarray:
    """Return the rows of the steps of a scan: a new order every epoch, `[STEPS, BATCH]`."""
    per_epoch = points // BATCH
    epochs = -(-STEPS // per_epoch)
    rows = [np.random.permutation(points)[: per_epoch * BATCH] for _ in range(epochs)]
    return np.concatenate(rows).reshape(-1, BATCH)[:STEPS]


def variational(settings: Mapping[str, Any], given: Mapping[str, np.ndarray]) -> Task:
    """Steps of SVI with AutoNormal and the KL in closed form, compiled before they are timed."""
    x, y = jnp.asarray(given["x"]), jnp.asarray(given["y"])
    task, replicas, points = settings["task"], settings["replicas"], len(given["x"])
    model = program(task, points, float(given["noise"]))
    guide = AutoNormal(model, init_scale=float(given["scale"]))
    svi = SVI(model, guide, numpyro.optim.Adam(1e-3), TraceMeanField_ELBO())

    svi.init(random.PRNGKey(0), x[:BATCH], y[:BATCH])  # the guide learns the sites

    def step(state: Any, rows: jax.Array) -> tuple[Any, jax.Array]:
        return svi.update(state, x[rows], y[rows])

    def start(key: jax.Array) -> Any:
        return svi.init(key, x[:BATCH], y[:BATCH])

    def many(state: Any, rows: jax.Array) -> Any:
        return lax.scan(step, state, rows)

    states = [jax.vmap(start)(random.split(random.PRNGKey(0), replicas))]
    run = jax.jit(jax.vmap(many))
    if replicas == 1:  # which is quicker without vmap
        states, run = [start(random.PRNGKey(0))], jax.jit(many)

    def once() -> None:
        rows = np.stack([orders(points) for _ in range(replicas)])
        states[0], losses = run(states[0], rows[0] if replicas == 1 else rows)
        losses.block_until_ready()

    def value() -> list[float | None]:
        params = {f"{site}_auto_loc": part for site, part in parts(given["loc"], task).items()}
        scale = float(given["scale"])
        for site, part in parts(given["loc"], task).items():
            params[f"{site}_auto_scale"] = jnp.full(part.shape, scale)
        with given_noise(given["eps"]):
            loss = TraceMeanField_ELBO().loss(
                random.PRNGKey(0), params, model, guide, x[:BATCH], y[:BATCH]
            )
        return [float(loss) / points, None]

    return Task(lambda: timed(once) / STEPS / replicas, value)


def given_noise(eps: np.ndarray) -> Any:
    """Let JAX's standard Normal numbers be given ones, flat, in the order of drawing."""
    rest = [jnp.asarray(eps)]

    def normal(key: jax.Array, shape: tuple[int, ...] = (), *_: Any, **__: Any) -> jax.Array:
        size = int(np.prod(shape))
        first, rest[0] = rest[0][:size], rest[0][size:]
        return first.reshape(shape)

    return mock.patch("jax.random.normal", normal)


def density(
    settings: Mapping[str, Any], given: Mapping[str, np.ndarray]
) -> tuple[Any, tuple[jax.Array, jax.Array], Any]:
    """Return the model, its rows, and what computes minus its log joint density."""
    x, y = jnp.asarray(given["x"]), jnp.asarray(given["y"])
    model = program(settings["task"], len(x), float(given["noise"]))

    def value() -> list[float]:
        weights = parts(given["loc"], settings["task"])
        return [-float(log_density(model, (x, y), {}, weights)[0])]

    return model, (x, y), value


def sampling(settings: Mapping[str, Any], given: Mapping[str, np.ndarray]) -> Task:
    """NUTS, 16 chains under vmap, warmed up and compiled before it is timed."""
    model, rows, value = density(settings, given)
    chains = settings["chains"]
    run = MCMC(
        NUTS(model, max_tree_depth=6), num_warmup=40, num_samples=20, num_chains=chains,
        chain_method="vectorized", progress_bar=False,
    )  # fmt: skip
    run.warmup(random.PRNGKey(0), *rows)

    def seconds() -> float:
        run.post_warmup_state = run.last_state
        spent = timed(lambda: run.run(random.PRNGKey(1), *rows, extra_fields=("num_steps",)))
        return spent / int(run.get_extra_fields()["num_steps"].sum())

    return Task(seconds, value)


def effective(settings: Mapping[str, Any], given: Mapping[str, np.ndarray]) -> Task:
    """NUTS, chains under vmap, from nothing to the samples."""
    model, rows, value = density(settings, given)

    def seconds() -> dict[str, float]:
        jax.clear_caches()
        run = MCMC(
            NUTS(model, max_tree_depth=7), num_warmup=settings["warmup"],
            num_samples=settings["samples"], num_chains=settings["chains"],
            chain_method="vectorized", progress_bar=False,
        )  # fmt: skip
        spent = timed(lambda: run.run(random.PRNGKey(0), *rows))
        samples = run.get_samples(group_by_chain=True)
        flat = run.get_samples()
        likelihood = np.asarray(log_likelihood(model, flat, *rows)["y"])
        prior = sum(
            np.asarray(dist.Normal(0, 1).log_prob(value)).reshape(len(value), -1).sum(1)
            for value in flat.values()
        )
        shape = next(iter(samples.values())).shape[:2]
        told = worst(quantities(likelihood.reshape(*shape, -1), prior.reshape(shape)))
        return {"seconds": spent / max(told["ess"], 1e-9), "spent": spent, **told}

    return Task(seconds, value, warm=False)


WORK = {"variational": variational, "sampling": sampling, "effective": effective}
