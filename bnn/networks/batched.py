"""Networks that bring a batched form of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from torch import Size, Tensor


@runtime_checkable
class Batched(Protocol):
    """A network with a batched form of its own; see `MLP.batched` for the shapes."""

    mask_shapes: Mapping[str, Size]

    def batched(
        self, weights: Mapping[str, Tensor], x: Tensor, masks: Mapping[str, Tensor]
    ) -> Tensor:
        """Return `[replicas, draws, points, outputs]`."""
