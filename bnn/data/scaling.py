"""Standardisation: z = (x - mean) / scale, with a mean and a scale for each replica."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bnn.errors import InputError, choose

Scope = Literal["feature", "global"]


@dataclass(frozen=True)
class Scaling:
    """A mean and a scale per replica and feature, taken from that replica's training rows.

    Targets are features of shape `()`: their mean and scale are `[replicas]`.

    Arguments:
        mean: original units, `[replicas, *features]`.
        scale: original units, positive, `[replicas, *features]`.
    """

    mean: Tensor
    scale: Tensor

    @staticmethod
    def of(rows: Tensor, over: Scope = "feature") -> Scaling:
        """Return the mean and the population standard deviation of some rows.

        mean = 1/N sum_n x_n,  scale^2 = 1/N sum_n (x_n - mean)^2

        Computed in float64 and kept in the type of `rows`.

        Arguments:
            rows: `[replicas, points, *features]`, original units.
            over: "feature" treats each feature apart; "global" takes one mean and one scale over
                points and features together, the same number for every feature.

        Raises:
            InputError: if there are no points; on another `over`.
        """
        if rows.ndim < 2 or rows.shape[1] == 0:
            raise InputError(
                "rows of shape [replicas, points, *features] with at least one point",
                f"shape {tuple(rows.shape)}",
                "Bring rows to take the mean and the scale of.",
            )
        exact = rows.double()
        axes = {"feature": (1,), "global": tuple(range(1, rows.ndim))}
        dims = choose(over, axes, "scope of standardisation")
        mean = exact.mean(dims, keepdim=True)
        scale = exact.std(dims, correction=0, keepdim=True)
        # A column that varies by no more than the rounding of its own numbers is constant. Divided
        # by so small a scale it would explode on the first row that differs; it keeps its unit.
        spread = exact.amax(dims, keepdim=True) - exact.amin(dims, keepdim=True)
        rounding = torch.finfo(rows.dtype).eps * exact.abs().amax(dims, keepdim=True)
        scale = torch.where(spread <= rounding, 1.0, scale)
        shape = (rows.shape[0], 1, *rows.shape[2:])
        mean, scale = (part.expand(shape).squeeze(1).to(rows.dtype) for part in (mean, scale))
        return Scaling(mean.contiguous(), scale.contiguous())

    @staticmethod
    def identity(replicas: int, features: Sequence[int] = ()) -> Scaling:
        """Return the scaling that changes nothing."""
        return Scaling(torch.zeros(replicas, *features), torch.ones(replicas, *features))

    @staticmethod
    def joined(parts: Sequence[Scaling]) -> Scaling:
        """Return the scaling of all replicas from those of some of them."""
        return Scaling(torch.cat([p.mean for p in parts]), torch.cat([p.scale for p in parts]))

    @property
    def replicas(self) -> int:
        """How many means and scales there are."""
        return self.mean.shape[0]

    def standardise(self, x: Tensor) -> Tensor:
        """Return (x - mean) / scale.

        Arguments:
            x: `[replicas, points, *features]`, original units; a single replica serves all.

        Raises:
            InputError: if the features or the replicas do not fit.
        """
        replicas, _, *features = x.shape
        if features != list(self.mean.shape[1:]) or replicas not in (1, self.replicas):
            raise InputError(
                f"inputs of shape [{self.replicas} or 1, points, *{tuple(self.mean.shape[1:])}]",
                f"shape {tuple(x.shape)}",
                "Bring inputs of the kind that the model was trained on.",
            )
        return (x - self.mean[:, None]) / self.scale[:, None]

    def take(self, replicas: Sequence[int] | slice) -> Scaling:
        """Return the scaling of some of the replicas (a replica may be named more than once)."""
        return Scaling(self.mean[replicas], self.scale[replicas])

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Scaling:
        """Return the same scaling on a device, as `dtype`."""
        return Scaling(self.mean.to(device, dtype), self.scale.to(device, dtype))
