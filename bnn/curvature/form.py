"""What a form of the curvature offers: a Normal distribution, once there is a prior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Gaussian(Protocol):
    """A Normal distribution about zero, `[replicas, parameters]`."""

    @property
    def size(self) -> int:
        """How many parameters there are."""

    @property
    def log_det(self) -> Tensor:
        """The log determinant of the precision, `[replicas]`."""

    @property
    def variance(self) -> Tensor:
        """The diagonal of the covariance, `[replicas, parameters]`."""

    def colour(self, noise: Tensor) -> Tensor:
        """Turn standard Normal numbers `[replicas, draws, parameters]` into draws of it."""

    def take(self, replicas: Sequence[int]) -> Gaussian:
        """Return the distribution of some of the replicas."""


class Curvature(Protocol):
    """A form of G."""

    def posterior(self, prior: Tensor) -> Gaussian:
        """Return the Normal of precision G + diag(prior).

        Arguments:
            prior: precisions, `[replicas, parameters]`, equal within each parameter tensor.
        """
