"""Rows dealt in batches, in an order that changes."""

from __future__ import annotations

import torch
from torch import Tensor


class Batches:
    """Rows of all replicas, cut into batches of equal size.

    Arguments:
        rows: `[replicas, points, ...]`; they are put in order in place, once there is one.
        size: of a batch. A ragged last one is dealt too, for the caller to leave out.
    """

    def __init__(self, rows: Tensor, size: int) -> None:
        rows = rows.contiguous()
        self._dealt, self._source = rows, rows[:0]
        self.parts = rows.split(size, dim=1)  # they stay the same tensors in every order

    def order(self, rows: Tensor) -> None:
        """Put the rows, as they were first, in an order.

        Arguments:
            rows: their numbers, `[replicas * points]`, counted through all replicas.
        """
        if not len(self._source):
            self._dealt = self._dealt.flatten(0, 1)
            self._source = self._dealt.clone()
        torch.index_select(self._source, 0, rows, out=self._dealt)
