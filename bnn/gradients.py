"""Objectives with their gradients written out, for the perceptrons that `backpropagation` knows.

    likelihood:  L(w) = -1/B sum_n log p(y_n | x_n, w)
    joint:       L(w) + 1/N sum_i [(w_i - m_i)^2 / (2 t_i^2) + log t_i + log(2 pi) / 2]
    ELBO:        1/S sum_s L(m + e^r eps_s) + k/N KL(q || p),    q = Normal(m, e^r), p = Normal(.)
    by rows:     the same with noise of its own for every row, see `bnn.networks.layerwise`

Each function takes a problem and the rows of a batch, and returns None where it does not know the
problem. The training loop then follows autograd, as it does where the two are found to differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from bnn.backpropagation import (
    HALF_LOG_2PI,
    NO_MASKS,
    Backpropagation,
    PerturbedBackpropagation,
    perceptron,
    recognised,
)
from bnn.networks import Functional, Partial
from bnn.priors import normal_moments
from bnn.problem import Problem
from bnn.seeds import Streams


class Gradient(NamedTuple):
    """Losses and their gradient, at what the parameters are whenever it is asked for.

    Arguments:
        see: takes in standardised inputs and targets, `[replicas, points, ...]`, batch after batch.
        order: puts them in another order, from then on; see `Batches.order`.
        at: (which of those batches, noise) -> losses `[replicas]` and their gradient, of the
            parameters' shape; both may be overwritten by the next call.
    """

    see: Callable[[Tensor, Tensor], None]
    order: Callable[[Tensor], None]
    at: Callable[[int, Streams], tuple[Tensor, Tensor]]


# (problem, rows of a batch, parameters) -> the gradient at the parameters, which change in place;
# None where it is not written out.
WriteOut = Callable[[Problem, int, Tensor], Gradient | None]

# (noise, rows of a batch) -> factors on inputs and hidden units by site,
# `[replicas, 1, rows, units]`.
Masks = Callable[[Streams, int], Mapping[str, Tensor]]


def exact(problem: Problem) -> Problem:
    """Return a problem in float64, of those whose gradients are written out here.

    Gradients are compared in it. In float32 two ways of computing the same put some unit of many on
    different sides of its kink, and differ by what that unit adds.
    """
    network = problem.network
    if isinstance(network, Functional | Partial):
        return replace(problem, network=network.double())
    return problem


def of_likelihood(problem: Problem, rows: int, weights: Tensor) -> Gradient | None:
    """Write out the mean of -log p(y_n | x_n, w), of weights `[replicas, parameters]`."""
    if not recognised(problem):
        return None
    networks = Backpropagation(problem, rows, weights)

    def at(batch: int, noise: Streams) -> tuple[Tensor, Tensor]:
        return networks(batch=batch)

    return Gradient(networks.see, networks.order, at)


def of_joint(
    problem: Problem, rows: int, weights: Tensor, masks: Masks | None = None
) -> Gradient | None:
    """Write out the same less log p(w) / N, under a Normal prior.

    Arguments:
        masks: draws factors on inputs and hidden units, anew for every batch.
    """
    prior = normal_moments(problem.prior_distribution())
    if prior is None or not recognised(problem) or (masks and not perceptron(problem.network)):
        return None
    networks, (mean, scale) = Backpropagation(problem, rows, weights), prior
    decay = 1 / (problem.points * scale.square())
    constant = (scale.log() + HALF_LOG_2PI).sum() / problem.points
    away, pull = torch.zeros_like(weights), torch.zeros_like(weights)

    def at(batch: int, noise: Streams) -> tuple[Tensor, Tensor]:
        losses, slope = networks(NO_MASKS if masks is None else masks(noise, rows), batch)
        torch.sub(weights, mean, out=away)
        torch.mul(away, decay, out=pull)
        squares = torch.linalg.vecdot(away, pull)
        return torch.add(losses, squares, alpha=0.5).add_(constant), slope.add_(pull)

    return Gradient(networks.see, networks.order, at)


def of_elbo(
    problem: Problem, rows: int, phi: Tensor, draws: int = 1, kl_weight: float = 1.0
) -> Gradient | None:
    """Write out -ELBO / N of independent Normals, under a Normal prior.

    Its parameters are means m and log scales r, `[replicas, 2, parameters]`. With the distance from
    the prior's mean and the scale as one tensor E = (m - m_p, e^r), and a = k / (N t^2):

        k/N KL = sum_i a_i E_i^2 / 2 - k/N sum_i (r_i - log t_i + 1/2)
        d/dm = a E + dL/dw,    d/dr = (a E + dL/dw eps) e^r - k/N
    """
    prior = normal_moments(problem.prior_distribution())
    if prior is None or not recognised(problem):
        return None
    (mean, scale), share = prior, kl_weight / problem.points
    replicas, size = problem.replicas, len(scale)
    decay, shares = share / scale.square(), torch.full_like(scale, -share)
    constant = share * (scale.log().sum() - size / 2).expand(replicas)
    both, slope = torch.zeros_like(phi), torch.zeros_like(phi)
    all_both, all_slope = both.view(replicas, -1), slope.view(replicas, -1)
    (centre, log_spread), (away, spread) = phi.unbind(1), both.unbind(1)
    by_mean, by_log = slope.unbind(1)
    weights = phi.new_zeros(replicas, draws, size)
    networks = Backpropagation(problem, rows, weights)
    drawn, slopes = weights.unbind(1), networks.gradient.unbind(1)

    def at(batch: int, noise: Streams) -> tuple[Tensor, Tensor]:
        each = noise.normal_each(draws, size)
        torch.sub(centre, mean, out=away)
        torch.exp(log_spread, out=spread)
        for w, eps in zip(drawn, each, strict=True):
            torch.addcmul(centre, spread, eps, out=w)
        losses, _ = networks(batch=batch)
        torch.mul(both, decay, out=slope)
        squares = torch.linalg.vecdot(all_both, all_slope)
        for by_weights, eps in zip(slopes, each, strict=True):
            by_mean.add_(by_weights, alpha=1 / draws)
            by_log.addcmul_(by_weights, eps, value=1 / draws)
        torch.addcmul(shares, by_log, spread, out=by_log)
        kl = torch.addmv(constant, log_spread, shares).add_(squares, alpha=0.5)
        return kl.add_(losses.mean(1) if draws > 1 else losses.view(-1)), slope

    return Gradient(networks.see, networks.order, at)


def of_elbo_by_rows(
    problem: Problem, rows: int, phi: Tensor, kl_weight: float = 1.0
) -> Gradient | None:
    """Write out the same with local noise for each row, and one draw of the likelihood's own.

    With the variances V = e^2r of the network's weights, and w = m + e^r eps of the likelihood's:

        d/dr = 2 V dL/dV + k/N (V / t^2 - 1),    d/dr = dL/dw e^r eps + k/N (V / t^2 - 1)
    """
    prior = normal_moments(problem.prior_distribution())
    if prior is None or not recognised(problem) or not perceptron(problem.network):
        return None
    (mean, scale), share = prior, kl_weight / problem.points
    size, inner = len(scale), problem.network.layout.size
    decay, constant = share / scale.square(), share * (scale.log().sum() - size / 2)
    centre, log_spread = phi.unbind(1)
    slope, variance = torch.zeros_like(phi), torch.zeros_like(centre)
    networks = PerturbedBackpropagation(problem, rows, centre, variance)
    by_mean, by_log = slope.unbind(1)
    numbers = sum(networks.sizes)

    def at(batch: int, noise: Streams) -> tuple[Tensor, Tensor]:
        eps = noise.normal(1, 1, size)[:, 0, 0, inner:]
        each = noise.normal(1, 1, rows, numbers)[:, 0, 0]
        spread = log_spread.exp()
        torch.mul(spread, spread, out=variance)
        shift = spread[:, inner:] * eps
        losses = networks(each, centre[:, inner:] + shift, batch)
        away = centre - mean
        torch.addcmul(networks.by_means, away, decay, out=by_mean)
        torch.add(networks.by_variances * 2, decay, out=by_log).mul_(variance).sub_(share)
        by_log[:, inner:].addcmul_(networks.by_means[:, inner:], shift)
        squares = (away.square() + variance) @ decay
        return losses + squares / 2 - share * log_spread.sum(1) + constant, slope

    return Gradient(networks.see, networks.order, at)
