"""Rows labelled by distributions over the classes: from the likelihood to the store."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from small import apart, normal, quick, table
from torch import Tensor

from bnn.batch import Batch
from bnn.data import Dataset, fashion_mnist_human
from bnn.evaluation import evaluate
from bnn.likelihoods import Categorical, SoftLabels
from bnn.methods import MLE, MeanField, Method
from bnn.metrics.likelihood import cross_entropy
from bnn.networks import MLP
from bnn.posterior import predict
from bnn.predictive import CategoricalMixture, log_mean_exp
from bnn.priors import Normal
from bnn.problem import Problem
from bnn.store import Store

METHODS = (MLE(), MeanField())
every_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)


def mixture() -> CategoricalMixture:
    return CategoricalMixture(F.log_softmax(normal(2, 5, 3, 4), -1))


def shares(*shape: int, seed: int = 9) -> Tensor:
    return F.softmax(2 * normal(*shape, seed=seed), -1)


def soft(rows: int = 60, replicas: int = 2) -> Dataset:
    """Three classes with known probabilities, as labels."""
    x = normal(rows, 3, seed=1)
    return table(x, F.softmax(2 * x @ normal(3, 3, seed=2), -1), classes=3, replicas=replicas)


def pose(data: Dataset) -> Problem:
    return Problem.of(data, MLP(3, [5], 3, "tanh").double())


# The predictive


def test_log_prob_of_a_distribution_by_hand() -> None:
    log_probs = torch.tensor([0.25, 0.5, 0.25], dtype=torch.float64).log()
    one = CategoricalMixture(log_probs.reshape(1, 1, 1, 3))
    y = torch.tensor([[[0.5, 0.5, 0.0]]], dtype=torch.float64)
    assert one.log_prob(y).item() == pytest.approx(-1.5 * math.log(2), abs=1e-15)
    assert one.draw_log_prob(y).item() == pytest.approx(-1.5 * math.log(2), abs=1e-15)


def test_a_distribution_with_all_mass_on_a_class_is_that_class() -> None:
    numbers = torch.tensor([[0, 3, 1], [2, 2, 0]])
    distributions = F.one_hot(numbers, 4).double()
    assert torch.equal(mixture().log_prob(distributions), mixture().log_prob(numbers))
    assert torch.equal(mixture().draw_log_prob(distributions), mixture().draw_log_prob(numbers))


def test_log_prob_of_a_distribution_is_minus_the_cross_entropy_of_the_mixture() -> None:
    q = shares(2, 3, 4)
    log_probs = log_mean_exp(mixture().draw_log_probs, 1)
    assert apart(mixture().log_prob(q), -cross_entropy(log_probs, q)) < 1e-15
    # By Jensen, no less than the mean over the draws: q is no event that a draw gives a chance to.
    assert (mixture().log_prob(q) > mixture().draw_log_prob(q).mean(1)).all()


def test_an_impossible_class_counts_only_where_the_label_has_mass() -> None:
    log_probs = torch.tensor([1.0, 0.0], dtype=torch.float64).log().reshape(1, 1, 1, 2)
    q = torch.tensor([[[1.0, 0.0]], [[0.9, 0.1]]], dtype=torch.float64)
    found = CategoricalMixture(log_probs.expand(2, -1, -1, -1))
    assert found.log_prob(q).flatten().tolist() == [0.0, -math.inf]
    assert found.draw_log_prob(q).flatten().tolist() == [0.0, -math.inf]


# The fit


@every_method
def test_distributions_with_all_mass_on_a_class_train_alike(method: Method) -> None:
    x, y = normal(60, 3, seed=1), torch.arange(60) % 3
    method = quick(method, epochs=5, batch_size=20)
    hard = pose(table(x, y, classes=3, replicas=2))
    one_hot = pose(table(x, F.one_hot(y, 3).double(), classes=3, replicas=2))
    assert hard.likelihood == Categorical()
    assert one_hot.likelihood == SoftLabels()
    found, expected = (method.fit(problem, [4, 5]).fit.parameters for problem in (one_hot, hard))
    assert apart(found, expected) < 1e-13


def test_maximum_likelihood_recovers_the_distributions() -> None:
    """The cross-entropy of soft labels is least where the prediction is the label."""
    x = normal(60, 3, seed=1)
    slopes = normal(3, 3, seed=2)
    data = table(x, F.softmax(x @ slopes, -1), classes=3)
    problem = Problem.of(data, torch.nn.Linear(3, 3).double())
    method = quick(MLE(), epochs=1500, batch_size=60, learning_rate=0.05, decay=True)
    found = predict(method.fit(problem, [0]), data.train.x)
    assert apart(found.probs, data.train.y) < 1e-4
    floor = -(data.train.y * data.train.y.log()).sum(-1)
    assert apart(-found.log_prob(data.train.y), floor) < 1e-6


# The run


def batch(data: Dataset, network: torch.nn.Module, method: Method) -> Batch:
    return Batch(
        study="soft",
        dataset="small",
        data=data,
        network=network,
        prior=Normal(1.0),
        likelihood=None,
        method=method,
        seeds=(0, 1),
        design="resplit",
        draws=8,
    )


@every_method
def test_runs_are_scored_against_distributions_and_stored(method: Method, tmp_path: Path) -> None:
    made = batch(soft(), MLP(3, [5], 3).double(), quick(method, epochs=5)).runs()
    for run, arrays in made:
        assert run.status == "finished", run.message
        y = torch.from_numpy(arrays["test_y"])
        nll = cross_entropy(torch.from_numpy(arrays["test_probs"]).log(), y)
        assert run.scores["nll"].value == pytest.approx(nll.mean().item(), rel=1e-6)
        assert {"accuracy", "brier", "entropy"} <= set(run.scores)
        assert "ece" not in run.scores  # a distribution is neither hit nor missed
        Store(tmp_path).save(run, arrays)
        back = Store(tmp_path).arrays(run)
        assert back["test_y"].shape == y.shape
        assert back["test_draw_log_prob"].shape == arrays["test_draw_log_prob"].shape


@pytest.mark.usefixtures("real_images")
@every_method
def test_labels_that_people_gave_are_learnt(method: Method) -> None:
    data = fashion_mnist_human([0, 1], points=500, validation=100)
    network = MLP(784, [20], 10)
    for run, arrays in batch(data, network, quick(method, epochs=30, decay=True)).runs():
        assert run.status == "finished", run.message
        assert arrays["test_y"].shape == arrays["test_probs"].shape == (1_000, 10)
        assert run.scores["nll"].value < math.log(10) - 0.9
        assert run.scores["accuracy"].value > 0.6


# Counts


def test_counts_of_labels_weigh_every_label_and_are_scored_as_distributions() -> None:
    shared = soft()
    counts = torch.distributions.Multinomial(20, shared.y).sample()
    data, rows = replace(shared, y=counts), replace(shared, y=counts / 20)
    weighted = Problem.of(data, MLP(3, [5], 3).double(), likelihood=SoftLabels(counts=True))
    plain = Problem.of(rows, MLP(3, [5], 3).double())
    weights = 0.1 * normal(2, 1, weighted.layout.size)
    found, expected = (
        problem.loss(weights, *problem.batch(problem.train)) for problem in (weighted, plain)
    )
    assert apart(found, 20 * expected) < 1e-12
    same = [evaluate(quick(MLE()).fit(plain, (0, 1)), part, 1) for part in (data, rows)]
    for one, two in zip(*same, strict=True):
        assert one.scores["nll"] == two.scores["nll"]
        assert math.isclose(one.arrays["test_y"].sum(), data.test.points, rel_tol=1e-5)
