"""Truth: methods against closed forms and scikit-learn, where the answer is known.

The networks are linear, so that it is. Everything is float64, full batch, for a fixed budget.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from small import apart, normal, real_targets, table, two_classes
from torch import Tensor, nn

from bnn.data import Dataset, digits, wine
from bnn.likelihoods import FixedNoise
from bnn.likelihoods import Normal as NormalLikelihood
from bnn.methods import MAP, MLE, MCDropout, MeanField, Method
from bnn.methods.mean_field import FactorisedNormal
from bnn.networks import MLP
from bnn.optimise import Training
from bnn.posterior import Posterior, predict
from bnn.priors import Laplace, Normal
from bnn.problem import Problem
from bnn.variational import fast_negative_elbo


def budget(points: int, epochs: int, learning_rate: float = 0.05) -> Training:
    return Training(epochs=epochs, learning_rate=learning_rate, batch_size=points, decay=True)


def linear(data: Dataset, outputs: int, **problem: object) -> Problem:
    features = math.prod(data.x.shape[1:])
    return Problem.of(data, MLP(features, [], outputs).double(), **problem)


def standardised(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of the only replica, each with a 1 for the bias, and the targets."""
    x, y = (part[0].numpy() for part in problem.batch(problem.train))
    return np.hstack([x.reshape(len(x), -1), np.ones((len(x), 1))]), y


def rows(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return the training rows as they came."""
    return data.train.x[0].numpy(), data.train.y[0].numpy()


def coefficients(posterior: Posterior) -> Tensor:
    """Return slopes and biases, `[outputs, features + 1]`."""
    weights = posterior.weights()
    slopes, bias = weights["layers.0.weight"][0, 0], weights["layers.0.bias"][0, 0]
    return torch.cat([slopes, bias[:, None]], dim=1)


# Maximum likelihood


@pytest.mark.parametrize("outputs", [1, 2])
def test_mle_is_unpenalised_logistic_regression(outputs: int) -> None:
    data = two_classes(200)  # they overlap, so there is a finite optimum
    problem = linear(data, outputs)
    posterior = MLE(budget(200, 1500)).fit(problem, [0])
    sklearn = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000)
    x, y = rows(data)
    sklearn.fit(x, y)
    found = coefficients(posterior)
    found = (found[-1] - found[0] if outputs == 2 else found[0]).numpy()
    slopes = found[:-1] / problem.inputs.scale[0].numpy()  # to original units
    bias = found[-1] - slopes @ problem.inputs.mean[0].numpy()
    assert np.abs(slopes - sklearn.coef_[0]).max() < 1e-4
    assert abs(bias - sklearn.intercept_[0]) < 1e-4
    probs = predict(posterior, x).probs[0].numpy()
    assert np.abs(probs - sklearn.predict_proba(x)).max() < 1e-5


def test_mle_is_multinomial_regression_for_more_classes() -> None:
    x = normal(300, 2)
    centres = torch.tensor([[0.0, 1.0], [1.0, -1.0], [-1.0, -0.5]], dtype=torch.float64)
    y = torch.arange(300) % 3
    data = table(x + centres[y], y, classes=3)
    posterior = MLE(budget(300, 1500)).fit(linear(data, 3), [0])
    sklearn = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000)
    sklearn.fit(*rows(data))
    probs = predict(posterior, data.train.x[0]).probs[0].numpy()
    assert np.abs(probs - sklearn.predict_proba(rows(data)[0])).max() < 1e-5


def test_mle_is_least_squares() -> None:
    data = real_targets(80)
    for noise in (0.5, 3.0):  # a known noise does not move the optimum
        problem = linear(data, 1, likelihood=NormalLikelihood(FixedNoise(noise)))
        posterior = MLE(budget(80, 1500)).fit(problem, [0])
        sklearn = LinearRegression().fit(*rows(data))
        slopes, bias = coefficients(posterior)[0, :-1], coefficients(posterior)[0, -1]
        unit, scale = problem.targets.scale, problem.inputs.scale[0]
        found = unit * slopes / scale
        assert np.abs(found.numpy() - sklearn.coef_).max() < 1e-4
        intercept = problem.targets.mean + unit * bias - found @ problem.inputs.mean[0]
        assert abs(intercept.item() - sklearn.intercept_) < 1e-4
        mean = predict(posterior, data.train.x[0]).mean[0]
        assert np.abs(mean.numpy() - sklearn.predict(rows(data)[0])).max() < 1e-4


# Maximum a posteriori


@pytest.mark.parametrize(("scale", "epochs"), [(0.3, 600), (1.0, 2500)])
def test_map_is_penalised_logistic_regression_on_digits(scale: float, epochs: int) -> None:
    data = digits([0])
    problem = linear(data, len(data.classes), prior=Normal(scale))
    posterior = MAP(budget(problem.points, epochs, 0.1)).fit(problem, [0])
    design, labels = standardised(problem)
    sklearn = LogisticRegression(C=scale**2, tol=1e-10, max_iter=10_000, fit_intercept=False)
    sklearn.fit(design, labels)
    found = coefficients(posterior).numpy()
    centred = [part - part.mean(0) for part in (found, sklearn.coef_)]
    assert np.abs(centred[0] - centred[1]).max() < 1e-4


@pytest.mark.parametrize("fan_in", [False, True])
def test_map_is_ridge_regression(fan_in: bool) -> None:
    data, sigma, noise = real_targets(60, 4), 0.3, 5.0
    problem = linear(
        data,
        1,
        prior=Normal(sigma, fan_in=fan_in),
        likelihood=NormalLikelihood(FixedNoise(noise)),
    )
    posterior = MAP(budget(60, 1500)).fit(problem, [0])
    design, y = standardised(problem)
    variance = (noise / problem.targets.scale.item()) ** 2
    spread = np.array([sigma / (2 if fan_in else 1)] * 4 + [sigma])  # the bias has one input
    penalty = np.diag(variance / spread**2)
    expected = np.linalg.solve(design.T @ design + penalty, design.T @ y)
    assert np.abs(coefficients(posterior)[0].numpy() - expected).max() < 1e-6
    if not fan_in:
        ridge = Ridge(alpha=variance / sigma**2, fit_intercept=False).fit(design, y)
        assert np.abs(ridge.coef_ - expected).max() < 1e-10


def test_map_under_laplace_is_the_lasso() -> None:
    x = normal(100, 1)
    y = 2 * x[:, 0] + normal(100, seed=1)
    problem = linear(
        table(x, y), 1, prior=Laplace(0.05), likelihood=NormalLikelihood(FixedNoise(1.0))
    )
    posterior = MAP(budget(100, 3000, 0.02)).fit(problem, [0])
    (x, y), variance = standardised(problem), problem.targets.scale.item() ** -2
    # one standardised feature: soft thresholding of the least-squares slope
    least_squares = x[:, 0] @ y / 100
    threshold = math.sqrt(2) / 0.05 * variance / 100
    slope, bias = coefficients(posterior)[0]
    assert slope.item() == pytest.approx(least_squares - threshold, abs=1e-3)
    assert bias.item() == pytest.approx(0, abs=1e-3)


# Mean-field variational inference


def conjugate(features: int = 3, points: int = 40) -> tuple[Problem, Tensor, Tensor, float]:
    """Return a linear-Gaussian problem, its exact posterior's mean and precision, its evidence."""
    x = normal(points, features)
    x[:, 1] = 0.7 * x[:, 0] + 0.5 * x[:, 1]  # correlated, so that the mean field is wrong
    y = x.sum(1) + normal(points, seed=1)
    noise, sigma = 1.0, 0.8
    problem = linear(
        table(x, y), 1, prior=Normal(sigma), likelihood=NormalLikelihood(FixedNoise(noise))
    )
    design, targets = (torch.as_tensor(part) for part in standardised(problem))
    variance = (noise / problem.targets.scale[0]) ** 2
    prior = torch.eye(features + 1).double() / sigma**2
    precision = design.mT @ design / variance + prior
    mean = torch.linalg.solve(precision, design.mT @ targets / variance)
    marginal = torch.distributions.MultivariateNormal(
        torch.zeros(points).double(),
        variance * torch.eye(points).double() + sigma**2 * design @ design.mT,
    )
    return problem, mean, precision, marginal.log_prob(targets).item()


def divergence(family: FactorisedNormal, mean: Tensor, precision: Tensor) -> float:
    """Return KL(q || exact posterior)."""
    exact = torch.distributions.MultivariateNormal(mean, precision_matrix=precision)
    q = torch.distributions.MultivariateNormal(
        family.loc[0], covariance_matrix=torch.diag(family.scale[0] ** 2)
    )
    return torch.distributions.kl_divergence(q, exact).item()


def elbo(problem: Problem, guide: Tensor, draws: int = 20_000) -> tuple[float, float]:
    """Return the ELBO of a guide `[2, parameters]` in nats, and its Monte-Carlo error."""
    many = problem.take([0] * draws)
    noise = normal(draws, 1, guide.shape[-1], seed=9)
    guides, batch = guide.expand(draws, 2, -1), many.batch(many.train)
    found = -problem.points * fast_negative_elbo(FactorisedNormal, many, guides, noise, *batch)
    return found.mean().item(), found.std().item() / math.sqrt(draws)


@pytest.mark.parametrize("batch_size", [40, 10], ids=["all rows", "minibatches"])
def test_mean_field_reaches_its_exact_optimum_on_a_linear_model(batch_size: int) -> None:
    problem, mean, precision, _ = conjugate()
    optimum = FactorisedNormal(torch.stack([mean, -precision.diagonal().log() / 2])[None])
    least = divergence(optimum, mean, precision)
    training = Training(
        epochs=3000 * batch_size // 40, learning_rate=0.01, batch_size=batch_size, decay=True
    )
    posterior = MeanField(training=training).fit(problem, range(200))
    family = posterior.family
    assert isinstance(family, FactorisedNormal)
    # A fit ends near the optimum, as far away as the noise of its gradients leaves it ...
    excess = [divergence(family.take([r]), mean, precision) - least for r in range(200)]
    assert min(excess) > 0
    assert np.median(excess) < 0.03  # nats, of all weights together
    # ... and the mean of many fits at it.
    spread = precision.diagonal().rsqrt()
    assert apart((family.scale**2).mean(0) * precision.diagonal(), torch.ones(4)) < 0.01
    assert ((family.loc.mean(0) - mean).abs() < 0.02 * spread).all()
    # It is narrower than the posterior where weights are correlated.
    assert (spread[:2] ** 2 < 0.3 * precision.inverse().diagonal()[:2]).all()


def test_single_mean_fields_are_at_their_exact_optimum() -> None:
    # The variances of a fit stray by 0.1 % (one standard deviation), 0.27 % at the worst of 16.
    problem, mean, precision, _ = conjugate()
    training = Training(epochs=0, steps=3000, learning_rate=0.02, decay=True, average=0.5)
    method = MeanField(initial_scale=0.1, draws=128, estimator="path", training=training)
    family = method.fit(problem, range(3)).family
    assert isinstance(family, FactorisedNormal)
    assert apart(family.scale**2 * precision.diagonal(), torch.ones(3, 4)) < 0.01
    assert ((family.loc - mean).abs() < 0.05 * precision.diagonal().rsqrt()).all()


def test_the_elbo_is_the_evidence_less_the_divergence() -> None:
    problem, mean, precision, evidence = conjugate()
    optimum = torch.stack([mean, -precision.diagonal().log() / 2])
    gaps = []
    for shift in (0.0, 0.2):  # the optimum of the mean field, and away from it
        guide = optimum + shift
        found, error = elbo(problem, guide)
        gap = divergence(FactorisedNormal(guide[None]), mean, precision)
        assert abs(found - (evidence - gap)) < 4 * error
        assert found < evidence - 10 * error
        gaps.append(gap)
    assert 0.05 < gaps[0] < gaps[1]


def test_a_fitted_elbo_stays_below_the_evidence_by_the_least_divergence() -> None:
    problem, mean, precision, evidence = conjugate()
    posterior = MeanField(training=budget(40, 3000, 0.02)).fit(problem, [3])
    found, error = elbo(problem, posterior.fit.parameters[0])
    exact = torch.stack([mean, -precision.diagonal().log() / 2])[None]
    best = evidence - divergence(FactorisedNormal(exact), mean, precision)
    assert best < evidence - 0.5
    assert found < best + 4 * error < evidence
    assert found == pytest.approx(best, abs=4 * error + 0.05)


def test_an_orthogonal_design_makes_the_mean_field_exact() -> None:
    signs = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
    x = signs.repeat(10, 1)
    y = x[:, 0] - 0.5 * x[:, 1] + normal(40)
    problem = linear(table(x, y), 1, likelihood=NormalLikelihood(FixedNoise(1.0)))
    design, targets = (torch.as_tensor(part) for part in standardised(problem))
    variance = problem.targets.scale[0] ** -2
    precision = design.mT @ design / variance + torch.eye(3).double()
    assert apart(precision, torch.diag(precision.diagonal())) < 1e-9
    mean = torch.linalg.solve(precision, design.mT @ targets / variance)
    guide = torch.stack([mean, -precision.diagonal().log() / 2])
    marginal = torch.distributions.MultivariateNormal(
        torch.zeros(40).double(), variance * torch.eye(40).double() + design @ design.mT
    )
    found, error = elbo(problem, guide)
    assert abs(found - marginal.log_prob(targets).item()) < 4 * error
    # and the predictive is the exact one
    posterior = MeanField(training=Training(epochs=0)).fit(problem, [0])
    exact = replace(posterior, family=FactorisedNormal(guide[None]))
    point = torch.tensor([[3.0, -1.0]], dtype=torch.float64)
    predictive = predict(exact, point, draws=20_000)
    z = torch.cat([problem.standardise(point[None])[0], torch.ones(1, 1)], 1)
    unit = problem.targets.scale[0]
    weight = unit**2 * (z @ precision.inverse() @ z.mT)[0, 0]
    assert abs(predictive.weight_variance / weight - 1) < 4 * math.sqrt(2 / 20_000)
    assert apart(predictive.noise_variance, torch.tensor(1.0)) < 1e-12
    centre = problem.targets.mean[0] + unit * (z @ mean)[0]
    assert apart(predictive.mean, centre) < 4 * math.sqrt(weight / 20_000)


# MC-dropout of a linear network

DRAWS = 20_000


def moments(posterior: Posterior, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the standardised outputs' mean and variance over draws, each with its error."""
    outputs = posterior.outputs(x[None], DRAWS)[0][0, :, :, 0]
    mean, variance = outputs.mean(0), outputs.var(0)
    fourth = ((outputs - mean) ** 4).mean(0)
    error = ((fourth - variance**2) / DRAWS).sqrt()
    return mean, (variance / DRAWS).sqrt(), variance, error


def dropped(network: nn.Module, method: MCDropout) -> tuple[Posterior, Tensor, Tensor]:
    """Fit a little, and return the posterior, points in original units and standardised."""
    likelihood = NormalLikelihood(FixedNoise(1.0))
    problem = Problem.of(real_targets(50, 3), network.double(), likelihood=likelihood)
    posterior = method.fit(problem, [0])
    x = 3 + 3 * normal(4, 3, seed=6)
    return posterior, x, problem.standardise(x[None])[0]


@pytest.mark.parametrize("own", [False, True], ids=["MLP", "module with nn.Dropout"])
def test_dropped_inputs_of_a_linear_network_have_the_closed_form(own: bool) -> None:
    rate, training = 0.3, Training(epochs=100, batch_size=10)
    network = nn.Sequential(nn.Dropout(rate), nn.Linear(3, 1)) if own else MLP(3, [], 1)
    method = MCDropout(training=training) if own else MCDropout(input_rate=rate, training=training)
    posterior, x, z = dropped(network, method)
    slopes, bias = (value[0, 0] for value in posterior.weights(1).values())
    q = rate / (1 - rate)
    mean, mean_error, variance, variance_error = moments(posterior, x)
    assert ((mean - (z @ slopes[0] + bias)).abs() < 4 * mean_error).all()
    expected = q * (z**2 @ slopes[0] ** 2)
    assert ((variance - expected).abs() < 4 * variance_error).all()
    assert (variance_error < 0.03 * variance).all()  # the test can see 12 %
    predictive, unit = predict(posterior, x, DRAWS), posterior.problem.targets.scale
    assert apart(predictive.weight_variance[0], unit**2 * variance * (1 - 1 / DRAWS)) < 1e-9
    assert apart(predictive.noise_variance, torch.ones(1, 4)) < 1e-12


def test_two_dropped_linear_layers_have_the_closed_form() -> None:
    first, second = 0.2, 0.4
    network = nn.Sequential(nn.Dropout(first), nn.Linear(3, 4), nn.Dropout(second), nn.Linear(4, 1))
    method = MCDropout(training=Training(epochs=100, batch_size=10))
    posterior, x, z = dropped(network, method)
    w, c, v, b = (value[0, 0] for value in posterior.weights(1).values())
    mean, mean_error, variance, variance_error = moments(posterior, x)
    for n in range(len(z)):
        mu = w @ z[n] + c
        s = first / (1 - first) * w @ torch.diag(z[n] ** 2) @ w.mT
        q = second / (1 - second)
        expected = (v @ s @ v.mT)[0, 0] + q * (v[0] ** 2 * (mu**2 + s.diagonal())).sum()
        assert (mean[n] - (v @ mu + b)).abs() < 4 * mean_error[n]
        assert (variance[n] - expected).abs() < 4 * variance_error[n]
        assert variance_error[n] < 0.05 * variance[n]


# Budgets: what a method does by default must be the fit that it is named after


@pytest.mark.parametrize("method", [MAP(), MeanField()], ids=lambda method: method.name)
def test_the_default_budget_comes_near_the_optimum_also_on_a_small_table(method: Method) -> None:
    # 107 training rows make one step per epoch: a budget of 500 epochs alone would leave the mean
    # field 12 nats per row away. Three times the default's steps gain less than 0.1.
    problem = Problem.of(wine((0,)), MLP(13, [10], 3))
    longer = replace(method, training=replace(method.training, steps=3 * method.training.steps))
    default, reference = (
        np.mean(m.fit(problem, (0,)).fit.curves[0].train[-20:]) for m in (method, longer)
    )
    assert default == pytest.approx(reference, abs=0.1)
