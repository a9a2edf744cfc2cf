"""Local reparameterisation and flipout: unbiased, with less noise than one draw for all rows."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from scipy.stats import norm
from small import apart, quick, real_targets, two_classes
from test_exact import conjugate
from test_variational import guide, negative_elbo
from torch import Tensor, nn

from bnn.errors import InputError
from bnn.methods import MeanField
from bnn.methods.mean_field import FactorisedNormal
from bnn.networks import MLP
from bnn.problem import Problem
from bnn.seeds import Streams
from bnn.variational import fast_negative_elbo

ESTIMATORS = ["local", "flipout"]
every_estimator = pytest.mark.parametrize("estimator", ESTIMATORS)


def gradients(estimator: str, problem: Problem, phi: Tensor, many: int = 10_000) -> Tensor:
    """Return estimates of the gradient of the loss on all rows, `[many, 2, parameters]`."""
    loss = MeanField(estimator=estimator)._by_rows(problem)
    assert loss is not None
    crowd = problem.take([0] * many)
    parameters = phi.detach().expand(many, -1, -1).clone().requires_grad_()
    noise = Streams(range(many), "test", torch.device("cpu"), torch.float64)
    losses = loss(crowd, parameters, *crowd.batch(crowd.train), noise)
    return torch.autograd.grad(losses.sum(), parameters)[0]


@every_estimator
def test_gradients_with_noise_for_every_row_are_unbiased_and_less_noisy(estimator: str) -> None:
    # z-tests of all entries: by chance some crosses the line once in 10,000 right programs. A bias
    # of a tenth of the largest entry would be seen with probability 0.95.
    problem = conjugate()[0]
    phi = guide(FactorisedNormal, 4, replicas=1).requires_grad_()
    (exact,) = torch.autograd.grad(negative_elbo(problem, FactorisedNormal, phi), phi)
    found = gradients(estimator, problem, phi)
    error = found.std(0) / math.sqrt(len(found))
    line = norm.isf(1e-4 / (2 * exact.numel()))
    assert ((found.mean(0) - exact[0]).abs() <= line * error + 1e-12).all()
    assert (line + norm.isf(0.05)) * error.max() < 0.1 * exact.abs().max()
    weights = phi.detach().expand(10_000, -1, -1).clone().requires_grad_()
    many = problem.take([0] * 10_000)
    noise = Streams(range(10_000), "test", torch.device("cpu"), torch.float64).normal(1, 4)
    losses = fast_negative_elbo(FactorisedNormal, many, weights, noise, *many.batch(many.train))
    (shared,) = torch.autograd.grad(losses.sum(), weights)
    assert found[:, 0].var(0).sum() < 0.5 * shared[:, 0].var(0).sum()


@every_estimator
def test_a_replica_is_the_single_run(estimator: str) -> None:
    problem = Problem.of(real_targets(40, replicas=2), MLP(3, [5], 1, "tanh").double())
    method = quick(MeanField(estimator=estimator), epochs=5, batch_size=10)
    together = method.fit(problem, [3, 4])
    alone = method.fit(problem.take([1]), [4])
    assert apart(together.fit.parameters[1], alone.fit.parameters[0]) < 1e-12
    assert together.fit.diverged == (False, False)


@every_estimator
def test_other_layers_are_refused_by_name(estimator: str) -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2)).double()
    with pytest.raises(InputError, match="LayerNorm at '1'"):
        MeanField(estimator=estimator).fit(Problem.of(two_classes(), module), [0])
    with pytest.raises(InputError, match="last_layer"):
        replace(MeanField(estimator=estimator), last_layer=True)
