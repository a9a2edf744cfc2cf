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

from bnn.check.objective import Crowd, Objective
from bnn.check.row import Row
from bnn.check.subject import Subject

PILOT, MOST = 500, 20_000  # estimates: to see how much they vary, and to compare, at most
FALSE_ALARMS = 1e-4  # probability that a right program fails
POWER = 0.95
BIAS = 0.05  # relative; a bias as large as this must not go unseen
ROUNDING = 1e-10  # relative; of estimates that do not vary


def gradients(subject: Subject) -> list[Row]:
    """Return rows on the gradient that training follows, where its expectation is known."""
    if subject.objective is None:
        return []
    objective = subject.objective.moved()
    exact = _exact(subject, objective)
    if exact is None:
        return []
    _, pilot = objective.under_noise(PILOT, "check gradients, pilot")
    enough = _line(pilot) * pilot.std(0).max() / (BIAS / 2 * exact[0].abs().max())
    count = min(max(PILOT, math.ceil(enough.item() ** 2)), MOST)
    _, estimates = objective.under_noise(count, "check gradients")
    return _compared(subject.method.name, estimates, *exact)


def _line(estimates: Tensor, power: float = POWER) -> float:
    """Return the bias, in standard errors, that is seen with some probability."""
    return float(norm.isf(FALSE_ALARMS / (2 * estimates.shape[1])) + norm.isf(1 - power))


def _compared(
    method: str, estimates: Tensor, exact: Tensor, own_error: Tensor | float = 0.0
) -> list[Row]:
    """Compare estimates `[estimates, entries]` with their expectation `[entries]`.

    Where that is a mean of estimates itself, `own_error` is its standard error.
    """
    bias, largest = (estimates.mean(0) - exact).abs(), exact.abs().max()
    error = (estimates.var(0) / len(estimates) + own_error**2).sqrt()
    if (error < ROUNDING * largest).all():
        found = (bias.max() / largest).item()
        return [Row(method, "gradient: relative error", 0.0, found, ROUNDING)]
    line = _line(estimates, power=0.5)
    # entries without noise are held to rounding, in whose units they are then given
    away = (bias / error.clamp(min=ROUNDING * largest.item())).max().item()
    least = (_line(estimates) * error.max() / largest).item()
    return [
        Row(method, "gradient: bias, standard errors", 0.0, away, line),
        Row(method, "gradient: least bias seen, relative", 0.0, least, BIAS, "<="),
    ]


def _exact(subject: Subject, objective: Objective) -> tuple[Tensor, Tensor | float] | None:
    """Return the gradient of the expected loss, `[entries]`, and its standard error.

    None where it is not known.
    """
    if subject.claim.estimated == "elbo" and not hasattr(subject.posterior.family, "covariance"):
        each = _by_change_of_variables(subject, objective)
        return each.mean(0), each.std(0) / math.sqrt(len(each))
    parameters = objective.parameters.clone().requires_grad_()
    loss = _expected_loss(subject, parameters)
    if loss is None:
        return None
    (gradient,) = torch.autograd.grad(loss, parameters)
    return gradient.flatten(), 0.0


def _by_change_of_variables(subject: Subject, objective: Objective) -> Tensor:
    """Return estimates of the gradient of -ELBO / N that know of the guide its draws alone.

    w = g(noise) has log q(w) = log Normal(noise) - log |det dg / d noise|, by automatic
    differentiation in place of the guide's own formula: `[estimates, entries]`.
    """
    family: Any = subject.posterior.family
    shape = objective.parameters.shape[1:]
    parameters = objective.parameters.expand(MOST, *shape).clone().requires_grad_()
    guide = replace(family, parameters=parameters)
    noise = Crowd(MOST, "check flow", parameters).normal(1, guide.numbers).requires_grad_()
    weights = guide.sample(noise)[:, 0]
    rows = [
        torch.autograd.grad(entry.sum(), noise, create_graph=True)[0][:, 0]
        for entry in weights.unbind(-1)
    ]
    log_q = -noise.square().sum((1, 2)) / 2 - torch.linalg.slogdet(torch.stack(rows, 1))[1]
    negative_elbo = log_q - subject.problem.log_joint(weights[None])[0]
    (gradients,) = torch.autograd.grad(negative_elbo.sum() / subject.truth.points, parameters)
    return gradients.flatten(1)


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
