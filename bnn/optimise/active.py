"""The replicas still in training: their minibatches, their steps, and what they are judged by."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from bnn.gradients import Gradient, WriteOut
from bnn.optimise.loss import Loss, by_autograd
from bnn.optimise.update import Update
from bnn.problem import Problem
from bnn.seeds import Streams

KEPT = 2**24  # numbers of the replicas' rows that are kept standardised; of more, each batch alone


@dataclass(frozen=True)
class Active:
    """The replicas still in training, and all that belongs to them."""

    replicas: Sequence[int]  # their numbers among all
    seeds: Sequence[int]
    problem: Problem
    parameters: Tensor
    update: Update
    orders: Streams
    noise: Streams
    size: int  # rows per step
    write_out: WriteOut | None

    @staticmethod
    def all_of(
        problem: Problem,
        seeds: Sequence[int],
        start: Tensor,
        update: Callable[[Tensor], Update],
        size: int,
        write_out: WriteOut | None,
    ) -> Active:
        """Return all replicas, before their first step."""
        parameters = start.detach().clone().requires_grad_()
        device, dtype = start.device, start.dtype
        return Active(
            replicas=range(problem.replicas),
            seeds=seeds,
            problem=problem,
            parameters=parameters,
            update=update(parameters.detach()),
            orders=Streams(seeds, "batches", device, dtype),
            noise=Streams(seeds, "training noise", device, dtype),
            size=size,
            write_out=write_out,
        )

    def take(self, rows: Sequence[int]) -> Active:
        """Return some of them, in the middle of their training."""
        return replace(
            self,
            replicas=[self.replicas[row] for row in rows],
            seeds=[self.seeds[row] for row in rows],
            problem=self.problem.take(rows),
            parameters=self.parameters.detach()[rows].clone().requires_grad_(),
            update=self.update.take(rows),
            orders=self.orders.take(rows),
            noise=self.noise.take(rows),
        )

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield an epoch's minibatches.

        Each replica visits its rows in an order of its own, drawn anew each epoch; the rows of a
        ragged last batch wait for another epoch, so that every step has the same weight.
        """
        points, size = self.problem.points, self.size
        if size == points:
            yield self._all_rows
            return
        order = self.orders.permutations(points)
        train = self.problem.train
        if train.index.numel() * train.table[0].numel() > KEPT:
            for columns in order.split(size, dim=1)[: points // size]:
                yield self.problem.batch(train.at(columns))
            return
        # Rows that are standardised once, and put into order an epoch at a time, cost a sixth.
        rows = (order + self._offsets).flatten()
        x, y = (
            part.flatten(0, 1).index_select(0, rows).view(part.shape) for part in self._all_rows
        )
        batches = zip(x.split(size, dim=1), y.split(size, dim=1), strict=True)
        yield from itertools.islice(batches, points // size)

    def step(self, loss: Loss, x: Tensor, y: Tensor, rate: float) -> Tensor:
        """Make one step, and return the losses before it, `[replicas]`."""
        if self._gradient is None:
            losses, gradient = by_autograd(loss, self.problem, self.parameters, x, y, self.noise)
            self.update.step(self._values, gradient, rate, self.noise)
            return losses
        with torch.inference_mode():  # a fifth off a small network's step
            losses, gradient = self._gradient(x, y, self.noise)
            self.update.step(self._values, gradient, rate, self.noise)
        return losses

    @cached_property
    def _gradient(self) -> Gradient | None:
        if self.write_out is None:
            return None
        return self.write_out(self.problem, self.size, self._values)

    @cached_property
    def _values(self) -> Tensor:
        """The parameters, as numbers to change."""
        return self.parameters.detach()

    def held_out_loss(self, validate: Loss) -> Tensor | None:
        """Return the losses on the validation rows, where there are any."""
        if not self.problem.validation.points:
            return None
        parameters = self.parameters.detach()
        noise = Streams(self.seeds, "validation noise", parameters.device, parameters.dtype)
        with torch.no_grad():
            return validate(self.problem, parameters, *self._held_out, noise)

    @cached_property
    def _offsets(self) -> Tensor:
        """Where each replica's rows begin among all, `[replicas, 1]`."""
        replicas, points = self.problem.replicas, self.problem.points
        return torch.arange(replicas, device=self.parameters.device)[:, None] * points

    @cached_property
    def _all_rows(self) -> tuple[Tensor, Tensor]:
        return self.problem.batch(self.problem.train)

    @cached_property
    def _held_out(self) -> tuple[Tensor, Tensor]:
        return self.problem.batch(self.problem.validation)
