"""One gradient step of mean-field variational inference, one draw, Adam, batches of 128 rows."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from peers.task import Task, slope
from torch.distributions import Normal, kl_divergence

from bnn import MeanField, Training
from bnn.benchmark.item import Goal, Item
from items.problems import given_of, problem_of

BATCH, RATE, SCALE = 128, 1e-3, 0.1


def item(name: str, title: str, goals: tuple[Goal, ...], **settings: Any) -> Item:
    """Return an item of this family."""
    quick = settings.pop("quick", False)
    return Item(
        f"svi-{name}", "variational", f"Mean-field SVI, {title}", "per replica and step", goals,
        settings, quick=quick,
    )  # fmt: skip


NAN = float("nan")
ITEMS = (
    item(
        "regression-1",
        "regression 506 × 13, [50], 1 replica",
        (
            Goal("pyro", 40, 65),
            Goal("tyxe", 35, 55),
            Goal("bayesian_torch", 11, 18),
            Goal("blitz", NAN, NAN),
            Goal("torch_uncertainty", NAN, NAN),
            Goal("numpyro", 0.9, 1.3),
        ),
        task="regression",
        replicas=1,
        steps=(300, 6300),
        quick=True,
    ),
    item(
        "regression-20",
        "regression 506 × 13, [50], 20 replicas",
        (
            Goal("pyro", 130, 250),
            Goal("tyxe", 110, 220),
            Goal("bayesian_torch", 35, 70),
            Goal("blitz", NAN, NAN),
            Goal("torch_uncertainty", NAN, NAN),
            Goal("numpyro", 1.9, 3.5),
        ),
        task="regression",
        replicas=20,
        steps=(90, 990),
        quick=True,
    ),
    item(
        "digits-1",
        "digits 64-100-100-10, 1 replica",
        (Goal("pyro", 14, 19), Goal("numpyro", NAN, NAN)),
        task="digits",
        replicas=1,
        steps=(140, 2240),
    ),
    item(
        "digits-20",
        "digits 64-100-100-10, 20 replicas",
        (Goal("pyro", 15, 20), Goal("numpyro", NAN, NAN)),
        task="digits",
        replicas=20,
        steps=(28, 140),
    ),
    item(
        "generic-20",
        "regression with an activation that has no fast path, 20 replicas",
        (Goal("pyro", 30, 75),),
        task="regression",
        activation="silu",
        replicas=20,
        steps=(90, 690),
    ),
    item(
        "lenet",
        "LeNet on 28 × 28, 1 replica",
        (Goal("pyro", 1.8, 4), Goal("bayesian_torch", 1.3, 2.8)),
        task="lenet",
        replicas=1,
        steps=(6, 42),
    ),
)


# The processor against a GPU: a share that is large means that the GPU is quicker.
GPU_ITEMS = tuple(
    Item(
        f"gpu-{task}-{replicas}", "variational", f"Mean-field SVI, {task}, {replicas} replicas",
        "per replica and step", (Goal("cuda", NAN, NAN, "share"),),
        {"task": task, "replicas": replicas, "steps": steps},
    )
    for task, replicas, steps in (
        ("regression", 20, (90, 990)),
        ("regression", 1000, (30, 60)),
        ("digits", 20, (28, 140)),
        ("digits", 1000, (14, 28)),
    )
)  # fmt: skip


def ours(
    settings: Mapping[str, Any],
    _: Mapping[str, np.ndarray],
    clock: Callable[[], float] = time.process_time,
) -> Task:
    """Train all replicas at once, by the method itself."""
    problem = problem_of(settings)
    replicas, per_epoch = settings["replicas"], problem.points // BATCH
    short, long = (steps // per_epoch for steps in settings["steps"])

    def fit(epochs: int) -> None:
        training = Training(epochs=epochs, batch_size=BATCH, learning_rate=RATE)
        with warnings.catch_warnings():
            # The fit compares its fast step with Pyro's own ELBO; if they differ, nothing is timed.
            warnings.simplefilter("error")
            MeanField(initial_scale=SCALE, training=training).fit(problem, range(replicas))

    def seconds() -> float:
        return slope(fit, short, long, clock) / per_epoch / replicas

    one = problem.take([0])
    given = {**given_of(problem), **start_of(one)}

    def value() -> list[float]:
        """Return -ELBO / N, with the KL in closed form, and with the KL at the draw."""
        loc, eps = (torch.tensor(given[name], device=one.like.device) for name in ("loc", "eps"))
        weights = (loc + SCALE * eps).view(1, 1, -1)
        x, y = one.batch(one.train.at(torch.arange(BATCH)[None]))
        prior, guide = one.prior_distribution(), Normal(loc, SCALE)
        closed = kl_divergence(guide, Normal(torch.zeros_like(loc), 1.0)).sum()
        drawn = guide.log_prob(weights).sum() - prior.log_prob(weights).sum()
        fitted = one.loss(weights, x, y)[0, 0]
        return [float(fitted + kl / one.points) for kl in (closed, drawn)]

    return Task(seconds, value, given)


def start_of(problem: Any) -> dict[str, np.ndarray]:
    """Return means, standard deviation and noise of the first replica's weights, flat."""
    loc = problem.initial([0])[0].detach().cpu()
    eps = torch.randn(loc.shape, generator=torch.Generator().manual_seed(1))
    return {"loc": loc.numpy(), "eps": eps.numpy(), "scale": np.float32(SCALE)}
