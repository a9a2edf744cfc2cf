"""Anchored ensembles: exact draws where the model is linear and Gaussian, and said so elsewhere.

Statistical tests hold every entry to four standard errors: 4 means and 10 covariances, so that a
right program fails each for at most 14 x 6.4e-5 = 0.09 % of the seeds, which are fixed.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small import apart, normal, real_targets, table, two_classes
from test_exact import conjugate
from torch import Tensor, nn

from bnn.errors import InputError
from bnn.likelihoods import FixedNoise, LearnedNoise
from bnn.likelihoods import Normal as NormalLikelihood
from bnn.methods import AnchoredEnsemble
from bnn.methods.anchored_ensemble import (
    ANCHORS_ALONE,
    Perturbed,
    draw_anchors,
    negative_log_joint,
)
from bnn.networks import MLP
from bnn.optimise import Training
from bnn.posterior import predict
from bnn.priors import Flat, Laplace, Normal, StudentT
from bnn.problem import Problem

MEMBERS = 2000


def deviations(weights: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    """Return how many standard errors the moments of `weights [draws, P]` are from some others."""
    draws, variance = len(weights), covariance.diagonal()
    means = (weights.mean(0) - mean) / (variance / draws).sqrt()
    errors = ((variance[:, None] * variance + covariance**2) / (draws - 1)).sqrt()
    upper = torch.triu_indices(*covariance.shape)
    return torch.cat([means, ((weights.T.cov() - covariance) / errors)[*upper]])


def test_members_are_exact_draws_from_a_conjugate_posterior() -> None:
    problem, mean, precision, _ = conjugate()
    method = AnchoredEnsemble().thorough()
    assert method.members == MEMBERS
    posterior = method.fit(problem, [0])
    weights = posterior.fit.parameters[0]
    assert deviations(weights, mean, precision.inverse()).abs().max() < 4
    assert posterior.caveats == ()
    for wrong in (0.8, 1.25):  # the check sees a tenth off in the standard deviations
        assert deviations(weights, mean, wrong * precision.inverse()).abs().max() > 4


def test_every_member_solves_its_own_regression() -> None:
    problem, _, precision, _ = conjugate()
    members = problem.take([0] * 6)
    seeds = list(range(6))
    rows = Perturbed.of(members.train, 1.0, seeds)
    anchors = draw_anchors(members, seeds)
    noisy = replace(members, train=rows)
    method = AnchoredEnsemble(members=1, training=Training(epochs=0))
    found = method.fit(problem, seeds).fit.parameters[:, 0]
    x, y = noisy.batch(noisy.train)
    design = torch.cat([x, torch.ones(6, 40, 1).double()], dim=2)
    variance = (1.0 / problem.targets.scale[0]) ** 2
    right = (design.mT @ y[..., None])[..., 0] / variance + anchors / problem.prior.scale**2
    assert apart(found, torch.linalg.solve(precision, right.T).T) < 1e-6


def test_anchors_alone_are_not_exact() -> None:
    problem, mean, precision, _ = conjugate()
    method = replace(AnchoredEnsemble().thorough(), perturb=False)
    posterior = method.fit(problem, [0])
    weights, exact = posterior.fit.parameters[0], precision.inverse()
    alone = exact @ exact / problem.prior.scale**2
    assert deviations(weights, mean, alone).abs().max() < 4
    assert deviations(weights, mean, exact).abs().max() > 20
    assert (alone.diagonal() < 0.5 * exact.diagonal()).all()
    assert posterior.caveats == (ANCHORS_ALONE,)


def test_anchors_are_draws_from_the_prior() -> None:
    likelihood = NormalLikelihood(LearnedNoise(median=0.2, spread=0.5))
    prior = Normal({"layers.0.*": 0.3, "*": 2.0}, fan_in=True, loc=1.0)
    network = MLP(3, [2], 1).double()
    problem = Problem.of(real_targets(20), network, prior=prior, likelihood=likelihood)
    draws = 4000
    anchors = draw_anchors(problem.take([0] * draws), range(draws))
    assert anchors.shape == (draws, problem.layout.size)
    own = likelihood.latents["noise.log_scale"]
    network_prior = prior.distribution(problem.network.layout, problem.like)
    mean = torch.cat([network_prior.mean, torch.tensor([own.loc]).double()])
    scale = torch.cat([network_prior.stddev, torch.tensor([0.5]).double()])
    z = (anchors - mean) / scale
    # 12 entries, 24 numbers: fails by chance for 24 x 6.4e-5 = 0.2 % of the seeds
    assert (z.mean(0).abs() < 4 / draws**0.5).all()
    assert ((z.var(0) - 1).abs() < 4 * (2 / draws) ** 0.5).all()


def test_the_objective_is_the_log_joint_where_the_anchor_is_the_priors_mean() -> None:
    problem = Problem.of(real_targets(20), MLP(3, [4], 1).double(), prior=Normal(0.7))
    weights = problem.initial([0])
    anchors = torch.zeros_like(weights)
    anchors[:, -1] = problem.likelihood.latents["noise.log_scale"].loc
    found = negative_log_joint(problem, weights, anchors, *problem.batch(problem.train))
    assert apart(-20 * found, problem.log_joint(weights[:, None])[:, 0]) < 1e-10


def test_noise_on_targets_belongs_to_the_row() -> None:
    problem = Problem.of(real_targets(30, replicas=2), MLP(3, [4], 1).double())
    rows = Perturbed.of(problem.train, 2.0, [3, 4])
    assert apart(rows.y - problem.train.y, rows.noise) < 1e-12
    assert torch.equal(rows.x, problem.train.x)
    columns = torch.tensor([[5, 0, 2], [1, 1, 7]])
    some = rows.at(columns)
    assert torch.equal(some.y, rows.y.gather(1, columns))
    assert torch.equal(some.x[1, 2], problem.train.x[1, 7])
    assert torch.equal(rows.take([1]).y[0], rows.y[1])
    assert torch.equal(rows.take([1, 1]).at(columns).y[0], rows.y[1, columns[0]])
    many = Perturbed.of(problem.train.take([0] * 500), 2.0, range(500)).noise
    assert abs(many.std().item() / 2 - 1) < 4 / (2 * 15_000) ** 0.5  # 1 of 16,000 seeds fails
    assert not torch.equal(many[0], many[1])


# Networks that are not linear


def curved(noise: object = None, replicas: int = 2) -> Problem:
    data = real_targets(40, replicas=replicas, held_out=10)
    likelihood = NormalLikelihood(FixedNoise(2.0) if noise is None else noise)
    return Problem.of(data, MLP(3, [5], 1, "tanh").double(), likelihood=likelihood)


SHORT = Training(epochs=100, learning_rate=0.02, decay=True)


def test_members_of_a_smooth_network_arrive_at_their_modes() -> None:
    method = AnchoredEnsemble(members=3, training=SHORT, polishing=2000)
    posterior = method.fit(curved(), [5, 9])
    assert posterior.caveats == ()
    rough = replace(method, polishing=0).fit(curved(), [5, 9])
    assert "6 of 6 members stopped short of their optima" in rough.caveats[0]
    assert posterior.fit.seconds > 0
    assert len(posterior.fit.parameters.flatten(0, 1).unique(dim=0)) == 6


@pytest.mark.parametrize("polishing", [20, 2000])
def test_a_polished_replica_equals_its_single_run(polishing: int) -> None:
    problem = curved()
    method = AnchoredEnsemble(members=2, training=SHORT, polishing=polishing)
    together = method.fit(problem, [5, 9])
    for r, seed in enumerate([5, 9]):
        alone = method.fit(problem.take([r]), [seed])
        assert apart(alone.fit.parameters[0], together.fit.parameters[r]) < 1e-9
        x = problem.train.x[r]
        assert apart(predict(alone, x).mean[0], predict(together, x).mean[r]) < 1e-8


def test_pieces_of_replicas_are_polished_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, method = curved(), AnchoredEnsemble(members=3, training=SHORT, polishing=20)
    whole = method.fit(problem, [5, 9])
    monkeypatch.setattr("bnn.methods.anchored_ensemble.ROWS_AT_ONCE", 4 * problem.points)
    pieces = method.fit(problem, [5, 9])
    assert apart(pieces.fit.parameters, whole.fit.parameters) < 1e-11


def test_a_kinked_network_says_how_far_it_came() -> None:
    data = real_targets(40)
    likelihood = NormalLikelihood(FixedNoise(2.0))
    problem = Problem.of(data, MLP(3, [20], 1, "relu").double(), likelihood=likelihood)
    method = AnchoredEnsemble(members=5, training=SHORT, polishing=60)
    caveats = method.fit(problem, [0]).caveats
    assert len(caveats) == 1
    assert "members stopped short of their optima, at derivatives of up to" in caveats[0]


@pytest.mark.parametrize("noise", [LearnedNoise(), None], ids=["learned", "known"])
def test_unknown_noise_has_anchors_alone_and_says_so(noise: LearnedNoise | None) -> None:
    method = AnchoredEnsemble(members=2, training=SHORT, polishing=2000)
    caveats = method.fit(curved(noise), [0, 1]).caveats
    assert (ANCHORS_ALONE in caveats) == (noise is not None)


def test_classes_have_anchors_alone_and_say_so() -> None:
    problem = Problem.of(two_classes(40), MLP(3, [5], 2, "tanh").double())
    method = AnchoredEnsemble(members=2, training=SHORT, polishing=2000)
    assert method.fit(problem, [0]).caveats == (ANCHORS_ALONE,)


def test_without_data_the_members_are_their_anchors() -> None:
    """The likelihood of a constant network does not depend on its weights."""

    class Blind(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return 0 * self.linear(x)

    problem = Problem.of(table(normal(10, 2), torch.arange(10) % 2, classes=2), Blind().double())
    found = AnchoredEnsemble(members=1, training=Training(epochs=0)).fit(problem, [4, 7])
    anchors = draw_anchors(problem.take([0, 0]), [4, 7])
    assert apart(found.fit.parameters[:, 0], anchors) < 1e-6


@pytest.mark.parametrize("prior", [Flat(), Laplace(1.0), StudentT(1.0)])
def test_other_priors_are_refused(prior: object) -> None:
    problem = replace(curved(), prior=prior)
    with pytest.raises(InputError, match=f"a Normal prior.*found {type(prior).__name__}"):
        AnchoredEnsemble().fit(problem, [0, 1])


@pytest.mark.parametrize("counts", [{"members": 0}, {"members": 2.5}, {"polishing": -1}])
def test_counts_are_whole(counts: dict) -> None:
    with pytest.raises(InputError, match="at least one member"):
        AnchoredEnsemble(**counts)
