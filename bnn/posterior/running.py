"""Running networks on rows, a few of both at a time: as many as a processor is quick with."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

from bnn.backpropagation import Forward, perceptron
from bnn.posterior.family import Masks
from bnn.problem import Problem

ROWS_AT_ONCE = 2**17  # rows x draws x replicas in one go, for those who run networks themselves
UNITS_AT_ONCE = 2**19  # units of a layer x rows x draws x replicas, computed in one go: more of
# them do not stay in a processor's cache, and take twice as long
ROW_MULTIPLE = 16  # rows are filled up to a multiple of a processor's vector: 506 x 50 units take
# a quarter longer than 512 x 50

Run = Callable[[Tensor, Masks], Tensor]  # weights and masks -> outputs of networks on some rows


class Running:
    """Runs networks on standardised rows, one block of draws after the other.

    Arguments:
        z: the rows, `[replicas or 1, points, *features]`.
        replicas: how many there are.
    """

    def __init__(self, problem: Problem, z: Tensor, replicas: int) -> None:
        self.problem, self.z = problem, z
        self.rows, self.networks = _together(problem, replicas, z.shape[1])
        self.kept: dict[int, Run] = {}  # what ran the last rows, for the next networks on them

    def __call__(self, weights: Tensor, masks: Masks, outputs: Tensor) -> None:
        """Write down the outputs of networks, a few at a time.

        Arguments:
            outputs: the place for them, `[replicas, draws, outputs, points]`.
        """
        written = perceptron(self.problem.network) and "input" not in masks
        for start in range(0, self.z.shape[1], self.rows):
            at = slice(start, start + self.rows)
            if start not in self.kept:
                self.kept.clear()
                runs = _Perceptrons if written else _generic
                self.kept[start] = runs(self.problem, self.z[:, at])
            for draw in range(0, weights.shape[1], self.networks):
                part = slice(draw, draw + self.networks)
                # One mask per draw serves all points, so that a draw is one function.
                units = {site: mask[:, part, None] for site, mask in masks.items()}
                outputs[:, part, :, at] = self.kept[start](weights[:, part], units)


def _together(problem: Problem, replicas: int, points: int) -> tuple[int, int]:
    """Return how many rows, and how many networks, are computed in one go."""
    network = problem.network
    width = max([network.outputs, *(shape.numel() for shape in network.mask_shapes.values())])
    rows = UNITS_AT_ONCE // (replicas * width)
    return max(ROW_MULTIPLE, rows // ROW_MULTIPLE * ROW_MULTIPLE), max(1, rows // points)


def _generic(problem: Problem, z: Tensor) -> Run:
    """Return what runs networks on some rows, `[replicas, draws, outputs, points]`."""

    @torch.no_grad()
    def run(weights: Tensor, units: Masks) -> Tensor:
        return problem.outputs(weights, z, units).mT

    return run


class _Perceptrons:
    """Runs perceptrons on some rows, in buffers that serve one chunk of draws after the other."""

    def __init__(self, problem: Problem, z: Tensor) -> None:
        self.network, self.points = problem.network, z.shape[1]
        self.z = pad(z.flatten(2), (0, 0, 0, -self.points % ROW_MULTIPLE))
        self.forward: Forward | None = None

    @torch.inference_mode()
    def __call__(self, weights: Tensor, units: Masks) -> Tensor:
        """Return `[replicas, draws, outputs, points]`, to be overwritten by the next call."""
        if self.forward is None or self.forward.weights.shape != weights.shape:
            self.forward = Forward(self.network, self.z.shape[1], weights.clone())
            self.forward.see(self.z)
        self.forward.weights.copy_(weights)
        outputs = self.forward.outputs(units)[..., : self.points]
        return outputs.unflatten(0, weights.shape[:2])
