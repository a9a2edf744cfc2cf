"""The one training loop: all replicas of a method in one batched computation.

The loss is minus the log joint per training row, in nats, so that learning rates mean what they
mean in torch. Replicas share no number: each has its own rows, its own order of minibatches, its
own noise and its own entries in the optimiser, whose update is entry by entry. So what becomes of a
replica does not depend on the others, and one that has stopped can leave the computation.
"""

from __future__ import annotations

import itertools
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import pyro
import torch
from torch import Tensor

from bnn.errors import InputError
from bnn.gradients import Gradient, WriteOut, exact
from bnn.problem import Problem
from bnn.seeds import Streams

CURVE_POINTS = 500  # entries of a curve at most
TOLERANCE = 1e-9  # relative difference in float64 above which a written-out gradient is not used
KEPT = 2**24  # numbers of the replicas' rows that are kept standardised; of more, each batch alone

Progress = Callable[[float], None]  # told the finished share of the work, from 0 to 1

# (problem, parameters, x, y, noise) -> nats per row [replicas], of the replicas still in training:
# parameters [replicas, ...], a standardised batch, and streams to take random numbers from.
Loss = Callable[[Problem, Tensor, Tensor, Tensor, Streams], Tensor]


# (numbers of the replicas still in training, steps done, their parameters), after every step.
Visit = Callable[[Sequence[int], int, Tensor], None]


def silent(share: float) -> None:
    """Tell nobody."""


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


@dataclass(frozen=True)
class Training:
    """How long and how fast to train."""

    epochs: int = 200  # passes over the training rows, at most
    steps: int = 0  # of the optimiser, at least: a small table gets more epochs to make them
    learning_rate: float = 1e-2  # of Adam, or of a method's own update
    batch_size: int | None = None  # rows per step; None: 128, or all where there are fewer
    patience: int | None = None  # epochs without a better validation loss before a replica stops,
    # and its best weights are kept; None: always all epochs, and the last weights
    decay: bool = False  # let the learning rate fall to zero along half a cosine
    average: float = 0.0  # share of the steps, the last ones, whose mean parameters are kept
    # (Polyak & Juditsky 1992, https://doi.org/10.1137/0330046); 0: the last step's own

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < math.inf:
            raise InputError(
                "a positive, finite learning rate", str(self.learning_rate), "0.01 is usual."
            )
        counts = {"epochs": self.epochs, "steps": self.steps, "patience": self.patience}
        whole = all(n is None or isinstance(n, int) for n in (*counts.values(), self.batch_size))
        short = self.patience is not None and self.patience < 1
        if not whole or short or min(self.epochs, self.steps) < 0:
            raise InputError(
                "whole numbers of epochs, steps and rows, and a patience of at least one or None",
                ", ".join(f"{name}={n}" for name, n in counts.items()),
                "200 epochs and a patience of 20 are usual.",
            )
        if not 0 <= self.average < 1 or (self.average and self.patience is not None):
            raise InputError(
                "an average over a share of the steps in [0, 1), and without early stopping",
                f"average={self.average}, patience={self.patience}",
                "Set patience=None and average=0.5, or leave average at 0.",
            )

    def rate(self, done: float) -> float:
        """Return the learning rate after a share of the epochs."""
        return self.learning_rate * ((1 + math.cos(math.pi * done)) / 2 if self.decay else 1.0)

    def epochs_of(self, points: int) -> int:
        """Return how often the training rows are passed over where there are `points` of them."""
        return max(self.epochs, math.ceil(self.steps / (points // self.batch_of(points))))

    def batch_of(self, points: int) -> int:
        """Return the rows per step where there are `points` training rows."""
        if self.batch_size is None:
            return min(128, points)
        if not 1 <= self.batch_size <= points:
            raise InputError(
                f"a batch of 1 to {points} training rows",
                f"batch_size={self.batch_size}",
                "Choose a smaller batch, or None for one that fits.",
            )
        return self.batch_size


@dataclass(frozen=True)
class Curve:
    """The course of one replica's fit: losses in nats per row, at up to some 500 epochs."""

    epochs: tuple[int, ...] = ()
    train: tuple[float, ...] = ()
    validation: tuple[float, ...] = ()  # empty where nothing was validated
    best: int | None = None  # the epoch whose weights were kept, where there was a choice


@dataclass(frozen=True)
class Fit:
    """What a fit leaves behind.

    Arguments:
        parameters: the fitted numbers, `[replicas, ...]`.
        curves: one per replica.
        diverged: whether a replica's loss became infinite or NaN; its parameters mean nothing.
        seconds: wall clock of all replicas together.
        diagnostics: what a sampler tells of itself, by name, one mapping per replica; empty
            elsewhere.
    """

    parameters: Tensor
    curves: tuple[Curve, ...]
    diverged: tuple[bool, ...]
    seconds: float
    diagnostics: tuple[Mapping[str, float], ...] = ()


def train(
    problem: Problem,
    seeds: Sequence[int],
    training: Training,
    start: Tensor,
    loss: Loss,
    validate: Loss,
    progress: Progress = silent,
    update: Callable[[Tensor], Update] = Adam,
    visit: Visit | None = None,
    write_out: WriteOut | None = None,
) -> Fit:
    """Minimise every replica's loss, all of them in one tensor.

    A replica whose patience ends leaves the computation with its best parameters, and one whose
    loss is no longer finite leaves it as diverged; the others go on as if alone.

    Arguments:
        problem: the rows.
        seeds: one per replica.
        training: how long and how fast.
        start: initial parameters, `[replicas, ...]`.
        loss: of a minibatch; its noise goes on from step to step.
        validate: of the validation rows; its noise is the same every time.
        progress: told the finished share of the work.
        update: makes what turns gradients into steps, from the initial parameters.
        visit: shown the parameters after every step, for methods that look at the whole course.
        write_out: the gradient of the loss written out, where that is quicker than autograd. It is
            compared with autograd's when the fit starts, and if they differ it is not used.
    """
    if training.patience is not None and not problem.validation.points:
        raise InputError(
            "validation rows for early stopping", "none", "Keep some, or set patience=None."
        )
    began = time.perf_counter()
    size = training.batch_of(problem.points)
    record = _Record(start, training.patience)
    steps, epochs = problem.points // size, training.epochs_of(problem.points)
    mean = _Mean(start, math.floor((1 - training.average) * steps * epochs))
    # Pyro's validation would raise on the first replica that diverges, and take the others along.
    with pyro.validation_enabled(False):
        trusted = _trusted(write_out, loss, problem, start, seeds, size)
        active = _Active.all_of(problem, seeds, start, update, size, trusted)
        for epoch in range(epochs):
            total = torch.zeros(len(active.replicas), device=start.device, dtype=start.dtype)
            for step, (x, y) in enumerate(active.batches()):
                rate = training.rate((epoch + step / steps) / epochs)
                total += active.step(loss, x, y, rate)
                done = epoch * steps + step + 1
                if training.average:
                    mean.visit(active.replicas, done, active.parameters.detach())
                if visit is not None:
                    visit(active.replicas, done, active.parameters.detach())
            going = record.note(epoch, active, total / steps, active.held_out_loss(validate))
            if epoch + 1 == epochs and training.patience is None:
                record.keep(active, going)
            progress((epoch + 1) / epochs)
            if not going:
                break
            if len(going) < len(active.replicas):
                active = active.take(going)
    progress(1.0)
    if training.average:
        record.kept = mean.parameters
    return record.fit(time.perf_counter() - began)


def _trusted(
    write_out: WriteOut | None,
    loss: Loss,
    problem: Problem,
    parameters: Tensor,
    seeds: Sequence[int],
    size: int,
) -> WriteOut | None:
    """Return what writes the gradient out, if that agrees with autograd's on the first rows."""
    if write_out is None or write_out(problem, size, parameters.detach()) is None:
        return None
    problem, parameters = exact(problem), parameters.detach().double().contiguous()
    gradient = write_out(problem, size, parameters)
    columns = torch.arange(size, device=parameters.device).expand(problem.replicas, -1)
    x, y = problem.batch(problem.train.at(columns))
    noise = [
        Streams(seeds, "check against autograd", parameters.device, parameters.dtype)
        for _ in range(2)
    ]
    found = gradient(x, y, noise[0]) if gradient else ()
    expected = _by_autograd(loss, problem, parameters, x, y, noise[1])
    return write_out if agrees(found, expected) else None


def agrees(found: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    """Are values and gradients written out those of autograd? If not, say so.

    Arguments:
        found, expected: tensors `[replicas, ...]`, float64.
    """
    worst = max(difference(a, b) for a, b in zip(found, expected, strict=True))
    if worst <= TOLERANCE:
        return True
    warnings.warn(
        f"A gradient written out differs from autograd's by {worst:.1e} (relative), more than "
        f"{TOLERANCE:.0e}. The fit goes on with autograd, which is slower.",
        stacklevel=4,
    )
    return False


def _by_autograd(
    loss: Loss, problem: Problem, parameters: Tensor, x: Tensor, y: Tensor, noise: Streams
) -> tuple[Tensor, Tensor]:
    if not parameters.requires_grad:
        parameters = parameters.detach().requires_grad_()
    losses = loss(problem, parameters, x, y, noise)
    (gradient,) = torch.autograd.grad(losses.sum(), parameters)
    return losses.detach(), gradient


def difference(found: Tensor, expected: Tensor) -> float:
    """Return the worst difference over replicas, relative to the largest number of each.

    A replica that is not finite in both counts as equal.
    """
    found, expected = (part.reshape(len(part), -1) for part in (found, expected))
    gap = (found - expected).abs().amax(1) / expected.abs().amax(1)
    gap = torch.where((found == expected).all(1), 0.0, gap)  # zeros
    lost, lost_too = (~part.isfinite().all(1) for part in (found, expected))
    gap = torch.where(lost | lost_too, torch.where(lost == lost_too, 0.0, torch.inf), gap)
    return gap.max().item()


@dataclass(frozen=True)
class _Active:
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
    ) -> _Active:
        parameters = start.detach().clone().requires_grad_()
        device, dtype = start.device, start.dtype
        return _Active(
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

    def take(self, rows: Sequence[int]) -> _Active:
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
            losses, gradient = _by_autograd(loss, self.problem, self.parameters, x, y, self.noise)
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


class _Mean:
    """The mean of each replica's parameters over the steps after the first few."""

    def __init__(self, start: Tensor, after: int) -> None:
        self.after = after
        self.parameters = start.detach().clone()

    def visit(self, replicas: Sequence[int], done: int, parameters: Tensor) -> None:
        count = done - self.after
        if count > 0:
            rows = list(replicas)
            self.parameters[rows] += (parameters - self.parameters[rows]) / count


class _Record:
    """What each replica has been through, and the parameters to keep of it."""

    def __init__(self, start: Tensor, patience: int | None) -> None:
        replicas = len(start)
        self.patience = patience
        self.kept = start.detach().clone()
        self.diverged = [False] * replicas
        self.best = [math.inf] * replicas
        self.best_epoch = [0] * replicas
        self.train: list[list[float]] = [[] for _ in range(replicas)]
        self.validation: list[list[float]] = [[] for _ in range(replicas)]

    def note(
        self, epoch: int, active: _Active, train: Tensor, validation: Tensor | None
    ) -> list[int]:
        """Take down an epoch's losses; return which of the active replicas go on."""
        held_out = None if validation is None else validation.tolist()
        choosing = held_out is not None and self.patience is not None
        going, keep = [], []
        for row, (r, loss) in enumerate(zip(active.replicas, train.tolist(), strict=True)):
            self.train[r].append(loss)
            value = loss if held_out is None else held_out[row]
            if held_out is not None:
                self.validation[r].append(value)
            if not (math.isfinite(loss) and math.isfinite(value)):
                self.diverged[r] = True
                continue
            if choosing and value < self.best[r]:
                self.best[r], self.best_epoch[r] = value, epoch
                keep.append(row)
            if not (choosing and epoch - self.best_epoch[r] >= (self.patience or 0)):
                going.append(row)
        if keep:
            self.keep(active, keep)
        return going

    def keep(self, active: _Active, rows: Sequence[int]) -> None:
        """Keep the parameters that some of the active replicas have now."""
        self.kept[[active.replicas[row] for row in rows]] = active.parameters.detach()[rows]

    def fit(self, seconds: float) -> Fit:
        """Return the fit: the best parameters where there was a choice, else the last."""
        chosen = self.patience is not None
        curves = tuple(
            _thinned(train, validation, best + 1 if chosen and validation else None)
            for train, validation, best in zip(
                self.train, self.validation, self.best_epoch, strict=True
            )
        )
        return Fit(self.kept, curves, tuple(self.diverged), seconds)


def _thinned(train: list[float], validation: list[float], best: int | None) -> Curve:
    """Return a curve with the last epoch and, of many before it, evenly spaced ones."""
    stride = math.ceil(len(train) / CURVE_POINTS) or 1
    rows = range((len(train) - 1) % stride, len(train), stride)
    return Curve(
        epochs=tuple(row + 1 for row in rows),
        train=tuple(train[row] for row in rows),
        validation=tuple(validation[row] for row in rows) if validation else (),
        best=best,
    )
