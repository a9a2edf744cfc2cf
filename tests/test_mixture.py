"""A mixture of fits: its members are fits of the method, and its draws are theirs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from small import apart, quick, real_targets, two_classes
from torch import Tensor

from bnn.errors import InputError
from bnn.evaluation import evaluate
from bnn.methods import (
    HMC,
    MAP,
    MLE,
    SWAG,
    DeepEnsemble,
    Laplace,
    MCDropout,
    MeanField,
    Method,
    Mixture,
    MultiSWAG,
    TemperatureScaled,
    Under,
    Validated,
)
from bnn.methods.mixture import Mixed
from bnn.methods.validated import joined
from bnn.networks import MLP
from bnn.optimise import Training
from bnn.posterior import Posterior, predict
from bnn.priors import Normal
from bnn.problem import Problem
from bnn.seeds import derived

BRIEF = Training(epochs=6, batch_size=20)
SEEDS = [3, 9]
LAPLACE = Laplace("full", training=BRIEF)
METHODS: tuple[Method, ...] = (
    MLE(BRIEF),
    MCDropout(0.2, training=BRIEF),
    MeanField(training=BRIEF),
    LAPLACE,
    replace(LAPLACE, last_layer=True),
    TemperatureScaled(MLE(replace(BRIEF, epochs=60))),
)
every_method = pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)


def classes(replicas: int = 2) -> Problem:
    data = two_classes(60, replicas=replicas, held_out=20)
    problem = Problem.of(data, MLP(3, [4], 2, "tanh").double())
    return replace(problem, calibration=problem.validation)


def numbers(replicas: int = 2) -> Problem:
    return Problem.of(real_targets(60, replicas=replicas), MLP(3, [4], 1, "tanh").double())


def x(points: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, points, 3, generator=generator, dtype=torch.float64)


def alone(method: Method, problem: Problem, r: int, member: int) -> Posterior:
    seed = derived(SEEDS[r], f"member {member}") if member else SEEDS[r]
    return method.fit(problem.take([r]), [seed])


@every_method
def test_draws_are_those_of_the_members_by_turns(method: Method) -> None:
    problem = classes()
    outputs, _ = Mixture(method, 3).fit(problem, SEEDS).outputs(x(), 7)
    for r in range(2):
        members = [alone(method, problem, r, m).outputs(x(), 3)[0][0] for m in range(3)]
        draws = [members[i % 3][i // 3] for i in range(outputs.shape[1])]
        assert apart(outputs[r], torch.stack(draws)) < 1e-11
        assert apart(members[0], members[1]) > 1e-3
    point = isinstance(method, MLE | TemperatureScaled)
    assert outputs.shape[1] == (3 if point else 7)


def test_a_replica_is_what_it_is_alone() -> None:
    problem, method = numbers(), Mixture(LAPLACE, 3)
    whole = method.fit(problem, SEEDS)
    for r in range(2):
        single = method.fit(problem.take([r]), [SEEDS[r]])
        for one in (whole.take([r]), single):
            assert apart(one.outputs(x(), 7)[0][0], whole.outputs(x(), 7)[0][r]) < 1e-11
            assert (
                apart(one.weights(7)["layers.0.weight"], whole.weights(7)["layers.0.weight"][[r]])
                < 1e-11
            )
    assert apart(predict(whole, x()[0], 7).mean, predict(whole, x().expand(2, -1, -1), 7).mean) == 0


def test_the_predictive_is_the_average_of_the_members() -> None:
    problem, y = numbers(1), torch.linspace(0, 10, 5, dtype=torch.float64)[None]
    found = predict(Mixture(LAPLACE, 3).fit(problem, SEEDS[:1]), x(), 600).log_prob(y)[0]
    each = [predict(alone(LAPLACE, problem, 0, m), x(), 200).log_prob(y)[0] for m in range(3)]
    assert apart(found, torch.stack(each).logsumexp(0) - math.log(3)) < 1e-10


def test_mixtures_of_points_and_of_swag_are_the_methods_of_that_name() -> None:
    problem, swag = classes(), quick(SWAG(), epochs=6, batch_size=20)
    for mixture, method, draws in (
        (Mixture(MLE(BRIEF), 3), DeepEnsemble(3, MLE(BRIEF)), 3),
        (Mixture(swag, 3), MultiSWAG(3, swag), 3),
    ):
        found, known = (m.fit(problem, SEEDS) for m in (mixture, method))
        assert found.draws(9) == known.draws(9)
        assert apart(found.fit.parameters.flatten(), known.fit.parameters.flatten()) < 1e-12
        if isinstance(method, DeepEnsemble):
            assert apart(found.outputs(x(), draws)[0], known.outputs(x(), draws)[0]) < 1e-12


@pytest.mark.parametrize("method", [MCDropout(0.2, training=BRIEF), LAPLACE, MLE(BRIEF)])
def test_the_first_networks_do_not_depend_on_how_many_follow(method: Method) -> None:
    posterior = Mixture(method, 3).fit(classes(), SEEDS)
    many, few = posterior.outputs(x(), 7)[0], posterior.outputs(x(), 4)[0]
    point = isinstance(method, MLE)
    assert (posterior.draws(7), posterior.draws(4)) == ((3, 3) if point else (7, 4))
    assert (many.shape[1], few.shape[1]) == ((3, 3) if point else (7, 4))
    assert apart(many[:, : few.shape[1]], few) < 1e-12
    weights = posterior.weights(7)["layers.0.weight"]
    assert len(weights[0].unique(dim=0)) == (7 if method is LAPLACE else 3)  # of all members
    assert torch.equal(posterior.take([1]).weights(7)["layers.0.weight"][0], weights[1])


def test_members_of_members_are_refused_because_some_would_be_the_same() -> None:
    ensemble = DeepEnsemble(2, MLE(BRIEF))
    choice = Validated((ensemble, DeepEnsemble(2)))
    for inner in (ensemble, Mixture(MLE(BRIEF), 2), TemperatureScaled(ensemble), choice):
        with pytest.raises(InputError, match="with 2 members"):
            Mixture(inner, 3)
    Mixture(DeepEnsemble(1, MLE(BRIEF)), 3)


def test_a_mixture_is_evaluated_and_chosen_by_validation() -> None:
    data = real_targets(60, replicas=2)
    problem = Problem.of(data, MLP(3, [4], 1).double())
    good = Mixture(Laplace("full", training=Training(epochs=60, learning_rate=0.02)), 2)
    bad = Mixture(Laplace("full", training=Training(epochs=1)), 2)
    chosen = Validated((bad, good)).fit(problem, SEEDS)
    assert isinstance(chosen, Mixed)
    plain = good.fit(problem, SEEDS)
    assert apart(chosen.outputs(x(), 6)[0], plain.outputs(x(), 6)[0]) < 1e-12
    assert [told["candidate"] for told in chosen.fit.diagnostics] == [1.0, 1.0]
    assert Validated((bad, good)).name == "laplace_mixture_validated"
    (_, one), (_, two) = ((e.scores, e.scores["nll"].value) for e in evaluate(plain, data, 6))
    assert math.isfinite(one + two)


def test_replicas_that_chose_differently_stand_in_their_order() -> None:
    problem = numbers(3)
    methods = [Mixture(replace(LAPLACE, updates=n), 2) for n in (2, 5)]
    parts = [methods[0].fit(problem.take([1]), [4]), methods[1].fit(problem.take([0, 2]), [3, 5])]
    whole = joined(parts, [1, 0, 2], (3, 4, 5), problem)
    for r, (seed, method) in enumerate(zip((3, 4, 5), (methods[1], *methods), strict=True)):
        own = method.fit(problem.take([r]), [seed])
        assert apart(whole.outputs(x(), 6)[0][[r]], own.outputs(x(), 6)[0]) < 1e-11


@pytest.mark.parametrize("method", [MLE(BRIEF), TemperatureScaled(MLE(BRIEF))])
def test_a_mixture_is_scaled_as_a_whole_after_its_members(method: Method) -> None:
    problem = classes()
    plain = Mixture(method, 3).fit(problem, SEEDS).outputs(x())[0]
    scaled = TemperatureScaled(Mixture(method, 3)).fit(problem, SEEDS)
    assert scaled.temperature is not None
    assert (scaled.temperature - 1).abs().min() > 1e-3
    expected = plain / scaled.temperature[:, None, None, None]
    assert apart(scaled.outputs(x())[0], expected) < 1e-12
    assert apart(scaled.take([1]).outputs(x())[0], expected[[1]]) < 1e-12
    parts = [scaled.take([1]), scaled.take([0])]
    whole = joined(parts, [1, 0], (SEEDS[0], SEEDS[1]), problem)
    assert apart(whole.outputs(x())[0], expected) < 1e-12


def test_candidates_have_equally_many_members() -> None:
    for outer in (lambda method: method, TemperatureScaled):
        with pytest.raises(InputError, match="2, 3 members"):
            Validated(tuple(outer(Mixture(MLE(BRIEF), size)) for size in (2, 3)))


@pytest.mark.parametrize("outer", [Mixture, TemperatureScaled])
def test_candidates_are_made_of_one_method(outer: Callable[[Method], Method]) -> None:
    with pytest.raises(InputError, match=r"one method.* of MAP, .* of MLE, and share"):
        Validated((outer(MLE(BRIEF)), outer(MAP(BRIEF))))
    members = (DeepEnsemble(3, MLE(BRIEF)), DeepEnsemble(3, MAP(BRIEF)))
    with pytest.raises(InputError, match="DeepEnsemble of MAP, DeepEnsemble of MLE"):
        Validated(members)
    Validated((outer(MLE(BRIEF)), outer(Under(MLE(BRIEF), Normal(2.0), "wide", "prior 2"))))


@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("share", [0.3, None])
def test_what_a_choice_took_is_counted_once(share: float | None, members: int) -> None:
    took: list[float] = []

    class Timed(Laplace):
        def fit(self, problem: Problem, *given: object) -> Posterior:
            found = super().fit(problem, *given)
            took.append(found.fit.seconds + found.problem.network.seconds)
            return found

    data = real_targets(60, replicas=2, held_out=20)
    problem = Problem.of(data, MLP(3, [4], 1, "tanh").double())
    last = Timed("last_layer", training=BRIEF)
    each = [Under(last, Normal(scale), str(scale), "") for scale in (0.1, 2.0)]
    found = Validated(tuple(Mixture(one, 2) if members == 2 else one for one in each), share)
    whole = found.fit(problem, SEEDS)
    assert whole.fit.seconds + whole.problem.network.seconds == pytest.approx(sum(took))


def test_seconds_are_numbers_where_replicas_chose_differently() -> None:
    problem, last = numbers(), replace(LAPLACE, last_layer=True)
    parts = [Under(last, Normal(1.0 + r), "", "").fit(problem.take([r]), [r]) for r in (0, 1)]
    whole = joined(parts, [0, 1], (0, 1), problem)
    assert whole.problem.network.seconds == sum(part.problem.network.seconds for part in parts)


def test_a_lost_member_loses_its_replica_and_no_other() -> None:
    problem = classes()
    scale = problem.inputs.scale.clone()
    scale[1] = 1e-310
    broken = replace(problem, inputs=replace(problem.inputs, scale=scale))
    assert Mixture(MLE(BRIEF), 2).fit(broken, SEEDS).fit.diverged == (False, True)


def test_what_members_tell_of_themselves_is_kept() -> None:
    choice = Validated(tuple(MLE(Training(epochs=n)) for n in (1, 40)))
    problem = numbers()
    fit = Mixture(choice, 2).fit(problem, SEEDS).fit
    for r in range(2):
        for m in range(2):
            (told,) = alone(choice, problem, r, m).fit.diagnostics
            assert {f"{name}, member {m}" for name in told} <= fit.diagnostics[r].keys()
            assert fit.diagnostics[r][f"candidate, member {m}"] == told["candidate"]
    assert len(fit.diagnostics) == 2
    assert Mixture(LAPLACE, 2).fit(problem, SEEDS).fit.diagnostics == ()


def test_names_and_refusals() -> None:
    with pytest.raises(InputError, match="chains"):
        Mixture(quick(HMC()), 2).fit(numbers(), SEEDS)
    method = Mixture(LAPLACE)
    assert (method.name, method.label) == ("laplace_mixture", "Laplace, mixture of 5")
    assert method.version == LAPLACE.version
    assert hash(method) == hash(Mixture(LAPLACE))
    with pytest.raises(InputError, match="at least one member"):
        Mixture(LAPLACE, 0)
