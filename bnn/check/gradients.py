"""Check 5: every estimate of a gradient is unbiased, against the gradient's closed form.

On the linear regression the expectation over a method's own noise is known. The mean of many
estimates is compared with it entry by entry: a z-test whose largest entry would cross the line once
in 10,000 right programs (Bonferroni over the entries). The smallest bias that it would detect with
probability 0.95 is a row of its own, relative to the largest entry of the gradient.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from scipy.stats import norm
from torch import Tensor

from bnn.check.objective import Objective
from bnn.check.row import Row
from bnn.check.subject import Subject

ESTIMATES = 20_000
FALSE_ALARMS = 1e-4  # probability that a right program fails
POWER = 0.95
BIAS = 0.1  # relative; a bias as large as this must not go unseen
ROUNDING = 1e-10  # relative; of estimates that do not vary


def gradients(subject: Subject) -> list[Row]:
    """Return rows on the gradient that training follows, where its expectation is known."""
    if subject.objective is None:
        return []
    objective = subject.objective.moved()
    exact = _exact(subject, objective)
    if exact is None:
        return []
    _, estimates = objective.under_noise(ESTIMATES, "check gradients")
    return _compared(subject.method.name, estimates, exact)


def _compared(method: str, estimates: Tensor, exact: Tensor) -> list[Row]:
    """Compare estimates `[estimates, entries]` with their expectation `[entries]`."""
    bias, largest = (estimates.mean(0) - exact).abs(), exact.abs().max()
    error = estimates.std(0) / math.sqrt(len(estimates))
    if (error < ROUNDING * largest).all():
        found = (bias.max() / largest).item()
        return [Row(method, "gradient: relative error", 0.0, found, ROUNDING)]
    line = float(norm.isf(FALSE_ALARMS / (2 * len(exact))))
    # entries without noise are held to rounding, in whose units they are then given
    away = (bias / error.clamp(min=ROUNDING * largest.item())).max().item()
    least = ((line + norm.isf(1 - POWER)) * error.max() / largest).item()
    return [
        Row(method, "gradient: bias, standard errors", 0.0, away, line),
        Row(method, "gradient: least bias seen, relative", 0.0, least, BIAS, "<="),
    ]


def _exact(subject: Subject, objective: Objective) -> Tensor | None:
    """Return the gradient of the expected loss, `[entries]`; None where it is not known."""
    parameters = objective.parameters.clone().requires_grad_()
    loss = _expected_loss(subject, parameters)
    if loss is None:
        return None
    (gradient,) = torch.autograd.grad(loss, parameters)
    return gradient.flatten()


def _expected_loss(subject: Subject, parameters: Tensor) -> Tensor | None:
    """Return the expected loss of parameters `[1, ...]`, nats per row."""
    estimated = subject.claim.estimated
    if estimated == "other":
        return None
    truth = subject.truth
    if estimated == "likelihood":
        return truth.negative_log_likelihood(parameters[0])
    if estimated == "joint":
        return truth.negative_log_joint(parameters[0])
    if estimated == "dropout":
        return truth.dropped_loss(parameters[0], subject.input_rate)
    family: Any = subject.posterior.family
    if not hasattr(family, "covariance"):
        return None
    guide = replace(family, parameters=parameters)
    if estimated == "expected_likelihood":
        return truth.negative_log_likelihood(guide.mean[0], guide.covariance[0])
    return truth.negative_elbo(guide.mean[0], guide.covariance[0])
