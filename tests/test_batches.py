"""Rows in batches: every order is one of the rows as they came."""

from __future__ import annotations

import torch
from small import normal

from bnn.data.batches import Batches


def test_batches_are_cut_from_the_rows_in_order() -> None:
    rows = normal(3, 10, 2)
    expected, batches = rows.clone(), Batches(rows.clone(), 4)
    parts = batches.parts
    assert torch.equal(torch.cat(list(parts), dim=1), expected)
    for seed in (0, 1):
        order = normal(3, 10, seed=seed).argsort(1)
        batches.order((order + 10 * torch.arange(3)[:, None]).flatten())
        ordered = torch.stack([part[own] for part, own in zip(expected, order, strict=True)])
        assert torch.equal(torch.cat(list(parts), dim=1), ordered)


def test_rows_that_share_their_memory_are_ordered_apart() -> None:
    batches = Batches(normal(1, 4, 2).expand(2, 4, 2), 4)
    before = batches.parts[0].clone()
    batches.order(torch.tensor([0, 1, 2, 3, 7, 6, 5, 4]))
    assert torch.equal(batches.parts[0][0], before[0])
    assert torch.equal(batches.parts[0][1], before[1].flip(0))
