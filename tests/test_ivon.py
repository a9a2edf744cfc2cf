"""IVON: its update against the paper's algorithm, and its fixed point against the closed form."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from small import apart, normal, real_targets, two_classes
from torch import Tensor

from bnn.check.linear import LinearGaussian, linear_regression
from bnn.errors import InputError
from bnn.methods import IVON
from bnn.methods.ivon import VariationalNewton, half_negative_elbo, normal_prior
from bnn.methods.mean_field import FactorisedNormal
from bnn.networks import MLP
from bnn.optimise import Training
from bnn.priors import Flat, Laplace, Normal, Prior, StudentT
from bnn.problem import Problem
from bnn.seeds import Streams
from bnn.variational import fast_negative_elbo

CPU = torch.device("cpu")
NOISE = Streams([0, 1], "unused", CPU, torch.float64)


def newton(
    guide: Tensor, loc: Tensor, scale: Tensor, points: int, **of: float
) -> VariationalNewton:
    return VariationalNewton(guide, loc, scale, points, IVON(**of))


def test_the_update_is_the_papers_algorithm() -> None:
    """Algorithm 1 of Shen et al., with lambda = N and a delta for each weight, prior mean zero."""
    points, rate, beta1, beta2 = 50, 0.05, 0.9, 0.99
    delta = 1 / (points * torch.tensor([0.5, 1.0, 2.0]).double() ** 2)
    m, h, g = normal(2, 3), torch.full((2, 3), 0.3).double(), torch.zeros(2, 3).double()
    sigma = (points * (h + delta)).rsqrt()
    guide = torch.stack([m, sigma.log()], dim=1)
    scale = (points * delta).rsqrt()
    update = newton(
        guide, torch.zeros(3).double(), scale, points, beta1=beta1, beta2=beta2, clip=1e9
    )
    for t in range(1, 30):
        eps, slope = normal(2, 3, seed=t), normal(2, 3, seed=100 + t)
        measured = slope * eps / sigma
        gradient = torch.stack([slope, slope * eps * sigma], dim=1)
        update.step(guide, gradient, rate, NOISE)
        g = beta1 * g + (1 - beta1) * slope
        jump = (1 - beta2) * (h - measured)
        h = beta2 * h + (1 - beta2) * measured + jump**2 / (2 * (h + delta))
        m = m - rate * (g / (1 - beta1**t) + delta * m) / (h + delta)
        sigma = (points * (h + delta)).rsqrt()
        assert apart(guide[:, 0], m) < 1e-12
        assert apart(guide[:, 1], sigma.log()) < 1e-12


def test_without_data_it_rests_at_the_prior_of_each_weight() -> None:
    loc, scale = torch.tensor([0.0, -1.2]).double(), torch.tensor([0.5, 3.0]).double()
    guide = normal(2, 2, 2)
    update = newton(guide, loc, scale, 20, beta2=0.95)
    for _ in range(800):
        update.step(guide, torch.zeros(2, 2, 2).double(), 0.1, NOISE)
    assert apart(guide[:, 0], loc.expand(2, 2)) < 1e-9
    assert apart(guide[:, 1], scale.log().expand(2, 2)) < 1e-9


def test_no_gradient_makes_a_variance_negative_and_no_step_is_longer_than_the_clip() -> None:
    guide = torch.zeros(2, 2, 5).double()
    update = newton(guide, torch.zeros(5).double(), torch.ones(5).double(), 100, clip=2.0)
    for t in range(50):
        before = guide.clone()
        update.step(guide, 1e4 * normal(2, 2, 5, seed=t), 0.1, NOISE)
        assert guide.isfinite().all()
        assert apart(guide[:, 0], before[:, 0]) <= 0.2 + 1e-12


def test_its_curve_is_the_elbo_and_its_gradient_the_losss() -> None:
    problem = Problem.of(two_classes(30, replicas=2), MLP(3, [4], 2, "tanh").double())
    guide = 0.3 * normal(2, 2, problem.layout.size)
    x, y = problem.batch(problem.train)

    def noise() -> Streams:
        return Streams([3, 4], "a test", CPU, torch.float64)

    eps = noise().normal(1, 2, problem.layout.size)[:, 0]
    expected = fast_negative_elbo(FactorisedNormal, problem, guide, eps, x, y)
    guide.requires_grad_()
    found = half_negative_elbo(problem, guide, x, y, noise(), 2)
    assert apart(found.detach(), expected) < 1e-13
    loss = problem.loss(FactorisedNormal(guide).sample(eps), x, y).mean(1)
    (gradient,) = torch.autograd.grad(found.sum(), guide)
    assert apart(gradient, torch.autograd.grad(loss.sum(), guide)[0]) < 1e-13


@pytest.mark.parametrize("batch_size", [40, 10], ids=["all rows", "minibatches"])
def test_it_reaches_the_best_factorised_normal_of_a_linear_model(batch_size: int) -> None:
    problem = linear_regression()
    truth = LinearGaussian.of(problem)
    precision = truth.precision.diagonal()
    training = Training(
        epochs=0, steps=4000, learning_rate=0.1, batch_size=batch_size, decay=True, average=0.5
    )
    posterior = IVON(beta2=0.997, draws=4, training=training).fit(problem, range(40))
    family = posterior.family
    away = (family.mean - truth.mean) * precision.sqrt()
    ratio = family.scale**2 * precision
    # A single fit, and, where the noise of its gradients is averaged out, the mean of many.
    assert away.abs().max() < 0.1  # standard deviations
    assert apart(ratio, torch.ones(40, 4)) < 0.1
    assert away.mean(0).abs().max() < 0.01
    assert apart(ratio.mean(0), torch.ones(4)) < 0.02
    # which is narrower than the posterior where weights are correlated
    assert (truth.covariance.diagonal()[:2] * precision[:2] > 2).all()


def test_its_prior_is_that_of_each_layer_and_of_the_noise() -> None:
    prior = Normal({"*.bias": 2.0, "*": 0.5})
    problem = Problem.of(real_targets(20), MLP(3, [], 1).double(), prior=prior)
    loc, scale = normal_prior(problem)
    assert apart(scale, torch.tensor([0.5, 0.5, 0.5, 2.0, 1.0])) < 1e-15
    assert apart(loc, torch.tensor([0, 0, 0, 0, math.log(0.3)]).double()) < 1e-7


@pytest.mark.parametrize("prior", [Laplace(1.0), StudentT(1.0), Flat()], ids=str)
def test_another_prior_is_refused(prior: Prior) -> None:
    problem = replace(linear_regression(), prior=prior)
    with pytest.raises(InputError, match=r"independent Normals, as IVON's .*found .*MeanField"):
        IVON().fit(problem, [0])


def test_the_last_layer_alone() -> None:
    problem = Problem.of(two_classes(40, replicas=2), MLP(3, [4], 2, "tanh").double())
    method = IVON(last_layer=True, training=Training(epochs=5))
    posterior = method.fit(problem, [0, 1])
    assert posterior.fit.parameters.shape == (2, 2, 10)
    assert set(posterior.weights(3)) == {"layers.1.weight", "layers.1.bias"}


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"initial_hessian": 0.0}, "positive, finite initial Hessian; found 0.0"),
        ({"clip": float("inf")}, "positive, finite clip; found inf"),
        ({"beta1": 1.0}, r"beta1 in \[0, 1\); found 1.0"),
        ({"beta2": -0.1}, r"beta2 in \[0, 1\); found -0.1"),
        ({"draws": 0}, "at least one draw"),
    ],
)
def test_settings_that_mean_nothing_are_refused(setting: dict[str, float], said: str) -> None:
    with pytest.raises(InputError, match=said):
        IVON(**setting)
