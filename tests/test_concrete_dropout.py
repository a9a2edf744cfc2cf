"""Concrete dropout: its masks, its divergence worked by hand, and where its rates go."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from modules import USERS, Attention
from small import apart, normal, quick, real_targets, table, two_classes
from test_methods import images
from torch import Tensor, nn

from bnn.errors import InputError
from bnn.likelihoods import FixedNoise
from bnn.likelihoods import Normal as NormalLikelihood
from bnn.methods import MAP, ConcreteDropout, MCDropout
from bnn.methods.concrete_dropout import Divergence, fed_weights, relaxed_masks, split
from bnn.methods.dropout import DroppedUnits, UnitMasks, unit_masks
from bnn.networks import MLP
from bnn.optimise import Training
from bnn.posterior import Masks, predict
from bnn.priors import Flat, Laplace, Normal
from bnn.problem import Problem
from bnn.seeds import Streams

CPU = torch.device("cpu")
F64 = torch.float64


def small(replicas: int = 1, prior: Normal | None = None) -> Problem:
    data = two_classes(30, features=2, replicas=replicas)
    return Problem.of(data, MLP(2, [3], 2, "tanh").double(), prior=prior or Normal(0.5))


def relaxed(masks: UnitMasks, logits: Tensor, temperature: float, points: int) -> Masks:
    noise = Streams(range(len(logits)), "a test", CPU, F64)
    return relaxed_masks(masks, logits, temperature, noise, points)


# Masks


def test_cold_masks_are_zeros_and_ones_at_the_rates() -> None:
    masks = UnitMasks({"a": torch.Size([5]), "b": torch.Size([2, 1])}, {"a": 0.1, "b": 0.1})
    rates = torch.tensor([[0.2, 0.5], [0.05, 0.9]], dtype=F64)
    found = relaxed(masks, rates.logit(), 1e-9, 4000)
    assert found["a"].shape == (2, 1, 4000, 5)
    assert found["b"].shape == (2, 1, 4000, 2, 1)
    for s, site in enumerate(("a", "b")):
        for r in range(2):
            rate, mask = rates[r, s].item(), found[site][r]
            assert mask.unique().tolist() == pytest.approx([0, 1 / (1 - rate)])
            dropped = (mask == 0).double().mean().item()
            # 4 of them: fails by chance for 4 x 6.4e-5 = 0.03 % of the seeds
            assert abs(dropped - rate) < 4 * math.sqrt(rate * (1 - rate) / mask.numel())


def test_a_relaxed_mask_is_the_concrete_distributions() -> None:
    masks = UnitMasks({"a": torch.Size([3])}, {"a": 0.1})
    logits, t = torch.tensor([[-1.3]], dtype=F64), 0.4
    uniform = Streams([0], "a test", CPU, F64).uniform(1, 7, 3)
    p = 1 / (1 + math.exp(1.3))
    dropped = 1 / (1 + torch.exp(-(math.log(p / (1 - p)) + (uniform / (1 - uniform)).log()) / t))
    assert apart(relaxed(masks, logits, t, 7)["a"], (1 - dropped) / (1 - p)) < 1e-13


def test_a_uniform_number_of_zero_is_a_unit_that_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Streams, "uniform", lambda self, *shape: torch.zeros(1, *shape).double())
    masks = UnitMasks({"a": torch.Size([3])}, {"a": 0.1})
    logits = torch.tensor([[0.0]], dtype=F64, requires_grad=True)
    found = relaxed(masks, logits, 0.1, 2)["a"]
    found.sum().backward()
    assert apart(found, torch.full((1, 1, 2, 3), 2.0)) < 1e-15
    assert logits.grad.isfinite().all()


def test_every_replica_predicts_at_its_own_rates() -> None:
    likelihood = NormalLikelihood(FixedNoise(1.0))
    data = real_targets(50, 3, replicas=2)
    problem = Problem.of(data, MLP(3, [], 1).double(), likelihood=likelihood)
    method = ConcreteDropout(input_rate=0.3, training=Training(epochs=10))
    posterior = method.fit(problem, [0, 1])
    rates = torch.tensor([0.4, 0.1], dtype=F64)
    family = DroppedUnits(
        posterior.family.weights, UnitMasks({"input": torch.Size([3])}, {"input": rates})
    )
    posterior = replace(posterior, family=family)
    x, draws = 3 + 3 * normal(4, 3, seed=6), 20_000
    for some in (posterior, posterior.take([1, 0])):
        outputs = some.outputs(x[None], draws)[0][..., 0]
        q = (rates / (1 - rates))[[0, 1] if some is posterior else [1, 0]]
        slopes = some.weights(1)["layers.0.weight"][:, 0, 0]
        z = some.problem.standardise(x[None])
        expected = q[:, None] * (z.square() * slopes[:, None].square()).sum(-1)
        variance = outputs.var(1)
        fourth = (outputs - outputs.mean(1, keepdim=True)).pow(4).mean(1)
        error = ((fourth - variance.square()) / draws).sqrt()
        # 16 of them: fails by chance for 16 x 6.4e-5 = 0.1 % of the seeds
        assert ((variance - expected).abs() < 4 * error).all()


# The divergence


def test_the_divergence_worked_by_hand() -> None:
    problem = small(prior=Normal({"layers.0.*": 0.5, "*": 2.0}))
    masks = unit_masks(problem, 0.1, 0.1)
    assert list(masks.shapes) == ["input", "hidden.0"]
    weights, rates = problem.initial([4]), np.array([0.3, 0.6])
    logits = torch.tensor(np.log(rates / (1 - rates)))[None]
    named = {name: w[0].numpy() for name, w in problem.layout.views(weights).items()}

    def divergence(p: np.ndarray) -> float:
        energy = (
            (named["layers.0.weight"] ** 2).sum() / (2 * 0.25 * (1 - p[0]))
            + (named["layers.0.bias"] ** 2).sum() / (2 * 0.25)
            + (named["layers.1.weight"] ** 2).sum() / (2 * 4 * (1 - p[1]))
            + (named["layers.1.bias"] ** 2).sum() / (2 * 4)
        )
        entropy = -p * np.log(p) - (1 - p) * np.log(1 - p)
        return energy - 2 * entropy[0] - 3 * entropy[1]  # two inputs, three hidden units

    of = Divergence.of(problem, masks)
    found = of(problem, weights, logits).item()
    log_normalisers = 9 * math.log(0.5) + 8 * math.log(2.0) + 17 * math.log(2 * math.pi) / 2
    assert found - log_normalisers == pytest.approx(divergence(rates), rel=1e-12)
    # for a unit, and a weight w = M (1 - p) on it: (1 - p) M^2 / (2 scale^2) - H(p)
    half = torch.zeros(1, 2).double()
    assert of(problem, 0 * weights, half).item() - log_normalisers == pytest.approx(
        -5 * math.log(2), rel=1e-12
    )


def test_without_dropout_the_divergence_is_the_priors() -> None:
    problem = small()
    masks, weights = unit_masks(problem, 0.1, 0.1), problem.initial([4])
    found = Divergence.of(problem, masks)(problem, weights, torch.full((1, 2), -60.0).double())
    assert apart(found, -problem.log_prior(weights[:, None])[:, 0]) < 1e-12


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_the_weights_that_a_site_feeds_are_found(dtype: torch.dtype) -> None:
    expected = {
        "Convolutions": {"channels": None, "units": "head.weight"},  # channels are normalised next
        "Attention": {"drop": "head.weight"},
        "Normalised": {"drop": "second.weight"},
    }
    for build in USERS:
        problem = Problem.of(images(), build().to(dtype))
        assert fed_weights(problem, unit_masks(problem, 0.1, 0.1)) == expected[build.__name__]
    for activation in ("relu", "tanh"):
        network = MLP(3, [6, 5], 2, activation).to(dtype)
        problem = Problem.of(two_classes(20, dtype=dtype), network)
        assert fed_weights(problem, unit_masks(problem, 0.1, 0.1)) == {
            "input": "layers.0.weight",
            "hidden.0": "layers.1.weight",
            "hidden.1": "layers.2.weight",
        }


def test_two_sites_may_feed_the_same_weights() -> None:
    network = nn.Sequential(nn.Dropout(0.2), nn.Dropout(0.5), nn.Linear(2, 2)).double()
    problem = Problem.of(two_classes(20, features=2), network, prior=Normal(2.0))
    masks = unit_masks(problem, 0.1, 0.0)
    of = Divergence.of(problem, masks)
    assert of.fed == ["2.weight", "2.weight"]
    weights = problem.initial([0])
    rates = torch.tensor([[0.2, 0.5]], dtype=F64)
    twice, none = (of(problem, w, rates.logit()) for w in (weights, 0 * weights))
    slopes, bias = problem.layout.views(weights[0]).values()
    expected = slopes.square().sum() / (8 * 0.8 * 0.5) + bias.square().sum() / 8
    assert apart(twice - none, expected) < 1e-12


# Training


def test_the_gradient_is_that_of_finite_differences() -> None:
    problem = small(replicas=2)
    masks = unit_masks(problem, 0.1, 0.1)
    divergence = Divergence.of(problem, masks)
    x, y = problem.batch(problem.train)

    def loss(parameters: Tensor) -> Tensor:
        weights, logits = split(problem, parameters)
        units = relaxed(masks, logits, 0.7, problem.points)
        error = problem.loss(weights[:, None], x, y, units)[:, 0]
        return error + divergence(problem, weights, logits) / problem.points

    rates = torch.tensor([[-1.0, 0.4], [0.3, -2.0]], dtype=F64)
    start = torch.cat([problem.initial([3, 4]), rates], dim=1).requires_grad_()
    assert torch.autograd.gradcheck(loss, start, atol=1e-7, rtol=1e-6)


def test_the_loss_that_is_trained_is_the_relaxed_one() -> None:
    problem = small(replicas=2)
    training = Training(epochs=1, learning_rate=1e-12)
    method = ConcreteDropout(rate=0.2, input_rate=0.4, temperature=0.3, training=training)
    found = [curve.train[0] for curve in method.fit(problem, [3, 4]).fit.curves]
    masks, weights = unit_masks(problem, 0.2, 0.4), problem.initial([3, 4])
    logits = torch.tensor([[0.4, 0.2]] * 2, dtype=F64).logit()
    noise = Streams([3, 4], "training noise", CPU, F64)
    units = relaxed_masks(masks, logits, 0.3, noise, problem.points)
    error = problem.loss(weights[:, None], *problem.batch(problem.train), units)[:, 0]
    divergence = Divergence.of(problem, masks)(problem, weights, logits)
    assert found == pytest.approx((error + divergence / problem.points).tolist(), rel=1e-10)


def test_dropout_of_almost_nothing_is_map() -> None:
    problem, training = small(replicas=2), Training(epochs=20, batch_size=10)
    mode = MAP(training).fit(problem, [0, 1]).fit.parameters
    posterior = ConcreteDropout(rate=1e-14, training=training).fit(problem, [0, 1])
    assert apart(posterior.family.weights, mode) < 1e-10


def rate_after(problem: Problem, **settings: object) -> float:
    training = Training(epochs=1, steps=500, learning_rate=0.05, batch_size=40, decay=True)
    posterior = ConcreteDropout(training=training, **settings).fit(problem, [0])
    (rates,) = posterior.family.masks.rates.values()
    return rates.item()


def test_more_rows_leave_a_smaller_rate() -> None:
    few, many = (
        rate_after(Problem.of(two_classes(rows), MLP(3, [10], 2).double())) for rows in (40, 4000)
    )
    assert few > 4 * many
    assert many < 0.05


def test_without_data_the_entropy_pulls_the_rate_to_a_half() -> None:
    class Blind(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop, self.linear = nn.Dropout(0.1), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return 1e-9 * self.linear(self.drop(x))

    found = rate_after(Problem.of(two_classes(40), Blind().double()))
    assert found == pytest.approx(0.5, abs=0.01)


def test_needed_inputs_are_dropped_less_than_noise() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Dropout(0.3), nn.Dropout(0.3)
            self.linear = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(torch.cat([self.first(x[:, :1]), self.second(x[:, 1:])], dim=1))

    x = normal(300, 2)
    y = (x[:, 0] + 0.1 * normal(300, seed=1) > 0).long()
    problem = Problem.of(table(x, y, classes=2), Two().double())
    training = Training(epochs=1, steps=500, learning_rate=0.05, decay=True)
    rates = ConcreteDropout(training=training).fit(problem, [0]).family.masks.rates
    assert rates["first"].item() < 0.2 * rates["second"].item()


def test_rates_are_learned_by_each_replica_and_kept_with_the_fit() -> None:
    problem = small(replicas=2)
    posterior = quick(ConcreteDropout(input_rate=0.2), epochs=30).fit(problem, [0, 1])
    assert posterior.fit.parameters.shape == (2, problem.layout.size + 2)
    logits = posterior.fit.parameters[:, -2:]
    rates = torch.stack(list(posterior.family.masks.rates.values()), dim=1)
    assert torch.equal(rates, logits.sigmoid())
    assert (rates[0] != rates[1]).all()
    assert posterior.weights(5)["layers.0.weight"].shape == (2, 1, 3, 2)
    x = problem.train.x
    assert (
        apart(predict(posterior.take([1]), x[1]).probs[0], predict(posterior, x).probs[1]) < 1e-13
    )


# Refused


@pytest.mark.parametrize("prior", [Flat(), Laplace(1.0), Normal(1.0, loc=0.5)])
def test_other_priors_are_refused(prior: object) -> None:
    with pytest.raises(InputError, match=r"a Normal prior around zero.*MCDropout"):
        ConcreteDropout().fit(replace(small(), prior=prior), [0])


def test_settings_are_checked() -> None:
    for rates in ((1.0, 0.0), (-0.1, 0.0), (0.1, 1.0), (math.nan, 0.0)):
        with pytest.raises(InputError, match=r"a dropout rate in \[0, 1\)"):
            ConcreteDropout(*rates)
    for temperature in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(InputError, match="temperature"):
            ConcreteDropout(temperature=temperature)


def test_it_refuses_what_mc_dropout_refuses() -> None:
    bare = Problem.of(two_classes(20), nn.Linear(3, 2).double())
    attention = Attention().double()
    attention.attend.dropout = 0.1
    for problem in (bare, Problem.of(images(), attention)):
        for method in (MCDropout(), ConcreteDropout()):
            with pytest.raises(InputError, match=r"units to leave out|inside MultiheadAttention"):
                method.fit(problem, range(problem.replicas))
