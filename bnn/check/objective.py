"""What a method minimises, caught in the training loop, so that it is what was trained with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from unittest import mock

import torch
from torch import Tensor

from bnn.optimise import Loss
from bnn.optimise.active import Active
from bnn.problem import Problem
from bnn.seeds import Streams


@dataclass(frozen=True)
class Objective:
    """The loss of one replica, at the last parameters that it was evaluated at.

    Arguments:
        loss: as the training loop calls it.
        problem: of one replica.
        parameters: `[1, ...]`.
    """

    loss: Loss
    problem: Problem
    parameters: Tensor

    def moved(self, distance: float = 0.1) -> Objective:
        """Return the objective at parameters somewhat off, where no gradient happens to vanish."""
        crowd = Crowd(1, "moved", self.parameters)
        step = distance * crowd.normal(*self.parameters.shape)[0]
        return replace(self, parameters=self.parameters + step)

    def losses(
        self, x: Tensor, y: Tensor, noise: Streams, gradient: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return losses and gradients on several batches, or under several noises, at once.

        Arguments:
            x, y: batches, `[many, batch, ...]`.
            noise: for as many.

        Returns:
            `[many]` and `[many, parameters]`.
        """
        problem = self.problem.take([0] * len(x))
        parameters = self.parameters.expand(len(x), *self.parameters.shape[1:])
        parameters = parameters.clone().requires_grad_()
        losses = self.loss(problem, parameters, x, y, noise)
        (gradients,) = torch.autograd.grad(losses.sum(), parameters)
        return losses.detach(), gradients.flatten(1)

    def under_noise(self, many: int, purpose: str) -> tuple[Tensor, Tensor]:
        """Return losses and gradients on all rows, under many noises; shapes as of `losses`."""
        x, y = self.problem.batch(self.problem.train)
        x, y = (part.expand(many, *part.shape[1:]) for part in (x, y))
        return self.losses(x, y, Crowd(many, purpose, self.parameters))


@contextmanager
def watched() -> Iterator[list[Objective]]:
    """Catch, inside the block, the objective of replica 0 in the latest step of training."""
    caught: list[Objective] = []
    step = Active.step

    def watching(active: Active, batch: int, rate: float) -> Tensor:
        losses = step(active, batch, rate)
        with torch.inference_mode(False):
            caught[:] = [Objective(active.loss, active.problem.take([0]), active.parameters[:1])]
        return losses

    with mock.patch.object(Active, "step", watching):
        yield caught


class Crowd(Streams):
    """Random numbers for many replicas from one generator: quick, where no seed need be kept."""

    def __init__(self, many: int, purpose: str, like: Tensor) -> None:
        super().__init__([0], purpose, like.device, like.dtype)
        self.many = many

    def _fill(self, draws: int, shape: Sequence[int], kind: str) -> Tensor:
        return super()._fill(1, [self.many, draws, *shape], kind)[0, 0]


class SharedRows(Streams):
    """The same noise in every batch: what a row is given follows it into all of them.

    Arguments:
        rows: the numbers of each batch's rows, `[batches, batch]`. A shape of noise that has an
            axis of that length is taken to hold noise row by row.
        points: how many rows there are in all.
        like: a tensor of the dtype and device wanted.
    """

    def __init__(self, rows: Tensor, points: int, like: Tensor) -> None:
        super().__init__([0], "shared by all batches", like.device, like.dtype)
        self.rows, self.points = rows, points

    def _fill(self, draws: int, shape: Sequence[int], kind: str) -> Tensor:
        batches, size = self.rows.shape
        whole = [self.points if length == size else length for length in shape]
        noise = super()._fill(draws, whole, kind)
        if size not in shape:
            return noise.expand(batches, *noise.shape[1:])
        axis = 1 + list(shape).index(size)
        return torch.stack([noise[0].index_select(axis, rows) for rows in self.rows])
