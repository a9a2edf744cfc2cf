"""The ELBO at given draws: written out, and by Pyro's own of the program `problem.model`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pyro
import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from bnn.problem import Problem
from bnn.variational.guide import Family, Guide

# (family, problem, parameters, noise [replicas, draws, numbers], x, y, kl_weight)
# -> -ELBO / N, [replicas]
NegativeElbo = Callable[[Family, Problem, Tensor, Tensor, Tensor, Tensor, float], Tensor]


def fast_negative_elbo(
    family: Family,
    problem: Problem,
    parameters: Tensor,
    noise: Tensor,
    x: Tensor,
    y: Tensor,
    kl_weight: float = 1.0,
) -> Tensor:
    """Return -ELBO / N in nats per row, `[replicas]`, at a few draws of the weights.

    Arguments:
        family: makes the guide of parameters.
        parameters: `[replicas, ...]`.
        noise: standard Normal, `[replicas, draws, numbers]`.
        x, y: a standardised minibatch, `[replicas, batch, ...]`.
        kl_weight: what the divergence is multiplied by.
    """
    weights, divergence = family(parameters).with_divergence(noise, problem.prior_distribution())
    return (problem.loss(weights, x, y) + kl_weight / problem.points * divergence).mean(1)


def pyro_negative_elbo(
    family: Family,
    problem: Problem,
    parameters: Tensor,
    noise: Tensor,
    x: Tensor,
    y: Tensor,
    kl_weight: float = 1.0,
) -> Tensor:
    """Return the same by Pyro's own ELBO of the program `problem.model`.

    Replica by replica, so that one which diverges takes no other along; arguments as above.
    """
    losses = []
    for r in range(problem.replicas):
        guide, replica = family(parameters[r : r + 1]), problem.take([r])
        batch = x[r : r + 1], y[r : r + 1]
        each = [_by_pyro(guide, replica, eps[None, None], batch, kl_weight) for eps in noise[r]]
        losses.append(torch.stack(each).mean())
    return torch.stack(losses)


def _by_pyro(
    guide: Guide, problem: Problem, noise: Tensor, batch: tuple[Tensor, Tensor], kl_weight: float
) -> Tensor:
    """Return -ELBO / N of one replica at one draw, of `noise [1, 1, numbers]`."""

    def program(batch: tuple[Tensor, Tensor]) -> None:
        with pyro.plate("replicas", 1, dim=-2), _Given(guide.sample(noise)):
            pyro.sample("weights", guide.density.distribution(noise))

    with warnings.catch_warnings(), _Weighted(kl_weight):
        warnings.filterwarnings("ignore", message="Encountered NaN")  # the training loop tells it
        loss: Tensor = guide.elbo().differentiable_loss(problem.model, program, batch)
    return loss / problem.points


class _Given(Messenger):
    """Gives a sample site its value, so that two ways of computing see the same draw."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = value

    def _pyro_sample(self, message: Any) -> None:
        message["value"], message["done"] = self.value, True


class _Weighted(Messenger):
    """Multiplies the log-densities of the weights, prior's and guide's, by a number."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight

    def _pyro_sample(self, message: Any) -> None:
        if message["name"] == "weights":
            message["scale"] = message["scale"] * self.weight
