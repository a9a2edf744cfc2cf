"""What holds for every method: the contract, and that replicas do not know of each other."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace

import pyro
import pytest
import torch
import torch.nn.functional as F
from conftest import switches
from modules import USERS, Attention
from small import apart, normal, quick, real_targets, serves, table, trained, two_classes
from torch import nn

from bnn.data import Dataset, Scaling
from bnn.errors import InputError
from bnn.likelihoods import Bernoulli
from bnn.methods import (
    MAP,
    METHODS,
    MLE,
    ConcreteDropout,
    DeepEnsemble,
    MCDropout,
    MeanField,
    Method,
    Under,
)
from bnn.methods.dropout import UnitMasks
from bnn.networks import MLP, Functional
from bnn.optimise import Training
from bnn.posterior import Posterior, predict
from bnn.priors import Flat, Normal
from bnn.problem import Problem
from bnn.seeds import Streams

SEEDS = [11, 5, 8]
CPU = torch.device("cpu")
every_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
every_trained_method = pytest.mark.parametrize(
    "method", list(filter(trained, METHODS)), ids=lambda method: method.name
)


def classes(replicas: int = 3, **options: int) -> Problem:
    data = two_classes(70, replicas=replicas, held_out=20, **options)
    return Problem.of(data, MLP(3, [6, 5], 2, "tanh").double())


def numbers(replicas: int = 3) -> Problem:
    data = real_targets(70, replicas=replicas, held_out=20)
    return Problem.of(data, MLP(3, [6], 1, "tanh").double())


PROBLEMS = {"classes": classes, "numbers": numbers}
TASKS = {"classes": "classification", "numbers": "regression"}
every_method_on_its_tasks = pytest.mark.parametrize(
    ("method", "pose"),
    [
        pytest.param(method, pose, id=f"{name}-{method.name}")
        for method in METHODS
        for name, pose in PROBLEMS.items()
        if serves(method, TASKS[name])
    ],
)


# The contract


@every_method
def test_a_method_is_settings_that_know_their_name_and_source(method: Method) -> None:
    assert re.fullmatch(r"[a-z_]+", method.name)
    assert method.label
    assert re.search(r"\b(19|20)\d\d\b", method.reference)
    assert re.search(r"https://\S+$", method.reference)
    assert method.version >= 1
    assert is_dataclass(method)
    with pytest.raises(FrozenInstanceError):
        method.name = "other"  # type: ignore[misc]
    assert type(method)() == method
    assert hash(method) == hash(type(method)())
    for setting in fields(method):
        with pytest.raises(FrozenInstanceError):
            setattr(method, setting.name, None)


@every_method
def test_a_method_refuses_the_task_that_it_is_not_for(method: Method) -> None:
    assert any(serves(method, task) for task in TASKS.values())
    for name, pose in PROBLEMS.items():
        if not serves(method, TASKS[name]):
            with pytest.raises(InputError, match=f"found {TASKS[name]}"):
                method.fit(pose(), SEEDS)


def test_names_and_labels_tell_methods_apart() -> None:
    assert len({method.name for method in METHODS}) == len(METHODS)
    assert len({method.label for method in METHODS}) == len(METHODS)
    assert METHODS[0].name == "mle"  # what the others are compared with


@every_method_on_its_tasks
def test_a_fit_leaves_nothing_global_and_a_full_account(
    method: Method, pose: Callable[[], Problem]
) -> None:
    problem = pose()
    kept = copy.deepcopy(problem.network.network.state_dict())
    generator, before = torch.get_rng_state(), switches()
    told: list[float] = []
    posterior = quick(method, epochs=6, batch_size=10).fit(problem, SEEDS, told.append)
    predict(posterior, problem.train.x, draws=4)
    assert torch.equal(torch.get_rng_state(), generator)
    assert switches() == before
    assert list(pyro.get_param_store().keys()) == []
    assert all(torch.equal(kept[n], v) for n, v in problem.network.network.state_dict().items())
    assert told[-1] == 1
    assert posterior.seeds == tuple(SEEDS)
    assert posterior.problem.replicas == 3
    fit = posterior.fit
    assert len(fit.curves) == len(fit.diverged) == len(fit.parameters) == 3
    assert fit.diverged == (False, False, False)
    assert fit.parameters.isfinite().all()
    assert fit.parameters.dtype == torch.float64
    assert fit.seconds > 0
    for curve in fit.curves if trained(method) else ():
        assert curve.epochs == (1, 2, 3, 4, 5, 6)
        assert len(curve.train) == len(curve.validation) == 6
        assert all(map(math.isfinite, curve.train + curve.validation))
        assert curve.best is None


BAYESIAN = ("posterior", "factorised", "approximate")


def at_least(rate: float, method: Method) -> float:
    """Return a learning rate, or the method's own where it is used to larger ones."""
    return max(rate, method.training.learning_rate if hasattr(method, "training") else rate)


@every_trained_method
def test_a_longer_fit_lowers_the_loss(method: Method) -> None:
    method = quick(method, epochs=60, batch_size=10, learning_rate=at_least(0.01, method))
    posterior = method.fit(classes(), SEEDS)
    for curve in posterior.fit.curves:
        assert curve.train[-1] < curve.train[0]
    labels = posterior.problem.train.y
    found = predict(posterior, posterior.problem.train.x, 30).log_prob(labels).mean(1)
    # Better than a coin; far better, but for a posterior that the prior keeps from being sure.
    assert (found > math.log(0.5) + (0.1 if method.accuracy.linear in BAYESIAN else 0.2)).all()


@every_trained_method
def test_a_fit_starts_where_the_seed_says(method: Method) -> None:
    problem = classes()
    posterior = quick(method, epochs=0).fit(problem, SEEDS)
    start = problem.initial(SEEDS)
    parameters = posterior.fit.parameters
    if parameters.ndim == 3:
        parameters = parameters[:, 0]  # member 0, or the means
    assert torch.equal(parameters[:, : start.shape[1]], start)  # and then, perhaps, dropout rates


# Replica r of R is the single run with its seed


def same(
    together: Posterior, alone: Posterior, r: int, tolerance: float = 1e-12, draws: int = 7
) -> None:
    """Check that replica r of a posterior is the single replica of another."""
    assert apart(together.fit.parameters[r], alone.fit.parameters[0]) < tolerance
    for name, value in alone.weights(draws).items():
        assert apart(together.weights(draws)[name][r], value[0]) < tolerance
    assert together.fit.diverged[r] == alone.fit.diverged[0]
    curve, single = together.fit.curves[r], alone.fit.curves[0]
    assert (curve.epochs, curve.best) == (single.epochs, single.best)
    assert curve.train == pytest.approx(single.train, rel=1e-11)
    assert curve.validation == pytest.approx(single.validation, rel=1e-11)
    x = 3 + 2 * normal(9, *together.problem.inputs.mean.shape[1:], seed=4)
    outputs, latents = together.outputs(x[None], draws)
    expected, expected_latents = alone.outputs(x[None], draws)
    assert apart(outputs[r], expected[0]) < 100 * tolerance
    for name, value in expected_latents.items():
        assert apart(latents[name][r], value[0]) < tolerance


@every_method_on_its_tasks
def test_a_replica_is_the_single_run_with_its_seed(
    method: Method, pose: Callable[[], Problem]
) -> None:
    problem, method = pose(), quick(method, epochs=10, batch_size=10)  # 50 steps
    together = method.fit(problem, SEEDS)
    assert apart(together.fit.parameters[0], together.fit.parameters[1]) > 0.01
    for r, seed in enumerate(SEEDS):
        same(together, method.fit(problem.take([r]), [seed]), r)


@every_method
def test_seeds_on_one_split_are_single_runs_too(method: Method) -> None:
    problem, method = classes(replicas=1), quick(method, epochs=10, batch_size=10, decay=True)
    together = method.fit(problem, SEEDS)
    same(together, method.fit(problem, [SEEDS[2]]), 2)
    twins = method.fit(problem.take([0, 0, 0]), [4, 9, 4])
    assert apart(twins.fit.parameters[0], twins.fit.parameters[2]) < 1e-12


@every_trained_method
def test_replicas_that_stop_at_different_epochs_are_single_runs(method: Method) -> None:
    data = two_classes(60, replicas=4, held_out=30)
    problem = Problem.of(data, MLP(3, [16], 2).double())
    method = quick(method, epochs=60, batch_size=10, patience=3, learning_rate=0.05)
    seeds = [3, 1, 4, 2]
    together = method.fit(problem, seeds)
    lengths = [len(curve.train) for curve in together.fit.curves]
    assert len(set(lengths)) > 1, "nothing tested: all replicas stopped at the same epoch"
    assert min(lengths) < 60
    for r, seed in enumerate(seeds):
        curve = together.fit.curves[r]
        assert curve.best == 1 + curve.validation.index(min(curve.validation))
        assert len(curve.train) in (curve.best + 3, 60)
        same(together, method.fit(problem.take([r]), [seed]), r)


@every_trained_method
@pytest.mark.parametrize("patience", [None, 2])
def test_a_replica_that_diverges_changes_no_other(method: Method, patience: int | None) -> None:
    problem = classes()
    scale = problem.inputs.scale.clone()
    scale[1] = 1e-310  # the standardised rows of replica 1 overflow
    broken = replace(problem, inputs=Scaling(problem.inputs.mean, scale))
    method = quick(method, epochs=10, batch_size=10, patience=patience)
    sound, together = method.fit(problem, SEEDS), method.fit(broken, SEEDS)
    assert together.fit.diverged == (False, True, False)
    assert sound.fit.diverged == (False, False, False)
    assert len(together.fit.curves[1].train) == 1
    others = together.take([0, 2])  # predictions of the broken one are refused
    for place, r in enumerate((0, 2)):
        same(others, sound.take([r]), place)
    assert method.fit(broken.take([1]), [SEEDS[1]]).fit.diverged == (True,)


class Bounded(nn.Module):
    """A logistic regression whose outputs are lost once its slope has left [-3, 3]."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.drop = nn.Linear(1, 2), nn.Dropout(0.05)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # The slope is what the data tell: of one weight alone a posterior is as wide as the prior.
        slope = (self.linear.weight[1] - self.linear.weight[0]).abs().amax()
        return self.drop(self.linear(x)) + 0 * (3 - slope).log()


@every_trained_method
def test_a_replica_that_diverges_in_mid_training_changes_no_other(method: Method) -> None:
    x = normal(90, 1)
    y = torch.where(torch.arange(90) < 60, normal(90, seed=1) > 0, x[:, 0] > 0)
    problem = Problem.of(table(x, y.long(), classes=2), Bounded().double())
    rows = torch.arange(90).view(3, 30)[[0, 2, 1]]  # of the second alone, x tells the class
    problem = replace(
        problem.take([0, 0, 0]),
        **{part: replace(problem.train, index=rows) for part in ("train", "validation")},
    )
    method = quick(method, epochs=60, batch_size=10, learning_rate=at_least(0.05, method))
    together = method.fit(problem, SEEDS)
    assert together.fit.diverged == (False, True, False)
    assert 5 < len(together.fit.curves[1].train) < 60
    for r, seed in enumerate(SEEDS):
        alone = method.fit(problem.take([r]), [seed])
        if r == 1:
            assert alone.fit.diverged == (True,)
            assert len(alone.fit.curves[0].train) == len(together.fit.curves[1].train)
        else:
            same(together, alone, r)


@every_method
def test_a_fit_made_twice_is_equal_bit_for_bit(method: Method) -> None:
    problem, method = classes(), quick(method, epochs=4, batch_size=10)
    first, second = (method.fit(problem, SEEDS) for _ in range(2))
    assert torch.equal(first.fit.parameters, second.fit.parameters)
    assert [c.train for c in first.fit.curves] == [c.train for c in second.fit.curves]
    x = problem.validation.x
    assert torch.equal(predict(first, x).log_probs, predict(second, x).log_probs)


@every_trained_method
def test_single_precision_trains_close_to_double(
    method: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = two_classes(70, replicas=2, held_out=20)
    method = quick(method, epochs=3, batch_size=50, learning_rate=1e-3)
    network = MLP(3, [6], 2, "tanh")
    double = Problem.of(data, copy.deepcopy(network).double())
    single = Problem.of(data, network)
    initial, fill = Functional.initial, Streams._fill

    def rounded(self: Functional, seeds: list[int]) -> torch.Tensor:
        return initial(double.network, seeds).to(self.like)

    def in_double(self: Streams, *what: object) -> torch.Tensor:
        exact = copy.copy(self)
        exact.dtype = torch.float64
        return fill(exact, *what).to(self.dtype)

    # equal starts and random numbers, which the generator draws anew for each precision
    monkeypatch.setattr(Functional, "initial", rounded)
    monkeypatch.setattr(Streams, "_fill", in_double)
    found, expected = method.fit(single, [0, 1]).fit, method.fit(double, [0, 1]).fit
    assert found.parameters.dtype == torch.float32
    assert apart(found.parameters, expected.parameters) < 1e-5
    for curve, exact in zip(found.curves, expected.curves, strict=True):
        assert curve.train == pytest.approx(exact.train, rel=1e-5)
        assert curve.validation == pytest.approx(exact.validation, rel=1e-5)


# Point estimates are the networks that torch trains


def ordinary(
    problem: Problem, seed: int, epochs: int, weight_decay: float = 0.0, decay: bool = False
) -> torch.Tensor:
    """Train the module itself in the usual way, with the same start, on all rows at once."""
    network = copy.deepcopy(problem.network.network)
    nn.utils.vector_to_parameters(problem.initial([seed])[0], network.parameters())
    adam = torch.optim.Adam(network.parameters(), lr=0.02, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, T_max=epochs)
    x = problem.train.x[0]
    x = (x - x.mean(0)) / x.std(0, correction=0)
    for _ in range(epochs):
        adam.zero_grad()
        F.cross_entropy(network(x), problem.train.y[0]).backward()
        adam.step()
        if decay:
            schedule.step()
    return nn.utils.parameters_to_vector(network.parameters()).detach()


def test_mle_is_training_with_cross_entropy() -> None:
    problem = classes(replicas=1)
    training = Training(epochs=50, learning_rate=0.02, batch_size=50)
    found = MLE(training).fit(problem, [3]).fit.parameters[0]
    assert apart(found, ordinary(problem, 3, 50)) < 1e-11


def test_map_is_training_with_weight_decay() -> None:
    problem = replace(classes(replicas=1), prior=Normal(0.3))
    training = Training(epochs=50, learning_rate=0.02, batch_size=50, decay=True)
    found = MAP(training).fit(problem, [3]).fit.parameters[0]
    expected = ordinary(problem, 3, 50, weight_decay=1 / (50 * 0.3**2), decay=True)
    assert apart(found, expected) < 1e-11


def test_map_without_a_prior_is_mle() -> None:
    problem = replace(classes(), prior=Flat())
    training = Training(epochs=20, batch_size=10)
    mode = MAP(training).fit(problem, SEEDS).fit.parameters
    assert apart(mode, MLE(training).fit(problem, SEEDS).fit.parameters) < 1e-13


def test_dropout_of_almost_nothing_is_map() -> None:
    problem, training = classes(), Training(epochs=20, batch_size=10)
    mode = MAP(training).fit(problem, SEEDS).fit.parameters
    dropped = MCDropout(rate=1e-14, training=training).fit(problem, SEEDS).fit.parameters
    assert apart(dropped, mode) < 1e-11


# Ensembles


def test_member_0_of_an_ensemble_is_the_mle_of_its_seed() -> None:
    problem, mle = classes(), quick(MLE(), epochs=20, batch_size=10, patience=3)
    ensemble = DeepEnsemble(members=3, member=mle).fit(problem, SEEDS)
    single = mle.fit(problem, SEEDS)
    assert ensemble.fit.parameters.shape == (3, 3, problem.layout.size)
    assert apart(ensemble.fit.parameters[:, 0], single.fit.parameters) < 1e-12
    assert [c.epochs for c in ensemble.fit.curves] == [c.epochs for c in single.fit.curves]
    for curve, expected in zip(ensemble.fit.curves, single.fit.curves, strict=True):
        assert curve.train == pytest.approx(expected.train, rel=1e-11)
        assert curve.best == expected.best


def test_the_members_of_all_seeds_are_different_networks() -> None:
    ensemble = quick(DeepEnsemble(), epochs=2).fit(classes(replicas=1), [0, 1])
    assert len(ensemble.fit.parameters.flatten(0, 1).unique(dim=0)) == 6


def test_an_ensemble_averages_probabilities() -> None:
    problem = classes()
    ensemble = quick(DeepEnsemble(), epochs=5).fit(problem, SEEDS)
    x = problem.validation.x
    predictive = predict(ensemble, x, draws=999)  # there are three, however many are asked for
    assert predictive.draws == ensemble.draws(999) == 3
    z = problem.standardise(x)
    members = [
        problem.outputs(ensemble.fit.parameters[:, m : m + 1], z).softmax(-1) for m in range(3)
    ]
    assert apart(predictive.probs, torch.cat(members, 1).mean(1)) < 1e-14


@pytest.mark.parametrize("member", [0, 1, 2])
def test_one_lost_member_loses_its_ensemble_and_no_other(
    member: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    initial = Functional.initial

    def lost(self: Functional, seeds: list[int]) -> torch.Tensor:
        starts = initial(self, seeds)
        starts[3 + member] = torch.nan  # a member of the second seed
        return starts

    monkeypatch.setattr(Functional, "initial", lost)
    posterior = quick(DeepEnsemble(), epochs=2, batch_size=10).fit(classes(), SEEDS)
    assert posterior.fit.diverged == (False, True, False)


# Modules of a user's own


def images(replicas: int = 2) -> Dataset:
    x = normal(40, 1, 6, 6)
    y = (x[:, 0, :3].mean((1, 2)) > x[:, 0, 3:].mean((1, 2))).long()
    return table(x, y, classes=2, replicas=replicas, held_out=10)


@every_method
@pytest.mark.parametrize("build", USERS)
def test_every_method_trains_a_users_module(method: Method, build: Callable[[], nn.Module]) -> None:
    network = build().double()
    kept = copy.deepcopy(network.state_dict())
    problem = Problem.of(images(), network)
    method = quick(method, epochs=15, batch_size=10, learning_rate=0.02)
    together = method.fit(problem, [0, 1])
    assert all(torch.equal(kept[name], value) for name, value in network.state_dict().items())
    assert network.training
    for curve in together.fit.curves if trained(method) else ():
        assert curve.train[-1] < curve.train[0]
    alone = method.fit(problem.take([1]), [1])
    found = predict(together, problem.validation.x, draws=5)
    expected = predict(alone, problem.validation.x[1:], draws=5)
    assert apart(found.log_probs[1], expected.log_probs[0]) < 1e-11
    if build is not Attention:  # softmax cancels a key's bias, so Adam steps by its rounding error
        assert apart(together.fit.parameters[1], alone.fit.parameters[0]) < 1e-11
    assert found.log_probs.isfinite().all()
    assert apart(found.probs.sum(-1), torch.ones(2, 10)) < 1e-12


def test_a_networks_own_dropout_keeps_its_rates() -> None:
    network = nn.Sequential(nn.Linear(3, 50), nn.Tanh(), nn.Dropout(0.4), nn.Linear(50, 2)).double()
    problem = Problem.of(two_classes(40), network)
    posterior = MCDropout(rate=0.9, training=Training(epochs=1)).fit(problem, [0])
    _, masks = posterior.family.draw(Streams([0], "a test", CPU, torch.float64), 400)
    assert list(masks) == ["2"]
    assert masks["2"].shape == (1, 400, 50)
    assert masks["2"].unique().tolist() == pytest.approx([0, 2**16 / (2**16 - round(0.4 * 2**16))])
    kept = (masks["2"] > 0).double().mean().item()
    assert abs(kept - 0.6) < 4 * math.sqrt(0.24 / 20000)


def test_a_networks_own_dropout_acts_under_mc_dropout_alone() -> None:
    def network(rate: float) -> nn.Module:
        return nn.Sequential(nn.Linear(3, 9), nn.Dropout(rate), nn.Linear(9, 2)).double()

    for method in METHODS:
        found, without = (
            quick(method, epochs=3).fit(Problem.of(two_classes(40), network(rate)), [0])
            for rate in (0.5, 0.01)
        )
        gap = apart(found.fit.parameters, without.fit.parameters)
        assert gap > 1e-3 if isinstance(method, MCDropout | ConcreteDropout) else gap == 0


def test_dropout_inside_attention_is_refused_under_mc_dropout() -> None:
    network = Attention().double()
    network.attend.dropout = 0.1
    problem = Problem.of(images(), network)
    with pytest.raises(InputError, match=r"dropout=0\.1 inside MultiheadAttention at 'attend'"):
        MCDropout().fit(problem, [0, 1])
    quick(MAP(), epochs=1).fit(problem, [0, 1])


def test_training_masks_are_drawn_for_every_row_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = classes(replicas=2)
    seen: list[torch.Tensor] = []
    draw = UnitMasks.of_rows

    def spy(self: UnitMasks, *what: object) -> dict[str, torch.Tensor]:
        masks = draw(self, *what)
        seen.append(masks["hidden.0"])
        return masks

    monkeypatch.setattr(UnitMasks, "of_rows", spy)
    quick(MCDropout(rate=0.5), epochs=2, batch_size=10).fit(problem, [0, 1])
    steps = [masks for masks in seen if masks.shape == (2, 1, 10, 6)]
    assert len(steps) >= 10
    rows = torch.stack(steps[-10:]).flatten(0, 3)
    assert len(rows.unique(dim=0)) > 60  # of 200 rows with 2^6 possible masks
    assert not torch.equal(steps[-1], steps[-2])


def test_masks_drop_the_share_of_their_rate_and_have_a_mean_of_one() -> None:
    """The rate is a multiple of 2^-16; each of six shares is beyond 4 errors once in 16,000."""
    units = {"a": torch.Size([3]), "b": torch.Size([2, 50])}
    rates = {"a": 0.7, "b": torch.tensor([0.0, 0.05, 0.3]).double()}
    streams = Streams([1, 2, 3], "masks", torch.device("cpu"), torch.float64)
    masks = UnitMasks(units, rates)
    drawn, of_rows = masks.draw(streams, 4000), masks.of_rows(streams, 4000)
    for site in units:
        assert drawn[site].shape == (3, 4000, *units[site])
        assert of_rows[site].shape == (3, 1, 4000, *units[site])
        for r in range(3):
            rate = float(torch.as_tensor(rates[site]).expand(3)[r])
            dropped = round(rate * 2**16) / 2**16
            for values in (drawn[site][r], of_rows[site][r]):
                assert set(values.unique().tolist()) <= {0.0, 1 / (1 - dropped)}
                error = math.sqrt(dropped * (1 - dropped) / values.numel())
                assert abs((values == 0).double().mean() - dropped) <= 4 * error
    nearly = UnitMasks({"a": torch.Size([3])}, {"a": 1 - 1e-9}).draw(streams, 4)["a"]
    assert nearly.isfinite().all()


# Another prior


def test_a_method_under_another_prior_is_the_method_with_that_prior() -> None:
    problem, method = classes(), quick(MAP(), epochs=5)
    under = Under(method, Normal(0.1), "narrow", "prior 0.1")
    assert (under.name, under.label) == ("map_narrow", "MAP, prior 0.1")
    expected = method.fit(replace(problem, prior=Normal(0.1)), SEEDS)
    found = under.fit(problem, SEEDS)
    assert torch.equal(found.fit.parameters, expected.fit.parameters)


# Refused


@every_method
def test_no_seeds_and_a_wrong_number_are_refused(method: Method) -> None:
    with pytest.raises(InputError, match="at least one seed"):
        method.fit(classes(), [])
    with pytest.raises(InputError, match="one seed for each of the 3 splits; found 2 seeds"):
        method.fit(classes(), [1, 2])
    with pytest.raises(InputError, match=r"a whole number for each replica; found 3\. .*range"):
        method.fit(classes(), 3)


@every_trained_method
def test_a_batch_larger_than_the_rows_is_refused(method: Method) -> None:
    with pytest.raises(InputError, match="1 to 50 training rows; found batch_size=51"):
        quick(method, batch_size=51).fit(classes(), SEEDS)


@every_method
def test_a_module_that_cannot_start_afresh_is_refused(method: Method) -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.slope = nn.Parameter(torch.ones(3, 2).double())
            self.drop = nn.Dropout(0.5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.drop(x @ self.slope)

    with pytest.raises(InputError, match="reset_parameters"):
        method.fit(Problem.of(two_classes(20), Bare()), [0])


def test_mean_field_needs_a_prior() -> None:
    with pytest.raises(InputError, match="a proper prior; found Flat"):
        MeanField().fit(replace(classes(), prior=Flat()), SEEDS)


def test_dropout_needs_units_to_drop() -> None:
    for network in (
        MLP(3, [], 2),
        nn.Linear(3, 2),
        nn.Sequential(nn.Dropout(0.0), nn.Linear(3, 2)),
    ):
        problem = Problem.of(two_classes(20), network.double())
        with pytest.raises(InputError, match="units to leave out"):
            MCDropout().fit(problem, [0])
    with pytest.raises(InputError, match="units to leave out"):
        MCDropout(rate=0.0).fit(classes(), SEEDS)


@pytest.mark.parametrize("rates", [(1.0, 0.0), (-0.1, 0.0), (0.1, 1.0), (math.nan, 0.0)])
def test_dropout_rates_are_shares(rates: tuple[float, float]) -> None:
    with pytest.raises(InputError, match=r"a dropout rate in \[0, 1\)"):
        MCDropout(*rates)


def test_a_users_dropout_of_everything_is_refused() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.Dropout(1.0), nn.Linear(4, 2)).double()
    with pytest.raises(InputError, match=r"for '1'; found 1\.0"):
        MCDropout().fit(Problem.of(two_classes(20), network), [0])


@pytest.mark.parametrize("members", [0, -2, 2.5, "5", None])
def test_an_ensemble_has_members(members: object) -> None:
    with pytest.raises(InputError, match=f"at least one member; found {members!r}"):
        DeepEnsemble(members=members)


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan])
def test_a_guide_starts_with_a_positive_scale(scale: float) -> None:
    with pytest.raises(InputError, match="initial scale"):
        MeanField(initial_scale=scale)


def test_one_logit_serves_two_classes_with_every_method() -> None:
    problem = Problem.of(two_classes(60), MLP(3, [5], 1).double())
    assert problem.likelihood == Bernoulli()
    for method in METHODS:
        posterior = quick(method, epochs=3).fit(problem, [0])
        assert predict(posterior, problem.train.x, 3).probs.shape == (1, 60, 2)
