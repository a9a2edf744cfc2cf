"""The whole matrix G: memory grows with the square of the parameters, time with the cube."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bnn.curvature.rows import roots, sound
from bnn.problem import Problem

BANDS = 6  # of G's rows; with B of them (B + 1) / 2B of the work is done


@dataclass(frozen=True)
class Full:
    """G itself, `[replicas, parameters, parameters]`."""

    matrix: Tensor

    @staticmethod
    def of(problem: Problem, weights: Tensor) -> Full:
        """Return G at the weights `[replicas, parameters]` of the network and the likelihood."""
        names = list(problem.network.layout.shapes)
        size = problem.network.layout.size
        matrix = weights.new_zeros(len(weights), size, size, dtype=torch.float64)
        for rows in roots(problem, weights, names):
            _add_gram(matrix, rows.flatten(1, 2))
        matrix.triu_()  # the bands reach below the diagonal
        matrix += matrix.triu(1).mT
        return Full(sound(matrix))

    def posterior(self, prior: Tensor) -> FullGaussian:
        """Return the Normal of precision G + diag(prior)."""
        # One by one: in a batch, the work space would be another such matrix for each of them.
        pairs = zip(self.matrix, prior, strict=True)
        return FullGaussian(torch.stack([torch.linalg.cholesky(g + p.diag()) for g, p in pairs]))


def _add_gram(matrix: Tensor, rows: Tensor) -> None:
    """Add V'V to the upper triangle, in bands from the diagonal on."""
    size = matrix.shape[-1]
    band = math.ceil(size / BANDS)
    for own, some in zip(matrix, rows, strict=True):  # in a batch it would take a tenth longer
        for at in range(0, size, band):
            own[at : at + band, at:].addmm_(some[:, at : at + band].T, some[:, at:])


@dataclass(frozen=True)
class FullGaussian:
    """By the lower Cholesky factor of its precision, `[replicas, parameters, parameters]`."""

    factor: Tensor

    @property
    def size(self) -> int:
        """How many parameters there are."""
        return self.factor.shape[-1]

    @property
    def log_det(self) -> Tensor:
        """The log determinant of the precision, `[replicas]`."""
        return 2 * self.factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    @property
    def variance(self) -> Tensor:
        """The diagonal of the covariance, `[replicas, parameters]`."""
        return torch.stack([torch.cholesky_inverse(part).diagonal() for part in self.factor])

    def colour(self, noise: Tensor) -> Tensor:
        """Return L^-T noise, whose covariance is (L L')^-1."""
        return torch.linalg.solve_triangular(self.factor.mT, noise.mT, upper=True).mT

    def take(self, replicas: Sequence[int]) -> FullGaussian:
        """Return the distribution of some of the replicas."""
        return FullGaussian(self.factor[replicas])
