"""A zoo of seeded defects: plausible mistakes of this field, each patched in, and each caught.

A defect names the check and the row that must fail with it and pass without it. Settings are cheap,
for a row that fails needs no long training. Some mistakes change no number of a method's fit on the
checks' problems; they are caught by a law that another test asserts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import pytest
import test_hmc
import test_problem
import test_swag
import test_temperature
import torch
from small import As
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import linear, softplus

from bnn import gradients as written_out
from bnn import predictive, priors
from bnn.check import Check, Row, Subject
from bnn.check.evidence import evidence
from bnn.check.gradients import gradients
from bnn.check.moments import moments
from bnn.check.predictions import mixture, predictions
from bnn.check.training import training
from bnn.curvature import perceptrons as curvature_perceptrons
from bnn.curvature.full import FullGaussian
from bnn.hamiltonian import State, chains, kernel
from bnn.likelihoods import FixedNoise
from bnn.methods import (
    HMC,
    IVON,
    MAP,
    SGHMC,
    SGLD,
    SWAG,
    AnchoredEnsemble,
    ConcreteDropout,
    CyclicalSGMCMC,
    Flow,
    FullRank,
    Hypernet,
    Laplace,
    LowRank,
    MCDropout,
    MeanField,
    Method,
    anchored_ensemble,
    hypernet,
    laplace,
    maximum_posterior,
    mean_field,
)
from bnn.methods.concrete_dropout import Divergence
from bnn.methods.dropout import DroppedUnits, UnitMasks
from bnn.methods.flow import Coupling
from bnn.methods.full_rank import FullRankNormal
from bnn.methods.ivon import VariationalNewton
from bnn.methods.langevin import Langevin
from bnn.methods.low_rank import LowRankNormal
from bnn.methods.maximum_likelihood import negative_log_likelihood
from bnn.methods.mean_field import FactorisedNormal
from bnn.methods.swag import Moments
from bnn.networks import Tangent
from bnn.networks.layerwise import Layerwise, Perturbed
from bnn.optimise import Training
from bnn.posterior import Affine, Posterior
from bnn.predictive import NormalMixture
from bnn.priors import Flat
from bnn.problem import Problem
from bnn.seeds import Streams
from bnn.variational import NormalGuide, fast_negative_elbo, fit

Patch = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Defect:
    """A mistake, and what sees it.

    Arguments:
        what: in words.
        method: that makes it, in settings that are cheap.
        check: and the row of it that fails, by how its name begins.
        patch: brings it in.
    """

    what: str
    method: Method
    check: Check
    row: str
    patch: Patch


# Ways to bring in a mistake


def swap(owner: Any, name: str, value: object) -> Patch:
    """Put something else in its place."""
    return lambda patch: patch.setattr(owner, name, value)


def around(owner: Any, name: str, wrong: Callable[..., object]) -> Patch:
    """Put a function in its place that is given the right one first."""
    right = getattr(owner, name)
    if isinstance(right, property):
        return swap(owner, name, property(lambda self: wrong(right.fget, self)))
    return swap(owner, name, lambda *given, **named: wrong(right, *given, **named))


def together(*patches: Patch) -> Patch:
    """Bring in several mistakes."""

    def all_of(patch: pytest.MonkeyPatch) -> None:
        for each in patches:
            each(patch)

    return all_of


def nothing(*given: object, **named: object) -> None:
    """Write nothing out."""


# Neither Pyro nor a second derivation of the gradient is asked: else they would tell.
UNWATCHED = together(
    swap(fit, "trusted", lambda *given: fast_negative_elbo),
    swap(mean_field, "of_elbo", nothing),
    swap(maximum_posterior, "of_joint", nothing),
)
# Draws are made in one pass, of what else are the mean and an offset.
BY_OFFSET = swap(FactorisedNormal, "sample", NormalGuide.sample)


def prior_share(share: Callable[[Problem, Tensor], float]) -> Patch:
    """Count the log prior with another share than 1 / N."""

    def loss(problem: Problem, weights: Tensor, x: Tensor, y: Tensor, noise: object) -> Tensor:
        log_prior = problem.log_prior(weights[:, None])[:, 0]
        return (
            negative_log_likelihood(problem, weights, x, y, noise) - share(problem, x) * log_prior
        )

    return together(UNWATCHED, swap(maximum_posterior, "negative_log_joint", loss))


def kl_share(share: Callable[[Problem, Tensor], float]) -> Patch:
    """Count the KL with another share than 1 / N."""

    def elbo(
        family: Any,
        problem: Problem,
        phi: Tensor,
        noise: Tensor,
        x: Tensor,
        y: Tensor,
        weight: float,
    ) -> Tensor:
        weights, kl = family(phi).with_divergence(noise, problem.prior_distribution())
        return (problem.loss(weights, x, y) + share(problem, x) * kl).mean(1)

    return swap(fit, "trusted", lambda *given: elbo)


def wrong_leapfrog(potential, state, velocity, step, steps, scale) -> tuple[State, Tensor]:
    """Make a whole step of the velocity, then one of the position."""
    for done in range(int(steps.max())):
        stride = torch.where(steps > done, step, 0.0)[:, None, None] * scale[:, None]
        velocity = velocity - stride * state.gradient
        state = State.at(potential, state.position + stride * velocity)
    return state, velocity


def linear_spread(layer: Perturbed, x: Tensor) -> Tensor:
    """Add up standard deviations in place of variances."""
    spread = linear(x.abs(), layer.weight_spread, layer.bias_spread)
    return linear(x, layer.weight, layer.bias) + spread * layer.noise


def softplus_offset(guide: FactorisedNormal, noise: Tensor) -> Tensor:
    """Take the log standard deviations for the inverse softplus."""
    return softplus(guide.parameters[:, 1])[:, None] * noise


def undetermined(right: Callable[..., Tensor], guide: LowRankNormal, offset: Tensor) -> Tensor:
    """Leave out the determinant of the factors."""
    u = guide.parameters[:, 2:]
    inner = torch.eye(u.shape[1]).to(u) + u @ u.mT
    return right(guide, offset) + inner.logdet()[:, None] / 2


def unspread(
    posterior: Posterior, streams: Streams, draws: int, together: int
) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """Average the weights before the network sees them."""
    yield posterior.family.mean[:, None].repeat(1, draws, 1), {}


def backwards(guide: FactorisedNormal, mean: Tensor, scale: Tensor) -> Tensor:
    """Return KL(prior || q)."""
    prior, q = (Normal(*both) for both in ((mean, scale), (guide.loc, guide.scale)))
    return kl_divergence(prior, q).sum(-1)


def tempered(factor: float) -> Patch:
    """Make the noise of Langevin dynamics wrong by a factor, of its variance."""

    def wrong(right: Any, self: Langevin, parameters: Tensor, points: int, a: float, plan: Any):
        right(self, parameters, points, a, lambda done: (plan(done)[0], factor * plan(done)[1]))

    return around(Langevin, "__init__", wrong)


def moment_matched(found: NormalMixture, y: Tensor) -> Tensor:
    """Return the density of one Normal with the mixture's mean and variance."""
    return torch.distributions.Normal(found.mean, found.variance.sqrt()).log_prob(y)


def forgetful(**wrong: float) -> Patch:
    """Let IVON's update have some other number than it should."""

    def made(right: Callable[..., None], update: VariationalNewton, *given: object) -> None:
        right(update, *given)
        vars(update).update(wrong)

    return around(VariationalNewton, "__init__", made)


# Methods, cheap

POINT = MAP().thorough()
BRIEF = Training(epochs=300, learning_rate=0.05, decay=True)
MEAN_FIELD = MeanField(initial_scale=0.1, draws=4, training=BRIEF)
LOW_RANK, FULL_RANK = LowRank(draws=4, training=BRIEF), FullRank(draws=4, training=BRIEF)
FLOW = Flow(initial_scale=0.1, draws=4, training=BRIEF)
LOCAL, FLIPOUT = (replace(MEAN_FIELD, estimator=kind) for kind in ("local", "flipout"))
NEWTON = IVON().thorough()
DROPOUT = MCDropout(rate=0.0, input_rate=0.1, training=BRIEF)
CONCRETE = ConcreteDropout(
    input_rate=0.02, training=Training(epochs=1000, learning_rate=0.03, decay=True, average=0.3)
)
ANCHORED = AnchoredEnsemble(2000, training=Training(epochs=1), polishing=200)
FEW = replace(ANCHORED, members=20)
LAPLACE = Laplace().thorough()
GENERATED = Hypernet(
    entropy="joint",
    draws=30,
    initial_scale=0.1,
    training=Training(0, 1000, 0.03, decay=True, average=0.3),
)
LANGEVIN = SGLD(learning_rate=0.005, steps=1500, chains=150, samples=20)
FRICTION = SGHMC(steps=1500, chains=100, samples=20)
CYCLES = CyclicalSGMCMC(steps=1500, cycles=3, exploration=0.5, chains=40, samples=10)
CHAINS = HMC(warmup=200, samples=150, thin=2)

PRIOR, KL = "loss: prior's term, nats", "loss: KL term, nats"
SUBSETS, GRADIENT = "gradient: mean of all 780 subsets", "gradient: relative error"
BIAS = "gradient: bias, standard errors"
MODE, MEAN = "linear model: mode, relative error", "linear model: mean"
COVARIANCE = "linear model: covariance"
DRAWN = "linear model: draws against their own covariance"
SPREAD = "linear model: spread of outputs"
LOSS = "ELBO, nats: that of the loss"
DENSITY = "linear model: log density of the mixture of draws"
VARIANCE = "linear model: variance of the mixture of draws"
PROBABILITY = "logistic model: worst probability error"

ZOO = (
    # Priors, likelihoods and the loss
    Defect(
        "the prior counts twice", MAP(), training, PRIOR, prior_share(lambda p, x: 2 / p.points)
    ),
    Defect("the prior is forgotten", MAP(), gradients, GRADIENT, prior_share(lambda p, x: 0)),
    Defect("the prior counts for every row", POINT, moments, MODE, prior_share(lambda p, x: 1)),
    Defect(
        "the prior is divided by the batch",
        MAP(),
        training,
        SUBSETS,
        prior_share(lambda p, x: 1 / x.shape[1]),
    ),
    Defect(
        "the prior's scale is taken for a variance",
        POINT,
        moments,
        MODE,
        around(priors, "scales", lambda right, *given: right(*given).sqrt()),
    ),
    Defect(
        "the noise stays in the targets' units",
        POINT,
        moments,
        MODE,
        together(
            UNWATCHED, swap(FixedNoise, "scale", lambda noise, outputs, latents, unit: 0 * unit + 1)
        ),
    ),
    Defect(
        "a mean over the batch is multiplied by N / B",
        MAP(),
        training,
        SUBSETS,
        around(
            Problem, "loss", lambda right, p, w, x, *y: right(p, w, x, *y) * p.points / x.shape[1]
        ),
    ),
    # Variational inference
    Defect("the KL counts twice", MEAN_FIELD, training, KL, kl_share(lambda p, x: 2 / p.points)),
    Defect("the KL is forgotten", FULL_RANK, evidence, LOSS, kl_share(lambda p, x: 0)),
    Defect("the KL counts for every row", MEAN_FIELD, gradients, BIAS, kl_share(lambda p, x: 1)),
    Defect(
        "the KL is divided by the batch",
        MEAN_FIELD,
        training,
        SUBSETS,
        kl_share(lambda p, x: 1 / x.shape[1]),
    ),
    Defect(
        "the KL is taken the other way",
        MEAN_FIELD,
        training,
        KL,
        together(UNWATCHED, swap(FactorisedNormal, "_from_normal", backwards)),
    ),
    Defect(
        "draws have 0.8 of the stated deviation",
        MEAN_FIELD,
        moments,
        DRAWN,
        together(
            UNWATCHED,
            around(FactorisedNormal, "sample", lambda right, q, noise: right(q, 0.8 * noise)),
        ),
    ),
    Defect(
        "log deviations go through a softplus",
        MEAN_FIELD,
        moments,
        DRAWN,
        together(UNWATCHED, BY_OFFSET, swap(FactorisedNormal, "offset", softplus_offset)),
    ),
    Defect(
        "all weights of a draw share a number",
        MEAN_FIELD,
        gradients,
        BIAS,
        together(
            UNWATCHED,
            BY_OFFSET,
            around(
                FactorisedNormal,
                "offset",
                lambda right, q, noise: right(q, noise[..., :1].expand_as(noise)),
            ),
        ),
    ),
    Defect(
        "the triangular root is turned round",
        FULL_RANK,
        moments,
        DRAWN,
        together(UNWATCHED, swap(FullRankNormal, "offset", lambda q, noise: noise @ q.root)),
    ),
    Defect(
        "a low-rank density without its determinant",
        LOW_RANK,
        gradients,
        BIAS,
        together(UNWATCHED, around(LowRankNormal, "log_density", undetermined)),
    ),
    Defect(
        "low-rank draws without their diagonal",
        LOW_RANK,
        moments,
        DRAWN,
        together(
            UNWATCHED,
            swap(
                LowRankNormal,
                "offset",
                lambda q, noise: noise[..., q.parameters.shape[-1] :] @ q.factor.mT,
            ),
        ),
    ),
    Defect(
        "a flow's density without the Jacobian",
        FLOW,
        gradients,
        BIAS,
        together(
            UNWATCHED,
            around(Coupling, "undone", lambda right, c, u: (right(c, u)[0], 0 * right(c, u)[1])),
        ),
    ),
    Defect(
        "local reparameterisation adds up deviations",
        LOCAL,
        gradients,
        BIAS,
        swap(Perturbed, "forward", linear_spread),
    ),
    Defect(
        "flipout with signs 0 and 1",
        FLIPOUT,
        gradients,
        BIAS,
        around(
            Layerwise, "__call__", lambda right, n, m, s, signs, x: right(n, m, s, signs.relu(), x)
        ),
    ),
    Defect(
        "IVON forgets the prior's precision",
        NEWTON,
        moments,
        COVARIANCE,
        forgetful(scale=math.inf),
    ),
    Defect(
        "IVON takes the gradient of a row for that of all",
        NEWTON,
        moments,
        COVARIANCE,
        forgetful(points=1),
    ),
    Defect(
        "a hypernet without its entropy",
        GENERATED,
        moments,
        SPREAD,
        swap(hypernet, "joint_entropy", lambda weights, neighbour: 0 * weights.sum((1, 2))),
    ),
    # Dropout
    Defect(
        "units that stay are not scaled up",
        DROPOUT,
        gradients,
        BIAS,
        around(UnitMasks, "_of", lambda right, *given: right(*given).sign()),
    ),
    Defect(
        "dropout is off in prediction",
        DROPOUT,
        moments,
        "linear model: variance under dropped inputs",
        around(
            DroppedUnits,
            "draw",
            lambda right, q, *given: (
                right(q, *given)[0],
                {site: torch.ones_like(m) for site, m in right(q, *given)[1].items()},
            ),
        ),
    ),
    Defect(
        "the entropy of the rates counts for every row",
        CONCRETE,
        moments,
        SPREAD,
        around(
            Divergence,
            "__call__",
            lambda right, kl, p, *given: right(
                replace(kl, sizes=[p.points * k for k in kl.sizes]), p, *given
            ),
        ),
    ),
    # Ensembles and mixtures
    Defect(
        "anchors, but no noise on the targets",
        ANCHORED,
        moments,
        COVARIANCE,
        swap(anchored_ensemble, "_known_noise", nothing),
    ),
    Defect(
        "noise on the targets, but one anchor",
        ANCHORED,
        moments,
        COVARIANCE,
        around(anchored_ensemble, "draw_anchors", lambda right, *given: 0 * right(*given)),
    ),
    Defect(
        "logarithms are averaged",
        FEW,
        mixture,
        DENSITY,
        swap(predictive, "log_mean_exp", lambda values, dim: values.mean(dim)),
    ),
    Defect(
        "a mixture becomes one Normal",
        FEW,
        mixture,
        DENSITY,
        swap(NormalMixture, "log_prob", moment_matched),
    ),
    Defect(
        "a density stays in standardised units",
        FEW,
        mixture,
        DENSITY,
        around(
            NormalMixture,
            "draw_log_prob",
            lambda right, found, y: right(found, y) + found.unit.log()[:, None, None],
        ),
    ),
    Defect(
        "the members' disagreement is no variance",
        FEW,
        mixture,
        VARIANCE,
        swap(NormalMixture, "variance", NormalMixture.noise_variance),
    ),
    Defect(
        "weights are averaged",
        LAPLACE,
        predictions,
        PROBABILITY,
        swap(Posterior, "_blocks", unspread),
    ),
    # Curvature and trajectories
    Defect(
        "the Gauss-Newton matrix without the likelihood's factor",
        LAPLACE,
        moments,
        COVARIANCE,
        around(curvature_perceptrons, "fisher_root", lambda right, *given: right(*given) ** 0),
    ),
    Defect(
        "the curvature without the prior",
        LAPLACE,
        moments,
        COVARIANCE,
        around(laplace, "precision", lambda right, *given: 1e-9 * right(*given)),
    ),
    Defect(
        "the precision is taken for the covariance",
        LAPLACE,
        moments,
        COVARIANCE,
        swap(FullGaussian, "colour", lambda normal, noise: noise @ normal.factor.mT),
    ),
    Defect(
        "the tangent is twice as steep",
        LAPLACE,
        mixture,
        DENSITY,
        around(
            Tangent,
            "__call__",
            lambda right, t, w, *x: right(
                t, {n: 2 * v - t.layout.views(t.at[:, None])[n] for n, v in w.items()}, *x
            ),
        ),
    ),
    Defect(
        "SWAG with the whole of both covariances",
        SWAG().thorough(),
        moments,
        SPREAD,
        around(
            Moments,
            "normal",
            lambda right, m: replace(
                right(m), variance=2 * right(m).variance, factor=2**0.5 * right(m).factor
            ),
        ),
    ),
    # Chains
    Defect("Langevin noise of 2 h in place of h", LANGEVIN, moments, COVARIANCE, tempered(2)),
    Defect("Langevin dynamics without noise", LANGEVIN, moments, COVARIANCE, tempered(0)),
    Defect("Langevin noise for a single row", LANGEVIN, moments, COVARIANCE, tempered(40)),
    Defect("the noise of SGHMC forgets the friction", FRICTION, moments, COVARIANCE, tempered(10)),
    Defect("cycles that never sample", CYCLES, moments, SPREAD, tempered(0)),
    Defect(
        "every proposal is accepted",
        CHAINS,
        moments,
        COVARIANCE,
        around(
            chains,
            "transition",
            lambda right, u, state, v, uniform, *rest: right(u, state, v, 0 * uniform, *rest),
        ),
    ),
    Defect(
        "kinetic energy without the half",
        CHAINS,
        moments,
        COVARIANCE,
        swap(kernel, "energy", lambda state, v: state.potential + v.square().sum(-1)),
    ),
    Defect(
        "velocities of another mass than their energy",
        CHAINS,
        moments,
        COVARIANCE,
        around(
            chains,
            "transition",
            lambda right, u, state, v, *rest: right(u, state, 1.3 * v, *rest),
        ),
    ),
)


@cache
def rows_without(method: Method, check: Check) -> list[Row]:
    return check(Subject(As(method)))


def verdicts(rows: list[Row], name: str) -> set[bool]:
    """Return whether the rows whose names begin so passed."""
    return {row.passed for row in rows if row.check.startswith(name)}


@pytest.mark.parametrize("defect", ZOO, ids=lambda defect: defect.what)
def test_a_defect_is_caught(defect: Defect, monkeypatch: pytest.MonkeyPatch) -> None:
    assert verdicts(rows_without(defect.method, defect.check), defect.row) == {True}
    defect.patch(monkeypatch)
    assert verdicts(defect.check(Subject(As(defect.method))), defect.row) == {False}


@dataclass(frozen=True)
class Lawless:
    """A mistake, and a test that it does not pass.

    Arguments:
        what: in words.
        law: a test, which passes without it.
        patch: brings it in.
    """

    what: str
    law: Callable[[], None]
    patch: Patch


LAWLESS = (
    Lawless(
        "leapfrog without half-steps",
        test_hmc.test_the_energy_error_is_of_the_order_of_the_step_squared,
        swap(test_hmc, "leapfrog", wrong_leapfrog),
    ),
    Lawless(
        "the prior on the noise is forgotten",
        partial(test_problem.test_the_log_joint_is_what_scipy_and_torch_say, "learned noise"),
        swap(Problem, "_own_priors", lambda problem: [Flat()]),
    ),
    Lawless(
        "outputs are multiplied by the temperature",
        test_temperature.test_every_draw_is_divided_before_the_average,
        swap(Affine, "temperature", staticmethod(lambda hot: Affine(hot[:, None]))),
    ),
    Lawless(
        "SWAG's deviations are divided by K",
        partial(test_swag.test_the_moments_are_those_of_sgd_from_the_mode, 0.25, 4),
        around(
            Moments,
            "normal",
            lambda right, m: replace(right(m), factor=0.75**0.5 * right(m).factor),
        ),
    ),
)


@pytest.mark.parametrize("defect", LAWLESS, ids=lambda defect: defect.what)
def test_a_defect_breaks_a_law(defect: Lawless, monkeypatch: pytest.MonkeyPatch) -> None:
    defect.law()
    defect.patch(monkeypatch)
    with pytest.raises(AssertionError):
        defect.law()


# Where a number is computed twice, in two ways, a defect of one way is told and does no harm


def test_a_defect_of_the_fast_elbo_is_told_and_pyros_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method = replace(MEAN_FIELD, training=Training(epochs=3))
    right = Subject(As(method)).posterior.fit.parameters
    half = around(
        FactorisedNormal,
        "with_divergence",
        lambda right, q, *given: (right(q, *given)[0], right(q, *given)[1] / 2),
    )
    half(monkeypatch)
    with pytest.warns(UserWarning, match="fast ELBO differs from Pyro's"):
        found = Subject(As(method)).posterior.fit.parameters
    torch.testing.assert_close(found, right, rtol=1e-9, atol=1e-12)


def test_a_defect_of_a_gradient_written_out_is_told_and_autograd_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unmoved = around(
        written_out,
        "normal_moments",
        lambda right, prior: (right(prior)[0], 2 * right(prior)[1]),
    )
    unmoved(monkeypatch)
    with pytest.warns(UserWarning, match="gradient written out differs from autograd's"):
        rows = moments(Subject(As(POINT)))
    assert verdicts(rows, MODE) == {True}
