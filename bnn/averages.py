"""Averages of categorical distributions over draws, in passes that stay in a processor's cache.

    p_sc = exp f_sc / Z_s,    Z_s = sum_c exp f_sc,    f_sc: the logit of class c in draw s
    log p(c | x, D) = log 1/S sum_s p_sc,    H_s = - sum_c p_sc log p_sc = log Z_s - sum_c p_sc f_sc

All need the exponential of every logit, which costs more than the rest, so they are found together.
Where classes come before points in memory, as predictions are made, a processor's vectors run along
the points, which are many, and not along the classes, which are few.

Logits stay as the network gives them; what is computed from them is float64. In float32 it would
take two thirds of the time, but the mutual information, a difference of entropies, would be lost
where the network is sure, and with it the order of points.

Shapes: replicas R, draws S, points N, classes C. Nats.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

NUMBERS_AT_ONCE = 2**18  # 2 MiB
LOG2_E = 1 / math.log(2)  # torch computes a power of 2 in half the time of one of e
DRAWS_AT_ONCE = 8  # at least, where there are points enough: their sum is one pass over it


class Averages(NamedTuple):
    """What the draws say together, and how unsure each is by itself.

    Arguments:
        log_probs: log p(class | x, D), `[R, N, C]`.
        entropies: H_s of each draw, `[R, S, N]`.
        log_masses: log Z_s of each draw, `[R, S, N]`.
    """

    log_probs: Tensor
    entropies: Tensor
    log_masses: Tensor


def averages(logits: Tensor) -> Averages:
    """Return the average over draws, and of each draw its entropy and log Z.

    Arguments:
        logits: log p up to a constant of each draw and point, `[R, S, N, C]`.
    """
    if logits.requires_grad:
        return _differentiable(logits.double())
    by_class = logits.mT
    replicas, draws, classes, points = by_class.shape
    log_probs = by_class.new_empty(replicas, classes, points, dtype=torch.float64)
    own = by_class.new_empty(2, replicas, draws, points, dtype=torch.float64)
    size = max(1, NUMBERS_AT_ONCE // (replicas * classes * DRAWS_AT_ONCE))
    for start in range(0, points, size):
        at = slice(start, start + size)
        log_probs[..., at] = _averaged(by_class[..., at], own[0, ..., at], own[1, ..., at])
    return Averages(log_probs.mT, *own)


def _differentiable(logits: Tensor) -> Averages:
    """Return the same by operations whose gradients torch knows."""
    log_p = logits.log_softmax(-1)
    log_probs = log_p.logsumexp(1) - math.log(logits.shape[1])
    return Averages(log_probs, torch.special.entr(log_p.exp()).sum(-1), logits.logsumexp(-1))


def _averaged(logits: Tensor, entropies: Tensor, log_masses: Tensor) -> Tensor:
    """Return log 1/S sum_s p_sc, `[R, C, n]`, of `[R, S, C, n]`; write down what each draw has."""
    draws, finfo = logits.shape[1], torch.finfo(torch.float64)

    def add(some: Tensor, at: slice) -> Tensor:
        top = some.amax(-2, keepdim=True).double()
        powers = some.to(torch.float64, copy=True).sub_(top).mul_(LOG2_E)
        p = powers.exp2()
        mass = p.sum(-2, keepdim=True)
        log2_mass = mass.log2()
        entropies[:, at] = _entropy(p.div_(mass), powers, log2_mass) / LOG2_E
        log_masses[:, at] = (log2_mass / LOG2_E + top).squeeze(-2)
        return p.sum(1)

    total = _over_draws(logits, add)
    if draws == 1:
        return (logits.double() - log_masses.unsqueeze(-2))[:, 0]
    if not (total < draws * finfo.tiny / finfo.eps).any():
        return (total / draws).log()
    # Some probabilities are so small that digits are lost: the largest draw is taken out first.
    log_p = lambda some, at: some.double() - log_masses[:, at].unsqueeze(-2)  # noqa: E731
    top = log_p(logits, slice(None)).amax(1).clamp(min=finfo.min)
    total = _over_draws(logits, lambda *some: (log_p(*some) - top[:, None]).exp().sum(1))
    return (total / draws).log() + top


def _over_draws(logits: Tensor, part: Callable[[Tensor, slice], Tensor]) -> Tensor:
    """Return the sum over parts of the draws, `[R, C, n]`."""
    replicas, draws, classes, points = logits.shape
    total = logits.new_zeros(replicas, classes, points, dtype=torch.float64)
    size = max(1, NUMBERS_AT_ONCE // max(1, total.numel()))
    for start in range(0, draws, size):
        at = slice(start, start + size)
        total += part(logits[:, at], at)
    return total


def _entropy(p: Tensor, powers: Tensor, log2_mass: Tensor) -> Tensor:
    """Return the entropy in bits, log2 Z - sum_c p_c f_c, `[R, S, n]`; the powers f are lost."""
    found = powers.mul_(p).sum(-2, keepdim=True)
    if found.isnan().any():  # 0 times -inf is 0 here
        found = powers.nan_to_num_(nan=0.0).sum(-2, keepdim=True)
    return (log2_mass - found).squeeze(-2).clamp(min=0.0)
