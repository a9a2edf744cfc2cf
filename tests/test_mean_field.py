"""The fast ELBO against Pyro's and one written from scratch, and what happens if they differ."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import replace

import pyro
import pyro.distributions as dist
import pytest
import torch
import torch.nn.functional as F
from pyro.infer import SVI, Trace_ELBO, TraceMeanField_ELBO
from small import apart, normal, quick, real_targets, relative, table, two_classes
from torch import Tensor

from bnn.data import Dataset, Scaling
from bnn.likelihoods import (
    Bernoulli,
    Categorical,
    FixedNoise,
    InputNoise,
    LearnedNoise,
    Likelihood,
    SoftLabels,
)
from bnn.likelihoods import Normal as NormalLikelihood
from bnn.methods import MeanField
from bnn.methods.mean_field import FactorisedNormal
from bnn.networks import MLP
from bnn.optimise import Training
from bnn.priors import Laplace, Normal, Prior, StudentT
from bnn.problem import Problem
from bnn.seeds import Streams
from bnn.variational import VALIDATION_DRAWS, fast_negative_elbo, pyro_negative_elbo, trust

LIKELIHOODS: dict[str, tuple[Callable[..., Dataset], Likelihood]] = {
    "categorical": (two_classes, Categorical()),
    "bernoulli": (two_classes, Bernoulli()),
    "fixed noise": (real_targets, NormalLikelihood(FixedNoise(2.0))),
    "learned noise": (real_targets, NormalLikelihood(LearnedNoise())),
    "input noise": (real_targets, NormalLikelihood(InputNoise())),
}
PRIORS: dict[str, Prior] = {
    "normal": Normal(0.7),
    "laplace": Laplace(0.7),
    "student": StudentT(0.7),
    "fan-in": Normal(2.0, fan_in=True),
    "per layer": Normal({"layers.0.*": 0.3, "*.bias": 2.0, "*": 1.0}),
    "student per layer": StudentT({"*.bias": 2.0, "*": 1.0}, fan_in=True),
}


def posed(case: str, prior: str = "normal", dtype: torch.dtype = torch.float64) -> Problem:
    if case == "soft labels":
        data = table(normal(30, 3), normal(30, 2, seed=1).softmax(-1), classes=2, replicas=3)
        likelihood: Likelihood = SoftLabels()
    else:
        make, likelihood = LIKELIHOODS[case]
        data = make(30, replicas=3)
    network = MLP(3, [5], likelihood.width(len(data.classes)), "tanh").to(dtype)
    return Problem.of(data, network, PRIORS[prior], likelihood)


def step(problem: Problem, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return a guide, noise, and a minibatch of ten rows."""
    size = problem.layout.size
    loc, log_scale, noise = normal(3, 3, size, seed=seed)
    guide = torch.stack([0.5 * loc, -1.5 + 0.5 * log_scale], dim=1).to(problem.like)
    generator = torch.Generator().manual_seed(seed)
    columns = torch.stack([torch.randperm(30, generator=generator) for _ in range(3)])[:, :10]
    return guide, noise.to(problem.like), *problem.batch(problem.train.at(columns))


def fast(problem: Problem, guide: Tensor, noise: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return fast_negative_elbo(FactorisedNormal, problem, guide, noise[:, None], x, y)


def stock(problem: Problem, guide: Tensor, noise: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return pyro_negative_elbo(FactorisedNormal, problem, guide, noise[:, None], x, y)


def value_and_gradient(elbo: Callable[..., Tensor], problem: Problem) -> tuple[Tensor, Tensor]:
    guide, noise, x, y = step(problem)
    guide.requires_grad_()
    losses = elbo(problem, guide, noise, x, y)
    return losses.detach(), torch.autograd.grad(losses.sum(), guide)[0]


def from_scratch(problem: Problem, guide: Tensor, noise: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return the negative ELBO per row of a Normal prior, by the formulas of the textbooks."""
    network, likelihood = problem.network.network, problem.likelihood
    sigma = problem.prior.distribution(problem.network.layout, problem.like).base_dist.scale
    middle = torch.zeros_like(sigma)
    if likelihood.latents:
        sigma = torch.cat([sigma, sigma.new_ones(1)])
        middle = torch.cat([middle, middle.new_full((1,), math.log(0.3))])
    losses = []
    for r in range(3):
        loc, scale = guide[r, 0], guide[r, 1].exp()
        weights = loc + scale * noise[r]
        kl = (sigma / scale).log() + (scale**2 + (loc - middle) ** 2) / (2 * sigma**2) - 0.5
        first, second = network.layers
        w1, b1, w2, b2, own = weights.split(
            [
                first.weight.numel(),
                5,
                second.weight.numel(),
                len(second.bias),
                len(likelihood.latents),
            ]
        )
        f = (x[r] @ w1.reshape(5, 3).mT + b1).tanh() @ w2.reshape(-1, 5).mT + b2
        if isinstance(likelihood, Categorical | SoftLabels):
            fitted = F.cross_entropy(f, y[r])
        elif isinstance(likelihood, Bernoulli):
            fitted = F.binary_cross_entropy_with_logits(f[:, 0], y[r])
        else:
            variance = {
                "FixedNoise": lambda r=r: (2.0 / problem.targets.scale[r]) ** 2,
                "LearnedNoise": lambda own=own: 0.003**2 + (2 * own[0]).exp(),
                "InputNoise": lambda f=f: 0.003**2 + (2 * f[:, 1]).exp(),
            }[type(likelihood.noise).__name__]()
            square = (y[r] - f[:, 0]) ** 2
            fitted = ((2 * math.pi * variance).log() / 2 + square / (2 * variance)).mean()
        losses.append(fitted + kl.sum() / 30)
    return torch.stack(losses)


CASES = [*LIKELIHOODS, "soft labels"]


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("case", CASES)
def test_the_fast_elbo_is_pyros(case: str, prior: str) -> None:
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
        problem = posed(case, prior, dtype)
        found, gradient = value_and_gradient(fast, problem)
        expected, expected_gradient = value_and_gradient(stock, problem)
        assert found.shape == (3,)
        assert found.dtype == dtype
        assert relative(found, expected) < tolerance
        for r in range(3):
            assert relative(gradient[r], expected_gradient[r]) < tolerance


@pytest.mark.parametrize("prior", ["normal", "fan-in", "per layer"])
@pytest.mark.parametrize("case", CASES)
def test_the_fast_elbo_is_one_written_from_scratch(case: str, prior: str) -> None:
    problem = posed(case, prior)
    found, gradient = value_and_gradient(fast, problem)
    expected, expected_gradient = value_and_gradient(from_scratch, problem)
    assert relative(found, expected) < 1e-12
    assert relative(gradient, expected_gradient) < 1e-12


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("elbo", [Trace_ELBO, TraceMeanField_ELBO])
def test_the_fast_elbo_is_that_of_stock_svi(elbo: type[Trace_ELBO], prior: str) -> None:
    """All replicas in one ordinary Pyro model and guide, with Pyro's own draws."""
    problem = posed("learned noise", prior)
    start, _, _, _ = step(problem)

    def guide() -> None:
        loc = pyro.param("loc", start[:, None, 0].clone())
        log_scale = pyro.param("log_scale", start[:, None, 1].clone())
        with pyro.plate("replicas", 3, dim=-2):
            pyro.sample("weights", dist.Normal(loc, log_scale.exp()).to_event(1))

    with torch.random.fork_rng(devices=[]), pyro.get_param_store().scope():
        torch.manual_seed(5)
        drawn = pyro.poutine.trace(guide).get_trace().nodes["weights"]["value"][:, 0]
        torch.manual_seed(5)
        svi = SVI(problem.model, guide, pyro.optim.Adam({"lr": 0.0}), elbo())
        loss = svi.evaluate_loss()
    noise = ((drawn - start[:, 0]) / start[:, 1].exp()).detach()
    found = 30 * fast(problem, start, noise, *problem.batch(problem.train))
    if elbo is Trace_ELBO:  # it estimates the divergence at the draw
        q = dist.Normal(start[:, 0], start[:, 1].exp()).to_event(1)
        p = problem.prior_distribution()
        estimate = q.log_prob(drawn) - p.log_prob(drawn)
        fitted = problem.loss(drawn[:, None], *problem.batch(problem.train))[:, 0]
        assert loss == pytest.approx((30 * fitted + estimate).sum().item(), rel=1e-11)
        if not prior.startswith("student"):
            assert abs(loss - found.sum().item()) > 1e-3
    else:
        assert loss == pytest.approx(found.sum().item(), rel=1e-11)


def test_minibatches_estimate_the_whole_without_bias() -> None:
    problem = posed("categorical")
    guide, noise, _, _ = step(problem)
    columns = torch.arange(30).expand(3, -1)
    batches = [
        fast(problem, guide, noise, *problem.batch(problem.train.at(part)))
        for part in columns.split(5, dim=1)
    ]
    whole = fast(problem, guide, noise, *problem.batch(problem.train))
    assert apart(torch.stack(batches).mean(0), whole) < 1e-13


def test_the_closed_divergence_is_the_mean_of_estimates() -> None:
    problem, draws = posed("learned noise", "laplace"), 4000
    guide, _, _, _ = step(problem)
    many, crowd = problem.take([0] * draws), guide[:1].expand(draws, 2, -1)
    noise = normal(draws, guide.shape[-1], seed=3)
    weights = crowd[:, 0] + crowd[:, 1].exp() * noise
    q = dist.Normal(crowd[:, 0], crowd[:, 1].exp()).to_event(1)
    estimates = q.log_prob(weights) - problem.prior_distribution().log_prob(weights)
    x, y = many.batch(many.train)
    fitted = many.loss(weights[:, None], x, y)[:, 0]
    closed = 30 * (fast(many, crowd, noise, x, y) - fitted)
    assert apart(closed, closed[0].expand(draws)) < 1e-9
    assert abs(estimates.mean() - closed[0]) < 4 * estimates.std() / math.sqrt(draws)


# When the two differ


def wrong(factor: float) -> Callable[..., Tensor]:
    return lambda *arguments: factor * fast_negative_elbo(*arguments)


@pytest.mark.parametrize("case", ["categorical", "learned noise"])
def test_a_wrong_fast_step_is_noticed_and_pyros_own_taken(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, method = posed(case), quick(MeanField(), epochs=5, batch_size=10)
    fast = method.fit(problem, [0, 1, 2])
    monkeypatch.setattr(trust, "fast_negative_elbo", wrong(1.0001))
    with pytest.warns(UserWarning, match=r"differs from Pyro's by 1\.0e-04 .* slower"):
        slow = method.fit(problem, [0, 1, 2])
    assert apart(slow.fit.parameters, fast.fit.parameters) < 1e-11
    assert list(pyro.get_param_store().keys()) == []


def test_a_wrong_gradient_alone_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def frozen(*arguments: object) -> Tensor:
        right = fast_negative_elbo(*arguments)
        return right.detach() + 0.9 * (right - right.detach())

    monkeypatch.setattr(trust, "fast_negative_elbo", frozen)
    with pytest.warns(UserWarning, match=r"by 1\.0e-01"):
        quick(MeanField(), epochs=1).fit(posed("categorical"), [0, 1, 2])


def test_one_wrong_replica_among_large_ones_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def third(*arguments: object) -> Tensor:
        right = fast_negative_elbo(*arguments)
        return right * torch.tensor([1.0, 1.0, 1.001], dtype=right.dtype)

    problem = posed("fixed noise")
    scale = problem.targets.scale.clone()
    scale[:2] *= 1e-4  # the losses of the first two are enormous
    problem = replace(problem, targets=Scaling(problem.targets.mean, scale))
    monkeypatch.setattr(trust, "fast_negative_elbo", third)
    with pytest.warns(UserWarning, match="differs from Pyro's"):
        quick(MeanField(), epochs=1).fit(problem, [0, 1, 2])


def test_a_step_that_is_lost_where_pyros_is_not_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def lost(*arguments: object) -> Tensor:
        right = fast_negative_elbo(*arguments)
        return torch.where(torch.tensor([False, True, False]), torch.nan, right)

    monkeypatch.setattr(trust, "fast_negative_elbo", lost)
    with pytest.warns(UserWarning, match="by inf"):
        posterior = quick(MeanField(), epochs=1).fit(posed("categorical"), [0, 1, 2])
    assert posterior.fit.diverged == (False, False, False)  # thanks to Pyro's


def test_a_replica_that_is_lost_from_the_start_raises_no_alarm() -> None:
    problem = posed("categorical")
    scale = problem.inputs.scale.clone()
    scale[2] = 1e-310
    broken = replace(problem, inputs=Scaling(problem.inputs.mean, scale))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        posterior = quick(MeanField(), epochs=2).fit(broken, [0, 1, 2])
    assert posterior.fit.diverged == (False, False, True)


# The family


def test_the_guide_starts_narrow_around_the_common_start() -> None:
    problem = posed("learned noise")
    method = MeanField(initial_scale=0.02, training=Training(epochs=0))
    family = method.fit(problem, [4, 5, 6]).family
    assert torch.equal(family.loc, problem.initial([4, 5, 6]))
    assert apart(family.scale, torch.tensor(0.02, dtype=torch.float64)) < 1e-15


def test_draws_are_normal_with_the_guides_moments() -> None:
    problem = posed("categorical")
    posterior = quick(MeanField(), epochs=2).fit(problem, [0, 1, 2])
    weights = problem.layout.flat(posterior.weights(4000))
    z = (weights - posterior.family.loc[:, None]) / posterior.family.scale[:, None]
    assert (z.mean(1).abs() < 4.5 / math.sqrt(4000)).all()
    assert ((z.var(1) - 1).abs() < 4.5 * math.sqrt(2 / 4000)).all()
    corner = z[0].mT.corrcoef() - torch.eye(z.shape[-1])
    assert corner.abs().max() < 5 / math.sqrt(4000)


def test_validation_is_the_mixtures_loss_under_fixed_draws() -> None:
    data = two_classes(60, held_out=20)
    problem = Problem.of(data, MLP(3, [5], 2).double())
    still = MeanField(initial_scale=0.8, training=Training(epochs=3, learning_rate=1e-13))
    posterior = still.fit(problem, [6])
    curve = posterior.fit.curves[0]
    assert curve.validation[0] == pytest.approx(curve.validation[2], rel=1e-10)
    assert curve.train[0] != pytest.approx(curve.train[2], rel=1e-3)  # whose draws are new
    streams = Streams([6], "validation noise", torch.device("cpu"), torch.float64)
    weights, _ = posterior.family.draw(streams, VALIDATION_DRAWS)
    x, y = problem.batch(problem.validation)
    probs = problem.outputs(weights, x).softmax(-1)[0]
    of_labels = probs[:, torch.arange(20), y[0]]
    assert curve.validation[0] == pytest.approx(-of_labels.mean(0).log().mean().item(), rel=1e-9)
    assert curve.validation[0] < -of_labels.log().mean().item() - 0.05  # not the mean of losses
