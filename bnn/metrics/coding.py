"""Coding: labels as one message, as short as a prediction makes it.

An ideal code spends -log2 p(y) bits on a label that was predicted with probability p(y), so the
cross-entropy is a length. A range coder comes within a few bits of it. It needs whole numbers, the
same for sender and receiver: predictions are first rounded to a table of shares of 2^PRECISION.

Shapes: points N, classes C. Reference: Shannon (1948),
https://doi.org/10.1002/j.1538-7305.1948.tb01338.x; Martin (1979), Range encoding.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bnn.metrics.likelihood import bits, cross_entropy

PRECISION = 20  # bits: a label is given a chance of at least 2^-20, so it costs at most 20 bits


def table(probs: Tensor, precision: int = PRECISION) -> Tensor:
    """Return predictions as shares of 2^precision, each at least one share.

    Arguments:
        probs: `[N, C]`.
        precision: bits; 2^precision is more than C.

    Returns:
        Probabilities that are whole multiples of 2^-precision and sum to one exactly, `[N, C]`.
    """
    total, classes = 2**precision, probs.shape[-1]
    shares = 1 + (probs.double() * (total - classes)).floor()
    shares.scatter_add_(
        -1, probs.argmax(-1, keepdim=True), total - shares.sum(-1, keepdim=True)
    )  # what the rounding left over goes to the likeliest class, where it matters least
    return shares / total


def code_length(probs: Tensor, labels: Tensor) -> Tensor:
    """Return the ideal length of the labels as one message, sum_n -log2 p_n(y_n), in bits.

    Arguments:
        probs: `[..., N, C]`.
        labels: class numbers, `[..., N]`.

    Returns:
        Bits, `[...]`.
    """
    return bits(cross_entropy(probs.log(), labels)).sum(-1)


def encode(labels: Tensor, probs: Tensor) -> np.ndarray:
    """Return labels `[N]` as words of 32 bits, coded by a table of predictions `[N, C]`.

    Raises:
        ModuleNotFoundError: where the package `constriction` is not installed.
    """
    import constriction

    encoder = constriction.stream.queue.RangeEncoder()
    encoder.encode(
        labels.numpy().astype(np.int32),
        constriction.stream.model.Categorical(perfect=False),
        probs.numpy(),
    )
    return encoder.get_compressed()


def decode(message: np.ndarray, probs: Tensor) -> Tensor:
    """Return the labels `[N]` that `encode` made into a message, by the same table."""
    import constriction

    decoder = constriction.stream.queue.RangeDecoder(message)
    labels = decoder.decode(constriction.stream.model.Categorical(perfect=False), probs.numpy())
    return torch.from_numpy(labels.astype(np.int64))
