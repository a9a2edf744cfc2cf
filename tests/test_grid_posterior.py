"""The grid posterior of `bnn.exact`, against integrals taken otherwise."""

import numpy as np
import pytest
import torch
from scipy.integrate import dblquad
from small import normal, real_targets, table, two_classes

from bnn.data.gaussians import two_gaussians
from bnn.errors import InputError
from bnn.exact import grid_posterior
from bnn.likelihoods import FixedNoise
from bnn.likelihoods import Normal as NormalLikelihood
from bnn.networks import MLP
from bnn.priors import Flat, Normal
from bnn.problem import Problem


def logistic(points: int = 12, scale: float = 2.0) -> Problem:
    data = two_gaussians([0], points)
    return Problem.of(data, MLP(1, [], 1).double(), prior=Normal(scale))


def test_predictive_against_scipys_double_integral() -> None:
    problem = logistic()
    (x, y), at = problem.batch(problem.train), torch.tensor([[0.5], [3.0]])
    rows, signs = x[0, :, 0].numpy(), 2 * y[0].numpy() - 1
    z = problem.standardise(at[None])[0, :, 0].tolist()

    def density(b: float, a: float) -> float:
        log_likelihood = -np.logaddexp(0, -signs * (a * rows + b)).sum()
        return float(np.exp(log_likelihood - (a * a + b * b) / 8))

    def integral(f) -> float:
        return dblquad(f, -20, 20, -20, 20, epsabs=0, epsrel=1e-8)[0]

    whole = integral(density)
    found = grid_posterior(problem).log_probs(at).exp()[:, 1]
    for p, place in zip(found, z, strict=True):
        expected = integral(
            lambda b, a, place=place: density(b, a) / (1 + np.exp(-(a * place + b)))
        )
        assert float(p) == pytest.approx(expected / whole, abs=1e-8)


def test_moments_of_a_conjugate_regression() -> None:
    data = real_targets(30, features=1, noise=0.5)
    likelihood = NormalLikelihood(FixedNoise(2.0))
    problem = Problem.of(data, MLP(1, [], 1).double(), prior=Normal(1.5), likelihood=likelihood)
    x, y = problem.batch(problem.train)
    noise = 2.0 / problem.targets.scale.item()
    design = torch.stack([x[0, :, 0], torch.ones(30)], 1)
    precision = design.mT @ design / noise**2 + torch.eye(2) / 1.5**2
    found = grid_posterior(problem)
    covariance = precision.inverse()
    torch.testing.assert_close(found.mean, covariance @ design.mT @ y[0] / noise**2)
    torch.testing.assert_close(found.covariance, covariance)
    torch.testing.assert_close(found.sd, covariance.diagonal().sqrt())
    assert found.edge < 1e-12


def test_more_steps_change_nothing_and_nothing_is_cut_off() -> None:
    problem = logistic()
    x = torch.linspace(-4, 4, 17)[:, None]
    fine, finer = grid_posterior(problem), grid_posterior(problem, steps=251)
    assert (fine.log_probs(x).exp() - finer.log_probs(x).exp()).abs().max() < 1e-9
    assert fine.edge < 1e-10
    torch.testing.assert_close(fine.log_probs(x).logsumexp(-1), torch.zeros(17).double())


def test_one_weight_is_enough() -> None:
    class Slope(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.line = torch.nn.Linear(1, 1, bias=False, dtype=torch.float64)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.line(x)

    x = normal(20, 1)
    data = table(x, (x[:, 0] > 0).long(), classes=2)
    found = grid_posterior(Problem.of(data, Slope(), prior=Normal(1.0)))
    assert found.weights.shape == (201, 1)
    assert found.mean.item() > 0.5


def test_what_has_no_grid_is_refused() -> None:
    wide = Problem.of(two_classes(), MLP(3, [], 1).double())
    with pytest.raises(InputError, match="4 weights"):
        grid_posterior(wide)
    with pytest.raises(InputError, match="2 replicas"):
        grid_posterior(logistic().take([0, 0]))
    improper = Problem.of(two_gaussians([0], 12), MLP(1, [], 1).double(), prior=Flat())
    with pytest.raises(InputError, match="Flat"):
        grid_posterior(improper)
    regression = Problem.of(
        real_targets(30, features=1),
        MLP(1, [], 1).double(),
        likelihood=NormalLikelihood(FixedNoise(1.0)),
    )
    with pytest.raises(InputError, match="a classification"):
        grid_posterior(regression, steps=21).log_probs(torch.zeros(1, 1))
