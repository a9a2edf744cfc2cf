"""Where layers are: in a flat tensor, and the first ones one above the other."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from bnn.networks import Network


class First(NamedTuple):
    """The first layers of a replica's draws, one above the other.

    Arguments:
        whole: `[replicas, draws * units, columns]`.
        matrix, bias: where they are in it, `[networks, units, inputs]` and `[networks, units, 1]`.
    """

    whole: Tensor
    matrix: Tensor
    bias: Tensor

    @staticmethod
    def of(whole: Tensor, draws: int, inputs: int) -> First:
        """Return where the layers of all draws are in the whole."""
        each = whole.view(len(whole) * draws, -1, whole.shape[-1])
        return First(whole, each[..., :inputs], each[..., inputs : inputs + 1])


class Places(NamedTuple):
    """Where each layer is in a flat tensor, `[networks, ...]`; no number is copied.

    Arguments:
        weights, transposed: `[networks, out, in]` and `[networks, in, out]`, layer by layer.
        biases: `[networks, out, 1]`.
        own: the likelihood's parameters, `[networks, how many]`.
    """

    weights: list[Tensor]
    transposed: list[Tensor]
    biases: list[Tensor]
    own: Tensor

    @staticmethod
    def of(flat: Tensor, network: Network) -> Places:
        """Return where the layers are in `flat [..., parameters]`."""
        layout, flat = network.layout, flat.view(-1, flat.shape[-1])
        parts = list(layout.views(flat[:, : layout.size]).values())  # weight, bias, weight, ...
        weights, biases = parts[::2], [bias[..., None] for bias in parts[1::2]]
        return Places(weights, [w.mT for w in weights], biases, flat[:, layout.size :])
