"""A prior whose precisions the evidence sets, one for each parameter tensor, and its objective.

    w_i ~ Normal(mean, scale_i^2 / t_k),    i of tensor k

What is trained is a state, `[replicas, parameters + tensors]`: the flat weights and the logs of the
precisions t_k, relative to the problem's prior. The loss has no derivative in the precisions, nor
in the noise; they change at the updates alone (see `bnn.methods.laplace`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bnn.backpropagation import Backpropagation, recognised
from bnn.gradients import Gradient
from bnn.layout import Layout
from bnn.methods.maximum_likelihood import negative_log_likelihood
from bnn.priors import Normal, scales
from bnn.problem import Problem
from bnn.seeds import Streams


def penalised(problem: Problem, state: Tensor, x: Tensor, y: Tensor, noise: Streams) -> Tensor:
    """Return the negative log-likelihood of a batch, nats per row, with the prior's slope.

    The prior's value is left out: it would jump with every update, and the curve with it. The noise
    has no slope, because the evidence sets it.

    Arguments:
        state: flat weights and log precisions, `[replicas, parameters + tensors]`.
    """
    own, flat = problem.network.layout.size, problem.layout.size
    weights = torch.cat([state[:, :own], state[:, own:flat].detach()], dim=1)
    penalty = -log_prior(problem, weights, state[:, flat:].detach()) / problem.points
    given = negative_log_likelihood(problem, weights, x, y, noise)
    return given + penalty - penalty.detach()


def written_out(problem: Problem, rows: int, state: Tensor) -> Gradient | None:
    """Write the gradient of `penalised` out, where the likelihood's is known.

    d/dw = dL/dw + t / N (w - mean) / scale^2
    """
    if not recognised(problem):
        return None
    own, flat = problem.network.layout.size, problem.layout.size
    weights, slope = state[:, :flat].clone(), torch.zeros_like(state)
    networks = Backpropagation(problem, rows, weights)
    decay = 1 / (problem.points * _scales(problem).to(state).square())
    count = sizes(problem.network.layout, state.device)

    def at(batch: int, noise: Streams) -> tuple[Tensor, Tensor]:
        weights.copy_(state[:, :flat])
        losses, by_weights = networks(batch=batch)
        pull = state[:, flat:].exp().repeat_interleave(count, dim=1) * decay
        away = state[:, :own] - _mean(problem)
        torch.addcmul(by_weights[:, :own], pull, away, out=slope[:, :own])
        return losses, slope

    return Gradient(networks.see, networks.order, at)


def log_prior(problem: Problem, weights: Tensor, hyper: Tensor) -> Tensor:
    """Return log p(w) of the network's weights under the problem's prior, its precisions scaled.

    Arguments:
        weights: flat, of the network and the likelihood, `[replicas, parameters]`.
        hyper: log of the precisions over those of the problem's prior, `[replicas, tensors]`.
    """
    tau = hyper.repeat_interleave(sizes(problem.network.layout, hyper.device), dim=1)
    scale = _scales(problem).to(weights)
    square = tau.exp() * whitened(problem, weights).square()
    return (-square / 2 + tau / 2 - scale.log() - math.log(2 * math.pi) / 2).sum(1)


def precision(problem: Problem, hyper: Tensor) -> Tensor:
    """Return the prior's precisions, `[replicas, parameters of the network]`, float64."""
    count = sizes(problem.network.layout, hyper.device)
    tau = hyper.double().exp().repeat_interleave(count, dim=1)
    return tau / _scales(problem).to(tau).square()


def whitened(problem: Problem, weights: Tensor) -> Tensor:
    """Return the network's weights in standard deviations of the prior, from its mean."""
    own = weights[:, : problem.network.layout.size]
    return (own - _mean(problem)) / _scales(problem).to(weights)


def log_noise(problem: Problem, weights: Tensor, effective: Tensor, floor: float) -> Tensor:
    """Return the log of the noise scale that makes the evidence stationary, `[replicas]`."""
    x, y = problem.batch(problem.train)
    errors = (y - problem.outputs(weights[:, None], x)[:, 0, :, 0]).double()
    square = errors.square().sum(1) / (problem.points - effective).clamp(min=1)
    return (square - floor**2).clamp(min=floor**2).log() / 2


def sizes(layout: Layout, device: torch.device) -> Tensor:
    """Return how many numbers each parameter tensor has."""
    return torch.tensor([shape.numel() for shape in layout.shapes.values()], device=device)


def by_tensor(layout: Layout, values: Tensor) -> Tensor:
    """Return sums of values `[replicas, parameters]` over each parameter tensor."""
    parts = values.split([shape.numel() for shape in layout.shapes.values()], dim=1)
    return torch.stack([part.sum(1) for part in parts], dim=1)


def _scales(problem: Problem) -> Tensor:
    assert isinstance(problem.prior, Normal)  # as the method has seen
    return scales(problem.prior.scale, problem.prior.fan_in, problem.network.layout)


def _mean(problem: Problem) -> float:
    assert isinstance(problem.prior, Normal)
    return problem.prior.loc
