"""Affine maps of a classifier's outputs, of every draw alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Affine:
    """An affine map of each output of a classifier: f_k becomes gain_k f_k + shift_k.

    Arguments:
        gain: `[replicas, width]`, or `[replicas, 1]` where one number serves all outputs.
        shift: `[replicas, width]`, or `[replicas, 1]`; None for zero.
    """

    gain: Tensor
    shift: Tensor | None = None

    @staticmethod
    def temperature(temperature: Tensor) -> Affine:
        """Return the division by a temperature `[replicas]`."""
        return Affine(1 / temperature[:, None])

    def __call__(self, outputs: Tensor) -> Tensor:
        """Return the outputs `[replicas, draws, points, width]`, mapped."""
        scaled = outputs * self.gain[:, None, None]
        return scaled if self.shift is None else scaled + self.shift[:, None, None]

    def after(self, first: Affine | None) -> Affine:
        """Return the map that does another one first, and then this."""
        if first is None:
            return self
        shift = self.shift
        if first.shift is not None:
            shift = self.gain * first.shift + (0.0 if shift is None else shift)
        return Affine(self.gain * first.gain, shift)

    def take(self, replicas: Sequence[int]) -> Affine:
        """Return the map of some of the replicas."""
        return Affine(self.gain[replicas], None if self.shift is None else self.shift[replicas])
