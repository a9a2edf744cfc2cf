"""What a method claims where the posterior is known exactly; `bnn check` holds it to that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# What it gives for the weights of a linear model with a Normal prior and noise of known scale:
# "posterior": their exact mean and covariance; "factorised": the exact mean, and the variances
# 1 / diag(precision) of the best independent Normals; "mode": the exact mean, without a spread;
# "least_squares": the weights of maximum likelihood; "approximate": none of these, so that only
# its distance is bounded.
Linear = Literal["posterior", "factorised", "mode", "least_squares", "approximate"]


@dataclass(frozen=True)
class Accuracy:
    """How near a method comes to the exact answer, by its own statement.

    Arguments:
        linear: which moments of a linear model's weights it gives.
        tolerance: their relative error, of `thorough` settings; None where they are means over
            draws, which are then held to four Monte-Carlo standard errors.
        probability: largest error of a predicted probability on a logistic regression of two
            weights.
        elbo: whether what it maximises is a lower bound of the log evidence.
    """

    linear: Linear
    tolerance: float | None
    probability: float
    elbo: bool = False
