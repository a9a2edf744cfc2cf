"""SG-MCMC against the exact law of its chains, where the posterior is Normal.

Statistical tests fix their seeds. Each comparison at 4 standard errors would fail by chance for
6 of 100,000 seeds; the number of comparisons is stated with each test.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise, permutations

import pytest
import torch
from small import apart, real_targets
from torch import Tensor, nn

from bnn.errors import InputError
from bnn.likelihoods import FixedNoise
from bnn.likelihoods import Normal as NormalLikelihood
from bnn.methods.cyclical_sgmcmc import CyclicalSGMCMC
from bnn.methods.sghmc import SGHMC
from bnn.methods.sgld import SGLD
from bnn.networks import MLP
from bnn.posterior import Chains, Posterior
from bnn.priors import Flat, Normal
from bnn.problem import Problem

SAMPLERS = {"sgld": SGLD(), "sghmc": SGHMC(friction=0.3), "cold": SGHMC(temperature=0.25)}
every_sampler = pytest.mark.parametrize("method", SAMPLERS.values(), ids=SAMPLERS)
every_warm_sampler = pytest.mark.parametrize(
    "method", [SAMPLERS["sgld"], SAMPLERS["sghmc"]], ids=["sgld", "sghmc"]
)
Sampler = SGLD | SGHMC


def friction(method: Sampler) -> float:
    return getattr(method, "friction", 1.0)


def samples(posterior: Posterior) -> Tensor:
    """Return the chains of the first replica, `[chains, samples, parameters]`."""
    assert isinstance(posterior.family, Chains)
    assert posterior.fit.diverged == (False,) * len(posterior.seeds)
    return posterior.family.weights[0]


# The prior alone: thousands of independent weights, some of each precision


class Unseen(nn.Module):
    """Weights that no output depends on, so that the posterior is the prior. They start at 0."""

    def __init__(self, weights: int) -> None:
        super().__init__()
        self.stiff, self.middling, self.slack = (nn.Parameter(torch.zeros(weights)) for _ in "123")

    def reset_parameters(self) -> None:
        """Start at zero."""
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Return 0 for each row."""
        nothing = 0 * (self.stiff.sum() + self.middling.sum() + self.slack.sum())
        return 0 * x[:, :1] + nothing


def unseen(weights: int, scales: tuple[float, float, float]) -> Problem:
    prior = Normal(dict(zip(("stiff", "middling", "slack"), scales, strict=True)))
    likelihood = NormalLikelihood(FixedNoise(1.0))
    return Problem.of(real_targets(10), Unseen(weights).double(), prior, likelihood)


def excess(method: Sampler, strength: Tensor) -> Tensor:
    """Return by how much the chain's variance exceeds the posterior's, relative, given e l."""
    return 1 / (1 - strength / (2 * (2 - friction(method)))) - 1


@every_sampler
def test_a_chain_on_a_known_normal_has_the_law_of_its_discretisation(method: Sampler) -> None:
    # e l = 1, 0.25 and 0.04: 6 comparisons per sampler
    strength = torch.tensor([1.0, 0.25, 0.04], dtype=torch.float64)
    scales = (0.2, 0.4, 1.0)
    method = replace(method, learning_rate=10 * 0.04, steps=480, chains=2, samples=3, burn_in=1 / 4)
    problem = unseen(8000, scales)
    assert problem.points == 10
    found = samples(method.fit(problem, [0])).unflatten(-1, (3, 8000))
    units = found / torch.tensor(scales, dtype=torch.float64)[:, None] / method.temperature**0.5
    number = 6 * 8000
    variance = 1 + excess(method, strength)
    square = (units**2).mean((0, 1, 3))
    assert ((square / variance - 1).abs() < 4 * math.sqrt(2 / number)).all()
    assert (units.mean((0, 1, 3)).abs() < 4 * (variance / number).sqrt()).all()
    assert excess(method, strength)[0] > 10 * 4 * math.sqrt(2 / number)  # the test can see it


@every_warm_sampler
def test_the_distance_to_the_posterior_is_of_first_order_in_the_step(method: Sampler) -> None:
    # Each halving of e halves the excess variance, but for terms of higher order, which the closed
    # form has. Distance of a weight's law: |variance l - 1|. 3 comparisons per sampler.
    weights, distances = 40_000, []
    strengths = torch.tensor([0.4, 0.2, 0.1], dtype=torch.float64)
    for strength in strengths.tolist():
        rate = 10 * strength
        chain = replace(
            method, learning_rate=rate, steps=int(40 / strength), samples=4, chains=1, burn_in=0.5
        )
        found = samples(chain.fit(unseen(weights, (1.0, 1.0, 1.0)), [1]))
        distances.append((found**2).mean() / method.temperature - 1)
    found = torch.stack(distances)
    error = math.sqrt(2 / (4 * 3 * weights))
    assert ((found - excess(method, strengths)).abs() < 4 * error * (1 + found)).all()
    order = (found[:-1] / found[1:]).log2()
    noise = error * (1 / found[1:] + 1 / found[:-1]) / math.log(2)
    exact = (excess(method, strengths)[:-1] / excess(method, strengths)[1:]).log2()
    assert ((order - exact).abs() < 4 * noise).all()
    assert apart(exact, torch.ones(2)) < 0.2


# A linear model, whose weights are correlated


def conjugate(rows: int = 40, features: int = 2) -> tuple[Problem, Tensor, Tensor]:
    """Return a linear-Gaussian problem, its posterior mean and its precision."""
    data = real_targets(rows, features)
    likelihood = NormalLikelihood(FixedNoise(5.0))
    network = MLP(features, [], 1).double()
    problem = Problem.of(data, network, Normal(0.7), likelihood)
    x, y = (part[0] for part in problem.batch(problem.train))
    design = torch.cat([x, torch.ones(rows, 1, dtype=x.dtype)], 1)
    noise = (5.0 / problem.targets.scale.item()) ** 2
    precision = design.mT @ design / noise + torch.eye(features + 1).to(x) / 0.7**2
    return problem, torch.linalg.solve(precision, design.mT @ y / noise), precision


def errors(weights: Tensor, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far moments of independent weights `[n, P]` are from a law, in standard errors.

    They are whitened by that law's covariance; the errors of squares are estimated.
    """
    white = torch.linalg.solve_triangular(
        torch.linalg.cholesky(covariance), (weights - mean).mT, upper=False
    ).mT
    products = white[:, :, None] * white[:, None]
    identity = torch.eye(len(mean)).to(white)
    root = math.sqrt(len(white))
    return (
        white.mean(0).abs() * root,
        (products.mean(0) - identity).abs() * root / products.std(0),
    )


@every_sampler
def test_chains_on_a_linear_model_have_the_law_of_their_discretisation(method: Sampler) -> None:
    # 3 means and 6 second moments per sampler
    problem, mean, precision = conjugate()
    stiffest = torch.linalg.eigvalsh(precision)[-1].item()
    step = 0.8 / stiffest
    method = replace(method, learning_rate=40 * step, steps=900, chains=500, samples=12, burn_in=0)
    found = samples(method.fit(problem, [2]))[:, 1:].flatten(0, 1)
    shrunk = torch.eye(3).double() - step * precision / (2 * (2 - friction(method)))
    covariance = method.temperature * torch.linalg.inv(precision @ shrunk)
    for error in errors(found, mean, covariance):
        assert (error < 4).all()
    assert (errors(found, mean, method.temperature * precision.inverse())[1] > 8).any()


# Minibatches: the exact second moments, over all orders of a few rows


def orders(points: int, size: int) -> Tensor:
    """Return all orders of an epoch's minibatches, `[orders, batches, size]`."""
    used = points // size * size
    return torch.tensor(list(permutations(range(points))))[:, :used].unflatten(1, (-1, size))


def second_moments(
    problem: Problem, method: Sampler, batches: Tensor, epochs: int = 400
) -> tuple[Tensor, Tensor]:
    """Return mean and covariance of the weights after many epochs, exactly.

    With u = (1, w, v) a step on some rows is the affine map u' = F u + noise, so E[u u'] goes to
    F E[u u'] F^T + Q; over an epoch it is averaged over all orders of its batches.
    """
    x, y = (part[0] for part in problem.batch(problem.train))
    design = torch.cat([x, torch.ones(len(x), 1).to(x)], 1)
    noise = (5.0 / problem.targets.scale.item()) ** 2
    size, dim = batches.shape[-1], design.shape[1]
    step, keep = method.learning_rate / problem.points, 1 - friction(method)
    part, targets = design[batches], y[batches]  # [orders, batches, size, ...]
    share = problem.points / size / noise
    precision = share * part.mT @ part + torch.eye(dim).to(x) / 0.7**2
    pull = share * (part.mT @ targets[..., None])[..., 0]
    maps = torch.zeros(*batches.shape[:2], 2 * dim + 1, 2 * dim + 1).to(x)
    maps[..., 0, 0] = 1
    for block in (slice(1, dim + 1), slice(dim + 1, None)):  # w' = w + v', and v'
        maps[..., block, 0] = step * pull
        maps[..., block, 1 : dim + 1] = -step * precision
        maps[..., block, dim + 1 :] = keep * torch.eye(dim).to(x)
    maps[..., 1 : dim + 1, 1 : dim + 1] += torch.eye(dim).to(x)
    kick = torch.zeros(2 * dim + 1, dim).to(x)
    kick[1:] = torch.eye(dim).to(x).repeat(2, 1)
    added = 2 * friction(method) * step * method.temperature * kick @ kick.mT
    moments = torch.zeros_like(added)
    moments[0, 0] = 1
    for _ in range(epochs):
        after = moments.expand(len(maps), -1, -1)
        for batch in range(maps.shape[1]):
            after = maps[:, batch] @ after @ maps[:, batch].mT + added
        moments = after.mean(0)
    assert apart(after.mean(0), moments) < 1e-13
    mean = moments[0, 1 : dim + 1]
    return mean, moments[1 : dim + 1, 1 : dim + 1] - torch.outer(mean, mean)


@every_warm_sampler
def test_minibatches_add_the_covariance_of_their_gradients(method: Sampler) -> None:
    # 2 means and 3 second moments per sampler, of 15,000 draws after whole epochs of 2 batches
    problem, mean, precision = conjugate(5, 1)
    step = 0.5 / torch.linalg.eigvalsh(precision)[-1].item()
    method = replace(method, learning_rate=5 * step, batch_size=2, burn_in=0)
    shuffled = second_moments(problem, method, orders(5, 2))
    pairs = torch.tensor([[[i, j]] for i in range(5) for j in range(i)])
    independent = second_moments(problem, method, pairs)
    together = second_moments(problem, method, torch.arange(5)[None, None], epochs=4000)
    shrunk = torch.eye(2).double() - step * precision / (2 * (2 - friction(method)))
    exact = method.temperature * torch.linalg.inv(precision @ shrunk)
    assert apart(together[0], mean) < 1e-12
    assert apart(together[1], exact) < 1e-12  # the closed form, for all rows in a batch
    found = samples(replace(method, steps=480, chains=1000, samples=16).fit(problem, [3]))
    found = found[:, 1:].flatten(0, 1)
    for error in errors(found, *shuffled):
        assert (error < 4).all()
    # It is not the law without that noise, nor that of batches drawn independently.
    assert (errors(found, *together)[1] > 6).any()
    assert (errors(found, *independent)[1] > 4).any()
    assert independent[1].trace() > shuffled[1].trace() > together[1].trace()


# Cycles


def test_cycles_explore_without_noise_and_sample_at_their_end() -> None:
    method = CyclicalSGMCMC(cycles=4, exploration=0.75, learning_rate=0.2, samples=5)
    phase, kept = method.schedule(400), method.kept(400)
    rates, temperatures = zip(*map(phase, range(400)), strict=True)
    assert [k for k, rate in enumerate(rates) if rate == 0.2] == [0, 100, 200, 300]
    assert rates[50] == pytest.approx(0.1)
    assert 0 < min(rates) < 1e-4
    for start in range(0, 400, 100):
        cycle = rates[start : start + 100]
        assert all(a > b for a, b in pairwise(cycle))
        assert temperatures[start : start + 100] == (0.0,) * 75 + (1.0,) * 25
    assert kept == [80, 85, 90, 95, 100, 180, 185, 190, 195, 200] + [
        200 + step for step in (80, 85, 90, 95, 100, 180, 185, 190, 195, 200)
    ]


@pytest.mark.parametrize("friction", [1.0, 0.2])
def test_cycles_have_the_exact_law_of_their_schedule(friction: float) -> None:
    # The variance of each weight, step by step, from the recursion of (w, v). 24 comparisons.
    method = CyclicalSGMCMC(
        learning_rate=2.0, friction=friction, steps=200, cycles=2, chains=1, samples=4
    )
    scales = (0.5, 1.0, 2.0)
    found = samples(method.fit(unseen(8000, scales), [0]))[0].unflatten(-1, (3, 8000))
    phase = method.schedule(200)
    for group, scale in enumerate(scales):
        moments, expected = torch.zeros(2, 2).double(), {}
        for done in range(200):
            step, heat = phase(done)[0] / 10, phase(done)[1]
            pull, keep = step / scale**2, 1 - friction
            move = torch.tensor([[1 - pull, keep], [-pull, keep]]).double()
            moments = move @ moments @ move.mT + 2 * friction * step * heat
            expected[done + 1] = moments[0, 0].item()
        variance = torch.tensor([expected[k] for k in method.kept(200)]).double()
        square = (found[:, group] ** 2).mean(1)
        assert len(variance) == 8
        assert ((square / variance - 1).abs() < 4 * math.sqrt(2 / 8000)).all()


# Settings


def test_sghmc_without_inertia_is_sgld() -> None:
    problem, *_ = conjugate()
    common = dict(learning_rate=0.01, steps=30, chains=2, samples=3)
    langevin = samples(SGLD(**common).fit(problem, [4]))
    assert torch.equal(samples(SGHMC(friction=1.0, **common).fit(problem, [4])), langevin)


@pytest.mark.parametrize("method", [SGLD(), SGHMC(), CyclicalSGMCMC()], ids=lambda m: m.name)
def test_temperature_is_a_caveat_and_samples_are_few(method: Sampler) -> None:
    problem, *_ = conjugate()
    method = replace(method, steps=200, chains=3)
    posterior = method.fit(problem, [0, 1])
    assert posterior.caveats == ()
    assert posterior.fit.parameters.shape == (2, 3, 3)
    kept = posterior.family.weights
    assert kept.shape == (2, 3, 25, 3)
    assert torch.equal(kept[:, :, -1], posterior.fit.parameters)  # the last is the last step's
    (caveat,) = replace(method, temperature=0.5).fit(problem, [0]).caveats
    assert "temperature 0.5" in caveat
    assert "not the posterior" in caveat


@pytest.mark.parametrize("method", [SGLD(), SGHMC(), CyclicalSGMCMC()], ids=lambda m: m.name)
def test_a_chain_is_the_single_chain_with_its_seed(method: Sampler) -> None:
    problem, *_ = conjugate()
    method = replace(method, steps=50, learning_rate=0.05)
    many, one = replace(method, chains=3), replace(method, chains=1)
    together = samples(many.fit(problem, [7]))
    assert apart(together[:1], samples(one.fit(problem, [7]))) < 1e-12
    assert apart(together[0], together[1]) > 0.01


@pytest.mark.parametrize("method", [SGLD(), SGHMC(), CyclicalSGMCMC()], ids=lambda m: m.name)
def test_a_step_too_large_is_told_as_diverged(method: Sampler) -> None:
    problem, *_ = conjugate()
    posterior = replace(method, learning_rate=1e6, steps=400).fit(problem, [0])
    assert posterior.fit.diverged == (True,)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": 0.0}, "temperature"),
        ({"steps": 0}, "steps"),
        ({"chains": 1.5}, "chains"),
        ({"samples": 0}, "samples"),
        ({"friction": 0.0}, "friction"),
        ({"friction": 1.1}, "friction"),
        ({"burn_in": 1.0}, "burn_in"),
        ({"exploration": -0.1}, "exploration"),
        ({"cycles": 0}, "cycles"),
    ],
)
def test_settings_without_meaning_are_refused(settings: dict[str, float], message: str) -> None:
    (name,) = settings
    for method in (SGLD(), SGHMC(), CyclicalSGMCMC()):
        if hasattr(method, name):
            with pytest.raises(InputError, match=message):
                replace(method, **settings)


def test_an_improper_prior_is_refused() -> None:
    problem, *_ = conjugate()
    with pytest.raises(InputError, match="proper prior"):
        SGLD(steps=1).fit(replace(problem, prior=Flat()), [0])
