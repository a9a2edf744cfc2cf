"""The checks themselves: right answers pass them, and wrong methods fail the rows that they should.

Every wrong method here is a right one with one defect.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from io import StringIO

import pytest
import torch
from rich.console import Console
from small import As
from torch import Tensor

from bnn.check import Row, Subject, table
from bnn.check.evidence import evidence
from bnn.check.gradients import _compared, gradients
from bnn.check.linear import LinearGaussian, linear_regression
from bnn.check.moments import moments
from bnn.check.objective import Crowd, Objective, SharedRows
from bnn.check.training import training
from bnn.exact import grid_posterior
from bnn.methods import MAP, MLE, MCDropout, MeanField, maximum_posterior
from bnn.methods.accuracy import Accuracy
from bnn.methods.maximum_likelihood import negative_log_likelihood
from bnn.methods.mean_field import FactorisedNormal
from bnn.optimise import Training
from bnn.posterior import Atoms, Chains, Family, Posterior
from bnn.problem import Problem
from bnn.seeds import Streams

CPU = torch.device("cpu")


# Rows


@pytest.mark.parametrize(
    ("relation", "found", "passed"),
    [
        ("=", 1.09, True), ("=", 0.91, True), ("=", 1.11, False), ("=", 0.89, False),
        ("<=", 0.0, True), ("<=", 1.09, True), ("<=", 1.11, False),
        (">=", 2.0, True), (">=", 0.91, True), (">=", 0.89, False),
        ("=", math.nan, False), ("<=", math.nan, False), (">=", math.nan, False),
        ("=", math.inf, False),
    ],
)  # fmt: skip
def test_a_row_passes_within_its_tolerance(relation, found, passed) -> None:
    assert Row("map", "x", 1.0, found, 0.1, relation).passed == passed


def test_the_table_says_which_row_failed() -> None:
    console = Console(width=120, file=StringIO())
    rows = [Row("map", "a [bold]", 1.0, 1.05, 0.1), Row("mle", "b", 1.0, 1.2, 0.1, "<=")]
    console.print(table(rows))
    first, second = [line for line in console.file.getvalue().splitlines() if " m" in line[:3]]
    assert first.split() == ["map", "a", "[bold]", "1", "1.05", "0.1", "passed"]
    assert second.split() == ["mle", "b", "≤", "1", "1.2", "0.1", "FAILED"]


# The truth itself, by other means


def truth() -> LinearGaussian:
    return LinearGaussian.of(linear_regression())


def test_the_closed_forms_are_those_of_a_lattice() -> None:
    problem = linear_regression(features=1, points=10)
    exact, found = LinearGaussian.of(problem), grid_posterior(problem)
    torch.testing.assert_close(found.mean, exact.mean)
    torch.testing.assert_close(found.covariance, exact.covariance)
    # p(D) = p(w, D) / p(w | D), at any w
    w = torch.tensor([0.3, -0.2], dtype=torch.float64)
    joint = problem.log_joint(w[None, None]).item()
    assert joint - exact.posterior.log_prob(w).item() == pytest.approx(exact.log_evidence)
    assert exact.negative_log_joint(w).item() == pytest.approx(-joint / 10)
    assert exact.negative_log_likelihood(w).item() == pytest.approx(
        -(joint - problem.log_prior(w[None, None]).item()) / 10
    )


def test_expected_losses_are_the_means_of_losses() -> None:
    # two means over 20,000 draws, each within 4 standard errors: false alarm 1 in 8,000
    exact, draws = truth(), 20_000
    mean, root = exact.mean + 0.1, 0.3 * torch.linalg.cholesky(exact.covariance)
    eps = Crowd(draws, "a test", mean).normal(1, 4)[:, 0]
    weights = mean + eps @ root.mT
    each = torch.stack([exact.negative_log_likelihood(w) for w in weights[:2000]])
    expected = exact.negative_log_likelihood(mean, root @ root.mT)
    assert (each.mean() - expected).abs() < 4 * each.std() / math.sqrt(2000)
    kept = Crowd(draws, "masks", mean).uniform(1, exact.points, 3)[:2000, 0] >= 0.2
    masked = torch.cat([kept / 0.8, torch.ones(2000, exact.points, 1)], -1) * exact.design
    each = torch.stack(
        [replace(exact, design=rows.double()).negative_log_joint(mean) for rows in masked]
    )
    expected = exact.dropped_loss(mean, 0.2)
    assert (each.mean() - expected).abs() < 4 * each.std() / math.sqrt(2000)


def test_the_optima_have_no_slope() -> None:
    exact = truth()
    for loss, at in (
        (exact.negative_log_likelihood, exact.least_squares),
        (exact.negative_log_joint, exact.mean),
        (partial(exact.dropped_loss, rate=0.3), exact.dropped(0.3)),
    ):
        at = at.clone().requires_grad_()
        assert torch.autograd.grad(loss(at), at)[0].abs().max() < 1e-12
    elbo = -exact.points * exact.negative_elbo(exact.mean, exact.covariance)
    assert elbo.item() == pytest.approx(exact.log_evidence)


# Moments


@dataclass(frozen=True)
class Exact:
    """Draws from the exact posterior, spread by a factor and put off by some of its deviations."""

    factor: float = 1.0
    shift: float = 0.0
    lag: float = 0.0  # correlation of one draw with the next
    samples: int = 2000
    family: Callable[[Tensor], Family] = field(default=lambda chains: Atoms(chains.flatten(1, 2)))
    accuracy: Accuracy = Accuracy("posterior", None, 0.01)
    name: str = "exact"

    def thorough(self) -> Exact:
        return self

    def fit(self, problem: Problem, seeds: Sequence[int], progress: object) -> Posterior:
        exact = LinearGaussian.of(problem)
        z = torch.empty(1, 4, self.samples, 4, dtype=torch.float64)
        fresh = Streams(seeds, "exact", CPU, torch.float64).normal(4, self.samples, 4)
        z[:, :, 0] = fresh[:, :, 0]
        for i in range(1, self.samples):
            kept = math.sqrt(1 - self.lag**2) * fresh[:, :, i]
            z[:, :, i] = self.lag * z[:, :, i - 1] + kept
        root = torch.linalg.cholesky(exact.covariance)
        chains = exact.mean + (self.factor * z + self.shift) @ root.mT
        return Posterior(problem, self.family(chains), tuple(seeds), None)


def failed(rows: list[Row]) -> list[str]:
    return [row.check for row in rows if not row.passed]


def test_exact_draws_pass_and_narrow_or_shifted_ones_do_not() -> None:
    for method in (Exact(), Exact(family=Chains), Exact(family=Chains, lag=0.8)):
        assert failed(moments(Subject(method))) == []
    spread = ["linear model: covariance, standard errors"]
    for factor in (0.8, 0.9, 1.15):
        assert failed(moments(Subject(Exact(factor=factor)))) == spread
        assert failed(moments(Subject(Exact(factor=factor, family=Chains)))) == spread
    shifted = Exact(shift=0.1, family=Chains)
    assert "linear model: mean, standard errors" in failed(moments(Subject(shifted)))


def test_too_few_draws_to_tell_anything_fail() -> None:
    scarce = ["linear model: least effective draws"]
    assert failed(moments(Subject(Exact(samples=60)))) == scarce
    assert failed(moments(Subject(Exact(family=Chains, lag=0.99)))) == scarce


def claims(**what: object) -> Exact:
    return Exact(accuracy=Accuracy(**{"tolerance": 1e-8, "probability": 0.01, **what}))


def test_a_claim_must_be_the_right_one() -> None:
    """What draws give to within a few per cent, no method may claim to 1e-8."""
    assert len(failed(moments(Subject(claims(linear="posterior"))))) == 2
    assert len(failed(moments(Subject(claims(linear="posterior", tolerance=0.1))))) == 0
    assert len(failed(moments(Subject(claims(linear="factorised", tolerance=0.1))))) == 1
    assert failed(moments(Subject(claims(linear="mode", tolerance=0.1)))) == []
    assert failed(moments(Subject(claims(linear="approximate", tolerance=0.1)))) == []
    assert len(failed(moments(Subject(claims(linear="approximate", tolerance=1e-3))))) == 1
    assert len(failed(moments(Subject(claims(linear="least_squares", tolerance=0.001))))) == 1


# Losses and gradients, each with one defect


SHORT = Training(epochs=500, learning_rate=0.05, decay=True)


def subject(method: object) -> Subject:
    return Subject(As(method))


def test_a_map_that_is_right_passes_every_row_on_its_loss() -> None:
    right = subject(MAP(SHORT))
    rows = training(right) + gradients(right)
    assert failed(rows) == []
    assert len(rows) == 3


PRIOR = "loss: prior's term, nats"
SUBSETS = "gradient: mean of all 780 subsets, relative"
GRADIENT = "gradient: relative error"


@pytest.mark.parametrize(
    ("divisor", "expected"),
    [
        (lambda problem, x: problem.points / 2, {PRIOR, GRADIENT}),  # the prior counted twice
        (lambda problem, x: math.inf, {PRIOR, GRADIENT}),  # forgotten
        (lambda problem, x: 1, {PRIOR, GRADIENT}),  # not per row
        (lambda problem, x: x.shape[1], {SUBSETS}),  # per batch: right for all rows only
    ],
    ids=["twice", "forgotten", "unscaled", "by the batch"],
)
def test_a_prior_that_is_scaled_wrongly_is_caught(
    divisor, expected: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def loss(problem: Problem, weights: Tensor, x: Tensor, y: Tensor, noise: Streams) -> Tensor:
        log_prior = problem.log_prior(weights[:, None])[:, 0]
        fitted = negative_log_likelihood(problem, weights, x, y, noise)
        return fitted - log_prior / divisor(problem, x)

    monkeypatch.setattr(maximum_posterior, "negative_log_joint", loss)
    monkeypatch.setattr(maximum_posterior, "of_joint", lambda *given: None)  # it would tell
    wrong = subject(MAP(SHORT))
    assert set(failed(training(wrong) + gradients(wrong))) == expected


def test_a_map_is_no_mle() -> None:
    wrong = replace(MAP.accuracy, linear="least_squares")
    lying = type("Lying", (MAP,), {"accuracy": wrong})(SHORT)
    rows = moments(subject(lying)) + training(subject(lying)) + gradients(subject(lying))
    assert failed(rows) == ["linear model: least squares, relative error", PRIOR, GRADIENT]
    assert failed(training(subject(MLE(SHORT)))) == []


def test_a_kl_term_counted_twice_is_caught_by_every_check() -> None:
    wrong = subject(MeanField(draws=16, kl_weight=2.0, training=SHORT))
    assert "linear model: covariance, relative error" in failed(moments(wrong))
    assert failed(evidence(wrong)) == [
        "KL(q || posterior), nats: the family's least",
        "ELBO, nats: that of the loss",
    ]
    assert failed(training(wrong)) == ["loss: KL term, nats"]
    assert failed(gradients(wrong)) == ["gradient: bias, standard errors"]


def test_a_guide_that_draws_too_narrowly_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """It spreads its draws by 0.9 of what its density says."""
    right = subject(MeanField(draws=16, training=SHORT))
    assert failed(training(right) + gradients(right)) == []
    sample = FactorisedNormal.sample
    monkeypatch.setattr(FactorisedNormal, "sample", lambda q, noise: sample(q, 0.9 * noise))
    assert failed(gradients(right)) == ["gradient: bias, standard errors"]
    assert "ELBO, nats: that of the loss" in failed(evidence(right))
    own = "linear model: draws against their own covariance, standard errors"
    assert own in failed(moments(right))


def test_dropout_at_another_rate_than_stated_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    method = MCDropout(rate=0.0, input_rate=0.1, training=SHORT)
    right = subject(method)
    assert failed(training(right) + gradients(right)) == []
    levels = Streams.levels

    def lower(streams: Streams, *shape: int) -> Tensor:
        right = levels(streams, *shape)
        return (0.9 * (right.double() + 2**15) - 2**15).to(right)

    monkeypatch.setattr(Streams, "levels", lower)
    wrong = subject(method)
    assert failed(gradients(wrong)) == ["gradient: bias, standard errors"]


def test_a_noisy_estimate_that_could_hide_a_bias_fails() -> None:
    crowd = Crowd(20_000, "a test", torch.empty(1, dtype=torch.float64))
    estimates = 1 + 10 * crowd.normal(1, 3)[:, 0]
    exact = torch.ones(3, dtype=torch.float64)
    assert failed(_compared("map", estimates, exact)) == ["gradient: least bias seen, relative"]
    biased = 1.1 + crowd.normal(1, 3)[:, 0]
    assert failed(_compared("map", biased, exact)) == ["gradient: bias, standard errors"]


# The tools


def test_noise_follows_its_row_into_every_batch() -> None:
    like = torch.empty(1, dtype=torch.float64)
    rows = torch.tensor([[0, 2, 4], [4, 1, 0]])
    whole = SharedRows(torch.arange(5)[None], 5, like).normal(2, 5, 6)
    some = SharedRows(rows, 5, like).normal(2, 3, 6)
    assert some.shape == (2, 2, 3, 6)
    for batch, numbers in zip(some, rows, strict=True):
        assert torch.equal(batch, whole[0][:, numbers])
    constant = SharedRows(rows, 5, like).normal(2, 7)
    assert torch.equal(constant, SharedRows(torch.arange(5)[None], 5, like).normal(2, 7)[[0, 0]])


def test_a_crowd_has_numbers_of_its_own_for_each() -> None:
    found = Crowd(5, "a test", torch.empty(1)).normal(2, 3)
    assert found.shape == (5, 2, 3)
    assert len(found.unique()) == 30


def test_what_is_caught_is_what_was_trained() -> None:
    objective = subject(MAP(SHORT)).objective
    assert isinstance(objective, Objective)
    problem = objective.problem
    x, y = problem.batch(problem.train)
    losses, slopes = objective.losses(x, y, Crowd(1, "none", x))
    exact = truth()
    assert losses[0].item() == pytest.approx(exact.negative_log_joint(exact.mean).item(), rel=1e-4)
    assert slopes.abs().max() < 0.02
