"""NUTS: Pyro's own kernel, on the same Pyro program as everything else."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from small import apart, two_classes
from test_exact import conjugate

from bnn.diagnostics import worst_of
from bnn.errors import InputError
from bnn.methods import NUTS
from bnn.networks import MLP
from bnn.posterior import Chains
from bnn.priors import Flat
from bnn.problem import Problem

QUICK = NUTS(chains=2, warmup=10, samples=6, max_depth=3)


def posed(replicas: int = 2) -> Problem:
    return Problem.of(two_classes(30, replicas=replicas), MLP(3, [3], 2, "tanh").double())


def test_the_conjugate_linear_model() -> None:
    """Means and variances within four standard errors: by chance once in 2,000 times."""
    problem, mean, precision, _ = conjugate()
    method = NUTS(chains=2, warmup=100, samples=200, dense=True)
    posterior = method.fit(problem, [0])
    draws = posterior.family.weights[0]
    ess = worst_of(draws.numpy())["ess_bulk"]
    assert ess > 150
    variance = precision.inverse().diagonal()
    found = draws.flatten(0, 1)
    assert ((found.mean(0) - mean).abs() < 4 * (variance / ess).sqrt()).all()
    assert ((found.var(0) / variance - 1).abs() < 4 * math.sqrt(2 / ess)).all()
    assert posterior.fit.diagnostics == ({"divergences": 0.0},)


def test_every_chain_is_a_run_of_its_own() -> None:
    problem, generator = posed(), torch.get_rng_state()
    posterior = QUICK.fit(problem, [3, 4])
    assert torch.equal(torch.get_rng_state(), generator)
    assert isinstance(posterior.family, Chains)
    weights = posterior.family.weights
    assert weights.shape == (2, 2, 6, posterior.problem.layout.size)
    assert len(weights.flatten(0, 1)[:, -1].unique(dim=0)) == 4
    curve = posterior.fit.curves[0]
    assert curve.epochs == (1, 2, 3, 4, 5, 6)
    expected = -posterior.problem.log_joint(weights[:, :, 5]).mean(1)[0] / 30
    assert curve.train[-1] == pytest.approx(expected.item(), rel=1e-12)


def test_a_replica_that_is_not_finite_changes_no_other() -> None:
    problem = posed(3)
    scale = problem.inputs.scale.clone()
    scale[1] = 1e-310
    broken = replace(problem, inputs=replace(problem.inputs, scale=scale))
    sound, together = QUICK.fit(problem, [0, 1, 2]), QUICK.fit(broken, [0, 1, 2])
    assert together.fit.diverged == (False, True, False)
    assert together.fit.curves[1].epochs == (1,)
    for r in (0, 2):
        assert torch.equal(together.family.weights[r], sound.family.weights[r])


def test_progress_is_told_in_order() -> None:
    told: list[float] = []
    QUICK.fit(posed(), [0, 1], told.append)
    assert told == sorted(told)
    assert told[-1] == 1
    assert len(told) == 2 * 2 * 16 + 1


def test_the_last_layer_alone_may_be_sampled() -> None:
    posterior = replace(QUICK, last_layer=True).fit(posed(), [0, 1])
    assert posterior.family.weights.shape == (2, 2, 6, 8)  # 2 x 3 weights and 2 biases
    assert apart(posterior.family.weights[0, 0, 0], posterior.family.weights[0, 0, 5]) > 0


@pytest.mark.parametrize(
    "wrong", [{"chains": 0}, {"samples": 0}, {"acceptance": 0.0}, {"max_depth": 0}]
)
def test_settings_that_are_none_are_refused(wrong: dict) -> None:
    with pytest.raises(InputError):
        NUTS(**wrong)


def test_nuts_needs_a_prior() -> None:
    with pytest.raises(InputError, match="a proper prior; found Flat"):
        QUICK.fit(replace(posed(), prior=Flat()), [0, 1])
