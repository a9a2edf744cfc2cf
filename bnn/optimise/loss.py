"""What is minimised, and its gradient as autograd finds it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bnn.data.batches import Batches
from bnn.gradients import Gradient
from bnn.problem import Problem
from bnn.seeds import Streams

# (problem, parameters, x, y, noise) -> nats per row [replicas], of the replicas still in training:
# parameters [replicas, ...], a standardised batch, and streams to take random numbers from.
Loss = Callable[[Problem, Tensor, Tensor, Tensor, Streams], Tensor]


def by_autograd(loss: Loss, problem: Problem, rows: int, parameters: Tensor) -> Gradient:
    """Return the gradient of a loss as autograd finds it; arguments as of a `WriteOut`."""
    parameters, seen = parameters.detach().requires_grad_(), list[Batches]()

    def see(x: Tensor, y: Tensor) -> None:
        seen[:] = Batches(x, rows), Batches(y, rows)

    def order(rows: Tensor) -> None:
        for batches in seen:
            batches.order(rows)

    def at(batch: int, noise: Streams) -> tuple[Tensor, Tensor]:
        x, y = (batches.parts[batch] for batches in seen)
        losses = loss(problem, parameters, x, y, noise)
        (gradient,) = torch.autograd.grad(losses.sum(), parameters)
        return losses.detach(), gradient

    return Gradient(see, order, at)
