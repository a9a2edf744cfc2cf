"""Layout: names and places in the flat vector."""

from __future__ import annotations

import torch
from small import normal
from torch import Size, nn
from torch.nn.utils import parameters_to_vector

from bnn.layout import Layout

LAYOUT = Layout({"w": Size([2, 3]), "b": Size([2]), "scale": Size([]), "k": Size([4, 3, 2, 2])})


def test_the_flat_vector_is_that_of_torch() -> None:
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.LayerNorm(4), nn.Linear(4, 2))
    layout = Layout.of(network)
    named = dict(network.named_parameters())
    assert list(layout.shapes) == list(named)
    assert torch.equal(layout.flat(named), parameters_to_vector(network.parameters()))
    assert layout.size == sum(p.numel() for p in network.parameters())


def test_views_and_back_give_the_same_vector() -> None:
    assert LAYOUT.size == 6 + 2 + 1 + 48
    flat = normal(5, 7, LAYOUT.size)
    views = LAYOUT.views(flat)
    assert {name: view.shape for name, view in views.items()} == {
        "w": (5, 7, 2, 3),
        "b": (5, 7, 2),
        "scale": (5, 7),
        "k": (5, 7, 4, 3, 2, 2),
    }
    assert torch.equal(LAYOUT.flat(views), flat)


def test_places_are_in_order_and_by_rows() -> None:
    views = LAYOUT.views(torch.arange(57.0))
    assert views["w"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert views["b"].tolist() == [6, 7]
    assert views["scale"].item() == 8
    assert views["k"][0, 0].tolist() == [[9, 10], [11, 12]]


def test_views_share_the_memory_of_the_vector() -> None:
    flat = torch.zeros(3, LAYOUT.size)
    views = LAYOUT.views(flat)
    views["w"][1, 1, 2] = 4.0
    views["scale"][2] = 5.0
    assert flat[1, 5] == 4
    assert flat[2, 8] == 5
    assert flat.sum() == 9


def test_a_sum_of_layouts_appends() -> None:
    both = Layout({"w": Size([2])}) + Layout({"v": Size([])})
    assert list(both.shapes) == ["w", "v"]
    assert both.views(torch.tensor([1.0, 2.0, 3.0]))["v"] == 3


def test_fill_is_constant_within_each_parameter_and_exact() -> None:
    value = {"w": 0.1, "b": 2.0, "scale": 3.0, "k": 1 / 3}
    filled = LAYOUT.fill(value)
    assert filled.dtype == torch.float64
    assert filled.tolist() == [0.1] * 6 + [2.0] * 2 + [3.0] + [1 / 3] * 48


def test_fan_in_counts_the_inputs_of_a_unit() -> None:
    assert [LAYOUT.fan_in(name) for name in ("w", "b", "k")] == [3, 1, 12]
