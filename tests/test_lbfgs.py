"""Batched L-BFGS: against closed forms and scikit-learn, and replicas that go their own way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from small import apart, normal
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from bnn.lbfgs import Objective, polish


def quadratic(precision: Tensor, optimum: Tensor) -> Objective:
    """Return (w - optimum)' precision (w - optimum) / 2, `[replicas]`."""

    def objective(w: Tensor) -> Tensor:
        gap = w - optimum
        return 7 + ((precision @ gap[..., None])[..., 0] * gap).sum(-1) / 2

    return objective


def spread_out(replicas: int = 3, size: int = 12, condition: float = 1e4) -> tuple[Tensor, Tensor]:
    """Return precisions with eigenvalues from 1 to a condition number, and optima."""
    basis = torch.linalg.qr(normal(replicas, size, size))[0]
    values = torch.logspace(0, np.log10(condition), size, dtype=torch.float64)
    return basis @ torch.diag(values) @ basis.mT, normal(replicas, size, seed=1)


@pytest.mark.parametrize("condition", [1.0, 1e2, 1e4])
def test_quadratics_are_solved_to_a_gradient_of_1e_10(condition: float) -> None:
    precision, optimum = spread_out(condition=condition)
    found, norms = polish(quadratic(precision, optimum), torch.zeros_like(optimum))
    assert (norms <= 1e-10).all()
    assert apart(found, optimum) < 1e-9  # the least eigenvalue is 1
    gradient = (precision @ (found - optimum)[..., None])[..., 0]
    assert apart(norms, gradient.abs().amax(-1)) < 1e-11


def logistic(x: Tensor, y: Tensor, penalty: float) -> Objective:
    """Return penalised logistic regression, rows `[replicas, points, features]`."""

    def objective(w: Tensor) -> Tensor:
        logits = (x @ w[..., None])[..., 0]
        loss = binary_cross_entropy_with_logits(logits, y, reduction="none").sum(-1)
        return loss + penalty * w.square().sum(-1) / 2

    return objective


def rows(replicas: int = 3) -> tuple[Tensor, Tensor]:
    x = normal(replicas, 200, 5) * torch.tensor([1.0, 3.0, 0.2, 10.0, 1.0]).double()
    y = (x[..., 0] - x[..., 1] + 2 * normal(replicas, 200, seed=1) > 0).double()
    return x, y


def test_logistic_regression_is_scikit_learns() -> None:
    x, y = rows()
    found, norms = polish(logistic(x, y, penalty=0.5), x.new_zeros(3, 5))
    assert (norms <= 1e-10).all()
    for r in range(3):
        sklearn = LogisticRegression(C=2.0, tol=1e-12, max_iter=10_000, fit_intercept=False)
        sklearn.fit(x[r].numpy(), y[r].numpy())
        assert np.abs(sklearn.coef_[0] - found[r].numpy()).max() < 1e-5
        # scikit-learn stops earlier: its gradient is larger, and its loss is not lower
        theirs = torch.as_tensor(sklearn.coef_).expand(3, -1)
        loss = logistic(x, y, penalty=0.5)
        assert loss(found)[r] <= loss(theirs)[r] + 1e-12


def rosenbrock(w: Tensor) -> Tensor:
    return ((1 - w[:, :-1]) ** 2 + 100 * (w[:, 1:] - w[:, :-1] ** 2) ** 2).sum(-1)


def test_a_curved_valley_is_followed_to_its_end() -> None:
    start = torch.tensor([[-1.2, 1.0], [3.0, -2.0], [0.0, 0.0]], dtype=torch.float64)
    found, norms = polish(rosenbrock, start)
    assert (norms <= 1e-10).all()
    assert apart(found, torch.ones(3, 2)) < 1e-9


@pytest.mark.parametrize("iterations", [1, 7, 1000])
def test_a_replica_goes_the_way_of_its_single_run(iterations: int) -> None:
    x, y = rows()
    x[1] *= 5  # its way is another, and longer
    together, norms = polish(logistic(x, y, 0.5), x.new_zeros(3, 5), iterations=iterations)
    for r in range(3):
        alone, norm = polish(
            logistic(x[r : r + 1], y[r : r + 1], 0.5), x.new_zeros(1, 5), iterations=iterations
        )
        assert apart(alone[0], together[r]) < 1e-12
        assert norm[0].item() == pytest.approx(norms[r].item(), rel=1e-6, abs=1e-12)


def test_a_replica_that_has_arrived_stays_where_it_is() -> None:
    precision, optimum = spread_out()
    start = torch.zeros_like(optimum)
    start[1] = optimum[1]
    seen: list[Tensor] = []

    def objective(w: Tensor) -> Tensor:
        seen.append(w[1].detach().clone())
        return quadratic(precision, optimum)(w)

    found, norms = polish(objective, start)
    assert torch.equal(found[1], optimum[1])
    assert norms[1] == 0
    assert len(seen) > 20
    assert all(torch.equal(place, optimum[1]) for place in seen)


@pytest.mark.parametrize("lost", [torch.nan, torch.inf])
def test_a_lost_replica_changes_no_other(lost: float) -> None:
    precision, optimum = spread_out()
    sound, _ = polish(quadratic(precision, optimum), torch.zeros_like(optimum))
    start = torch.zeros_like(optimum)
    start[1] = lost
    found, norms = polish(quadratic(precision, optimum), start)
    assert torch.equal(found[[0, 2]], sound[[0, 2]])
    assert not norms[1].isfinite()
    assert (norms[[0, 2]] <= 1e-10).all()


def test_steps_out_of_the_domain_are_taken_back() -> None:
    def barrier(w: Tensor) -> Tensor:
        return (w - w.log()).sum(-1)  # least at 1; NaN below 0

    start = torch.tensor([[1e-3, 5.0], [80.0, 0.5]], dtype=torch.float64)
    found, norms = polish(barrier, start)
    assert (norms <= 1e-10).all()
    assert apart(found, torch.ones(2, 2)) < 1e-9


def test_a_kink_ends_the_search_and_is_told_by_the_gradient() -> None:
    calls = 0

    def distance(w: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return torch.where(w < 0.3, 0.3 - w, w - 0.3).sum(-1)  # its slope is never zero

    start = torch.tensor([[1.0, 2.0, -1.0]], dtype=torch.float64)
    found, norms = polish(distance, start)
    assert norms.tolist() == [1.0]
    assert distance(found) < 0.5 * distance(start)
    assert calls < 3000


def test_iterations_and_the_tolerance_are_kept() -> None:
    precision, optimum = spread_out()
    start = torch.zeros_like(optimum)
    objective = quadratic(precision, optimum)
    none, norms = polish(objective, start, iterations=0)
    assert torch.equal(none, start)
    assert apart(norms, (precision @ optimum[..., None])[..., 0].abs().amax(-1)) < 1e-9
    loose, rough = polish(objective, start, tolerance=1.0)
    assert (rough <= 1.0).all()
    assert (rough > 1e-8).any()
    before, after = objective(start), objective(polish(objective, start, iterations=1)[0])
    assert (after < before).all()
    assert not loose.requires_grad


def test_single_precision_comes_as_near_as_it_can() -> None:
    precision, optimum = spread_out(condition=100)
    found, norms = polish(
        quadratic(precision.float(), optimum.float()),
        torch.zeros_like(optimum).float(),
        tolerance=1e-4,
    )
    assert found.dtype == torch.float32
    assert (norms <= 1e-4).all()
    assert apart(found, optimum) < 1e-4
