"""Objectives with their gradients written out, for the perceptrons that `backpropagation` knows.

    likelihood:  L(w) = -1/B sum_n log p(y_n | x_n, w)
    joint:       L(w) + 1/N sum_i [(w_i - m_i)^2 / (2 t_i^2) + log t_i + log(2 pi) / 2]
    ELBO:        1/S sum_s L(m + e^r eps_s) + k/N KL(q || p),    q = Normal(m, e^r), p = Normal(.)

Each function takes a problem and the rows of a batch, and returns None where it does not know the
problem. The training loop then follows autograd, as it does where the two are found to differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from bnn.backpropagation import HALF_LOG_2PI, Backpropagation, recognised
from bnn.priors import normal_moments
from bnn.problem import Problem
from bnn.seeds import Streams

# (parameters, x, y, noise) -> losses [replicas] and their gradient, of the parameters' shape; both
# may be overwritten by the next call.
Gradient = Callable[[Tensor, Tensor, Tensor, Streams], tuple[Tensor, Tensor]]

# (problem, rows of a batch) -> the gradient on such batches; None where it is not written out.
WriteOut = Callable[[Problem, int], Gradient | None]

Masks = Callable[[Streams], Mapping[str, Tensor]]


def of_likelihood(problem: Problem, rows: int) -> Gradient | None:
    """Write out the mean of -log p(y_n | x_n, w), of weights `[replicas, parameters]`."""
    if not recognised(problem):
        return None
    networks = Backpropagation(problem, rows)

    def gradient(weights: Tensor, x: Tensor, y: Tensor, noise: Streams) -> tuple[Tensor, Tensor]:
        networks.see(x, y)
        return networks(weights)

    return gradient


def of_joint(problem: Problem, rows: int, masks: Masks | None = None) -> Gradient | None:
    """Write out the same less log p(w) / N, under a Normal prior.

    Arguments:
        masks: draws factors on hidden units, `[replicas, 1, rows, units]` each.
    """
    prior = normal_moments(problem.prior_distribution())
    if prior is None or not recognised(problem):
        return None
    networks, (mean, scale) = Backpropagation(problem, rows), prior
    decay = 1 / (problem.points * scale.square())
    constant = (scale.log() + HALF_LOG_2PI).sum() / problem.points
    away, pull = (scale.new_empty(problem.replicas, len(scale)) for _ in range(2))

    def gradient(weights: Tensor, x: Tensor, y: Tensor, noise: Streams) -> tuple[Tensor, Tensor]:
        networks.see(x, y)
        losses, slope = networks(weights, None if masks is None else masks(noise))
        torch.sub(weights, mean, out=away)
        torch.mul(away, decay, out=pull)
        squares = torch.linalg.vecdot(away, pull)
        return torch.add(losses, squares, alpha=0.5).add_(constant), slope.add_(pull)

    return gradient


def of_elbo(problem: Problem, rows: int, draws: int = 1, kl_weight: float = 1.0) -> Gradient | None:
    """Write out -ELBO / N of independent Normals, under a Normal prior.

    Its parameters are means m and log scales r, `[replicas, 2, parameters]`. With the distance
    from the prior's mean and the scale as one tensor E = (m - m_p, e^r), and a = k / (N t^2):

        k/N KL = sum_i a_i E_i^2 / 2 - k/N sum_i (r_i - log t_i + 1/2)
        d/dm = a E + dL/dw,    d/dr = (a E + dL/dw eps) e^r - k/N
    """
    prior = normal_moments(problem.prior_distribution())
    if prior is None or not recognised(problem):
        return None
    networks, (mean, scale) = Backpropagation(problem, rows, draws), prior
    replicas, size, share = problem.replicas, len(scale), kl_weight / problem.points
    decay = share / scale.square()
    constant = share * (scale.log().sum() - size / 2)
    both, slope = (scale.new_empty(replicas, 2, size) for _ in range(2))
    away, spread = both.unbind(1)
    by_mean, by_log = slope.unbind(1)
    weights = scale.new_empty(replicas, draws, size)

    def gradient(phi: Tensor, x: Tensor, y: Tensor, noise: Streams) -> tuple[Tensor, Tensor]:
        at, log_spread = phi.unbind(1)
        eps = noise.normal(1, draws, size)[:, 0]
        torch.sub(at, mean, out=away)
        torch.exp(log_spread, out=spread)
        torch.addcmul(at[:, None], spread[:, None], eps, out=weights)
        networks.see(x, y)
        losses, by_weights = networks(weights)
        torch.mul(both, decay, out=slope)
        squares = torch.linalg.vecdot(both.flatten(1), slope.flatten(1))
        for s in range(draws):
            by_mean.add_(by_weights[:, s], alpha=1 / draws)
            by_log.addcmul_(by_weights[:, s], eps[:, s], value=1 / draws)
        by_log.mul_(spread).sub_(share)
        kl = squares.div_(2).sub_(log_spread.sum(1), alpha=share).add_(constant)
        return kl.add_(losses.mean(1)), slope

    return gradient
