"""Averages of categorical distributions over draws, in passes that stay in a processor's cache.

    log p(c | x, D) = log 1/S sum_s p_sc,    H_s = - sum_c p_sc log p_sc,    p_sc = p(c | x, w_s)

Both need the exponential of every number, which costs more than all the rest, so they are found
together. Where classes come before points in memory, as predictions are made, a processor's vectors
run along the points, which are many, and not along the classes, which are few.

Everything is float64. In float32 it would take two thirds of the time, but the mutual information,
a difference of entropies, would be lost where the network is sure, and with it the order of points.

Shapes: replicas R, draws S, points N, classes C. Nats.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

NUMBERS_AT_ONCE = 2**17  # 1 MiB
LOG2_E = 1 / math.log(2)  # torch computes a power of 2 in half the time of one of e
DRAWS_AT_ONCE = 8  # at least, where there are points enough: their sum is one pass over it


class Averages(NamedTuple):
    """What the draws say together, and how unsure each is by itself.

    Arguments:
        log_probs: log p(class | x, D), `[R, N, C]`.
        entropies: of each draw, `[R, S, N]`.
    """

    log_probs: Tensor
    entropies: Tensor


def log_softmax(outputs: Tensor) -> Tensor:
    """Return log p, in float64, of a network's outputs `[R, S, N, C]`."""
    by_class = outputs.mT
    found = by_class.new_empty(by_class.shape, dtype=torch.float64)
    size = max(1, NUMBERS_AT_ONCE // max(1, found[:, 0].numel()))
    for some, place in zip(by_class.split(size, 1), found.split(size, 1), strict=True):
        torch.log_softmax(some.double(), -2, out=place)
    return found.mT


def averages(draw_log_probs: Tensor) -> Averages:
    """Return the average over draws and the entropy of each, from log p `[R, S, N, C]`."""
    by_class = draw_log_probs.mT
    replicas, draws, classes, points = by_class.shape
    log_probs = by_class.new_empty(replicas, classes, points)
    entropies = by_class.new_empty(replicas, draws, points)
    size = max(1, NUMBERS_AT_ONCE // (replicas * classes * DRAWS_AT_ONCE))
    for start in range(0, points, size):
        at = slice(start, start + size)
        log_probs[..., at] = _averaged(by_class[..., at], entropies[..., at])
    return Averages(log_probs.mT, entropies)


def _averaged(log_probs: Tensor, entropies: Tensor) -> Tensor:
    """Return log 1/S sum_s p_sc, `[R, C, n]`, of `[R, S, C, n]`; write the entropies down."""

    def add(log_p: Tensor, at: slice) -> Tensor:
        log2_p = log_p * LOG2_E
        p = log2_p.exp2()
        total = p.sum(1)
        entropies[:, at] = _entropy(p, log2_p) / LOG2_E
        return total

    draws, finfo = log_probs.shape[1], torch.finfo(log_probs.dtype)
    total = _over_draws(log_probs, add)
    if draws == 1:
        return log_probs[:, 0]
    if not (total < draws * finfo.tiny / finfo.eps).any():
        return (total / draws).log()
    # Some probabilities are so small that digits are lost: the largest draw is taken out first.
    top = log_probs.amax(1).clamp(min=finfo.min)
    total = _over_draws(log_probs, lambda log_p, _: (log_p - top[:, None]).exp().sum(1))
    return (total / draws).log() + top


def _over_draws(log_probs: Tensor, part: Callable[[Tensor, slice], Tensor]) -> Tensor:
    """Return the sum over parts of the draws, `[R, C, n]`."""
    replicas, draws, classes, points = log_probs.shape
    total = log_probs.new_zeros(replicas, classes, points)
    size = max(1, NUMBERS_AT_ONCE // max(1, total.numel()))
    for start in range(0, draws, size):
        at = slice(start, start + size)
        total += part(log_probs[:, at], at)
    return total


def _entropy(p: Tensor, log_p: Tensor) -> Tensor:
    """Return - sum_c p_c log p_c over the axis before the last, with 0 log 0 = 0."""
    found = (p * log_p).sum(-2)
    if found.isnan().any():  # 0 times -inf
        found = (p * log_p.clamp(min=torch.finfo(p.dtype).min)).sum(-2)
    return -found.clamp(max=0.0)
