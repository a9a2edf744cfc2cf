"""The settings of a training run."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bnn.errors import InputError


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
