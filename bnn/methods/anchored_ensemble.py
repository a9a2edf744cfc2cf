"""Anchored ensemble: every member is the mode of a posterior of its own (randomised MAP).

    a_m ~ p(w) = Normal(mean, scale^2),    e_mn ~ Normal(0, noise^2)
    w_m = argmin_w  -1/N sum_n log p(y_n + e_mn | x_n, w) - 1/N log Normal(w; a_m, scale^2)

A member is pulled to an anchor drawn from the prior, and sees targets with fresh noise of the
likelihood's own scale. For a network that is linear in its weights and Normal noise of known scale,
w_m is then an exact draw from the posterior: with precision L = X'X / noise^2 + scale^-2,

    w_m = L^-1 (X'(y + e_m) / noise^2 + a_m / scale^2),   Cov w_m = L^-1 L L^-1 = L^-1.

Anchors alone give L^-1 scale^-2 L^-1, which is too narrow; they are all there is where the noise is
unknown or the target is a class, and the posterior then says so. A draw is exact at the optimum
only, so after Adam each member is polished by L-BFGS on all rows; where a member does not arrive,
as networks with kinks may not, the posterior says that too.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from bnn.data import Rows
from bnn.errors import InputError
from bnn.lbfgs import polish
from bnn.likelihoods import FixedNoise
from bnn.likelihoods import Normal as NormalLikelihood
from bnn.methods.accuracy import Accuracy
from bnn.methods.maximum_likelihood import negative_log_likelihood
from bnn.methods.members import gathered, spread
from bnn.optimise import Fit, Progress, Training, silent, train
from bnn.posterior import ROWS_AT_ONCE, Atoms, Posterior
from bnn.priors import Blocks
from bnn.priors import Normal as NormalPrior
from bnn.problem import Problem
from bnn.seeds import Streams, as_seeds

TOLERANCE = 1e-8  # largest derivative of a member's loss, nats per row

ANCHORS_ALONE = (
    "anchored ensemble without noise on its targets (unknown noise, classes, or as set): its "
    "members are not draws from the posterior, not even for a linear model, and vary too little"
)


@dataclass(frozen=True)
class AnchoredEnsemble:
    """An equal mixture of modes, of randomised priors and targets.

    Raises:
        InputError: without members; in `fit`, on priors that are not Normal.
    """

    members: int = 5  # networks
    perturb: bool = True  # the targets, where the noise is Normal and of known scale
    training: Training = Training(epochs=200, steps=2000, decay=True)
    polishing: int = 500  # iterations of L-BFGS after it, at most

    name: ClassVar[str] = "anchored_ensemble"
    label: ClassVar[str] = "Anchored ensemble"
    reference: ClassVar[str] = "Pearce, Leibfried, Brintrup 2020, https://arxiv.org/abs/1810.05546"
    version: ClassVar[int] = 1
    accuracy: ClassVar[Accuracy] = Accuracy("posterior", None, 0.2, gradient="other")

    def __post_init__(self) -> None:
        counts = (self.members, self.polishing)
        if not all(isinstance(n, int) for n in counts) or self.members < 1 or self.polishing < 0:
            raise InputError(
                "a whole number, at least one member, and of iterations",
                f"members={self.members!r}, polishing={self.polishing!r}",
                "5 and 500 are usual.",
            )

    def thorough(self) -> Self:
        """Return settings with many members, at their optima; a first step shows the loss."""
        return replace(self, members=2000, training=Training(epochs=1), polishing=2000)

    def fit(self, problem: Problem, seeds: Sequence[int], progress: Progress = silent) -> Posterior:
        """Train the members of all seeds at once."""
        seeds = as_seeds(seeds)
        problem = problem.for_seeds(seeds)
        _check_prior(problem)
        everyone, starts = spread(problem, seeds, self.members)
        noise = _known_noise(problem) if self.perturb else None
        if noise is not None:
            everyone = replace(everyone, train=Perturbed.of(everyone.train, noise, starts))
        anchors = draw_anchors(everyone, starts)
        start = torch.stack([everyone.initial(starts), anchors], dim=1)
        fit = train(
            everyone, starts, self.training, start, _anchored_loss, _validation_loss, progress
        )
        fit, norms = _polished(everyone, fit, self.polishing)
        caveats = _unfinished(norms) + (() if noise is not None else (ANCHORS_ALONE,))
        fit = gathered(fit, self.members)
        return Posterior(problem, Atoms(fit.parameters), seeds, fit, caveats=caveats)


@dataclass(frozen=True)
class Perturbed(Rows):
    """Rows whose real targets carry noise of each replica's own.

    Arguments:
        noise: in the targets' units, `[replicas, points]`.
    """

    noise: Tensor

    @staticmethod
    def of(rows: Rows, scale: float, seeds: Sequence[int]) -> Perturbed:
        """Draw the noise for all rows of each replica."""
        streams = Streams(seeds, "noise on targets", rows.labels.device, rows.labels.dtype)
        noise = scale * streams.normal(1, rows.points)[:, 0]
        return Perturbed(rows.table, rows.labels, rows.index, noise)

    @property
    def y(self) -> Tensor:
        """Targets with noise, `[replicas, points]`."""
        return super().y + self.noise

    def at(self, columns: Tensor) -> Perturbed:
        """Return the points at `columns [replicas, batch]`, with the same noise."""
        index, noise = (part.gather(1, columns) for part in (self.index, self.noise))
        return replace(self, index=index, noise=noise)

    def take(self, replicas: Sequence[int] | slice) -> Perturbed:
        """Return the rows of some of the replicas."""
        return replace(self, index=self.index[replicas], noise=self.noise[replicas])


def draw_anchors(problem: Problem, seeds: Sequence[int]) -> Tensor:
    """Return one draw from the prior for each replica, `[replicas, parameters]`."""
    prior = _prior(problem)
    streams = Streams(seeds, "anchors", prior.loc.device, prior.loc.dtype)
    return prior.loc + prior.scale * streams.normal(1, len(prior.loc))[:, 0]


def negative_log_joint(
    problem: Problem, weights: Tensor, anchors: Tensor, x: Tensor, y: Tensor
) -> Tensor:
    """Return -1/N log of the likelihood and of a prior around the anchor, `[replicas]`.

    Arguments:
        weights, anchors: flat, `[replicas, parameters]`.
        x, y: a standardised batch, `[replicas, batch, ...]`.
    """
    pulled = dist.Normal(anchors, _prior(problem).scale).log_prob(weights).sum(-1)
    return problem.loss(weights[:, None], x, y)[:, 0] - pulled / problem.points


# The anchors travel with the weights, `[replicas, 2, parameters]`: without a gradient, they stay.


def _anchored_loss(
    problem: Problem, parameters: Tensor, x: Tensor, y: Tensor, noise: Streams
) -> Tensor:
    weights, anchors = parameters.unbind(1)
    return negative_log_joint(problem, weights, anchors.detach(), x, y)


def _validation_loss(
    problem: Problem, parameters: Tensor, x: Tensor, y: Tensor, noise: Streams
) -> Tensor:
    return negative_log_likelihood(problem, parameters[:, 0], x, y, noise)


def _polished(problem: Problem, fit: Fit, iterations: int) -> tuple[Fit, Tensor]:
    """Return the fit with each member's weights alone, at its optimum, and the derivatives left."""
    began = time.perf_counter()
    size = max(1, ROWS_AT_ONCE // problem.points)
    found, norms = [], []
    with pyro.validation_enabled(False):  # it would raise where a member is not finite
        for start in range(0, problem.replicas, size):
            some = list(range(start, min(start + size, problem.replicas)))
            piece, (weights, anchors) = problem.take(some), fit.parameters[some].unbind(1)
            place, norm = _polish(piece, weights, anchors, iterations)
            found.append(place)
            norms.append(norm)
    seconds = fit.seconds + time.perf_counter() - began
    return replace(fit, parameters=torch.cat(found), seconds=seconds), torch.cat(norms)


def _polish(
    problem: Problem, weights: Tensor, anchors: Tensor, iterations: int
) -> tuple[Tensor, Tensor]:
    x, y = problem.batch(problem.train)
    return polish(
        lambda w: negative_log_joint(problem, w, anchors, x, y), weights, TOLERANCE, iterations
    )


def _unfinished(norms: Tensor) -> tuple[str, ...]:
    """Return a caveat where members have not arrived at their optima."""
    short = norms > TOLERANCE  # not those that have diverged, whose norms are not finite
    if not short.any():
        return ()
    return (
        f"anchored ensemble: {int(short.sum())} of {len(norms)} members stopped short of their "
        f"optima, at derivatives of up to {norms[short].max().item():.1e} nats per row (wanted: "
        f"{TOLERANCE:.0e})",
    )


def _known_noise(problem: Problem) -> float | None:
    """Return the standard deviation of Normal noise in the targets' units, where it is known."""
    likelihood = problem.likelihood
    known = isinstance(likelihood, NormalLikelihood) and isinstance(likelihood.noise, FixedNoise)
    return likelihood.noise.value if known else None  # type: ignore[attr-defined]


def _prior(problem: Problem) -> dist.Normal:
    """Return the prior over all weights and latents as one Normal, `[parameters]`."""
    prior = problem.prior_distribution()
    parts = prior.parts if isinstance(prior, Blocks) else (prior,)
    loc, scale = (torch.cat([getattr(p, name) for p in parts]) for name in ("mean", "stddev"))
    return dist.Normal(loc, scale, validate_args=False)


def _check_prior(problem: Problem) -> None:
    if not isinstance(problem.prior, NormalPrior):
        raise InputError(
            "a Normal prior to draw anchors from, and to pull towards them",
            type(problem.prior).__name__,
            "Use bnn.priors.Normal.",
        )
