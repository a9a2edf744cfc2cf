"""Gradients written out against autograd's: losses, priors, ELBOs, potentials, and predictions."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from small import apart, normal, quick, real_targets, relative, table, two_classes
from torch import Tensor, nn

from bnn import backpropagation, gradients
from bnn.backpropagation import Backpropagation, Forward, recognised
from bnn.data import Rows
from bnn.likelihoods import (
    Bernoulli,
    Categorical,
    FixedNoise,
    InputNoise,
    LearnedNoise,
    Likelihood,
    Normal,
    SoftLabels,
    SoftplusNoise,
)
from bnn.methods import MAP, MLE, MCDropout, MeanField, Method, evidence
from bnn.methods.maximum_likelihood import negative_log_likelihood
from bnn.methods.maximum_posterior import negative_log_joint
from bnn.methods.mean_field import FactorisedNormal
from bnn.networks import MLP, Partial
from bnn.optimise import active
from bnn.priors import Laplace
from bnn.priors import Normal as NormalPrior
from bnn.problem import Problem
from bnn.seeds import Streams
from bnn.variational import fast_negative_elbo

LIKELIHOODS: dict[str, Likelihood] = {
    "categorical": Categorical(),
    "bernoulli": Bernoulli(),
    "soft labels": SoftLabels(),
    "counts": SoftLabels(counts=True),
    "fixed noise": Normal(FixedNoise(2.0)),
    "learned noise": Normal(LearnedNoise()),
    "noise by input": Normal(InputNoise(floor=0.3)),
    "softplus noise": Normal(SoftplusNoise(floor=0.1)),
}
METHODS = (MLE(), MAP(), MeanField(), MeanField(estimator="local"))
ROWS, REPLICAS = 30, 3


def posed(
    case: str, hidden: list[int], activation: str = "relu", dtype: torch.dtype = torch.float64
) -> Problem:
    likelihood = LIKELIHOODS[case]
    if isinstance(likelihood, SoftLabels):
        shares = normal(ROWS, 2, seed=1).softmax(-1)
        data = table(normal(ROWS, 3), shares, classes=2, replicas=REPLICAS)
    else:
        make = real_targets if likelihood.task == "regression" else two_classes
        data = make(ROWS, replicas=REPLICAS)
    network = MLP(3, hidden, likelihood.width(2), activation).to(dtype)
    return Problem.of(data, network, NormalPrior(0.7, fan_in=True), likelihood)


def autograd(loss: Callable[[Tensor], Tensor], at: Tensor) -> tuple[Tensor, Tensor]:
    at = at.detach().clone().requires_grad_()
    losses = loss(at)
    return losses.detach(), torch.autograd.grad(losses.sum(), at)[0]


def close(found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor], tolerance: float) -> bool:
    return all(relative(a, b) < tolerance for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("hidden", [[], [5], [20, 7]])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("case", LIKELIHOODS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 5e-6)])
def test_losses_and_gradients_are_autograds(
    dtype: torch.dtype, tolerance: float, case: str, activation: str, hidden: list[int]
) -> None:
    problem = posed(case, hidden, activation, dtype)
    weights = normal(REPLICAS, 2, problem.layout.size).to(dtype)
    networks = Backpropagation(problem, ROWS, weights)
    x, y = problem.batch(problem.train)
    networks.see(x, y)
    masks = {
        f"hidden.{i}": 1.3 * (normal(REPLICAS, 2, ROWS, units, seed=i) > 0).to(dtype)
        for i, units in enumerate(hidden)
    }
    for units in ({}, masks):
        expected = autograd(lambda w, units=units: problem.loss(w, x, y, units), weights)
        assert close(networks(units), expected, tolerance)


@pytest.mark.parametrize("noise", [InputNoise(), InputNoise(floor=0.0), SoftplusNoise()])
@pytest.mark.parametrize("level", [-8.0, 0.0, 50.0, 80.0])  # e^160 is no number of float32
def test_noise_by_input_is_autograds_on_rows_far_from_others(
    noise: InputNoise | SoftplusNoise, level: float
) -> None:
    data = real_targets(ROWS, dtype=torch.float32)
    problem = Problem.of(data, MLP(3, [], 2), likelihood=Normal(noise))
    x, y = problem.batch(problem.train)
    weights = torch.zeros(1, problem.layout.size)
    weights[:, -1] = level
    networks = Backpropagation(problem, ROWS, weights)
    networks.see(x, y)
    expected = autograd(lambda w: problem.loss(w[:, None], x, y)[:, 0], weights)
    assert close(networks(), expected, 5e-6)


@pytest.mark.parametrize("hidden", [[], [5]])
def test_masked_inputs_are_autograds_where_there_is_one_draw(hidden: list[int]) -> None:
    problem = posed("learned noise", hidden)
    x, y = problem.batch(problem.train)
    masks = {
        site: 1.3 * (normal(REPLICAS, 1, ROWS, units) > 0).double()
        for site, units in {"input": 3, **{f"hidden.{i}": h for i, h in enumerate(hidden)}}.items()
    }
    weights = normal(REPLICAS, 1, problem.layout.size)
    networks = Backpropagation(problem, ROWS, weights)
    networks.see(x, y)
    expected = autograd(lambda w: problem.loss(w, x, y, masks), weights)
    assert close(networks(masks), expected, 1e-12)
    unmasked = autograd(lambda w: problem.loss(w, x, y, {}), weights)
    assert close(networks(), unmasked, 1e-12)  # the rows are as they were
    several = Backpropagation(problem, ROWS, normal(REPLICAS, 2, problem.layout.size))
    several.see(x, y)
    with pytest.raises(AssertionError, match="share their inputs"):
        several(masks)


def test_weights_and_rows_are_read_anew_at_every_call() -> None:
    problem = posed("learned noise", [6])
    weights = normal(REPLICAS, problem.layout.size)
    networks = Backpropagation(problem, 10, weights)
    x, y = problem.batch(problem.train)
    for batch in (slice(0, 10), slice(10, 20)):
        networks.see(x[:, batch], y[:, batch])
        weights.mul_(0.9)
        expected = autograd(
            lambda w, b=batch: problem.loss(w[:, None], x[:, b], y[:, b])[:, 0], weights
        )
        assert close(networks(), expected, 1e-12)


STREAMS = (range(REPLICAS), "a test", torch.device("cpu"), torch.float64)


@pytest.mark.parametrize("case", LIKELIHOODS)
def test_objectives_of_points_are_those_of_the_methods(case: str) -> None:
    problem = posed(case, [5])
    weights, none = normal(REPLICAS, problem.layout.size), Streams(*STREAMS)
    x, y = (part[:, :10] for part in problem.batch(problem.train))
    pairs = (
        (gradients.of_likelihood, negative_log_likelihood),
        (gradients.of_joint, negative_log_joint),
    )
    for write_out, loss in pairs:
        gradient = write_out(problem, 10, weights)
        assert gradient is not None
        expected = autograd(lambda w, loss=loss: loss(problem, w, x, y, none), weights)
        gradient.see(x, y)
        assert close(gradient.at(0, none), expected, 1e-12)


@pytest.mark.parametrize("prior", [NormalPrior(0.7, fan_in=True), NormalPrior(0.4, loc=0.3)])
@pytest.mark.parametrize("case", LIKELIHOODS)
def test_the_objective_under_scaled_precisions_is_laplaces(case: str, prior: NormalPrior) -> None:
    problem = replace(posed(case, [5]), prior=prior)
    state = normal(REPLICAS, problem.layout.size + len(problem.network.layout.shapes))
    x, y = (part[:, :10] for part in problem.batch(problem.train))
    gradient, none = evidence.written_out(problem, 10, state), Streams(*STREAMS)
    assert gradient is not None
    gradient.see(x, y)
    for _ in range(2):  # weights and precisions are read anew
        expected = autograd(lambda s: evidence.penalised(problem, s, x, y, none), state)
        assert close(gradient.at(0, none), expected, 1e-12)
        state.mul_(0.9)


@pytest.mark.parametrize(("draws", "kl_weight"), [(1, 1.0), (3, 0.25)])
@pytest.mark.parametrize("case", LIKELIHOODS)
def test_the_elbo_is_that_of_the_guide(case: str, draws: int, kl_weight: float) -> None:
    problem = posed(case, [5])
    loc, log_scale = normal(2, REPLICAS, problem.layout.size)
    phi = torch.stack([loc, -1.5 + 0.3 * log_scale], dim=1)
    x, y = (part[:, :10] for part in problem.batch(problem.train))
    gradient = gradients.of_elbo(problem, 10, phi, draws, kl_weight)
    assert gradient is not None
    eps = Streams(*STREAMS).normal(draws, problem.layout.size)

    def loss(phi: Tensor) -> Tensor:
        return fast_negative_elbo(FactorisedNormal, problem, phi, eps, x, y, kl_weight)

    gradient.see(x, y)
    assert close(gradient.at(0, Streams(*STREAMS)), autograd(loss, phi), 1e-12)


@pytest.mark.parametrize("hidden", [[], [5], [20, 7]])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("case", LIKELIHOODS)
def test_the_elbo_by_rows_is_that_of_layers_perturbed(
    case: str, hidden: list[int], activation: str
) -> None:
    problem = replace(posed(case, hidden, activation), prior=NormalPrior(0.7, loc=0.3))
    phi = torch.stack(
        [normal(REPLICAS, problem.layout.size), normal(REPLICAS, problem.layout.size)], 1
    )
    gradient = gradients.of_elbo_by_rows(problem, 10, phi, 0.25)
    assert gradient is not None
    loss = MeanField(estimator="local", kl_weight=0.25)._by_rows(problem)
    assert loss is not None
    x, y = problem.batch(problem.train)
    gradient.see(x, y)
    for batch in (1, 0):
        rows = slice(10 * batch, 10 * batch + 10)
        found = gradient.at(batch, Streams(*STREAMS))
        expected = autograd(
            lambda phi, r=rows: loss(problem, phi, x[:, r], y[:, r], Streams(*STREAMS)), phi
        )
        assert close(found, expected, 1e-11)
        phi.mul_(0.9)  # the parameters are read anew


@pytest.mark.parametrize("method", [*METHODS, MCDropout(), MCDropout(input_rate=0.2)])
@pytest.mark.parametrize("case", ["categorical", "learned noise"])
def test_a_fit_goes_where_autograd_goes(
    method: Method, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = posed(case, [5], "tanh")
    method = quick(method, epochs=10, batch_size=10)
    found = method.fit(problem, range(REPLICAS)).fit
    monkeypatch.setattr(gradients, "recognised", lambda problem: False)
    expected = method.fit(problem, range(REPLICAS)).fit
    assert apart(found.parameters, expected.parameters) < 1e-10
    assert found.curves[0].train == pytest.approx(expected.curves[0].train, rel=1e-12)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_a_gradient_that_is_wrong_is_not_used(
    method: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = posed("categorical", [5])
    method = quick(method, epochs=3, batch_size=10)
    with monkeypatch.context() as patched:
        patched.setattr(gradients, "recognised", lambda problem: False)
        expected = method.fit(problem, range(REPLICAS)).fit.parameters
    right = backpropagation.ACTIVATIONS["relu"]
    wrong = right._replace(pull=lambda h, slope: right.pull(h, slope).mul_(1 + 1e-6))
    monkeypatch.setitem(backpropagation.ACTIVATIONS, "relu", wrong)
    with pytest.warns(UserWarning, match="written out differs from autograd's by"):
        found = method.fit(problem, range(REPLICAS)).fit.parameters
    assert torch.equal(found, expected)


def test_what_is_not_known_is_left_to_autograd() -> None:
    problem = posed("fixed noise", [5])
    assert recognised(problem)
    mine = type("Mine", (InputNoise,), {})()
    for likelihood in (Normal(mine), type("Mine", (Categorical,), {})()):
        assert not recognised(replace(problem, likelihood=likelihood))
    for network in (MLP(3, [5], 1, "silu"), nn.Linear(3, 1)):
        assert not recognised(Problem.of(real_targets(), network.double()))
    start = normal(1, problem.layout.size)
    heavy = replace(problem.take([0]), prior=Laplace(1.0))
    assert gradients.of_joint(heavy, 10, start) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quick(MAP(), epochs=1).fit(heavy, [0])


class Zeros(MLP):
    """A perceptron that starts elsewhere."""

    def reset_parameters(self) -> None:
        """Start at zero."""
        for layer in self.layers:
            nn.init.zeros_(layer.weight)


class Doubled(MLP):
    """A perceptron that computes otherwise."""

    def batched(self, *given: object) -> Tensor:
        """Return twice the outputs, of many networks."""
        return 2 * super().batched(*given)

    def forward(self, x: Tensor) -> Tensor:
        """Return twice the outputs."""
        return 2 * super().forward(x)


class Gained(MLP):
    """A perceptron with a parameter of its own."""

    def __init__(self, *shape: object) -> None:
        super().__init__(*shape)
        self.gain = nn.Parameter(torch.ones(()))


class Sine(MLP):
    """A perceptron with an activation that is not the one it names."""

    def __init__(self, *shape: object) -> None:
        super().__init__(*shape)
        self._activate = torch.sin


def last_layer_of(problem: Problem) -> Problem:
    fixed = 0.5 * normal(REPLICAS, problem.network.layout.size, seed=5)
    chosen = frozenset(list(problem.network.layout.shapes)[-2:])
    return replace(problem, network=Partial(problem.network, fixed.to(problem.like), chosen))


@pytest.mark.parametrize("hidden", [[5], [20, 7]])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("case", LIKELIHOODS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 5e-6)])
def test_a_last_layer_reads_hidden_units_that_stay(
    dtype: torch.dtype, tolerance: float, case: str, activation: str, hidden: list[int]
) -> None:
    problem = last_layer_of(posed(case, hidden, activation, dtype))
    assert recognised(problem)
    weights = normal(REPLICAS, 2, problem.layout.size).to(dtype)
    networks = Backpropagation(problem, 10, weights)
    x, y = (part[:, :10] for part in problem.batch(problem.train))
    networks.see(x, y)
    expected = autograd(lambda w: problem.loss(w, x, y), weights)
    assert close(networks(), expected, tolerance)


def test_other_parts_of_a_network_and_masked_ones_are_left_to_autograd() -> None:
    problem = posed("categorical", [5, 4])
    part, start = last_layer_of(problem), normal(REPLICAS, 10)
    masks = {"hidden.0": torch.ones(REPLICAS, 1, 10, 5).double()}
    assert gradients.of_joint(part, 10, start) is not None
    assert gradients.of_joint(part, 10, start, lambda noise, rows: masks) is None
    for chosen in ({"layers.2.weight"}, {"layers.0.weight", "layers.0.bias"}):
        other = replace(part, network=replace(part.network, chosen=frozenset(chosen)))
        assert not recognised(other)


def test_a_fit_of_the_last_layer_goes_where_autograd_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, method = last_layer_of(posed("learned noise", [5])), quick(MeanField(), epochs=10)
    found = method.fit(problem, range(REPLICAS)).fit
    monkeypatch.setattr(gradients, "recognised", lambda problem: False)
    expected = method.fit(problem, range(REPLICAS)).fit
    assert apart(found.parameters, expected.parameters) < 1e-10


@pytest.mark.parametrize(("last_layer", "numbers"), [(False, 269), (True, 449)])
def test_rows_or_hidden_units_too_many_to_be_kept_are_taken_batch_by_batch(
    last_layer: bool, numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = posed("learned noise", [5])  # 30 rows of 3 replicas: 270 features, 450 hidden units
    problem = last_layer_of(problem) if last_layer else problem
    method, batches, whole = quick(MAP(), epochs=4, batch_size=10), list[int](), Problem.batch

    def batch(self: Problem, rows: Rows) -> tuple[Tensor, Tensor]:
        batches.append(rows.points)
        return whole(self, rows)

    monkeypatch.setattr(Problem, "batch", batch)
    kept = method.fit(problem, range(REPLICAS)).fit
    assert batches.count(30) == 1
    monkeypatch.setattr(active, "KEPT", numbers)
    found = method.fit(problem, range(REPLICAS)).fit
    assert batches.count(30) == 1  # not again
    assert apart(found.parameters, kept.parameters) < 1e-12


@pytest.mark.parametrize(
    ("kind", "known"), [(Zeros, True), (Doubled, False), (Gained, False), (Sine, False)]
)
def test_a_perceptron_is_known_by_how_it_computes(kind: type[MLP], known: bool) -> None:
    problem = Problem.of(two_classes(ROWS), kind(3, [5], 1).double(), likelihood=Bernoulli())
    assert recognised(problem) is known


@pytest.mark.parametrize("draws", [1, 4])
@pytest.mark.parametrize("hidden", [[], [6], [20, 7]])
def test_outputs_in_buffers_are_the_networks(hidden: list[int], draws: int) -> None:
    problem = posed("categorical", hidden, "tanh")
    weights = normal(REPLICAS, draws, problem.layout.size)
    x, _ = problem.batch(problem.train)
    forward = Forward(problem.network, ROWS, weights)
    forward.see(x)
    expected = problem.outputs(weights, x).flatten(0, 1).mT
    assert apart(forward.outputs(), expected) < 1e-13
