"""What turns gradients into steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from bnn.seeds import Streams


class Update(Protocol):
    """What turns gradients into steps; it owns its state, entry by entry of the parameters."""

    def step(self, parameters: Tensor, gradient: Tensor, rate: float, noise: Streams) -> None:
        """Change the parameters `[replicas, ...]` in place.

        Arguments:
            gradient: of the loss, nats per row.
            rate: the learning rate of this step.
            noise: streams to take random numbers from.
        """

    def take(self, rows: Sequence[int]) -> Update:
        """Return the update of some of the replicas, in the middle of their training."""


class Adam:
    """Adam (Kingma & Ba 2015, https://arxiv.org/abs/1412.6980), fused over all replicas.

    Arguments:
        parameters: what will be trained; nothing of it is kept.
    """

    def __init__(self, parameters: Tensor) -> None:
        self._mean, self._square = torch.zeros_like(parameters), torch.zeros_like(parameters)
        self._steps = torch.zeros((), dtype=torch.float32, device=parameters.device)

    def step(self, parameters: Tensor, gradient: Tensor, rate: float, noise: Streams) -> None:
        """Make one step."""
        # What torch.optim.Adam(fused=True) ends in; on its way there it takes 30 us a step.
        torch._fused_adam_(
            [parameters],
            [gradient],
            [self._mean],
            [self._square],
            [],
            [self._steps.add_(1)],
            lr=rate,
            beta1=0.9,
            beta2=0.999,
            weight_decay=0.0,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )

    def take(self, rows: Sequence[int]) -> Adam:
        """Return the optimiser of some of the replicas."""
        some = Adam(self._mean[rows])
        some._mean, some._square = self._mean[rows], self._square[rows]
        some._steps = self._steps.clone()
        return some
