"""Every method against answers that are known exactly: what `bnn check all` prints, as tests.

False alarms, should the seeds ever change: `bnn.check.moments` 1 in 1,100 for a sampler,
`bnn.check.evidence` 1 in 16,000 for a row, `bnn.check.gradients` 1 in 10,000 for a method.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import get_args, get_type_hints

import pytest

from bnn.check import CHECKS, Row, Subject, check
from bnn.check.gradients import gradients
from bnn.check.moments import moments
from bnn.check.predictions import mixture, predictions
from bnn.check.training import training
from bnn.methods import MAP, METHODS, NUTS, Method
from bnn.methods.accuracy import Accuracy
from bnn.optimise import Training

# NUTS, chain by chain, takes minutes for all of it.
MARKED = [
    pytest.param(method, marks=[pytest.mark.slow] if method.name == "nuts" else [], id=method.name)
    for method in METHODS
]


@pytest.mark.parametrize("method", MARKED)
def test_a_method_is_as_exact_as_it_says(method: Method) -> None:
    rows = check(method)
    assert failed(rows) == []
    kinds = {row.check.split(":")[0] for row in rows}
    assert "logistic model" in kinds
    assert ("linear model" in kinds) == (method.accuracy.linear != "none")
    assert ("ELBO, nats" in kinds) == method.accuracy.elbo
    approximate = method.accuracy.linear == "approximate"
    assert any("spread of outputs" in row.check for row in rows) == approximate
    if isinstance(getattr(method, "training", None), Training) and "linear model" in kinds:
        assert "gradient" in kinds


@dataclass(frozen=True)
class Brief(NUTS):
    """A quarter of the samples that NUTS is checked with in the end."""

    def thorough(self) -> NUTS:
        return replace(NUTS().thorough(), warmup=200, samples=250)


def test_few_samples_of_nuts_tell_a_linear_model() -> None:
    subject = Subject(Brief())
    rows = moments(subject) + mixture(subject)
    assert failed(rows) == []
    assert len(rows) == 5


def failed(rows: list[Row]) -> list[Row]:
    return [row for row in rows if not row.passed]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3, 4])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_it_is_so_with_other_seeds_too(method: Method, seed: int) -> None:
    subject = Subject(method, seed=seed)
    assert failed([row for each in CHECKS for row in each(subject)]) == []


# Every way to estimate a gradient, also those that are not a method's most exact one


@dataclass(frozen=True)
class Estimated:
    """A method trained a little, with one of its estimators."""

    method: Method

    @property
    def name(self) -> str:
        return f"{self.method.name}, {self.method.estimator}"

    @property
    def accuracy(self) -> Accuracy:
        return self.method.accuracy

    def thorough(self) -> Method:
        short = Training(epochs=500, learning_rate=0.03, decay=True)
        return replace(self.method, draws=1, training=short)


def choices(kind: object) -> list[str]:
    """Return the words of a literal type, or of several joined."""
    return [word for part in get_args(kind) for word in choices(part) or [part]]


ESTIMATED = [
    Estimated(replace(method, estimator=estimator))
    for method in METHODS
    if hasattr(method, "estimator")
    for estimator in choices(get_type_hints(type(method))["estimator"])
]


def test_there_are_estimators_to_check() -> None:
    assert {"mean_field, reparameterised", "mean_field, path"} <= {m.name for m in ESTIMATED}


@pytest.mark.parametrize("method", ESTIMATED, ids=lambda method: method.name)
def test_an_estimator_is_unbiased_and_its_kl_is_right(method: Estimated) -> None:
    subject = Subject(method)
    rows = training(subject) + gradients(subject)
    assert failed(rows) == []
    closed = hasattr(subject.posterior.family, "covariance")  # a flow's KL has no closed form
    assert {row.check.split(",")[0] for row in rows} == {
        *(["loss: KL term"] if closed else []),
        "gradient: mean of all 780 subsets",
        "gradient: bias",
        "gradient: least bias seen",
    }


def test_the_nearer_to_the_posterior_the_nearer_to_its_predictions() -> None:
    by_name = {method.name: method for method in METHODS}
    errors = {
        name: predictions(Subject(by_name[name]))[0].found for name in ("hmc", "map", "mean_field")
    }
    assert 0 < errors["hmc"] < errors["mean_field"] < errors["map"]


def test_the_progress_of_a_check_is_told_and_its_rows_bear_the_methods_name() -> None:
    told: list[float] = []
    rows = check(MAP(), told.append)
    assert told == sorted(told)
    assert told[-1] == 1
    assert {row.method for row in rows} == {"map"}
