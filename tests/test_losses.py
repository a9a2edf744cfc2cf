"""Losses that are no likelihoods: their values, their optima, and what they refuse."""

import pyro
import pytest
import torch
from small import apart, normal, quick, two_classes

from bnn.errors import InputError
from bnn.losses import Factor, Hinge, SquaredError
from bnn.methods import MAP, MLE
from bnn.networks import MLP
from bnn.posterior import predict
from bnn.priors import Normal
from bnn.problem import Problem

UNIT = torch.ones(())


def test_squared_error_by_hand() -> None:
    logits = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64).log()
    factor = SquaredError().distribution(logits, {}, UNIT)
    assert -factor.log_prob(torch.tensor(2)).item() == pytest.approx(0.04 + 0.09 + 0.25, abs=1e-12)


def test_hinge_is_that_of_torch() -> None:
    outputs, y = normal(50, 1), (normal(50, seed=1) > 0).long()
    t = Hinge().targets(y, outputs)
    found = -Hinge().distribution(outputs, {}, UNIT).log_prob(t)
    expected = torch.nn.functional.multi_margin_loss(
        torch.stack([torch.zeros(50), 2 * outputs[:, 0]], -1), y, margin=2, reduction="none"
    )  # of two classes it is max(0, margin - difference) / 2
    torch.testing.assert_close(found, expected)


def test_mle_minimises_the_mean_squared_error_of_the_probabilities() -> None:
    data = two_classes()
    network = MLP(3, [], 2).double()
    problem = Problem.of(data, network, likelihood=SquaredError())
    method = quick(MLE(), epochs=400, learning_rate=0.05, batch_size=60, decay=True)
    weights = method.fit(problem, [0]).fit.parameters[:, None].requires_grad_()
    x, y = problem.batch(problem.train)
    probs = problem.outputs(weights, x)[0, 0].softmax(-1)
    mean = (probs - torch.nn.functional.one_hot(y[0], 2)).square().sum(-1).mean()
    (gradient,) = torch.autograd.grad(mean, weights)
    assert problem.loss(weights, x, y).item() == pytest.approx(mean.item(), abs=1e-14)
    assert gradient.abs().max() < 1e-4


def test_every_method_that_minimises_takes_them_and_pyro_runs_them() -> None:
    data = two_classes()
    for loss, outputs in ((SquaredError(), 2), (Hinge(), 1)):
        problem = Problem.of(
            data, MLP(3, [4], outputs).double(), prior=Normal(1.0), likelihood=loss
        )
        posterior = quick(MAP(), epochs=3).fit(problem, [0])
        weights = posterior.fit.parameters[:, None]
        given = pyro.condition(problem.model, data={"weights": weights})
        total = pyro.poutine.trace(given).get_trace().log_prob_sum()
        assert apart(total, problem.log_joint(weights).sum()) < 1e-10


def test_a_margin_is_no_probability() -> None:
    problem = Problem.of(two_classes(), MLP(3, [], 1).double(), likelihood=Hinge())
    posterior = quick(MLE(), epochs=1).fit(problem, [0])
    with pytest.raises(InputError, match="margins of the hinge loss"):
        predict(posterior, problem.train.x)
    assert posterior.outputs(problem.train.x)[0].shape == (1, 1, 60, 1)
    with pytest.raises(InputError, match="two classes"):
        Hinge().width(3)


def test_factors_expand() -> None:
    factor = Factor(normal(5, 2), lambda y: y.square())
    wider = factor.expand((3, 5))
    assert wider.batch_shape == (3, 5)
    assert torch.equal(wider.log_prob(normal(3, 5)), -normal(3, 5).square())
