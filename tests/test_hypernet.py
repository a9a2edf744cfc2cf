"""Bayes by Hypernet: its entropy estimates against closed forms, and how near its fit comes."""

from __future__ import annotations

import math

import pytest
import torch
from small import apart, normal, two_classes

from bnn.check.linear import LinearGaussian, linear_regression
from bnn.errors import InputError
from bnn.methods import Hypernet
from bnn.methods.hypernet import joint_entropy, marginal_entropy
from bnn.networks import MLP
from bnn.optimise import Training
from bnn.priors import Flat
from bnn.problem import Problem


def test_the_spacings_of_uniform_numbers_have_their_entropy_on_average() -> None:
    widths = torch.tensor([1.0, 0.1, 5.0]).double()
    generator = torch.Generator().manual_seed(0)
    draws = widths * torch.rand(20_000, 10, 3, generator=generator, dtype=torch.float64)
    for k in (1, 3):
        found = marginal_entropy(draws, k)
        error = found.std() / math.sqrt(20_000)
        assert abs(found.mean() - widths.log().sum()) < 4 * error  # false alarm: 1 in 16,000
        assert error < 0.02


@pytest.mark.parametrize("size", [1, 3])
def test_the_neighbours_of_normal_numbers_have_their_entropy(size: int) -> None:
    mix = torch.eye(size).double() + 0.5 * torch.ones(size, size).double().triu(1)
    draws = normal(40, 500, size) @ mix.mT  # correlated, of determinant one
    found = joint_entropy(draws, 3)
    expected = size / 2 * math.log(2 * math.pi * math.e)
    # The bias at 500 draws is below 0.05 nats (the curvature of the density within r_s).
    assert abs(found.mean() - expected) < 0.05 + 4 * found.std() / math.sqrt(40)


def test_the_neighbours_are_those_of_brute_force() -> None:
    draws = normal(2, 6, 2)
    for r in range(2):
        total = 0.0
        for s in range(6):
            distances = sorted((draws[r, s] - draws[r, t]).norm().item() for t in range(6))
            total += math.log(distances[2])
        psi = torch.tensor([6.0, 2.0]).double().digamma()
        expected = 2 * total / 6 + math.log(math.pi) + (psi[0] - psi[1]).item()
        assert joint_entropy(draws, 2)[r].item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("estimate", [marginal_entropy, joint_entropy])
def test_an_entropy_grows_by_the_logarithm_of_a_scale_and_not_by_a_shift(estimate) -> None:
    draws = normal(2, 10, 4)
    before, after = estimate(draws, 3), estimate(3 * draws + 7, 3)
    assert apart(after - before, torch.full((2,), 4 * math.log(3), dtype=draws.dtype)) < 1e-12


@pytest.mark.parametrize("estimate", [marginal_entropy, joint_entropy])
def test_equal_draws_are_no_error(estimate) -> None:
    draws = torch.zeros(1, 5, 2).double().requires_grad_()
    found = estimate(draws, 3)
    (gradient,) = torch.autograd.grad(found.sum(), draws)
    assert found.isfinite().all()
    assert gradient.isfinite().all()


def fitted(method: Hypernet) -> tuple[LinearGaussian, torch.Tensor, torch.Tensor]:
    """Return the truth of a linear model, and mean and covariance of 4,000 draws of a fit."""
    problem = linear_regression()
    weights = method.fit(problem, [0]).family.sample(normal(1, 4000, method.latent, seed=7))[0]
    return LinearGaussian.of(problem), weights.mean(0), weights.mT.cov()


def test_with_the_joint_entropy_a_linear_model_is_met_but_for_a_tenth_in_width() -> None:
    training = Training(epochs=0, steps=1200, learning_rate=0.03, decay=True, average=0.3)
    truth, mean, covariance = fitted(
        Hypernet(entropy="joint", draws=50, initial_scale=0.1, training=training)
    )
    spread = truth.covariance.diagonal().sqrt()
    ratio = covariance.diagonal().sqrt() / spread
    assert ((mean - truth.mean).abs() < 0.15 * spread).all()
    assert (ratio > 0.85).all()
    assert (ratio < 1.3).all()  # 50 draws are few for four directions: it is too wide
    found = covariance[0, 1] / (ratio * spread)[:2].prod()
    exact = truth.covariance[0, 1] / spread[:2].prod()
    assert abs(found - exact) < 0.15  # of a correlation of -0.52


def test_with_the_marginal_entropy_correlations_are_exaggerated() -> None:
    training = Training(epochs=0, steps=1200, learning_rate=0.03, decay=True)
    truth, mean, covariance = fitted(Hypernet(initial_scale=0.1, training=training))
    spread = truth.covariance.diagonal().sqrt()
    ratio = covariance.diagonal().sqrt() / spread
    assert ((mean - truth.mean).abs() < 0.15 * spread).all()
    assert (ratio > 0.85).all()
    assert (ratio < 2.0).all()
    assert ratio.max() > 1.2
    exact = truth.covariance[0, 1] / spread[:2].prod()
    assert covariance[0, 1] / (ratio * spread)[:2].prod() < exact - 0.25  # -0.8 in place of -0.52


@pytest.mark.parametrize("entropy", ["marginal", "joint"])
def test_every_posterior_says_that_its_objective_is_no_elbo(entropy: str) -> None:
    problem = Problem.of(two_classes(40, replicas=2), MLP(3, [4], 2, "tanh").double())
    posterior = Hypernet(entropy=entropy, training=Training(epochs=2)).fit(problem, [0, 1])
    (told,) = posterior.caveats
    assert "not an ELBO" in told
    assert "10 draws" in told
    assert posterior.family.atoms is None


def test_an_improper_prior_is_refused() -> None:
    problem = Problem.of(two_classes(30), MLP(3, [], 2).double(), Flat())
    with pytest.raises(InputError, match="a proper prior; found Flat"):
        Hypernet().fit(problem, [0])


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"latent": 0}, "latent of at least one; found 0"),
        ({"hidden": 0.5}, "hidden of at least one; found 0.5"),
        ({"neighbour": 0}, "neighbour of at least one; found 0"),
        ({"draws": 3}, "more draws than neighbour=3.*found draws=3"),
        ({"entropy": "layer"}, "found 'layer'"),
        ({"initial_scale": -1.0}, "initial scale"),
    ],
)
def test_settings_that_mean_nothing_are_refused(setting: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Hypernet(**setting)
