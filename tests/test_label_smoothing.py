"""Label smoothing: against torch's own, and its known optimum."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from small import apart, normal, quick, real_targets, table, two_classes
from torch import Tensor, nn

from bnn.errors import InputError
from bnn.likelihoods import Bernoulli, SoftLabels
from bnn.methods import MLE, LabelSmoothing
from bnn.methods.label_smoothing import smoothed_cross_entropy
from bnn.networks import MLP
from bnn.optimise import Training
from bnn.posterior import predict
from bnn.problem import Problem

RATES = (0.0, 0.1, 0.7)


def three_classes(replicas: int = 2) -> Problem:
    x = normal(40, 2)
    data = table(x, torch.arange(40) % 3, classes=3, replicas=replicas, held_out=10)
    return Problem.of(data, MLP(2, [5], 3).double())


def batch(problem: Problem) -> tuple[Tensor, Tensor, Tensor]:
    """Return weights, inputs and targets."""
    return problem.initial(range(problem.replicas)), *problem.batch(problem.train)


@pytest.mark.parametrize("rate", RATES)
def test_the_loss_is_torchs(rate: float) -> None:
    problem = three_classes()
    weights, x, y = batch(problem)
    found = smoothed_cross_entropy(problem, weights, x, y, rate)
    logits = problem.outputs(weights[:, None], x)[:, 0]
    for r in range(2):
        expected = F.cross_entropy(logits[r], y[r], label_smoothing=rate)
        assert found[r].item() == pytest.approx(expected.item(), rel=1e-13)


@pytest.mark.parametrize("rate", RATES)
def test_one_logit_is_smoothed_as_two_are(rate: float) -> None:
    problem = Problem.of(two_classes(30), MLP(3, [5], 1).double())
    assert problem.likelihood == Bernoulli()
    weights, x, y = batch(problem)
    logit = problem.outputs(weights[:, None], x)[:, 0, :, 0]
    expected = F.binary_cross_entropy_with_logits(logit, (1 - rate) * y + rate / 2)
    assert apart(smoothed_cross_entropy(problem, weights, x, y, rate)[0], expected) < 1e-14


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("counts", [False, True])
def test_label_distributions_are_smoothed(counts: bool, rate: float) -> None:
    y = 1 + (3 * normal(30, 3).abs()).floor()
    data = table(normal(30, 2, seed=1), y, classes=3)
    problem = Problem.of(data, MLP(2, [5], 3).double(), likelihood=SoftLabels(counts))
    weights, x, y = batch(problem)
    log_probs = problem.outputs(weights[:, None], x)[:, 0].log_softmax(-1)
    smooth = (1 - rate) * y + rate * y.sum(-1, keepdim=True) / 3
    expected = -(smooth * log_probs).sum(-1).mean(-1)
    assert apart(smoothed_cross_entropy(problem, weights, x, y, rate), expected) < 1e-13


def test_without_smoothing_it_is_maximum_likelihood() -> None:
    problem = three_classes()
    training = replace(MLE().training, epochs=20, batch_size=10, patience=3)
    found = LabelSmoothing(rate=0.0, training=training).fit(problem, [1, 2])
    expected = MLE(training).fit(problem, [1, 2])
    assert apart(found.fit.parameters, expected.fit.parameters) < 1e-12
    assert [c.epochs for c in found.fit.curves] == [c.epochs for c in expected.fit.curves]
    assert found.fit.curves[0].train == pytest.approx(expected.fit.curves[0].train, rel=1e-12)
    assert LabelSmoothing().training == MLE().training  # so that a study compares like with like


def test_its_optimum_mixes_the_frequencies_with_the_even_ones() -> None:
    """A network that knows nothing but a bias, on 30 labels of which 20 are of one class."""

    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Linear(1, 3, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.bias(torch.ones_like(x))

    y = torch.tensor([0] * 20 + [1] * 8 + [2] * 2)
    problem = Problem.of(table(normal(30, 1), y, classes=3), Constant().double())
    method = LabelSmoothing(rate=0.3).thorough()
    probs = predict(method.fit(problem, [0]), normal(1, 1)).probs[0, 0]
    frequencies = torch.tensor([20, 8, 2]).double() / 30
    assert apart(probs, 0.7 * frequencies + 0.1) < 1e-5


def test_early_stopping_looks_at_the_plain_cross_entropy() -> None:
    problem = three_classes()
    posterior = quick(LabelSmoothing(rate=0.5), epochs=10, patience=4).fit(problem, [1, 2])
    predictive = predict(posterior, problem.validation.x)
    for r, curve in enumerate(posterior.fit.curves):
        plain = -predictive.log_prob(problem.validation.y)[r].mean().item()
        assert min(curve.validation) == pytest.approx(plain, rel=1e-12)


def test_training_is_torchs_with_smoothed_labels() -> None:
    problem = three_classes(replicas=1)
    training = Training(epochs=30, learning_rate=0.02, batch_size=30)
    found = LabelSmoothing(rate=0.2, training=training).fit(problem, [3]).fit.parameters[0]
    network = copy.deepcopy(problem.network.network)
    nn.utils.vector_to_parameters(problem.initial([3])[0], network.parameters())
    adam = torch.optim.Adam(network.parameters(), lr=0.02)
    x, y = (part[0] for part in problem.batch(problem.train))
    for _ in range(30):
        adam.zero_grad()
        F.cross_entropy(network(x), y, label_smoothing=0.2).backward()
        adam.step()
    assert apart(found, nn.utils.parameters_to_vector(network.parameters()).detach()) < 1e-11


def test_what_cannot_be_smoothed_is_refused() -> None:
    numbers = Problem.of(real_targets(), MLP(3, [5], 1).double())
    with pytest.raises(InputError, match=r"a classification.*found regression.*Use MLE"):
        LabelSmoothing().fit(numbers, [0])
    for rate in (-0.1, 1.0, float("nan")):
        with pytest.raises(InputError, match="a smoothing rate"):
            LabelSmoothing(rate=rate)
