"""Every method against answers that are known exactly: what `bnn check all` prints, as tests.

False alarms, should the seeds ever change: `bnn.check.moments` 1 in 1,100 for a sampler,
`bnn.check.evidence` 1 in 16,000 for a row, `bnn.check.gradients` 1 in 10,000 for a method.
"""

from __future__ import annotations

import pytest

from bnn.check import Row, Subject, check
from bnn.check.predictions import predictions
from bnn.methods import MAP, METHODS, Method
from bnn.optimise import Training


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_method_is_as_exact_as_it_says(method: Method) -> None:
    rows = check(method)
    assert failed(rows) == []
    kinds = {row.check.split(":")[0] for row in rows}
    assert "logistic model" in kinds
    assert ("linear model" in kinds) == (method.accuracy.linear != "none")
    assert ("ELBO, nats" in kinds) == method.accuracy.elbo
    if isinstance(getattr(method, "training", None), Training) and "linear model" in kinds:
        assert "gradient" in kinds


def failed(rows: list[Row]) -> list[Row]:
    return [row for row in rows if not row.passed]


def test_the_nearer_to_the_posterior_the_nearer_to_its_predictions() -> None:
    by_name = {method.name: method for method in METHODS}
    errors = {
        name: predictions(Subject(by_name[name]))[0].found for name in ("hmc", "map", "mean_field")
    }
    assert 0 < errors["hmc"] < errors["mean_field"] < errors["map"]


def test_the_row_of_a_check_says_what_was_told() -> None:
    told: list[float] = []
    rows = check(MAP(), told.append)
    assert told == sorted(told)
    assert told[-1] == 1
    assert {row.method for row in rows} == {"map"}
