"""Classes of known probability: the densities, the posterior and the entropy that is left."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import multivariate_normal, norm

from bnn.data.gaussians import FOUR, TWO, Gaussians, four_gaussians, two_gaussians
from bnn.errors import InputError

HALVES = Gaussians(
    means=torch.tensor([[-1.0], [1.0]], dtype=torch.float64),
    scales=torch.ones(2, 1, dtype=torch.float64),
    weights=torch.tensor([0.5, 0.5], dtype=torch.float64),
)


def test_joint_densities_are_those_of_scipy() -> None:
    x, _ = FOUR.draw(50, 0)
    for k in range(FOUR.classes):
        density = multivariate_normal(FOUR.means[k].numpy(), np.diag(FOUR.scales[k] ** 2))
        expected = density.logpdf(x.numpy().astype(float)) + math.log(0.25)
        np.testing.assert_allclose(FOUR.log_joint(x)[:, k], expected, rtol=1e-12)


def test_posterior_of_two_unit_normals_is_logistic_in_twice_the_input() -> None:
    x = torch.linspace(-4, 4, 9, dtype=torch.float64)[:, None]
    expected = torch.sigmoid(2 * x[:, 0])
    torch.testing.assert_close(HALVES.log_posterior(x)[:, 1].exp(), expected, rtol=1e-13, atol=0)


def test_rows_have_the_stated_moments_and_depend_on_the_seed_alone() -> None:
    x, y = FOUR.draw(200_000, 3)
    for k in range(4):
        rows = x[y == k].double()
        error = FOUR.scales[k] / len(rows) ** 0.5
        assert ((rows.mean(0) - FOUR.means[k]).abs() < 4.5 * error).all()
        assert ((rows.std(0) - FOUR.scales[k]).abs() < 4.5 * error).all()
    again, other = FOUR.draw(200_000, 3), FOUR.draw(200_000, 4)
    assert torch.equal(x, again[0])
    assert not torch.equal(x, other[0])


def test_conditional_entropy_against_an_adaptive_integral() -> None:
    def integrand(x: float) -> float:
        p = 1 / (1 + math.exp(-2 * x))
        entropy = -p * math.log(p) - (1 - p) * math.log1p(-p) if 0 < p < 1 else 0.0
        return entropy * (norm.pdf(x, -1) + norm.pdf(x, 1)) / 2

    expected = quad(integrand, -15, 15, epsabs=1e-12)[0]
    assert HALVES.conditional_entropy(100) == pytest.approx(expected, abs=1e-6)


def test_conditional_entropy_is_the_truths_own_mean_surprise() -> None:
    x, y = FOUR.draw(100_000, 5)
    surprise = -FOUR.log_posterior(x).gather(1, y[:, None])
    error = float(surprise.std()) / len(y) ** 0.5
    assert abs(float(surprise.mean()) - FOUR.conditional_entropy(20)) < 4 * error


def test_the_last_feature_says_nothing() -> None:
    x, _ = FOUR.draw(20, 0)
    moved = x.clone()
    moved[:, -1] = 8.0
    torch.testing.assert_close(FOUR.log_posterior(moved), FOUR.log_posterior(x))


def test_far_to_the_right_the_wide_class_is_likelier_again() -> None:
    p = TWO.log_posterior(torch.tensor([[1.0], [6.0]])).exp()
    assert p[0, 1] > 0.8
    assert p[1, 0] > 0.99


@pytest.mark.parametrize("load", [two_gaussians, four_gaussians])
def test_every_split_draws_rows_of_its_own(load) -> None:
    data, alone = load([3, 8], 40), load([8], 40)
    assert (data.train.points, data.validation.points, data.test.points) == (40, 10, 1000)
    assert data.calibration.points == 10
    assert torch.equal(data.test.x[1], alone.test.x[0])
    assert torch.equal(data.train.y[1], alone.train.y[0])
    assert not torch.equal(data.train.x[0], data.train.x[1])


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(InputError, match="at least 4 training rows"):
        four_gaussians([0], 3)
    for splits in ([], [-1], [2**32]):
        with pytest.raises(InputError, match="at least one split id"):
            two_gaussians(splits)
