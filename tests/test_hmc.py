"""Hamiltonian Monte Carlo: the flow's own laws, the law that it leaves alone, and known answers.

Statistical tests fix their seeds. Where a mean is held to four Monte-Carlo standard errors, it
fails by chance once in 16,000 times.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from small import apart, normal, real_targets, two_classes
from test_exact import conjugate
from torch import Tensor

from bnn.diagnostics import worst_of
from bnn.errors import InputError
from bnn.hamiltonian import (
    Ascent,
    DualAveraging,
    Sampled,
    Spread,
    State,
    energy,
    leapfrog,
    sample,
    transition,
    van_der_corput,
)
from bnn.methods import HMC, hmc
from bnn.methods.hmc import potential_of, pyro_potential_of, starts, trusted
from bnn.networks import MLP
from bnn.posterior import predict
from bnn.priors import Flat
from bnn.problem import Problem
from bnn.seeds import Streams

CPU = torch.device("cpu")


def streams(replicas: int = 1, seed: int = 0) -> Streams:
    return Streams(range(seed, seed + replicas), "a test", CPU, torch.float64)


def posed(outputs: int = 2, replicas: int = 2) -> Problem:
    data = (two_classes if outputs == 2 else real_targets)(30, replicas=replicas)
    return Problem.of(data, MLP(3, [4], outputs, "tanh").double())


def curved(w: Tensor) -> Tensor:
    """Return a potential that is neither convex nor separable."""
    return (w**4).sum(-1) / 4 + (w[..., 0] * w[..., 1]).sin() + w.square().sum(-1) / 2


# The flow


def trajectory(step: float, steps: int, potential=curved) -> tuple[State, Tensor, State, Tensor]:
    """Return the beginning and the end of a trajectory of 3 replicas x 5 chains."""
    begin = State.at(potential, normal(3, 5, 4, seed=1))
    velocity = normal(3, 5, 4, seed=2)
    scale = 0.5 + torch.rand(3, 4, generator=torch.Generator().manual_seed(3)).double()
    moves = (torch.full((3,), step).double(), torch.full((3,), steps), scale)
    end, last = leapfrog(potential, begin, velocity, *moves)
    back, first = leapfrog(potential, end, -last, *moves)
    assert apart(back.position, begin.position) < 1e-10
    assert apart(-first, velocity) < 1e-10
    return begin, velocity, end, last


def test_a_trajectory_turned_round_comes_back() -> None:
    begin, _, end, _ = trajectory(0.1, 20)
    assert apart(begin.position, end.position) > 1


def test_a_networks_trajectory_turned_round_comes_back() -> None:
    problem = posed(1)
    potential = potential_of(problem)
    begin = State.at(potential, starts(problem, [0, 1], 3))
    velocity = normal(*begin.position.shape)
    moves = (torch.tensor([0.02, 0.01]).double(), torch.tensor([20, 30]))
    scale = torch.ones(2, problem.layout.size).double()
    end, last = leapfrog(potential, begin, velocity, *moves, scale)
    back, first = leapfrog(potential, end, -last, *moves, scale)
    assert apart(end.position, begin.position) > 0.1
    assert apart(back.position, begin.position) < 1e-10
    assert apart(-first, velocity) < 1e-10


def test_the_energy_error_is_of_the_order_of_the_step_squared() -> None:
    sizes, errors = [0.04, 0.02, 0.01, 0.005], []
    for size in sizes:
        begin, velocity, end, last = trajectory(size, round(0.4 / size))
        errors.append((energy(end, last) - energy(begin, velocity)).abs().mean().item())
    slope = np.polyfit(np.log(sizes), np.log(errors), 1)[0]
    assert slope == pytest.approx(2, abs=0.05)


def test_the_flow_keeps_volumes() -> None:
    def flow(state: Tensor) -> Tensor:
        position, velocity = state.view(2, 1, 1, 3)
        for _ in range(5):  # the same steps, differentiable twice
            velocity = velocity - 0.1 * torch.func.grad(lambda w: curved(w).sum())(position)
            position = position + 0.2 * velocity
            velocity = velocity - 0.1 * torch.func.grad(lambda w: curved(w).sum())(position)
        return torch.stack([position, velocity]).flatten()

    start = normal(6, seed=4)
    jacobian = torch.func.jacrev(flow)(start)
    assert torch.linalg.det(jacobian).item() == pytest.approx(1, abs=1e-10)
    state = State.at(curved, start[:3].view(1, 1, 3))
    moves = (torch.tensor([0.2], dtype=torch.float64), torch.tensor([5]), torch.ones(1, 3).double())
    end, last = leapfrog(curved, state, start[3:].view(1, 1, 3), *moves)
    assert apart(torch.cat([end.position, last]).flatten(), flow(start)) < 1e-12


def test_a_replica_that_is_done_waits_for_the_others() -> None:
    begin, velocity = State.at(curved, normal(2, 3, 4)), normal(2, 3, 4, seed=1)
    step, scale = torch.tensor([0.1, 0.1]).double(), torch.ones(2, 4).double()
    both, last = leapfrog(curved, begin, velocity, step, torch.tensor([3, 9]), scale)
    for r, steps in enumerate((3, 9)):
        one = State(*(part[[r]] for part in vars(begin).values()))
        moves = (step[[r]], torch.tensor([steps]), scale[[r]])
        end, alone = leapfrog(curved, one, velocity[[r]], *moves)
        assert torch.equal(both.position[r], end.position[0])
        assert torch.equal(last[r], alone[0])


def test_a_proposal_is_accepted_by_its_energy_and_what_is_not_finite_never() -> None:
    def walled(w: Tensor) -> Tensor:
        return torch.where(w[..., 0] > 1, torch.nan, curved(w))

    begin, velocity = State.at(walled, -normal(1, 400, 2).abs()), 3 * normal(1, 400, 2, seed=1)
    moves = (torch.tensor([0.5]).double(), torch.tensor([4]), torch.ones(1, 2).double())
    uniform = torch.rand(1, 400, generator=torch.Generator().manual_seed(0)).double()
    moved = transition(walled, begin, velocity, uniform, *moves)
    end, last = leapfrog(walled, begin, velocity, *moves)
    change = energy(end, last) - energy(begin, velocity)
    lost = change.isnan()
    assert lost.any()
    assert moved.divergent[lost].all()
    assert (moved.acceptance[lost] == 0).all()
    assert apart(moved.acceptance[~lost], (-change[~lost]).exp().clamp(max=1)) < 1e-12
    accepted = ~lost & (uniform < moved.acceptance)
    assert 0 < accepted.sum() < 400
    assert torch.equal(moved.state.position[accepted], end.position[accepted])
    assert torch.equal(moved.state.position[~accepted], begin.position[~accepted])
    assert moved.state.gradient.isfinite().all()


# The law it leaves alone


@pytest.mark.parametrize("step", [0.5, 0.8])
def test_the_joint_law_of_weights_and_data_is_left_alone(step: float) -> None:
    """Weights from the prior and data from the model; a few moves; the law must be the prior's.

    The start is stationary, so the chains need not converge. A fresh draw from the prior is
    compared with by Kolmogorov and Smirnov, on the weights of a network and on what they predict;
    12 tests at 1e-3 / 12 each: by chance it fails once in a thousand times. A normal of 1.1 times
    the standard deviation would be noticed (power above 0.99 with 20,000 chains).
    """
    chains, points = 20_000, 3
    x = torch.tensor([-1.0, 0.3, 1.5]).double()
    generator = torch.Generator().manual_seed(7)

    def network(w: Tensor) -> Tensor:  # [..., 5] -> [..., points]: one hidden layer of two units
        hidden = torch.tanh(w[..., None, :2] * x[:, None] + w[..., None, 2:4])
        return hidden.sum(-1) + w[..., 4:]

    prior = torch.randn(1, chains, 5, generator=generator).double()
    noise = torch.randn(1, chains, points, generator=generator).double()
    y = network(prior) + 0.5 * noise

    def potential(w: Tensor) -> Tensor:
        return w.square().sum(-1) / 2 + (y - network(w)).square().sum(-1) / (2 * 0.25)

    state, source, moved = State.at(potential, prior), streams(seed=3), 0.0
    moves = (torch.tensor([step]).double(), torch.tensor([4]), torch.full((1, 5), 0.5).double())
    for _ in range(5):
        velocity, uniform = source.normal(1, chains, 5)[:, 0], source.uniform(1, chains)[:, 0]
        result = transition(potential, state, velocity, uniform, *moves)
        state, moved = result.state, moved + result.acceptance.mean().item() / 5
    assert 0.3 < moved < 0.95, "nothing tested: all proposals had one fate"
    assert apart(state.position, prior) > 1
    fresh = torch.randn(chains, 5, generator=generator).double()
    for i in range(5):
        assert stats.kstest(state.position[0, :, i], "norm").pvalue > 1e-3 / 12
    residual = (y - network(state.position))[0] / 0.5
    for i in range(points):  # the data's noise, given the weights, is still the noise
        assert stats.kstest(residual[:, i], "norm").pvalue > 1e-3 / 12
    for found, expected in (
        (network(state.position)[0, :, 0], network(fresh)[:, 0]),
        (network(state.position)[0, :, 2], network(fresh)[:, 2]),
        (state.position[0].square().sum(-1), fresh.square().sum(-1)),
        (potential(state.position)[0], potential(prior)[0]),
    ):
        assert stats.ks_2samp(found, expected).pvalue > 1e-3 / 12


# Known answers


def check_moments(draws: Tensor, mean: Tensor, covariance: Tensor) -> None:
    """Hold the moments of `draws [chains, samples, P]` to four standard errors, over their ESS."""
    size = draws.shape[-1]
    gaps = draws - mean
    products = (gaps[..., :, None] * gaps[..., None, :]).flatten(2)
    for found, expected in ((draws, mean), (products, covariance.flatten())):
        for i in range(found.shape[-1]):
            one = found[..., i]
            # From the means of the chains, which are independent, whatever their correlations.
            means = one.mean(1)
            error = means.std() / math.sqrt(len(means))
            assert (means.mean() - expected[i]).abs() < 4.5 * error + 1e-12
    assert size == len(mean)


def test_a_correlated_gaussian() -> None:
    root = torch.tensor([[1.0, 0, 0], [0.9, 0.2, 0], [-3.0, 1.0, 2.0]]).double()
    covariance = root @ root.mT
    precision, mean = covariance.inverse(), torch.tensor([3.0, -1.0, 10.0]).double()

    def potential(w: Tensor) -> Tensor:
        return (((w - mean) @ precision) * (w - mean)).sum(-1) / 2

    found = sample(potential, normal(1, 64, 3), streams(), warmup=200, samples=200)
    assert found.divergences.item() == 0
    assert worst_of(found.positions[0].numpy())["rhat"] < 1.01
    check_moments(found.positions[0], mean, covariance)
    spread = found.positions[0].flatten(0, 1).std(0) / covariance.diagonal().sqrt()
    assert ((spread - 1).abs() < 0.05).all()


def test_the_conjugate_linear_model() -> None:
    problem, mean, precision, _ = conjugate()
    posterior = HMC(chains=64, warmup=200, samples=100, thin=1).fit(problem, [0])
    check_moments(posterior.family.weights[0], mean, precision.inverse())
    spread = posterior.family.weights[0].flatten(0, 1).var(0) * precision.inverse().diagonal() ** -1
    assert ((spread - 1).abs() < 0.1).all()


def test_coordinates_of_very_different_scales_are_no_obstacle() -> None:
    deviation = torch.logspace(-3, 2, 6).double()

    def potential(w: Tensor) -> Tensor:
        return (w / deviation).square().sum(-1) / 2

    found = sample(potential, normal(1, 16, 6), streams(), warmup=400, samples=250, thin=2)
    worst = worst_of(found.positions[0].numpy())
    assert worst["rhat"] < 1.02
    assert worst["ess_bulk"] > 1000
    assert found.gradients.item() < 50  # in one unit for all it would take 100,000


# Adaptation


def test_the_step_is_adapted_to_the_acceptance_asked_for() -> None:
    def potential(w: Tensor) -> Tensor:
        return w.square().sum(-1) / 2

    for asked in (0.6, 0.9):
        found = sample(
            potential, normal(1, 16, 50), streams(), warmup=300, samples=200, acceptance=asked
        )
        assert found.acceptance.item() == pytest.approx(asked, abs=0.1)


def test_dual_averaging_finds_the_step_whose_error_is_zero() -> None:
    averaging = DualAveraging(torch.tensor([0.0, 3.0]).double())
    for _ in range(500):
        averaging.update((averaging.log_step - torch.tensor([-2.0, -1.0])).tanh())
    assert apart(averaging.log_average, torch.tensor([-2.0, -1.0]).double()) < 0.1


def test_an_ascent_climbs_whatever_the_size_of_its_gradient() -> None:
    ascent = Ascent(torch.zeros(2).double())
    for _ in range(400):
        ascent.update((1 - ascent.log_time) * torch.tensor([1e-3, 1e6]).double())
    assert apart(ascent.log_time, torch.ones(2).double()) < 0.05


def test_the_spread_is_that_within_the_chains() -> None:
    positions = normal(2, 3, 50, 4) + 10 * normal(2, 3, 1, 4, seed=1)
    spread = Spread(positions[:, :, 0])
    for t in range(50):
        spread.add(positions[:, :, t])
    assert apart(spread.deviation(), positions.var(2).mean(1).sqrt()) < 1e-12


def test_trajectories_vary_evenly() -> None:
    assert [van_der_corput(i) for i in range(1, 6)] == [1 / 2, 1 / 4, 3 / 4, 1 / 8, 5 / 8]
    shares = np.array([van_der_corput(i) for i in range(1, 1024)])
    assert stats.kstest(shares, "uniform").statistic < 0.002


def test_samples_are_thinned_and_the_course_is_told() -> None:
    def run(samples: int, thin: int) -> Sampled:
        return sample(
            curved, normal(2, 3, 4), streams(2), warmup=15, samples=samples, thin=thin, max_steps=5
        )

    every, some = run(12, 1), run(4, 3)
    assert torch.equal(every.positions[:, :, 2::3], some.positions)
    assert torch.equal(every.potential, some.potential)
    assert some.potential.shape == (27, 2)
    assert apart(every.potential[15:].T, curved(every.positions).mean(1)) < 1e-12


# The method


@pytest.mark.parametrize("outputs", [1, 2])
def test_the_potential_is_that_of_the_pyro_program(outputs: int) -> None:
    problem = posed(outputs)
    weights = starts(problem, [0, 1], 3)
    with pytest.MonkeyPatch.context():
        fast, slow = (State.at(of(problem), weights) for of in (potential_of, pyro_potential_of))
    assert apart(fast.potential / slow.potential, torch.ones(2, 3)) < 1e-12
    assert apart(fast.gradient, slow.gradient) < 1e-10
    assert apart(fast.potential, -problem.log_joint(weights)) < 1e-10


def test_a_potential_that_is_not_pyros_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = posed()
    weights = starts(problem, [0, 1], 2)

    def wrong(problem: Problem):
        right = potential_of(problem)
        return lambda w: 1.001 * right(w)

    monkeypatch.setattr(hmc, "potential_of", wrong)
    with pytest.warns(UserWarning, match="differs from Pyro's by 1.0e-03"):
        found = trusted(problem, weights)
    assert apart(found(weights), -problem.log_joint(weights)) < 1e-10


def test_chains_start_where_the_members_of_an_ensemble_do() -> None:
    problem = posed()
    found = starts(problem, [3, 4], 2)
    assert torch.equal(found[:, 0], problem.initial([3, 4]))
    assert apart(found[:, 0], found[:, 1]) > 0.1


def test_a_replica_is_the_single_run_over_many_iterations() -> None:
    problem, method = posed(2, 3), HMC(chains=4, warmup=100, samples=20, thin=2, max_steps=30)
    together = method.fit(problem, [5, 6, 7])
    alone = method.fit(problem.take([1]), [6])
    assert apart(together.family.weights[1], alone.family.weights[0]) < 1e-9
    assert together.fit.diagnostics[1] == pytest.approx(alone.fit.diagnostics[0])


def test_a_replica_that_is_not_finite_changes_no_other() -> None:
    problem, method = posed(1, 3), HMC(chains=4, warmup=30, samples=10, thin=1, max_steps=10)
    scale = problem.inputs.scale.clone()
    scale[1] = 1e-310
    broken = replace(problem, inputs=replace(problem.inputs, scale=scale))
    sound, together = method.fit(problem, [0, 1, 2]), method.fit(broken, [0, 1, 2])
    assert together.fit.diverged == (False, True, False)
    assert together.fit.curves[1].epochs == (1,)
    for r in (0, 2):
        assert apart(together.family.weights[r], sound.family.weights[r]) < 1e-12


def test_the_last_layer_alone_may_be_sampled() -> None:
    posterior = HMC(chains=4, warmup=30, samples=10, thin=1, last_layer=True).fit(posed(), [0, 1])
    assert posterior.family.weights.shape == (2, 4, 10, 10)  # 2 x 4 weights and 2 biases
    x = posterior.problem.train.x
    assert predict(posterior, x).probs.isfinite().all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"chains": 0},
        {"chains": 2.5},
        {"samples": 0},
        {"warmup": -1},
        {"warmup": 1.5},
        {"acceptance": 1.0},
        {"acceptance": math.nan},
        {"thin": 0},
        {"max_steps": 0},
    ],
)
def test_settings_that_are_none_are_refused(wrong: dict) -> None:
    with pytest.raises(InputError):
        HMC(**wrong)


def test_hmc_needs_a_prior() -> None:
    with pytest.raises(InputError, match="a proper prior; found Flat"):
        HMC().fit(replace(posed(), prior=Flat()), [0, 1])
