"""Check 2: predictions, against a sum over a lattice and against the mixture of their draws.

The worst error of a predicted probability of a logistic regression of two weights, over three
repetitions with ten rows each and x from -6 to 6, is held to the method's own statement. Families
without end are drawn from 10,000 times, which is an error of 0.005 at most in one standard error.

On the linear regression the draws of the weights are taken as they are, and

    p(y | x, D) = 1/S sum_s Normal(y; x'w_s, noise^2)

is written out from rows and targets in their own units: rounding alone may show.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bnn.check.linear import NOISE
from bnn.check.row import Row
from bnn.check.subject import DRAWS, Subject
from bnn.methods.dropout import DroppedUnits
from bnn.posterior import predict
from bnn.predictive import NormalMixture

ROUNDING = 1e-8  # relative; in nats for a log density


def predictions(subject: Subject) -> list[Row]:
    """Return the worst error of a probability, and what is wrong with the mixture of the draws."""
    worst = subject.probability_errors.max().item()
    what = "logistic model: worst probability error"
    row = Row(subject.method.name, what, 0.0, worst, subject.claim.probability)
    return [row, *mixture(subject)]


def mixture(subject: Subject) -> list[Row]:
    """Return rows on the predictive of the regression; none where draws differ in their masks."""
    if subject.claim.linear == "none" or isinstance(subject.posterior.family, DroppedUnits):
        return []
    name, posterior, rows = subject.method.name, subject.posterior, subject.problem.train
    found = predict(posterior, rows.x, DRAWS)
    assert isinstance(found, NormalMixture)
    weights = posterior.problem.layout.flat(posterior.weights(DRAWS))[0]
    unit, y = rows.y[0].std(correction=0), rows.y[0]
    means = y.mean() + unit * weights @ subject.truth.design.mT
    density = _log_density(y, means)
    variance = NOISE**2 + means.var(0, correction=0)
    errors = {
        "log density of the mixture of draws, nats": (found.log_prob(rows.y)[0] - density).abs(),
        "variance of the mixture of draws, relative error": (
            found.variance[0] / variance - 1
        ).abs(),
    }
    return [
        Row(name, f"linear model: {what}", 0.0, error.max().item(), ROUNDING)
        for what, error in errors.items()
    ]


def _log_density(y: Tensor, means: Tensor) -> Tensor:
    """Return log p(y) of targets `[points]`, the mean of Normals about `means [draws, points]`."""
    squares = ((y - means) / NOISE).square()
    constant = math.log(len(means) * NOISE) + math.log(2 * math.pi) / 2
    return torch.logsumexp(-squares / 2, 0) - constant
