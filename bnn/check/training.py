"""Check 4: the loss that is trained with: its prior or KL term, and what minibatches make of it.

The term is seen alone where the noise of the targets is so large that they say nothing; it must be
that of torch's distributions, once for all rows. And the gradients of all subsets of equal size,
each of them tried, must average to that of all rows, with the method's own noise held fixed row by
row: then a minibatch is an unbiased estimate, the factor N / B included. Rounding alone may show.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations
from typing import Any

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from bnn.check.objective import Objective, SharedRows
from bnn.check.row import Row
from bnn.check.subject import Subject
from bnn.likelihoods import FixedNoise
from bnn.likelihoods import Normal as NormalLikelihood
from bnn.methods.accuracy import Estimated

ROUNDING = 1e-10  # relative
LEFT_OUT = 2  # rows of a subset
SAYS_NOTHING = 1e8  # noise, beside which targets are nothing
NOISES = 500  # of a term that is estimated
ERRORS = 4.0


def training(subject: Subject) -> list[Row]:
    """Return rows on the loss, for methods that have one in the common training loop."""
    if subject.objective is None:
        return []
    objective = subject.objective.moved()
    return [*_regulariser(subject, objective), _minibatches(subject.method.name, objective)]


def _minibatches(method: str, objective: Objective) -> Row:
    points = objective.problem.points
    subsets = torch.tensor(list(combinations(range(points), points - LEFT_OUT)))
    some, whole = (
        _gradient(objective, rows).mean(0) for rows in (subsets, torch.arange(points)[None])
    )
    error = ((some - whole).abs().max() / whole.abs().max()).item()
    what = f"gradient: mean of all {len(subsets)} subsets, relative"
    return Row(method, what, 0.0, error, ROUNDING)


def _gradient(objective: Objective, rows: Tensor) -> Tensor:
    """Return the gradient on batches `rows [batches, batch]`: `[batches, parameters]`."""
    problem = objective.problem.take([0] * len(rows))
    x, y = problem.batch(problem.train.at(rows))
    noise = SharedRows(rows, problem.points, objective.parameters)
    return objective.losses(x, y, noise)[1]


def _regulariser(subject: Subject, objective: Objective) -> list[Row]:
    """Return the prior's or KL's part of the loss, times N, against its definition."""
    expected = _expected_regulariser(subject, objective)
    if expected is None:
        return []
    problem = objective.problem
    silent = replace(problem, likelihood=NormalLikelihood(FixedNoise(SAYS_NOTHING)))
    losses, _ = replace(objective, problem=silent).under_noise(NOISES, "check regulariser")
    unit = problem.targets.scale.item()
    constant = math.log(SAYS_NOTHING / unit) + math.log(2 * math.pi) / 2
    found = problem.points * (losses - constant)
    error = found.std().item() / math.sqrt(NOISES)
    closed = error < ROUNDING
    tolerance = ROUNDING * max(1.0, abs(expected)) if closed else ERRORS * error
    term = "KL term" if subject.claim.elbo else "prior's term"
    what = f"loss: {term}, nats" + ("" if closed else ", mean of draws")
    return [Row(subject.method.name, what, expected, found.mean().item(), tolerance)]


def _expected_regulariser(subject: Subject, objective: Objective) -> float | None:
    """Return KL(q || p) or -log p(w), by torch's distributions; None where it has no closed form.

    Of IVON, whose update has the KL's gradient, the value of the loss has the KL nonetheless.
    """
    estimated: Estimated = subject.claim.estimated
    prior = torch.distributions.Normal(torch.zeros_like(subject.truth.prior), subject.truth.prior)
    if estimated == "likelihood":
        return 0.0
    if estimated in ("joint", "dropout"):
        return -prior.log_prob(objective.parameters[0]).sum().item()
    family: Any = None if estimated == "other" else subject.posterior.family
    if not hasattr(family, "covariance"):
        return None
    moved = replace(family, parameters=objective.parameters)
    covariance = moved.covariance[0]
    if torch.equal(covariance, covariance.diagonal().diag()):
        q = torch.distributions.Normal(moved.mean[0], covariance.diagonal().sqrt())
        return kl_divergence(q, prior).sum().item()
    p = MultivariateNormal(torch.zeros_like(prior.scale), prior.scale.square().diag())
    return kl_divergence(MultivariateNormal(moved.mean[0], covariance), p).item()
