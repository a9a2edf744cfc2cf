"""SVI with correlated guides: densities, gradients and optima where they are known."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from scipy.stats import norm
from small import apart, normal, quick, relative, two_classes
from test_exact import conjugate
from test_mean_field import posed
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from bnn.errors import InputError
from bnn.methods import FullRank, LowRank, MeanField
from bnn.methods.full_rank import FullRankNormal
from bnn.methods.low_rank import LowRankNormal
from bnn.methods.mean_field import FactorisedNormal
from bnn.networks import MLP
from bnn.optimise import Training
from bnn.posterior import predict
from bnn.priors import Flat
from bnn.problem import Problem
from bnn.variational import NormalGuide, fast_negative_elbo, pyro_negative_elbo

FAMILIES = {"mean field": FactorisedNormal, "low rank": LowRankNormal, "full rank": FullRankNormal}
every_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
every_path = pytest.mark.parametrize("path", [False, True], ids=["all", "path"])
METHODS = [MeanField(), LowRank(), FullRank()]
every_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)


def guide(family: type[NormalGuide], size: int, replicas: int = 3) -> Tensor:
    """Return parameters of a guide that correlates its weights, where it can."""
    rows = {FactorisedNormal: 2, LowRankNormal: 5, FullRankNormal: 1 + size}[family]
    parameters = 0.5 * normal(replicas, rows, size, seed=4)
    if family is FullRankNormal:
        parameters[:, 1:] *= 0.3  # a root that can be inverted in single precision
        return parameters - 1.5 * torch.cat([torch.zeros(1, size), torch.eye(size)])
    parameters[:, 1] -= 1.5
    return parameters


# Densities and draws


@every_family
def test_draws_and_density_are_those_of_the_mean_and_covariance(family: type[NormalGuide]) -> None:
    q = family(guide(family, 6))
    noise = normal(3, 4, q.numbers, seed=5)
    for r in range(3):
        one = q.take([r])
        jacobian = torch.autograd.functional.jacobian(
            lambda eps, one=one: one.sample(eps[None, None])[0, 0], noise[r, 0]
        )
        assert apart(one.sample(torch.zeros(1, 1, q.numbers).double())[0, 0], q.mean[r]) < 1e-15
        assert relative(jacobian @ jacobian.mT, q.covariance[r]) < 1e-13
    exact = MultivariateNormal(q.mean[:, None], q.covariance[:, None])
    weights = q.sample(noise)
    assert apart(q.log_prob(weights), exact.log_prob(weights)) < 1e-10
    assert apart(q.distribution(noise).log_prob(weights), exact.log_prob(weights)) < 1e-10


# The ELBO, against Pyro's and against its closed form


@every_path
@every_family
@pytest.mark.parametrize("case", ["categorical", "learned noise"])
def test_the_fast_elbo_of_every_guide_is_pyros(
    case: str, family: type[NormalGuide], path: bool
) -> None:
    for dtype, tolerance in ((torch.float64, 1e-11), (torch.float32, 5e-6)):
        problem = posed(case, "student", dtype)
        start = guide(family, problem.layout.size).to(dtype)
        made = partial(family, path=path)
        noise = normal(3, 2, made(start).numbers, seed=6).to(dtype)
        batch = problem.batch(problem.train)
        found = []
        for elbo in (fast_negative_elbo, pyro_negative_elbo):
            phi = start.clone().requires_grad_()
            losses = elbo(made, problem, phi, noise, *batch, 0.3)
            found.append((losses.detach(), torch.autograd.grad(losses.sum(), phi)[0]))
        for fast, stock in zip(*found, strict=True):
            assert relative(fast, stock) < tolerance


def negative_elbo(problem: Problem, family: type[NormalGuide], phi: Tensor) -> Tensor:
    """Return -ELBO / N of a linear-Gaussian problem, `[]`, by the closed forms."""
    _, mean, precision, evidence = conjugate()
    q = family(phi)
    exact = MultivariateNormal(mean, precision_matrix=precision)
    divergence = kl_divergence(MultivariateNormal(q.mean[0], q.covariance[0]), exact)
    return (divergence - evidence) / problem.points


@every_path
@every_family
def test_gradients_are_unbiased(family: type[NormalGuide], path: bool) -> None:
    # z-tests of all entries: by chance some crosses the line once in 10,000 right programs. A bias
    # of a twentieth of the largest entry would be seen with probability 0.95.
    problem, draws = conjugate()[0], 20_000
    phi = guide(family, problem.layout.size, replicas=1).requires_grad_()
    (exact,) = torch.autograd.grad(negative_elbo(problem, family, phi), phi)
    many = problem.take([0] * draws)
    crowd = phi.detach().expand(draws, *phi.shape[1:]).clone().requires_grad_()
    made = partial(family, path=path)
    noise = normal(draws, 1, made(phi).numbers, seed=7)
    losses = fast_negative_elbo(made, many, crowd, noise, *many.batch(many.train))
    (gradients,) = torch.autograd.grad(losses.sum(), crowd)
    error = gradients.std(0) / math.sqrt(draws)
    line = norm.isf(1e-4 / (2 * exact.numel()))
    bias = (gradients.mean(0) - exact[0]).abs()
    assert (bias <= line * error + 1e-12).all()
    assert (line + norm.isf(0.05)) * error.max() < 0.05 * exact.abs().max()


def test_along_the_path_no_noise_is_left_at_the_posterior() -> None:
    problem, mean, precision, _ = conjugate()
    root = torch.linalg.cholesky(precision.inverse())
    scale = root.diagonal()
    matrix = (root / scale[:, None]).tril(-1) + torch.diag(scale.log())
    phi = torch.cat([mean[None], matrix])[None]
    spread = {}
    for path in (False, True):
        many = problem.take([0] * 500)
        crowd = phi.expand(500, -1, -1).clone().requires_grad_()
        noise = normal(500, 1, 4, seed=8)
        losses = fast_negative_elbo(
            partial(FullRankNormal, path=path), many, crowd, noise, *many.batch(many.train)
        )
        spread[path] = torch.autograd.grad(losses.sum(), crowd)[0].std(0).max()
    assert spread[True] < 1e-12
    assert spread[False] > 0.01


# Optima


@pytest.mark.parametrize("method", [FullRank(), LowRank()], ids=lambda method: method.name)
def test_single_fits_are_the_exact_posterior_of_a_linear_model(method: FullRank | LowRank) -> None:
    problem, mean, precision, evidence = conjugate()
    posterior = method.thorough().fit(problem, range(2))
    family = posterior.family
    covariance = precision.inverse()
    for r in range(2):
        assert (family.mean[r] - mean).norm() < 1e-5 * mean.norm()
        assert (family.covariance[r] - covariance).norm() < 1e-5 * covariance.norm()
        # and so the ELBO is the log evidence, at every draw
        assert posterior.fit.curves[r].train[-1] * -40 == pytest.approx(evidence, abs=1e-6)
    assert posterior.caveats == ()


def test_a_weighted_divergence_has_the_optimum_of_a_tempered_posterior() -> None:
    problem, _, precision, _ = conjugate()
    method = replace(FullRank().thorough(), kl_weight=0.25)
    posterior = method.fit(problem, [0])
    prior = torch.eye(4).double() / 0.8**2
    # q minimises KL(q || p(w) p(D | w)^4), whose likelihood counts four times
    expected = (4 * (precision - prior) + prior).inverse()
    assert relative(posterior.family.covariance[0], expected) < 1e-5
    assert posterior.caveats == (
        "The objective is not an ELBO: its KL term is multiplied by 0.25.",
    )


def test_more_draws_per_step_leave_less_noise_in_the_loss() -> None:
    problem = conjugate()[0]
    still = Training(epochs=60, learning_rate=1e-12)
    spread = {}
    for draws in (1, 16):
        method = MeanField(initial_scale=0.3, draws=draws, training=still)
        curve = method.fit(problem, [0]).fit.curves[0]
        spread[draws] = torch.tensor(curve.train).std().item()
    assert spread[1] / spread[16] == pytest.approx(4, rel=0.4)


# What cannot be served


@every_method
def test_settings_that_mean_nothing_are_refused(method: MeanField) -> None:
    for wrong in (
        {"draws": 0},
        {"draws": 1.5},
        {"kl_weight": 0.0},
        {"kl_weight": math.nan},
        {"estimator": "pathwise"},
        {"initial_scale": 0.0},
    ):
        with pytest.raises(InputError):
            replace(method, **wrong)
    flat = Problem.of(two_classes(), MLP(3, [], 2).double(), Flat())
    with pytest.raises(InputError, match="proper prior"):
        quick(method, epochs=1).fit(flat, [0])


def test_a_rank_below_one_is_refused() -> None:
    with pytest.raises(InputError, match="rank of at least one"):
        LowRank(rank=0)


def test_a_covariance_too_large_is_refused_with_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Problem.of(two_classes(), MLP(3, [3000], 2).double())
    monkeypatch.setattr("bnn.forecast.available", lambda device: 2**30)
    size = 12 * 8 * (1 + 18002) * 18002 / 2**30
    with pytest.raises(InputError, match=rf"at most the 1\.0 GiB.* {size:.1f} GiB.*LowRank"):
        FullRank().fit(problem, [0])


def test_a_last_layer_alone_is_inferred() -> None:
    problem = Problem.of(two_classes(), MLP(3, [6], 2, "tanh").double())
    posterior = LowRank(last_layer=True, training=Training(epochs=30)).fit(problem, [0])
    assert posterior.family.mean.shape == (1, 14)
    found = predict(posterior, problem.train.x, 50).log_prob(problem.train.y)
    assert found.mean() > math.log(0.6)
