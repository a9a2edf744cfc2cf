"""What a method claims where the posterior is known exactly; `bnn check` holds it to that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# What it gives for the weights of a linear model with a Normal prior and noise of known scale:
# "posterior": their exact mean and covariance; "factorised": the exact mean, and the variances
# 1 / diag(precision) of the best independent Normals; "mode": the exact mean, without a spread;
# "least_squares": the weights of maximum likelihood; "dropout": the mode under the penalty that
# dropped inputs bring; "approximate": none of these, so that the distance of its mean is bounded,
# in standard deviations of the posterior, and its spread from both sides; "none": nothing, for it
# is for classes only.
Linear = Literal[
    "posterior", "factorised", "mode", "least_squares", "dropout", "approximate", "none"
]

# Whose gradient a step of training estimates, per row: minus the log-likelihood's, the log joint's,
# the log joint's with dropped inputs, the ELBO's, its first term's (where the update itself adds
# the KL's), or something else's, which has no closed form.
Estimated = Literal["likelihood", "joint", "dropout", "elbo", "expected_likelihood", "other"]


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
        gradient: what a step of training estimates the gradient of; None: the ELBO where `elbo`
            says so, the log-likelihood where `linear` is least squares, else the log joint.
        spread: of an approximate method, the least and the largest that the standard deviation of a
            linear model's outputs may be, in units of the posterior's; None for all others.
    """

    linear: Linear
    tolerance: float | None
    probability: float
    elbo: bool = False
    gradient: Estimated | None = None
    spread: tuple[float, float] | None = None

    @property
    def estimated(self) -> Estimated:
        """What a step of training estimates the gradient of."""
        if self.gradient is not None:
            return self.gradient
        if self.linear == "dropout":
            return "dropout"
        if self.elbo:
            return "elbo"
        return "likelihood" if self.linear == "least_squares" else "joint"
