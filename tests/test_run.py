"""A run as text: what is written comes back, and what is no run is called so."""

import json
import math

import pytest
from test_store import a_run

from bnn.run import Curve, NoRun, Run, Score


def test_a_run_comes_back() -> None:
    assert Run.from_json(a_run().to_json()) == a_run()
    bare = a_run(scores={}, cost=None, curve=Curve())
    assert Run.from_json(bare.to_json()) == bare


def refuse(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_null_in_valid_json(value: float) -> None:
    run = a_run(
        scores={"nll": Score(value, value)},
        curve=Curve((1, 2), (1.0, value)),
        settings={"tried": (1.0, {"x": value})},
    )
    fields = json.loads(run.to_json(), parse_constant=refuse)
    assert fields["scores"]["nll"] == {"value": None, "error": None, "draw_error": None}
    assert fields["settings"] == {"tried": [1.0, {"x": None}]}
    found = Run.from_json(run.to_json())
    assert math.isnan(found.scores["nll"].value)
    assert found.scores["nll"].error is None
    assert found.curve.train[0] == 1.0
    assert math.isnan(found.curve.train[1])


def test_a_run_with_a_field_missing_or_unknown_is_none() -> None:
    fields = json.loads(a_run().to_json())
    for name in fields:
        with pytest.raises(NoRun):
            Run.from_json(json.dumps({k: v for k, v in fields.items() if k != name}))
    with pytest.raises(NoRun):
        Run.from_json(json.dumps({**fields, "colour": "red"}))


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": "1"},
        {"seed": 1.5},
        {"seed": True},
        {"seed": None},
        {"method": 3},
        {"key": None},
        {"status": "asleep"},
        {"design": ["fixed"]},
        {"provenance": []},
        {"settings": "none"},
        {"scores": {"nll": 0.1}},
        {"scores": {"nll": {"value": "low", "error": None, "draw_error": None}}},
        {"scores": {"nll": {"value": 1.0, "error": [], "draw_error": None}}},
        {"scores": {"nll": {"value": 10**400, "error": None, "draw_error": None}}},
        {"curve": {"epochs": 3, "train": [], "validation": [], "best": None}},
        {"curve": {"epochs": [1], "train": ["x"], "validation": [], "best": None}},
        {"curve": None},
        {"cost": 3.0},
        {"cost": {}},
    ],
)
def test_a_run_with_a_field_of_another_type_is_none(wrong: dict[str, object]) -> None:
    fields = json.loads(a_run().to_json())
    with pytest.raises(NoRun, match="Delete the file"):
        Run.from_json(json.dumps({**fields, **wrong}))
