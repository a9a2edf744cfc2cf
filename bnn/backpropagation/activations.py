"""Nonlinearities whose derivative is known by their value."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Activation(NamedTuple):
    """A nonlinearity: in place of its argument, and its derivative by its value.

    Arguments:
        apply: a -> h = s(a), in place.
        pull: (h, D) -> D * s'(a), in place of D.
    """

    apply: Callable[[Tensor], Tensor]
    pull: Callable[[Tensor, Tensor], Tensor]


def _tanh(a: Tensor) -> Tensor:
    # tanh a = 2 sigmoid(2a) - 1, which torch computes four times as fast as its tanh
    return a.mul_(2).sigmoid_().mul_(2).sub_(1)


# One pass each; in public operations they are two or three.
_relu_pull = torch.ops.aten.threshold_backward.grad_input
_tanh_pull = torch.ops.aten.tanh_backward.grad_input

ACTIVATIONS = {
    "relu": Activation(torch.relu_, lambda h, slope: _relu_pull(slope, h, 0, grad_input=slope)),
    "tanh": Activation(_tanh, lambda h, slope: _tanh_pull(slope, h, grad_input=slope)),
}
