"""The training loop: minibatches, early stopping and divergence, replica by replica."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pyro
import pytest
import torch
from small import apart, normal, real_targets, table, two_classes
from torch import Tensor

from bnn.data import Scaling
from bnn.errors import InputError
from bnn.likelihoods import FixedNoise, Normal
from bnn.networks import MLP
from bnn.optimise import Fit, Training, train
from bnn.problem import Problem
from bnn.seeds import Streams


def posed(rows: int = 20, replicas: int = 1, held_out: int = 0) -> Problem:
    data = real_targets(rows, 1, replicas=replicas, held_out=held_out)
    return Problem.of(data, MLP(1, [], 1).double(), likelihood=Normal(FixedNoise(1.0)))


def downhill(problem: Problem, parameters: Tensor, x: Tensor, y: Tensor, noise: Streams) -> Tensor:
    """Fall with slope 1: Adam then takes one learning rate per step, exactly."""
    return 1 * parameters[:, 0]


def fit(problem: Problem, training: Training, start: Tensor, validate: object) -> Fit:
    return train(problem, list(range(problem.replicas)), training, start, downhill, validate)


# Minibatches


def visits(
    rows: int, seeds: list[int], replicas: int, **training: int
) -> tuple[Tensor, list[float]]:
    """Return which row each replica saw, `[steps, replicas, batch]`, and the progress told."""
    x = torch.arange(rows, dtype=torch.float64)[:, None]
    data = table(x, x[:, 0], replicas=replicas)
    problem = Problem.of(data, MLP(1, [], 1).double(), likelihood=Normal(FixedNoise(1.0)))
    problem = problem.for_seeds(seeds)
    seen: list[Tensor] = []

    def loss(problem: Problem, parameters: Tensor, x: Tensor, y: Tensor, noise: Streams) -> Tensor:
        assert torch.equal(x[..., 0], y)  # inputs and targets belong together
        mean, scale = problem.targets.mean[:, None], problem.targets.scale[:, None]
        seen.append((y * scale + mean).round().long())
        return parameters[:, 0]

    told: list[float] = []
    start = torch.zeros(problem.replicas, 1, dtype=torch.float64)
    train(problem, seeds, replace(Training(), **training), start, loss, loss, told.append)
    return torch.stack(seen), told


def test_every_epoch_visits_every_row_once_in_an_order_of_its_own() -> None:
    seen, _ = visits(24, [0, 1, 2], 1, epochs=3, batch_size=6)
    assert seen.shape == (3 * 4, 3, 6)
    epochs = seen.unflatten(0, (3, 4)).movedim(2, 1).flatten(2)  # epoch, replica, row
    assert torch.equal(epochs.sort(-1).values, torch.arange(24).expand(3, 3, -1))
    assert len(epochs.flatten(0, 1).unique(dim=0)) == 9  # no two orders are alike


def test_a_replicas_minibatches_depend_on_its_seed_alone() -> None:
    together, _ = visits(24, [4, 9, 2], 3, epochs=2, batch_size=5)
    alone, _ = visits(24, [4], 1, epochs=2, batch_size=5)
    assert torch.equal(together[:, :1], alone)


def test_the_rows_of_a_ragged_last_batch_wait_for_another_epoch() -> None:
    seen, _ = visits(23, [0], 1, epochs=50, batch_size=5)
    assert seen.shape == (50 * 4, 1, 5)
    epochs = seen.unflatten(0, (50, 4)).movedim(2, 1).flatten(2)[:, 0]
    assert all(len(order.unique()) == 20 for order in epochs)
    assert len(seen.unique()) == 23


def test_a_full_batch_is_all_rows_as_they_come() -> None:
    seen, _ = visits(10, [0, 1], 1, epochs=2, batch_size=10)
    assert torch.equal(seen, torch.arange(10).expand(2, 2, -1))


def test_the_usual_batch_is_128_or_all_rows() -> None:
    assert Training().batch_of(60) == 60
    assert Training().batch_of(1000) == 128
    assert Training(batch_size=7).batch_of(7) == 7


@pytest.mark.parametrize("size", [21, 1000, 0, -3])
def test_a_batch_larger_than_the_rows_is_refused(size: int) -> None:
    start = torch.zeros(1, 1, dtype=torch.float64)
    with pytest.raises(
        InputError, match=rf"a batch of 1 to 20 training rows; found batch_size={size}"
    ):
        fit(posed(20), Training(batch_size=size), start, downhill)


@pytest.mark.parametrize("rate", [0.0, -0.1, math.nan, math.inf])
def test_a_learning_rate_is_positive_and_finite(rate: float) -> None:
    with pytest.raises(InputError, match="a positive, finite learning rate"):
        Training(learning_rate=rate)


def test_epochs_and_patience_are_counts() -> None:
    for training in (
        {"epochs": -1},
        {"patience": 0},
        {"patience": -2},
        {"steps": -1},
        {"epochs": 2.5},
        {"batch_size": 8.0},
    ):
        with pytest.raises(InputError, match="whole numbers of epochs, steps and rows"):
            Training(**training)


def test_progress_is_told_from_little_to_all() -> None:
    _, told = visits(10, [0], 1, epochs=4)
    assert told == sorted(told)
    assert told[0] == 0.25
    assert told[-1] == 1


# The optimiser


@pytest.mark.parametrize("decay", [True, False])
def test_the_steps_are_those_of_torchs_adam(decay: bool) -> None:
    problem = posed(20, replicas=2)
    start = normal(2, 3)
    curvature = torch.tensor([[1.0, 10.0, 0.1], [3.0, 2.0, 5.0]], dtype=torch.float64)

    def bowl(problem: Problem, parameters: Tensor, x: Tensor, y: Tensor, noise: Streams) -> Tensor:
        return (curvature * (parameters - 1) ** 2).sum(-1) * (1 + x.mean((1, 2)))

    training = Training(epochs=15, learning_rate=0.1, batch_size=5, decay=decay)
    found = train(problem, [3, 4], training, start, bowl, bowl)
    batches: list[float] = []

    def spy(problem: Problem, parameters: Tensor, x: Tensor, y: Tensor, noise: Streams) -> Tensor:
        batches.append(x.mean((1, 2)))
        return bowl(problem, parameters, x, y, noise)

    train(problem, [3, 4], training, start, spy, bowl)
    for r in range(2):
        by_hand = start[r].clone().requires_grad_()
        adam = torch.optim.Adam([by_hand], lr=0.1)
        steps = 15 * 4
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, T_max=steps)
        for step in range(steps):
            adam.zero_grad()
            ((curvature[r] * (by_hand - 1) ** 2).sum() * (1 + batches[step][r])).backward()
            adam.step()
            if decay:
                schedule.step()
        assert apart(found.parameters[r], by_hand) < 1e-12


def test_the_curve_holds_the_mean_loss_of_each_epoch() -> None:
    start = torch.zeros(1, 1, dtype=torch.float64)
    training = Training(epochs=3, learning_rate=0.5, batch_size=5)
    found = fit(posed(20), training, start, downhill)
    (curve,) = found.curves
    assert curve.epochs == (1, 2, 3)
    # four steps of 0.5 an epoch, from 0: the losses before each step are 0, -0.5, -1, -1.5, ...
    assert curve.train == pytest.approx((-0.75, -2.75, -4.75), abs=1e-6)
    assert curve.validation == ()
    assert curve.best is None
    assert found.parameters.item() == pytest.approx(-6, abs=1e-6)
    assert found.seconds > 0


def test_the_start_and_the_callers_tensors_are_left_alone() -> None:
    start = torch.zeros(1, 1, dtype=torch.float64)
    found = fit(posed(20), Training(epochs=2), start, downhill)
    assert start.item() == 0
    assert start.grad is None
    assert not found.parameters.requires_grad


def test_no_epochs_leave_the_start() -> None:
    start = torch.ones(1, 1, dtype=torch.float64)
    found = fit(posed(20), Training(epochs=0), start, downhill)
    assert found.parameters.item() == 1
    assert found.curves[0].train == ()


# Early stopping: every replica walks -1, -2, -3, ... and is best where it reaches its own goal. The
# goal is a parameter without gradient, which Adam leaves alone, so it goes where its replica goes.


def starts(*goals: float) -> Tensor:
    return torch.tensor([[0.0, goal] for goal in goals], dtype=torch.float64)


def to_goal(problem: Problem, parameters: Tensor, x: Tensor, y: Tensor, noise: Streams) -> Tensor:
    return (parameters[:, 0] + parameters[:, 1]).abs()


def test_a_replica_keeps_its_best_weights_and_stops_when_its_patience_ends() -> None:
    problem = posed(20, replicas=3, held_out=5)
    training = Training(epochs=30, learning_rate=1.0, patience=4)
    found = fit(problem, training, starts(5.0, 12.0, 99.0), to_goal)
    assert [curve.best for curve in found.curves] == [5, 12, 30]
    assert [len(curve.validation) for curve in found.curves] == [9, 16, 30]
    assert [len(curve.train) for curve in found.curves] == [9, 16, 30]
    assert apart(found.parameters[:, 0], torch.tensor([-5.0, -12.0, -30.0])) < 1e-6
    assert found.curves[0].validation == pytest.approx((4, 3, 2, 1, 0, 1, 2, 3, 4), abs=1e-6)
    assert found.diverged == (False, False, False)


def test_the_order_of_stopping_does_not_mix_replicas_up() -> None:
    goals = [7.0, 3.0, 11.0, 3.0, 9.0, 1.0]
    problem = posed(20, replicas=6, held_out=5)
    training = Training(epochs=30, learning_rate=1.0, patience=2)
    found = fit(problem, training, starts(*goals), to_goal)
    assert apart(found.parameters[:, 0], -torch.tensor(goals)) < 1e-6
    assert apart(found.parameters[:, 1], torch.tensor(goals)) == 0
    assert [curve.best for curve in found.curves] == goals


def test_the_loop_ends_when_all_patience_has() -> None:
    told: list[float] = []
    problem = posed(20, held_out=5)
    training = Training(epochs=1000, learning_rate=1.0, patience=2)
    train(problem, [0], training, starts(3.0), downhill, to_goal, told.append)
    assert len(told) == 5 + 1  # five epochs, and the word that it is done
    assert told[-1] == 1


def test_an_equal_loss_is_not_a_better_one() -> None:
    problem = posed(20, held_out=5)
    training = Training(epochs=50, learning_rate=1.0, patience=3)
    found = fit(problem, training, starts(0.0), lambda problem, p, *rest: 0 * p[:, 0] + 1)
    assert found.curves[0].best == 1
    assert len(found.curves[0].train) == 4
    assert found.parameters[0, 0].item() == pytest.approx(-1)


def test_without_patience_the_last_weights_are_kept_and_the_curve_still_shows() -> None:
    problem = posed(20, held_out=5)
    found = fit(problem, Training(epochs=10, learning_rate=1.0), starts(3.0), to_goal)
    assert found.curves[0].best is None
    assert len(found.curves[0].validation) == 10
    assert found.parameters[0, 0].item() == pytest.approx(-10)


def test_patience_without_validation_rows_is_refused() -> None:
    with pytest.raises(InputError, match="validation rows for early stopping; found none"):
        fit(posed(20), Training(epochs=10, patience=2), starts(3.0), to_goal)


def test_a_small_table_gets_the_epochs_that_its_steps_need() -> None:
    assert Training(epochs=10, steps=70, batch_size=10).epochs_of(20) == 35
    assert Training(epochs=10, steps=70, batch_size=10).epochs_of(100) == 10
    found = fit(posed(20), Training(epochs=2, steps=7), starts(3.0), to_goal)
    assert len(found.curves[0].train) == 7


def test_a_long_curve_is_thinned_but_keeps_its_last_epoch() -> None:
    found = fit(posed(20), Training(epochs=1201), starts(3.0), to_goal).curves[0]
    short = fit(posed(20), Training(epochs=301), starts(3.0), to_goal).curves[0]
    assert len(short.epochs) == 301
    assert len(found.epochs) == len(found.train) <= 500
    assert found.epochs[-1] == 1201
    assert found.train[:2] == tuple(short.train[e - 1] for e in found.epochs[:2])


# Noise


def test_training_noise_goes_on_and_validation_noise_stays() -> None:
    problem = posed(20, replicas=3, held_out=5)
    seen: dict[str, list[Tensor]] = {"train": [], "validate": []}

    def noisy(problem: Problem, parameters: Tensor, x: Tensor, y: Tensor, noise: Streams) -> Tensor:
        seen["train"].append(noise.normal(1, 2)[:, 0])
        return parameters[:, 0]

    def judge(problem: Problem, parameters: Tensor, x: Tensor, y: Tensor, noise: Streams) -> Tensor:
        seen["validate"].append(noise.normal(1, 2)[:, 0])
        return (parameters[:, 0] + parameters[:, 1]).abs()

    training = Training(epochs=9, learning_rate=1.0, patience=2)
    before = torch.get_rng_state()
    train(problem, [5, 6, 7], training, starts(2.0, 99.0, 4.0), noisy, judge)
    assert torch.equal(torch.get_rng_state(), before)
    assert [len(part) for part in seen["train"]] == [3, 3, 3, 3, 2, 2, 1, 1, 1]
    single = Streams([6], "training noise", torch.device("cpu"), torch.float64)
    middle = [1, 1, 1, 1, 0, 0, 0, 0, 0]  # where replica 1 of the three stands, as the others leave
    for row, drawn in zip(middle, seen["train"], strict=True):
        assert torch.equal(drawn[row], single.normal(1, 2)[0, 0])
    assert all(
        torch.equal(drawn[row], seen["validate"][0][1])
        for row, drawn in zip(middle, seen["validate"], strict=True)
    )


# Divergence: the loss is lost where a replica has walked as far as its second parameter


def lost(problem: Problem, parameters: Tensor, x: Tensor, y: Tensor, noise: Streams) -> Tensor:
    beyond = -parameters[:, 0] > parameters[:, 1].detach() - 0.5
    return parameters[:, 0] * torch.where(beyond, torch.nan, 1.0)


def test_a_replica_whose_loss_is_lost_is_reported_and_changes_no_other() -> None:
    problem = posed(20, replicas=3)
    training = Training(epochs=10, learning_rate=1.0)
    found = train(problem, [0, 1, 2], training, starts(math.inf, 4.0, math.inf), lost, lost)
    assert found.diverged == (False, True, False)
    assert [len(curve.train) for curve in found.curves] == [10, 5, 10]
    assert apart(found.parameters[[0, 2], 0], torch.tensor([-10.0, -10.0])) < 1e-6
    assert found.curves[1].train[:4] == pytest.approx((0, -1, -2, -3), abs=1e-6)
    assert math.isnan(found.curves[1].train[4])


def test_the_loop_ends_when_all_are_lost() -> None:
    training = Training(epochs=10**6, learning_rate=1.0)
    found = train(posed(20, 2), [0, 1], training, starts(4.0, 2.0), lost, lost)
    assert found.diverged == (True, True)
    assert [len(curve.train) for curve in found.curves] == [5, 3]


@pytest.mark.parametrize("patience", [1, 2, 5, None])
def test_a_lost_validation_loss_is_a_divergence_whatever_the_patience(patience: int | None) -> None:
    problem = posed(20, held_out=5)
    training = Training(epochs=9, learning_rate=1.0, patience=patience)
    found = fit(problem, training, starts(4.0), lost)
    assert found.diverged == (True,)
    assert len(found.curves[0].train) == 4


def test_a_replica_that_stopped_may_not_be_lost_later() -> None:
    problem = posed(20, replicas=2, held_out=5)
    training = Training(epochs=40, learning_rate=1.0, patience=3)

    def worse_after_five(
        problem: Problem, parameters: Tensor, x: Tensor, y: Tensor, noise: Streams
    ) -> Tensor:
        walked = -parameters[:, 0]
        return torch.where(parameters[:, 1] < 100, (walked - 5).abs(), -walked)

    found = train(problem, [0, 1], training, starts(12.0, 100.0), lost, worse_after_five)
    assert found.diverged == (False, False)
    assert found.curves[0].best == 5
    assert found.curves[1].best == 40


def test_a_numeric_overflow_of_one_replica_raises_nothing() -> None:
    problem = Problem.of(two_classes(40, replicas=2), MLP(3, [4], 2).double())
    scale = problem.inputs.scale.clone()
    scale[0] = 1e-310  # standardised inputs overflow to infinity
    problem = replace(problem, inputs=Scaling(problem.inputs.mean, scale))

    def loss(problem: Problem, weights: Tensor, x: Tensor, y: Tensor, noise: Streams) -> Tensor:
        return problem.loss(weights[:, None], x, y)[:, 0]

    start = problem.initial([0, 1])
    found = train(problem, [0, 1], Training(epochs=3, batch_size=10), start, loss, loss)
    assert found.diverged == (True, False)
    assert pyro.distributions.is_validation_enabled()


def test_a_loss_that_fails_leaves_validation_switched_on() -> None:
    def broken(
        problem: Problem, parameters: Tensor, x: Tensor, y: Tensor, noise: Streams
    ) -> Tensor:
        raise RuntimeError("broken")

    start = torch.zeros(1, 1).double()
    with pytest.raises(RuntimeError, match="broken"):
        train(posed(), [0], Training(epochs=1), start, broken, broken)
    assert pyro.distributions.is_validation_enabled()


# Averages of iterates, and methods with steps of their own


def quadratic(problem: Problem, w: Tensor, x: Tensor, y: Tensor, noise: Streams) -> Tensor:
    return ((w - 3) ** 2).sum(-1)


class Descent:
    """Gradient descent, with a state that must follow the replicas."""

    def __init__(self, parameters: Tensor) -> None:
        self.steps = torch.zeros(len(parameters))

    def step(self, parameters: Tensor, gradient: Tensor, rate: float, noise: Streams) -> None:
        self.steps += 1
        parameters -= rate * gradient

    def take(self, rows: list[int]) -> Descent:
        some = Descent(self.steps[rows])
        some.steps = self.steps[rows]
        return some


def course(**options: object) -> tuple[Fit, list[tuple[list[int], int, Tensor]]]:
    """Descend a quadratic from 0 and 1, and return the fit and every step's parameters."""
    problem = Problem.of(two_classes(20, replicas=2), MLP(3, [], 2).double())
    seen: list[tuple[list[int], int, Tensor]] = []

    def visit(replicas: Sequence[int], done: int, parameters: Tensor) -> None:
        seen.append((list(replicas), done, parameters.clone()))

    start = torch.tensor([[0.0], [1.0]]).double()
    training = Training(epochs=8, batch_size=10, learning_rate=0.1, **options)
    parts = (problem, [0, 1], training, start, quadratic, quadratic)
    return train(*parts, update=Descent, visit=visit), seen


def test_a_method_brings_its_own_steps_and_sees_them_all() -> None:
    fit, seen = course()
    assert [done for _, done, _ in seen] == list(range(1, 17))
    assert all(replicas == [0, 1] for replicas, _, _ in seen)
    for _, done, parameters in seen:  # each step goes a fifth of the way to 3
        expected = 3 - torch.tensor([[3.0], [2.0]]).double() * 0.8**done
        assert apart(parameters, expected) < 1e-12
    assert torch.equal(fit.parameters, seen[-1][2])


@pytest.mark.parametrize("share", [0.25, 0.5, 0.99])
def test_an_average_is_that_of_the_last_steps(share: float) -> None:
    fit, seen = course(average=share)
    last = [parameters for _, _, parameters in seen[math.floor((1 - share) * 16) :]]
    assert apart(fit.parameters, torch.stack(last).mean(0)) < 1e-12


@pytest.mark.parametrize(
    "settings", [{"average": 1.0}, {"average": -0.1}, {"average": 0.5, "patience": 3}]
)
def test_an_average_is_over_a_share_of_a_fixed_budget(settings: dict) -> None:
    with pytest.raises(InputError, match="an average over a share of the steps"):
        Training(**settings)
