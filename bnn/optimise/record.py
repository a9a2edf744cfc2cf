"""What a fit leaves behind: parameters and curves, and what is taken down of them on the way."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from bnn.optimise.active import Active

CURVE_POINTS = 500  # entries of a curve at most


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


class Record:
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
        self, epoch: int, active: Active, train: Tensor, validation: Tensor | None
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

    def keep(self, active: Active, rows: Sequence[int]) -> None:
        """Keep the parameters that some of the active replicas have now."""
        self.kept[[active.replicas[row] for row in rows]] = active.parameters[rows]

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


class Mean:
    """The mean of each replica's parameters over the steps after the first few."""

    def __init__(self, start: Tensor, after: int) -> None:
        self.after = after
        self.parameters = start.detach().clone()

    def visit(self, replicas: Sequence[int], done: int, parameters: Tensor) -> None:
        """See the parameters of some replicas after so many steps."""
        count = done - self.after
        if count > 0:
            rows = list(replicas)
            self.parameters[rows] += (parameters - self.parameters[rows]) / count


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
