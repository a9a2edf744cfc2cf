"""Likelihood: what a predictive distribution says about the label that came true.

Shapes: any leading axes `...`, such as `[replicas, points]`; C classes. Labels are class numbers
`[...]` (integers) or label distributions `[..., C]` (real numbers).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bnn.errors import InputError
from bnn.predictive import label_log_prob


def cross_entropy(log_probs: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of each label with its prediction.

        H(q, p) = - sum_c q_c log p_c, which is - log p_y for a class number y,

    with 0 log 0 = 0; a label that was held to be impossible costs infinity.

    Arguments:
        log_probs: log p, `[..., C]`, nats.
        labels: class numbers `[...]` or label distributions `[..., C]`.

    Returns:
        Nats, `[...]`.

    Reference: Good (1952), https://doi.org/10.1111/j.2517-6161.1952.tb00104.x
    """
    return -label_log_prob(log_probs, labels)


def divergence(log_probs: Tensor, labels: Tensor) -> Tensor:
    """Return how much of the cross-entropy a perfect prediction would save.

        KL(q || p) = sum_c q_c (log q_c - log p_c) = H(q, p) - H(q), at least 0, and 0 at p = q,

    with 0 log 0 = 0; infinite where q has mass and p has none.

    Arguments:
        log_probs: log p, `[..., C]`, nats.
        labels: class numbers `[...]` or label distributions q `[..., C]`.

    Returns:
        Nats, `[...]`.

    Reference: Kullback and Leibler (1951), https://doi.org/10.1214/aoms/1177729694
    """
    q = distribution(labels, log_probs.shape[-1])
    return torch.where(q > 0, q * (q.log() - log_probs), 0.0).sum(-1)


def smoothed(labels: Tensor, classes: int, amount: float) -> Tensor:
    """Return label distributions mixed with the uniform one.

        (1 - a) q + a / C: also where the cross-entropy with it is smallest

    Arguments:
        labels: class numbers `[...]` or label distributions `[..., classes]`.
        classes: C.
        amount: a, from 0 (the labels as they are) to 1 (uniform).

    Returns:
        `[..., classes]`.

    Raises:
        InputError: on an amount outside [0, 1].

    Reference: Szegedy et al. (2016), https://arxiv.org/abs/1512.00567
    """
    if not 0 <= amount <= 1:
        raise InputError("a smoothing from 0 to 1", f"{amount}", "0.1 is usual.")
    return (1 - amount) * distribution(labels, classes) + amount / classes


def bits(nats: Tensor) -> Tensor:
    """Return information in bits: nats / log 2."""
    return nats / math.log(2)


def brier(probs: Tensor, labels: Tensor) -> Tensor:
    """Return the Brier score of each prediction, the sum over all classes, from 0 to 2.

        B = sum_c (p_c - q_c)^2

    Arguments:
        probs: p, `[..., C]`.
        labels: class numbers `[...]` or label distributions `[..., C]`.

    Returns:
        `[...]`; twice what is sometimes called the Brier score of two classes.

    Reference: Brier (1950), https://doi.org/10.1175/1520-0493(1950)078%3C0001:VOFEIT%3E2.0.CO;2
    """
    return (probs - distribution(labels, probs.shape[-1])).square().sum(-1)


def correct(log_probs: Tensor, labels: Tensor) -> Tensor:
    """Return 1 where the most probable class is the label (or the label's most probable), else 0.

    Arguments:
        log_probs: log p (or p), `[..., C]`; of equally probable classes the first is chosen.
        labels: class numbers `[...]` or label distributions `[..., C]`.

    Returns:
        `[...]`, of the type of `log_probs`.
    """
    truth = labels.argmax(-1) if labels.is_floating_point() else labels
    return (log_probs.argmax(-1) == truth).to(log_probs.dtype)


def distribution(labels: Tensor, classes: int) -> Tensor:
    """Return labels as distributions `[..., classes]`, one-hot for class numbers."""
    if labels.is_floating_point():
        return labels
    return torch.nn.functional.one_hot(labels, classes).to(torch.float64)
