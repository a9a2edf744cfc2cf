"""The diagonal of G: weights that do not know of each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bnn.curvature.rows import roots, sound
from bnn.problem import Problem


@dataclass(frozen=True)
class Diagonal:
    """The diagonal of G, `[replicas, parameters]`."""

    values: Tensor

    @staticmethod
    def of(problem: Problem, weights: Tensor) -> Diagonal:
        """Return diag(G); arguments as of `Full.of`."""
        return Diagonal(diagonal_of(problem, weights, list(problem.network.layout.shapes)))

    def posterior(self, prior: Tensor) -> DiagonalGaussian:
        """Return the Normal of precision diag(G) + diag(prior)."""
        return DiagonalGaussian(self.values + prior)


@dataclass(frozen=True)
class DiagonalGaussian:
    """Independent Normals, by their precisions, `[replicas, parameters]`."""

    precision: Tensor

    @property
    def size(self) -> int:
        """How many parameters there are."""
        return self.precision.shape[-1]

    @property
    def log_det(self) -> Tensor:
        """The log determinant of the precision, `[replicas]`."""
        return self.precision.log().sum(-1)

    @property
    def variance(self) -> Tensor:
        """The diagonal of the covariance, `[replicas, parameters]`."""
        return 1 / self.precision

    def colour(self, noise: Tensor) -> Tensor:
        """Return noise / sqrt(precision)."""
        return noise * self.precision.rsqrt()[:, None]

    def take(self, replicas: Sequence[int]) -> DiagonalGaussian:
        """Return the distribution of some of the replicas."""
        return DiagonalGaussian(self.precision[replicas])


def diagonal_of(problem: Problem, weights: Tensor, names: Sequence[str]) -> Tensor:
    """Return diag(G) of some parameters, one after the other."""
    size = sum(problem.network.layout.shapes[name].numel() for name in names)
    values = weights.new_zeros(len(weights), size, dtype=torch.float64)
    if names:
        for rows in roots(problem, weights, names):
            values += rows.square().sum((1, 2))
    return sound(values)
