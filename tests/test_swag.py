"""SWAG and MultiSWAG: their moments, step by step, and the law of their draws."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from small import apart, normal, real_targets, two_classes
from torch import Tensor

from bnn.errors import InputError
from bnn.methods.maximum_posterior import MAP
from bnn.methods.multi_swag import MultiSWAG
from bnn.methods.swag import SWAG, LowRankNormals, Moments
from bnn.networks import MLP
from bnn.optimise import Training
from bnn.posterior import Posterior
from bnn.problem import Problem
from bnn.seeds import Streams

CPU = torch.device("cpu")
BRIEF = SWAG(MAP(Training(epochs=5)), epochs=12, learning_rate=0.05, batch_size=60, rank=4)


def classes(replicas: int = 1) -> Problem:
    return Problem.of(two_classes(60, replicas=replicas), MLP(3, [4], 2, "tanh").double())


def normals(posterior: Posterior) -> LowRankNormals:
    assert isinstance(posterior.family, LowRankNormals)
    return posterior.family


def iterates(problem: Problem, start: Tensor, method: SWAG) -> Tensor:
    """Return the weights after each epoch of torch's own SGD on all rows, `[epochs, P]`."""
    weights = start.clone().requires_grad_()
    sgd = torch.optim.SGD([weights], lr=method.learning_rate, momentum=method.momentum)
    passed = []
    for _ in range(method.epochs):
        sgd.zero_grad()
        (-problem.log_joint(weights[None, None]).sum() / problem.points).backward()
        sgd.step()
        passed.append(weights.detach().clone())
    return torch.stack(passed)


@pytest.mark.parametrize(("settling", "rank"), [(0.25, 4), (0.5, 20), (0.0, 12)])
def test_the_moments_are_those_of_sgd_from_the_mode(settling: float, rank: int) -> None:
    problem = classes()
    method = replace(BRIEF, settling=settling, rank=rank)
    posterior = method.fit(problem, [3])
    start = method.start.fit(problem, [3]).fit.parameters[0]
    kept = iterates(problem, start, method)[int(12 * settling) :]
    means = kept.cumsum(0) / torch.arange(1, len(kept) + 1)[:, None]
    last = min(rank, len(kept))
    deviations = (kept - means)[-last:]  # each from the mean so far
    diagonal = kept.var(0, correction=0).diag()
    expected = diagonal / 2 + deviations.mT @ deviations / (2 * (last - 1))
    family = normals(posterior)
    assert apart(family.mean[0], kept.mean(0)) < 1e-12
    assert apart(family.covariance[0], expected) < 1e-12
    assert expected.diagonal().min() > 1e-8  # there is something to compare
    assert torch.equal(posterior.fit.parameters, family.mean)
    assert family.factor.shape == (1, 1, last, problem.layout.size)


def test_single_precision_keeps_small_variances() -> None:
    # Iterates that differ in the fourth digit: differences of squares would lose them.
    double = classes()
    single = Problem.of(two_classes(60), MLP(3, [4], 2, "tanh"))
    passed = 100 + 1e-2 * normal(30, 1, 5)
    found, exact = (Moments(passed[0].to(p.like), 4, 1, 0) for p in (single, double))
    for done, weights in enumerate(passed, 1):
        found.visit([0], done, weights.float())
        exact.visit([0], done, weights)
    variance = passed.var(0, correction=0) / 2
    assert apart(exact.normal().variance[0], variance) < 1e-12
    assert apart(found.normal().variance[0] / variance, torch.ones(1, 5)) < 0.01


def mixture() -> LowRankNormals:
    """Return two replicas of three components."""
    return LowRankNormals(
        loc=2 * normal(2, 3, 4),
        variance=normal(2, 3, 4, seed=1).square(),
        factor=normal(2, 3, 2, 4, seed=2),
    )


@pytest.mark.parametrize("components", [1, 3])
def test_draws_have_the_stated_mean_and_covariance(components: int) -> None:
    # 2 x (4 means + 10 second moments) at 4 standard errors: 2 seeds of 1,000 would fail by chance
    full = mixture()
    family = LowRankNormals(*(p[:, :components] for p in (full.loc, full.variance, full.factor)))
    draws = 60_000
    weights, masks = family.draw(Streams([5, 6], "a test", CPU, torch.float64), draws)
    assert masks == {}
    assert weights.shape == (2, draws, 4)
    centred = weights - family.mean[:, None]
    products = centred[..., None] * centred[..., None, :]
    root = math.sqrt(draws)
    assert (centred.mean(1).abs() < 4 * weights.std(1) / root).all()
    away = (products.mean(1) - family.covariance).abs()
    assert (away < 4 * products.std(1) / root).all()
    assert (products.std(1) / root < 0.02 * family.covariance.diagonal(0, 1, 2).max()).all()


def test_draws_are_divided_among_members_and_begin_alike() -> None:
    family = replace(mixture(), variance=torch.zeros(2, 3, 4).double())
    still = replace(family, factor=torch.zeros(2, 3, 2, 4).double())
    weights, _ = still.draw(Streams([5, 6], "a test", CPU, torch.float64), 7)
    assert torch.equal(weights, still.loc[:, [0, 1, 2, 0, 1, 2, 0]])
    many, _ = mixture().draw(Streams([5, 6], "a test", CPU, torch.float64), 7)
    few, _ = mixture().draw(Streams([5, 6], "a test", CPU, torch.float64), 2)
    assert apart(many[:, :2], few) < 1e-14
    streams = Streams([5, 6], "a test", CPU, torch.float64)
    some = torch.cat([mixture().draw(streams, draws)[0] for draws in (2, 1, 4)], dim=1)
    assert apart(many, some) < 1e-14


def test_members_of_multiswag_are_swags_and_the_first_that_of_the_seed() -> None:
    problem = classes(replicas=2)
    method = MultiSWAG(members=3, member=BRIEF)
    family = normals(method.fit(problem, [3, 9]))
    single = normals(BRIEF.fit(problem, [3, 9]))
    for part in ("loc", "variance", "factor"):
        assert apart(getattr(family, part)[:, :1], getattr(single, part)) < 1e-12
    assert family.loc.shape == (2, 3, problem.layout.size)
    assert len(family.loc.flatten(0, 1).unique(dim=0)) == 6
    alone = normals(replace(method, members=1).fit(problem, [3, 9]))
    assert apart(alone.covariance, single.covariance) < 1e-12


def test_a_curve_shows_the_way_to_the_mode_and_about_it() -> None:
    problem = classes(replicas=2)
    fit = BRIEF.fit(problem, [3, 9]).fit
    assert [curve.epochs for curve in fit.curves] == [tuple(range(1, 18))] * 2
    first = BRIEF.start.fit(problem, [3, 9]).fit
    assert fit.curves[0].train[:5] == pytest.approx(first.curves[0].train, rel=1e-11)
    assert fit.diverged == (False, False)


def test_one_lost_replica_changes_no_other() -> None:
    problem = classes(replicas=2)
    wild = replace(BRIEF, learning_rate=1e200).fit(problem, [3, 9])
    assert wild.fit.diverged == (True, True)
    scale = problem.inputs.scale.clone()
    scale[1] = 1e-310
    broken = replace(problem, inputs=replace(problem.inputs, scale=scale))
    together, sound = BRIEF.fit(broken, [3, 9]), BRIEF.fit(problem, [3, 9])
    assert together.fit.diverged == (False, True)
    assert apart(normals(together).covariance[0], normals(sound).covariance[0]) < 1e-12


def test_all_weights_of_a_regression_spread_its_noise_too() -> None:
    problem = Problem.of(real_targets(60), MLP(3, [4], 1).double())
    family = normals(replace(BRIEF, batch_size=10).fit(problem, [0]))
    assert (family.covariance.diagonal(0, 1, 2) > 0).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 1}, "rank"),
        ({"epochs": 0}, "epochs"),
        ({"epochs": 4, "settling": 0.75}, "two epochs"),
        ({"momentum": 1.0}, "momentum"),
        ({"settling": -0.1}, "settling"),
        ({"learning_rate": math.inf}, "learning_rate"),
    ],
)
def test_settings_without_meaning_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SWAG(**settings)
    with pytest.raises(InputError, match="at least one member"):
        MultiSWAG(members=0)
