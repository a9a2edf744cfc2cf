"""The one training loop: all replicas of a method in one batched computation.

The loss is minus the log joint per training row, in nats, so that learning rates mean what they
mean in torch. Replicas share no number: each has its own rows, its own order of minibatches and its
own entries in the optimiser, whose update is entry by entry.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pyro
import torch
from torch import Tensor

from bnn.errors import InputError
from bnn.problem import Problem
from bnn.seeds import Streams

Progress = Callable[[float], None]  # told the finished share of the work, from 0 to 1
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]  # (parameters, x, y) -> nats per row, [replicas]


def silent(share: float) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Training:
    """How long and how fast to train (Adam: Kingma & Ba 2015, https://arxiv.org/abs/1412.6980)."""

    epochs: int = 200  # passes over the training rows, at most
    learning_rate: float = 1e-2  # of Adam
    batch_size: int | None = None  # rows per step; None: 128, or all where there are fewer
    patience: int | None = None  # epochs without a better validation loss before a replica stops,
    # and its best weights are kept; None: always all epochs, and the last weights
    decay: bool = False  # let the learning rate fall to zero along half a cosine

    def batch_of(self, points: int) -> int:
        """Return the rows per step where there are `points` training rows."""
        if self.batch_size is None:
            return min(128, points)
        if not 1 <= self.batch_size <= points:
            raise InputError(
                f"a batch of at most the {points} training rows",
                f"batch_size={self.batch_size}",
                "Choose a smaller batch, or None for one that fits.",
            )
        return self.batch_size


@dataclass(frozen=True)
class Curve:
    """The course of one replica's fit: losses in nats per row, one entry per epoch."""

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
    """

    parameters: Tensor
    curves: tuple[Curve, ...]
    diverged: tuple[bool, ...]
    seconds: float


def train(
    problem: Problem,
    seeds: Sequence[int],
    training: Training,
    start: Tensor,
    loss: Loss,
    validate: Loss,
    progress: Progress = silent,
) -> Fit:
    """Minimise every replica's loss with one fused Adam over one tensor.

    A replica whose patience ends is frozen: what is kept of it does not depend on how long the
    others go on. So is one whose loss is no longer finite.

    Arguments:
        problem: the rows.
        seeds: one per replica.
        training: how long and how fast.
        start: initial parameters, `[replicas, ...]`.
        loss: (parameters, x, y) -> nats per row `[replicas]`, of a minibatch.
        validate: the same on the validation rows; it should not be random.
        progress: told the finished share of the work.
    """
    began = time.perf_counter()
    parameters = start.detach().clone().requires_grad_()
    optimiser = torch.optim.Adam([parameters], lr=training.learning_rate, fused=True)
    record = _Record(problem.replicas, parameters, training.patience)
    steps, batches = _batches(problem, seeds, training)
    held_out = problem.batch(problem.validation) if problem.validation.points else None
    # Pyro's validation would raise on the first replica that diverges, and take the others along.
    with pyro.validation_enabled(False):
        for epoch in range(training.epochs):
            total = torch.zeros(problem.replicas, device=start.device, dtype=start.dtype)
            for step in range(steps):
                if training.decay:
                    done = (epoch * steps + step) / (training.epochs * steps)
                    optimiser.param_groups[0]["lr"] = (
                        training.learning_rate * (1 + math.cos(math.pi * done)) / 2
                    )
                optimiser.zero_grad(set_to_none=True)
                losses = loss(parameters, *next(batches))
                losses.sum().backward()
                optimiser.step()
                total += losses.detach()
            with torch.no_grad():
                held_out_loss = validate(parameters, *held_out) if held_out else None
            record.note(epoch, total / steps, held_out_loss)
            progress((epoch + 1) / training.epochs)
            if not record.active.any():
                break
    progress(1.0)
    return record.fit(time.perf_counter() - began)


def _batches(
    problem: Problem, seeds: Sequence[int], training: Training
) -> tuple[int, Iterator[tuple[Tensor, Tensor]]]:
    """Return the steps of an epoch and an endless stream of minibatches, one row set per replica.

    Each replica visits its rows in an order of its own, drawn anew each epoch; the rows of a ragged
    last batch are left to the next epoch, so that every step has the same weight.
    """
    size = training.batch_of(problem.points)
    steps = problem.points // size

    def stream() -> Iterator[tuple[Tensor, Tensor]]:
        if size == problem.points:
            batch = problem.batch(problem.train)
            while True:
                yield batch
        orders = Streams(seeds, "batches", problem.like.device, problem.like.dtype)
        while True:
            order = orders.permutations(problem.points)
            for step in range(steps):
                yield problem.batch(problem.train.at(order[:, step * size : (step + 1) * size]))

    return steps, stream()


class _Record:
    """What each replica has been through, and which parameters to keep of it."""

    def __init__(self, replicas: int, parameters: Tensor, patience: int | None) -> None:
        self.parameters, self.patience = parameters, patience
        self.active = torch.ones(replicas, dtype=torch.bool)
        self.diverged = torch.zeros(replicas, dtype=torch.bool)
        self.best = torch.full((replicas,), torch.inf, dtype=torch.float64)
        self.best_epoch = torch.zeros(replicas, dtype=torch.long)
        self.kept = parameters.detach().clone()
        self.train: list[list[float]] = [[] for _ in range(replicas)]
        self.validation: list[list[float]] = [[] for _ in range(replicas)]

    def note(self, epoch: int, train: Tensor, validation: Tensor | None) -> None:
        """Take down an epoch's losses, and freeze the replicas that end here."""
        losses = train.double().cpu()
        for r in self.active.nonzero().flatten().tolist():
            self.train[r].append(losses[r].item())
        finite = losses.isfinite()
        if validation is not None:
            held_out = validation.double().cpu()
            for r in self.active.nonzero().flatten().tolist():
                self.validation[r].append(held_out[r].item())
            finite &= held_out.isfinite()
        self.diverged |= self.active & ~finite
        if validation is not None and self.patience is not None:
            self._stop_early(epoch, held_out)
        self.active &= finite

    def _stop_early(self, epoch: int, validation: Tensor) -> None:
        better = self.active & (validation < self.best)
        self.best = torch.where(better, validation, self.best)
        self.best_epoch[better] = epoch
        on_device = better.to(self.kept.device)
        self.kept[on_device] = self.parameters.detach()[on_device]
        assert self.patience is not None
        self.active &= epoch - self.best_epoch < self.patience

    def fit(self, seconds: float) -> Fit:
        """Return the fit: the best parameters where there was a choice, else the last."""
        chosen = self.patience is not None and any(self.validation)
        curves = tuple(
            Curve(
                epochs=tuple(range(1, len(train) + 1)),
                train=tuple(train),
                validation=tuple(validation),
                best=int(best) + 1 if chosen else None,
            )
            for train, validation, best in zip(
                self.train, self.validation, self.best_epoch, strict=True
            )
        )
        parameters = self.kept if chosen else self.parameters.detach()
        return Fit(parameters, curves, tuple(self.diverged.tolist()), seconds)
