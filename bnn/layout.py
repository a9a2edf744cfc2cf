"""Names and places: a network's parameters as one flat vector, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Size, Tensor, nn


@dataclass(frozen=True)
class Layout:
    """Where each named parameter lies in a flat vector.

    Arguments:
        shapes: the shape of each parameter by its name, in the order of the vector.
    """

    shapes: Mapping[str, Size]

    @staticmethod
    def of(network: nn.Module) -> Layout:
        """Return the layout of a module's parameters, in the module's own order."""
        return Layout({name: p.shape for name, p in network.named_parameters()})

    def __add__(self, other: Layout) -> Layout:
        """Return this layout followed by another."""
        return Layout({**self.shapes, **other.shapes})

    @property
    def size(self) -> int:
        """How long the flat vector is."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """Return named views `[..., *shape]` into `flat [..., size]`; no number is copied."""
        parts = flat.split([math.prod(shape) for shape in self.shapes.values()], dim=-1)
        return {
            name: part.unflatten(-1, shape) if len(shape) > 1 else part if shape else part[..., 0]
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }

    def flat(self, named: Mapping[str, Tensor]) -> Tensor:
        """Return the flat vector `[..., size]` of parameters `[..., *shape]`."""
        parts = [
            named[name].reshape(*named[name].shape[: named[name].ndim - len(shape)], -1)
            for name, shape in self.shapes.items()
        ]
        return torch.cat(parts, dim=-1)

    def fill(self, value: Mapping[str, float]) -> Tensor:
        """Return a flat vector `[size]`, float64, that is constant within each parameter."""
        return torch.cat(
            [
                torch.full((math.prod(shape),), value[name], dtype=torch.float64)
                for name, shape in self.shapes.items()
            ]
        )

    def fan_in(self, name: str) -> int:
        """Return how many inputs feed one unit of a weight matrix or kernel; 1 for vectors."""
        return math.prod(self.shapes[name][1:])
