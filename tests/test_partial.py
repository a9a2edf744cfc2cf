"""Partial inference and tangents: networks made of networks, against the whole and autograd."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from modules import USERS, Attention, Convolutions, Normalised
from small import apart, normal, quick, real_targets, table, two_classes
from torch import Tensor, nn
from torch.autograd.functional import jacobian as jacobian_of
from torch.func import functional_call, jacrev

from bnn.errors import InputError
from bnn.likelihoods import FixedNoise
from bnn.likelihoods import Normal as NormalLikelihood
from bnn.methods import MAP, MeanField
from bnn.methods import partial as module
from bnn.methods.partial import partial
from bnn.networks import MLP, Functional, Partial, Tangent
from bnn.optimise import Training
from bnn.posterior import Atoms, Posterior, predict
from bnn.priors import Normal, StudentT
from bnn.problem import Problem

SEEDS = [11, 5, 8]


@pytest.fixture(autouse=True)
def quick_point_estimates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAP", lambda: quick(MAP(), epochs=20, batch_size=10))


def classes(replicas: int = 3) -> Problem:
    data = two_classes(70, replicas=replicas, held_out=20)
    return Problem.of(data, MLP(3, [6, 5], 2, "tanh").double())


def images(build: Callable[[], nn.Module]) -> Problem:
    x = normal(40, 1, 6, 6)
    y = (x[:, 0, :3].mean((1, 2)) > x[:, 0, 3:].mean((1, 2))).long()
    return Problem.of(table(x, y, classes=2, replicas=2, held_out=10), build().double())


def draws_of(problem: Problem, draws: int = 4) -> Tensor:
    """Return flat weights about a start, `[replicas, draws, parameters]`."""
    start = problem.initial(list(range(problem.replicas)))
    return start[:, None] + normal(problem.replicas, draws, start.shape[-1], seed=7)


# Partial


@pytest.mark.parametrize(
    ("build", "chosen"),
    [
        (Convolutions, {"head.weight", "head.bias"}),
        (Attention, {"attend.in_proj_weight", "head.bias"}),
        (Normalised, {"gain", "second.weight"}),
        (lambda: MLP(36, [5, 4], 2), {"layers.2.weight", "layers.2.bias"}),
        (lambda: MLP(36, [5, 4], 2), {"layers.0.weight"}),
        (lambda: MLP(36, [5, 4], 2), {"layers.1.bias"}),
    ],
)
def test_a_partial_network_is_the_whole_with_the_rest_constant(
    build: Callable[[], nn.Module], chosen: set[str]
) -> None:
    problem = images(build)
    fixed = problem.initial([0, 1]) + normal(2, problem.layout.size, seed=3)
    part = replace(problem, network=Partial(problem.network, fixed, frozenset(chosen)))
    assert list(part.layout.shapes) == [n for n in problem.layout.shapes if n in chosen]
    views = problem.layout.views(fixed)
    assert torch.equal(part.initial([0, 1]), part.layout.flat({n: views[n] for n in chosen}))
    weights = draws_of(part)
    x, _ = problem.batch(problem.validation)
    whole = problem.layout.views(fixed[:, None].expand(-1, 4, -1))
    full = problem.layout.flat({**whole, **part.layout.views(weights)})
    found = part.outputs(weights, x)
    assert found.shape == (2, 4, 10, 2)
    assert apart(found, problem.outputs(full, x)) < 1e-13
    assert apart(found[1:], part.take([1]).outputs(weights[1:], x[1:])) < 1e-13
    assert apart(found, part.outputs(part.initial([0, 1])[:, None], x)) > 0.1


def test_the_noise_follows_the_chosen_weights() -> None:
    problem = Problem.of(real_targets(40, replicas=3), MLP(3, [6], 1, "tanh").double())
    part = partial(problem, SEEDS, True)
    assert list(part.layout.shapes) == ["layers.1.weight", "layers.1.bias", "noise.log_scale"]
    weights = draws_of(part)
    assert torch.equal(part.latents(weights)["noise.log_scale"], weights[..., -1])
    posterior = quick(MeanField(), epochs=2).fit(part, SEEDS)
    assert posterior.weights(5)["noise.log_scale"].shape == (3, 5)
    assert predict(posterior, part.train.x, 5).mean.shape == (3, 40)


def test_a_method_infers_the_last_layer_and_leaves_the_rest_at_the_mode() -> None:
    problem = classes()
    mode = quick(MAP(), epochs=20, batch_size=10).fit(problem, SEEDS)
    part = partial(problem, SEEDS, True)
    assert part.network.seconds > 0
    assert torch.equal(part.network.fixed, mode.fit.parameters)
    posterior = quick(MeanField(), epochs=3).fit(part, SEEDS)
    weights = posterior.weights(7)
    assert {n: v.shape for n, v in weights.items()} == {
        "layers.2.weight": (3, 7, 2, 5),
        "layers.2.bias": (3, 7, 2),
    }
    x = normal(5, 3)
    hidden = problem.standardise(x[None])
    for layer in "01":
        w, b = (mode.weights()[f"layers.{layer}.{part}"][:, 0] for part in ("weight", "bias"))
        hidden = (hidden @ w.mT + b[:, None]).tanh()
    logits = hidden[:, None] @ weights["layers.2.weight"].mT
    logits = logits + weights["layers.2.bias"][:, :, None]
    assert apart(predict(posterior, x, 7).probs, logits.softmax(-1).mean(1)) < 1e-13


@pytest.mark.parametrize("build", USERS)
def test_a_replica_of_a_partial_fit_is_the_single_run(build: Callable[[], nn.Module]) -> None:
    problem, method = images(build), quick(MeanField(), epochs=5, batch_size=10)
    together = method.fit(partial(problem, [3, 4], True), [3, 4])
    assert set(together.weights(2)) == {"head.weight", "head.bias"}
    alone = method.fit(partial(problem.take([1]), [4], True), [4])
    assert apart(together.fit.parameters[1], alone.fit.parameters[0]) < 1e-11
    x = problem.validation.x
    found = predict(together, x, 5).log_probs
    assert apart(found[1], predict(alone, x[1:], 5).log_probs[0]) < 1e-11
    assert apart(found[1], predict(together.take([1]), x[1:], 5).log_probs[0]) < 1e-12


def test_a_lost_point_estimate_loses_its_replica_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    initial = Functional.initial

    def lost(self: Functional, seeds: list[int]) -> Tensor:
        starts = initial(self, seeds)
        starts[1] = torch.nan
        return starts

    method = quick(MeanField(), epochs=3)
    sound = method.fit(partial(classes(), SEEDS, True), SEEDS)
    monkeypatch.setattr(Functional, "initial", lost)
    posterior = method.fit(partial(classes(), SEEDS, True), SEEDS)
    assert posterior.fit.diverged == (False, True, False)
    assert apart(posterior.fit.parameters[[0, 2]], sound.fit.parameters[[0, 2]]) < 1e-12


def test_priors_of_layers_are_those_of_the_whole() -> None:
    scale = {"layers.0.*": 0.1, "*.bias": 0.5, "layers.2.weight": 0.3, "*": 2.0}
    for prior in (Normal(scale, fan_in=True), StudentT(scale, fan_in=True)):
        whole = replace(classes(), prior=prior)
        part = partial(whole, SEEDS, lambda name: "2" in name)
        expected = torch.tensor([0.3 / 5**0.5] * 10 + [0.5] * 2, dtype=torch.float64)
        assert apart(part.prior_distribution().stddev, expected) < 1e-15


def test_all_parameters_or_none_of_them() -> None:
    problem = classes()
    assert partial(problem, SEEDS, False) is problem
    assert partial(problem, SEEDS, lambda name: True) is problem
    linear = Problem.of(two_classes(20), MLP(3, [], 2))
    assert partial(linear, [0], True) is linear
    with pytest.raises(InputError, match=r"'layers\.2\.bias'; found one that chooses none"):
        partial(problem, SEEDS, lambda name: name == "head")
    with pytest.raises(InputError, match="a predicate over the names of parameters; found 'head'"):
        partial(problem, SEEDS, "head")


def test_a_last_layer_that_does_not_give_the_outputs_is_refused() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.body = nn.Linear(6, 2), nn.Linear(3, 6)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.body(x).tanh())

    problem = Problem.of(two_classes(30), Backwards())
    with pytest.raises(InputError, match=r"'body' gives others.*startswith\('head\.'\)"):
        partial(problem, [0], True)
    part = partial(problem, [0], lambda name: name.startswith("head."))
    assert list(part.layout.shapes) == ["head.weight", "head.bias"]


# Tangent


@pytest.mark.parametrize("build", [*USERS, lambda: MLP(36, [5, 4], 2, "tanh")])
def test_a_tangent_is_the_value_and_the_jacobian(build: Callable[[], nn.Module]) -> None:
    problem = images(build)
    network = problem.network.network.eval()
    at = problem.initial([0, 1])
    tangent = replace(problem, network=Tangent(problem.network, at))
    x, _ = problem.batch(problem.validation)
    weights = draws_of(problem)
    found = tangent.outputs(weights, x)
    assert found.shape == (2, 4, 10, 2)
    for r in range(2):

        def outputs(flat: Tensor, r: int = r) -> Tensor:
            return functional_call(network, problem.layout.views(flat), (x[r],))

        jacobian = jacobian_of(outputs, at[r])
        expected = outputs(at[r]) + torch.einsum("nkp,sp->snk", jacobian, weights[r] - at[r])
        assert apart(found[r], expected) < 1e-12
    assert apart(found, problem.outputs(weights, x)) > 0.1
    assert apart(tangent.outputs(at[:, None], x), problem.outputs(at[:, None], x)) < 1e-13
    assert apart(tangent.take([1]).outputs(weights[1:], x[1:]), found[1:]) < 1e-12


def test_a_tangent_of_a_part_and_of_a_posterior() -> None:
    problem = partial(classes(), SEEDS, lambda name: "1" in name)
    at, weights = problem.initial(SEEDS), draws_of(problem)
    tangent = replace(problem, network=Tangent(problem.network, at))
    posterior = Posterior(
        tangent, Atoms(weights), tuple(SEEDS), MAP(Training(epochs=0)).fit(problem, SEEDS).fit
    )
    x = normal(6, 3)
    outputs, _ = posterior.outputs(x[None])
    z = problem.standardise(x[None])
    for r in range(3):
        jacobian = jacrev(
            lambda w, r=r: problem.take([r]).outputs(w[None, None], z[r : r + 1])[0, 0]
        )(at[r])
        change = torch.einsum("nkp,sp->snk", jacobian, weights[r] - at[r])
        assert apart(outputs[r], problem.outputs(at[:, None], z)[r] + change) < 1e-12
    assert apart(posterior.take([2]).outputs(x[None])[0][0], outputs[2]) < 1e-12


def test_the_tangent_of_a_linear_network_is_the_network() -> None:
    problem = Problem.of(
        real_targets(30), MLP(3, [], 1).double(), likelihood=NormalLikelihood(FixedNoise(1.0))
    )
    tangent = replace(problem, network=Tangent(problem.network, problem.initial([0])))
    weights, (x, _) = draws_of(problem), problem.batch(problem.train)
    assert apart(tangent.outputs(weights, x), problem.outputs(weights, x)) < 1e-13


def test_masks_go_through_to_the_network() -> None:
    problem = classes()
    at, weights = problem.initial(SEEDS), draws_of(problem)
    part = replace(problem, network=Partial(problem.network, at, frozenset(["layers.2.bias"])))
    x, _ = problem.batch(problem.train)
    masks = {"hidden.0": (normal(3, 4, 1, 6) > 0).double()}
    bias = part.layout.views(draws_of(part))
    full = problem.layout.flat({**problem.layout.views(at[:, None].expand(-1, 4, -1)), **bias})
    expected = problem.outputs(full, x, masks)
    assert apart(part.outputs(bias["layers.2.bias"], x, masks), expected) < 1e-13
    tangent = replace(problem, network=Tangent(problem.network, at))
    near = at[:, None] + 1e-5 * (weights - at[:, None])
    gap = tangent.outputs(near, x, masks) - problem.outputs(near, x, masks)
    assert gap.abs().max() < 1e-8 < apart(problem.outputs(near, x), problem.outputs(near, x, masks))
