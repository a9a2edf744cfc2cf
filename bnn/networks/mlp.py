"""The multilayer perceptron: f(x) = W_L a(... a(W_1 x + b_1) ...) + b_L."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from numbers import Integral

import torch
from torch import Size, Tensor, nn

from bnn.errors import InputError, choose

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "silu": nn.functional.silu,
    "gelu": nn.functional.gelu,
}


class MLP(nn.Module):
    """A fully connected network, with a batched form that runs many of them at once.

    Without hidden layers it is a linear model: logistic or linear regression.

    Arguments:
        inputs: features of a row; a row of more axes is flattened.
        hidden: units of each hidden layer.
        outputs: numbers per row: one logit per class, or a mean (and a log noise scale).
        activation: "relu", "tanh", "silu" or "gelu".

    Raises:
        InputError: on widths that are not positive whole numbers, on an unknown activation.
    """

    def __init__(
        self, inputs: int, hidden: Sequence[int], outputs: int, activation: str = "relu"
    ) -> None:
        super().__init__()
        _check_widths(inputs, hidden, outputs)
        self.activation = activation
        self._activate = choose(activation, ACTIVATIONS, "activation")
        widths = [inputs, *hidden, outputs]
        self.layers = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(widths))
        self.mask_shapes = {"input": Size([inputs])} | {
            f"hidden.{i}": Size([units]) for i, units in enumerate(hidden)
        }

    def forward(self, x: Tensor) -> Tensor:
        """Return `[points, outputs]` for `x [points, *features]`."""
        h = x.flatten(1)
        for layer in self.layers[:-1]:
            h = self._activate(layer(h))
        return self.layers[-1](h)

    def batched(
        self, weights: Mapping[str, Tensor], x: Tensor, masks: Mapping[str, Tensor]
    ) -> Tensor:
        """Return the outputs of many networks at once.

        Arguments:
            weights: the parameters by name, `[replicas, draws, *shape]`.
            x: `[replicas, points, *features]`.
            masks: factors on the inputs and on hidden units by site, each
                `[replicas, draws, points or 1, units]`; a site that is not named is not masked.

        Returns:
            `[replicas, draws, points, outputs]`.
        """
        replicas, draws = weights["layers.0.bias"].shape[:2]
        # Rows are the last axis, [networks, units, rows]: then the first layers of all draws, which
        # read the same rows, are one product per replica, and nothing is copied on the way.
        h = x.flatten(2).mT
        if "input" in masks:
            h = (h[:, None] * masks["input"].mT).flatten(0, 1)
        last = len(self.layers) - 1
        for i in range(last + 1):
            weight, bias = weights[f"layers.{i}.weight"], weights[f"layers.{i}.bias"]
            weight = weight.reshape(len(h), -1, weight.shape[-1])
            h = torch.baddbmm(bias.reshape(len(h), -1, 1), weight, h)
            h = h.reshape(replicas * draws, -1, h.shape[-1])
            if i < last:
                h = self._activate(h)
                if f"hidden.{i}" in masks:
                    h = h * masks[f"hidden.{i}"].flatten(0, 1).mT
        return h.mT.unflatten(0, (replicas, draws))

    def extra_repr(self) -> str:
        """Name the activation, which has no module of its own."""
        return f"activation={self.activation!r}"


def _check_widths(inputs: int, hidden: Sequence[int], outputs: int) -> None:
    units = [inputs, *hidden, outputs] if isinstance(hidden, Sequence) else []
    if not units or not all(isinstance(unit, Integral) and unit > 0 for unit in units):
        raise InputError(
            "positive whole numbers of inputs, hidden units (a list, one per layer) and outputs",
            f"MLP({inputs!r}, {hidden!r}, {outputs!r})",
            "For one hidden layer of 50 units write [50].",
        )
