"""What is minimised, and its gradient as autograd finds it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bnn.problem import Problem
from bnn.seeds import Streams

# (problem, parameters, x, y, noise) -> nats per row [replicas], of the replicas still in training:
# parameters [replicas, ...], a standardised batch, and streams to take random numbers from.
Loss = Callable[[Problem, Tensor, Tensor, Tensor, Streams], Tensor]


def by_autograd(
    loss: Loss, problem: Problem, parameters: Tensor, x: Tensor, y: Tensor, noise: Streams
) -> tuple[Tensor, Tensor]:
    """Return the losses `[replicas]` and their gradient, of the parameters' shape."""
    if not parameters.requires_grad:
        parameters = parameters.detach().requires_grad_()
    losses = loss(problem, parameters, x, y, noise)
    (gradient,) = torch.autograd.grad(losses.sum(), parameters)
    return losses.detach(), gradient
