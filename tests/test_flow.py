"""The flow: its density against autograd and a lattice, its fit against exact posteriors."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from small import apart, normal, relative, two_classes
from torch import Tensor

from bnn.check.linear import LinearGaussian, linear_regression
from bnn.data.gaussians import two_gaussians
from bnn.errors import InputError
from bnn.exact import grid_posterior
from bnn.methods import Flow
from bnn.methods.flow import CoupledNormal, flow_layout, halves
from bnn.methods.mean_field import FactorisedNormal
from bnn.networks import MLP
from bnn.optimise import Training
from bnn.posterior import predict
from bnn.priors import Laplace, Normal
from bnn.problem import Problem
from bnn.variational import fast_negative_elbo, pyro_negative_elbo


def flow(size: int, layers: int = 4, width: int = 3, strength: float = 2.0) -> CoupledNormal:
    """Return two replicas of a flow with parameters far from zero."""
    parameters = strength * normal(2, flow_layout(size, layers, width).size, seed=size)
    return CoupledNormal(parameters, size, layers, width)


@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_the_density_is_the_change_of_variables_by_autograd(size: int) -> None:
    guide, noise = flow(size), normal(2, 5, size)
    weights = guide.sample(noise)
    log_base = torch.distributions.Normal(0.0, 1.0).log_prob(noise).sum(-1)
    for r in range(2):
        single = guide.take([r])
        for s in range(5):
            jacobian = torch.autograd.functional.jacobian(
                lambda eps, single=single: single.sample(eps[None, None])[0, 0], noise[r, s]
            )
            expected = log_base[r, s] - torch.linalg.slogdet(jacobian).logabsdet
            assert apart(guide.log_prob(weights)[r, s], expected) < 1e-10
    assert apart(guide.distribution(noise).log_prob(weights), guide.log_prob(weights)) < 1e-10


def test_the_density_integrates_to_one() -> None:
    guide = flow(2, strength=0.7)
    axis = torch.linspace(-20, 20, 801, dtype=torch.float64)
    lattice = torch.cartesian_prod(axis, axis).expand(2, -1, -1)
    total = guide.log_prob(lattice).exp().sum(1) * (axis[1] - axis[0]) ** 2
    assert apart(total, torch.ones(2)) < 1e-6
    # and it is no Normal: the density falls at other rates on two sides of its mean
    draws = guide.sample(normal(2, 4000, 2))
    skew = ((draws - draws.mean(1, keepdim=True)) / draws.std(1, keepdim=True)).pow(3).mean(1)
    assert skew.abs().max() > 0.3


def test_the_halves_of_a_coupling_are_all_weights_and_every_pair_is_parted() -> None:
    for size in (2, 5, 8):
        parted = torch.eye(size, dtype=torch.bool)
        for layer in range(6):
            reads, changes = halves(size, layer)
            assert sorted([*reads.tolist(), *changes.tolist()]) == list(range(size))
            parted[reads[:, None], changes] = True
        assert parted.all()


def test_it_starts_as_the_mean_field_at_the_networks_own_start() -> None:
    problem = Problem.of(two_classes(30, replicas=2), MLP(3, [4], 2, "tanh").double())
    posterior = Flow(initial_scale=0.2, training=Training(epochs=0)).fit(problem, [3, 4])
    loc, noise = problem.initial([3, 4]), normal(2, 7, problem.layout.size)
    mean_field = FactorisedNormal(torch.stack([loc, torch.full_like(loc, math.log(0.2))], dim=1))
    weights = posterior.family.sample(noise)
    assert apart(weights, mean_field.sample(noise)) < 1e-15
    expected = mean_field.distribution(noise).log_prob(weights)
    assert apart(posterior.family.log_prob(weights), expected) < 1e-9


@pytest.mark.parametrize("path", [False, True])
@pytest.mark.parametrize("prior", [Normal(0.7), Laplace(0.7)], ids=["normal", "laplace"])
def test_its_elbo_is_pyros(path: bool, prior: Normal | Laplace) -> None:
    problem = Problem.of(two_classes(30, replicas=2), MLP(3, [2], 2).double(), prior)
    size = problem.layout.size
    parameters = 0.3 * normal(2, flow_layout(size, 3, 2).size)
    family = partial(CoupledNormal, size=size, layers=3, width=2, path=path)
    noise, (x, y) = normal(2, 2, size), problem.batch(problem.train)
    for scale in (1.0, 0.3):
        found = gradient(fast_negative_elbo, family, problem, parameters, noise, x, y, scale)
        expected = gradient(pyro_negative_elbo, family, problem, parameters, noise, x, y, scale)
        assert all(relative(a, b) < 1e-11 for a, b in zip(found, expected, strict=True))


def gradient(elbo, family, problem, parameters, *rest) -> tuple[Tensor, Tensor]:
    parameters = parameters.clone().requires_grad_()
    losses = elbo(family, problem, parameters, *rest)
    return losses.detach(), torch.autograd.grad(losses.sum(), parameters)[0]


def test_the_gradient_along_the_path_is_unbiased() -> None:
    """Both estimators have one mean, by 40,000 draws; a false alarm once in 1,300 seeds."""
    problem = linear_regression().take([0] * 4000)
    size, layout = 4, flow_layout(4, 2, 2)
    parameters = (0.3 * normal(1, layout.size)).expand(4000, -1)
    noise, (x, y) = normal(4000, 10, size), problem.batch(problem.train)
    whole, path = (
        gradient(
            fast_negative_elbo,
            partial(CoupledNormal, size=size, layers=2, width=2, path=path),
            problem,
            parameters,
            noise,
            x,
            y,
        )[1]
        for path in (False, True)
    )
    away = whole - path
    z = away.mean(0) / (away.std(0) / math.sqrt(4000)).clamp_min(1e-12)
    assert away.abs().max() > 0.01  # they do differ draw by draw
    assert z.abs().max() < 4.3


def test_it_comes_far_closer_to_a_correlated_posterior_than_any_mean_field() -> None:
    problem = linear_regression()
    truth = LinearGaussian.of(problem)
    training = Training(epochs=0, steps=1500, learning_rate=0.03, decay=True)
    family = (
        Flow(layers=4, draws=4, initial_scale=0.1, training=training).fit(problem, [0, 1]).family
    )
    weights = family.sample(normal(2, 4000, 4, seed=8))
    divergence = (family.log_prob(weights) - truth.posterior.log_prob(weights)).mean(1)
    least = torch.distributions.kl_divergence(
        torch.distributions.MultivariateNormal(
            truth.mean, torch.diag(truth.precision.diagonal().reciprocal())
        ),
        truth.posterior,
    )
    assert least > 1  # nats
    assert divergence.max() < least / 50
    covariance = torch.stack([draws.mT.cov() for draws in weights])
    assert ((covariance - truth.covariance).norm(dim=(1, 2)) < 0.1 * truth.covariance.norm()).all()


def test_its_predictions_of_a_logistic_model_are_near_the_exact_ones() -> None:
    problem = Problem.of(two_gaussians([0], 12), MLP(1, [], 1).double(), prior=Normal(2.0))
    x = torch.linspace(-4, 4, 17, dtype=torch.float64)[:, None]
    exact = grid_posterior(problem).log_probs(x).exp()
    training = Training(epochs=0, steps=1500, learning_rate=0.03, decay=True)
    posterior = Flow(layers=4, draws=4, initial_scale=0.1, training=training).fit(problem, [0])
    found = predict(posterior, x, draws=10_000).probs[0]
    # of which 0.005 at most is one standard error of the draws
    assert apart(found, exact) < 0.01


def test_a_weighted_kl_is_told() -> None:
    problem = Problem.of(two_classes(30), MLP(3, [], 2).double())
    training = Training(epochs=2)
    assert Flow(training=training).fit(problem, [0]).caveats == ()
    (told,) = Flow(kl_weight=0.5, training=training).fit(problem, [0]).caveats
    assert "not an ELBO" in told


def test_a_flow_over_the_last_layer_alone() -> None:
    problem = Problem.of(two_classes(40, replicas=2), MLP(3, [4], 2, "tanh").double())
    posterior = Flow(last_layer=True, training=Training(epochs=2)).fit(problem, [0, 1])
    assert posterior.family.size == 10


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"layers": 0}, "layers, at least one; found 0"),
        ({"width": 1.5}, "width, at least one; found 1.5"),
        ({"initial_scale": 0.0}, "initial scale"),
        ({"draws": 0}, "at least one draw"),
        ({"kl_weight": 0.0}, "weight of the KL term"),
        ({"estimator": "other"}, "estimator"),
    ],
)
def test_settings_that_mean_nothing_are_refused(setting: dict[str, float], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Flow(**setting)
