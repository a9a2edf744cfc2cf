"""Check 3: the ELBO against the log evidence of a linear regression.

    ELBO = E_q[log p(w, y | X) - log q(w)] = log p(y | X) - KL(q || p(w | D))

The expectation is a mean over draws of the fitted guide and is held to four standard errors (false
alarms: 1 in 16,000, on one side 1 in 32,000), plus rounding where the guide is so good that the
draws hardly differ. At the optimum the KL is known: zero for the exact posterior, and
1/2 (sum_i log L_ii - log det L) for the best independent Normals, with L the precision.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from bnn.check.objective import Crowd
from bnn.check.row import Row
from bnn.check.subject import Subject
from bnn.variational import Guide

DRAWS = 20_000
LOSSES = 1000  # of training, each of a few draws
ERRORS = 4.0  # standard errors
ROUNDING = 1e-9  # relative, of a log evidence


def evidence(subject: Subject) -> list[Row]:
    """Return what is known of the ELBO, for methods that have one."""
    if not subject.claim.elbo:
        return []
    family: Any = subject.posterior.family
    truth = subject.truth
    name, rounding = subject.method.name, ROUNDING * abs(truth.log_evidence)
    elbo, error = _mean(_elbo_draws(subject, family))
    rows = [
        Row(
            name,
            "ELBO, nats: at most the log evidence",
            truth.log_evidence,
            elbo,
            ERRORS * error + rounding,
            "<=",
        )
    ]
    if hasattr(family, "covariance"):
        guide = MultivariateNormal(family.mean[0], family.covariance[0])
        divergence = kl_divergence(guide, truth.posterior).item()
        what = "ELBO, nats: log evidence less KL(q || posterior)"
        expected = truth.log_evidence - divergence
        rows.append(Row(name, what, expected, elbo, ERRORS * error + rounding))
    else:
        divergence = truth.log_evidence - elbo
    if subject.claim.tolerance is not None:
        least = _least_divergence(subject)
        what = "KL(q || posterior), nats: the family's least"
        rows.append(Row(name, what, least, divergence, subject.claim.tolerance))
    return rows + _trained_elbo(subject, family, rounding)


def _trained_elbo(subject: Subject, family: Guide, rounding: float) -> list[Row]:
    """Compare the loss that was trained with."""
    objective = subject.objective
    if objective is None:
        return []
    losses, _ = objective.under_noise(LOSSES, "check ELBO of training")
    guide = replace(family, parameters=objective.parameters)  # the last step's, not an average's
    elbo, error = _mean(_elbo_draws(subject, guide))
    trained, trained_error = _mean(-subject.truth.points * losses)
    tolerance = ERRORS * math.hypot(error, trained_error) + rounding
    return [Row(subject.method.name, "ELBO, nats: that of the loss", elbo, trained, tolerance)]


def _elbo_draws(subject: Subject, guide: Guide) -> Tensor:
    """Return log p(w, y | X) - log q(w) at draws of a guide of one replica, `[draws]`."""
    noise = Crowd(DRAWS, "check ELBO", guide.parameters).normal(1, guide.numbers)
    many = guide.take([0] * DRAWS)
    with torch.no_grad():
        weights = many.sample(noise)
        log_q = many.distribution(noise).log_prob(weights)[:, 0]
        return subject.problem.log_joint(weights[None, :, 0])[0] - log_q


def _least_divergence(subject: Subject) -> float:
    if subject.claim.linear != "factorised":
        return 0.0
    precision = subject.truth.precision
    return ((precision.diagonal().log().sum() - precision.logdet()) / 2).item()


def _mean(values: Tensor) -> tuple[float, float]:
    """Return a mean and its standard error."""
    return values.mean().item(), values.std().item() / math.sqrt(len(values))
