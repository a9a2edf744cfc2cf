"""How cost grows: fitted slopes, measurements in fresh processes, and what is kept under load."""

from __future__ import annotations

import math

import pytest
from scipy.stats import linregress

from bnn.benchmark.growth import AXES, Growth, Slope, measure
from bnn.benchmark.stress import Stress


def test_a_slope_is_the_exponent_of_a_power() -> None:
    size = [10, 100, 1000]
    found = Slope.of(size, [3 * s**1.5 for s in size])
    assert found.value == pytest.approx(1.5, abs=1e-12)
    assert found.error == pytest.approx(0, abs=1e-7)


def test_a_slope_and_its_error_are_those_of_least_squares() -> None:
    size, cost = [1, 3, 10, 30, 100], [2.0, 5.0, 24.0, 50.0, 240.0]
    known = linregress([math.log(s) for s in size], [math.log(c) for c in cost])
    found = Slope.of(size, cost)
    assert found.value == pytest.approx(known.slope, rel=1e-10)
    assert found.error == pytest.approx(known.stderr, rel=1e-8)


def test_costs_too_low_to_tell_are_left_out() -> None:
    assert Slope.of([1, 10, 100], [0.0, 10.0, 100.0]).value == pytest.approx(1)
    assert math.isnan(Slope.of([1, 10], [0.0, 10.0]).value)


def test_what_is_unknown_is_null() -> None:
    told = Growth(AXES[0], (1, 10), (0.5, 5.0), (0.0, 8.0)).to_json()
    assert told["seconds_slope"] == pytest.approx(1)
    assert (told["seconds_slope_error"], told["bytes_slope"]) == (None, None)
    assert (told["size"], told["bytes"]) == ([1, 10], [0.0, 8.0])


def test_a_quick_look_measures_an_axis_in_fresh_processes() -> None:
    """The prediction's 1,000 x 500 outputs alone take two million bytes in float32."""
    told = []
    found = measure(AXES[1], quick=True, told=lambda: told.append(1))
    assert found.size == AXES[1].quick
    assert len(told) == len(found.size)
    assert all(seconds > 0 for seconds in found.seconds)
    assert found.bytes[-1] > 2e6


def test_axes_reach_as_far_as_they_must() -> None:
    ends = {axis.name: (axis.sizes[0], axis.sizes[-1]) for axis in AXES}
    assert ends == {
        "replicas": (1, 200),
        "draws": (10, 10_000),
        "points": (100, 1_000_000),
        "parameters": (1000, 10_000_000),
    }


@pytest.mark.parametrize("size", [1000, 100_000])
def test_a_network_has_as_many_parameters_as_it_says(size: int) -> None:
    method_and_problem = AXES[3].work(size).__closure__
    posed = next(c.cell_contents for c in method_and_problem if hasattr(c.cell_contents, "layout"))
    assert posed.layout.size == pytest.approx(size, rel=0.1)


def test_what_is_kept_under_load_is_relative_to_the_share_of_a_core() -> None:
    assert Stress(2, (9.0, 3.0, 6.0), (6.0, 2.0, 4.0)).kept == pytest.approx(1)
    assert Stress(1, (8.0,), (1.0,)).kept == pytest.approx(1 / 4)
