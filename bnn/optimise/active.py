"""The replicas still in training: their minibatches, their steps, and what they are judged by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import Tensor

from bnn.gradients import Gradient, WriteOut
from bnn.networks import Partial
from bnn.optimise.loss import Loss, by_autograd
from bnn.optimise.update import Update
from bnn.problem import Problem
from bnn.seeds import Streams

KEPT = 2**24  # numbers of the replicas' rows that are kept standardised; of more, each batch alone

# (numbers of the replicas still in training, steps done, their parameters), after every step.
Visit = Callable[[Sequence[int], int, Tensor], None]


@dataclass(frozen=True)
class Active:
    """The replicas still in training, and all that belongs to them."""

    replicas: Sequence[int]  # their numbers among all
    seeds: Sequence[int]
    problem: Problem
    parameters: Tensor
    loss: Loss
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
        loss: Loss,
        update: Callable[[Tensor], Update],
        size: int,
        write_out: WriteOut | None,
    ) -> Active:
        """Return all replicas, before their first step."""
        parameters = start.detach().clone()
        device, dtype = start.device, start.dtype
        return Active(
            replicas=range(problem.replicas),
            seeds=seeds,
            problem=problem,
            parameters=parameters,
            loss=loss,
            update=update(parameters),
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
            parameters=self.parameters[rows],
            update=self.update.take(rows),
            orders=self.orders.take(rows),
            noise=self.noise.take(rows),
        )

    def epoch(self, rates: Sequence[float], done: int, visits: Sequence[Visit]) -> Tensor:
        """Make an epoch's steps, and return the mean of the losses before them, `[replicas]`.

        Arguments:
            rates: the learning rate of each step.
            done: how many steps there were before.
            visits: told of every step.
        """
        total = self.parameters.new_zeros(len(self.replicas))
        with torch.inference_mode(self.write_out is not None):  # a fifth off a small network's step
            for batch, rate in zip(self.batches(), rates, strict=True):
                total += self.step(batch, rate)
                done += 1
                for visit in visits:
                    with torch.inference_mode(False):
                        visit(self.replicas, done, self.parameters)
        return total / len(rates)

    def batches(self) -> Iterator[int]:
        """Yield an epoch's minibatches, by their numbers among those that the gradient has seen.

        Each replica visits its rows in an order of its own, drawn anew each epoch; the rows of a
        ragged last batch wait for another epoch, so that every step has the same weight.
        """
        points, size = self.problem.points, self.size
        if size == points:
            yield 0
            return
        order = self.orders.permutations(points)
        if self._kept:
            self._gradient.order(order.add_(self._offsets).view(-1))
            yield from range(points // size)
            return
        for columns in order.split(size, dim=1)[: points // size]:
            self._gradient.see(*self.problem.batch(self.problem.train.at(columns)))
            yield 0

    def step(self, batch: int, rate: float) -> Tensor:
        """Make one step, and return the losses before it, `[replicas]`."""
        losses, gradient = self._gradient.at(batch, self.noise)
        self.update.step(self.parameters, gradient, rate, self.noise)
        return losses

    @cached_property
    def _gradient(self) -> Gradient:
        make = self.write_out or partial(by_autograd, self.loss)
        gradient = make(self.problem, self.size, self.parameters)
        assert gradient is not None
        if self._kept:
            gradient.see(*self.problem.batch(self.problem.train))
        return gradient

    @cached_property
    def _kept(self) -> bool:
        """Are all rows standardised once? Else each batch is, which takes six times as long."""
        train, network = self.problem.train, self.problem.network
        widths = [train.table[0].numel()]
        if self.write_out and isinstance(network, Partial):  # its hidden units may be kept instead
            widths += [units.numel() for units in network.mask_shapes.values()]
        numbers = train.index.numel() * max(widths)
        return numbers <= KEPT or self.size == self.problem.points

    def held_out_loss(self, validate: Loss) -> Tensor | None:
        """Return the losses on the validation rows, where there are any."""
        if not self.problem.validation.points:
            return None
        like = self.parameters
        noise = Streams(self.seeds, "validation noise", like.device, like.dtype)
        with torch.no_grad():
            return validate(self.problem, self.parameters, *self._held_out, noise)

    @cached_property
    def _offsets(self) -> Tensor:
        """Where each replica's rows begin among all, `[replicas, 1]`."""
        replicas, points = self.problem.replicas, self.problem.points
        return torch.arange(replicas, device=self.parameters.device)[:, None] * points

    @cached_property
    def _held_out(self) -> tuple[Tensor, Tensor]:
        return self.problem.batch(self.problem.validation)
