"""A linear regression with a Normal prior and noise of known scale: everything about it is known.

    y = X w + noise,  noise ~ Normal(0, v),  w ~ Normal(0, S),  S = diag(prior scale^2)
    precision L = X'X / v + S^-1,    mean m = L^-1 X'y / v
    log p(y | X) = log Normal(y; 0, v I + X S X')

Textbook: Bishop 2006, Pattern Recognition and Machine Learning, section 3.3. The formulas are
written out from rows and targets; no code that they are to check takes part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from bnn.data import Dataset, Provenance, Split
from bnn.likelihoods import FixedNoise
from bnn.likelihoods import Normal as NormalLikelihood
from bnn.networks import MLP
from bnn.priors import Normal
from bnn.problem import Problem

NOISE = 1.0  # standard deviation of the targets about the line
SLOPES, BIAS = 0.2, 0.1  # prior standard deviations, so small that the prior tells in every number


@dataclass(frozen=True)
class LinearGaussian:
    """A linear regression in standardised units.

    Arguments:
        design: rows, each with a 1 for the bias, `[points, parameters]`.
        targets: `[points]`.
        variance: of the noise.
        prior: standard deviations of the weights, `[parameters]`.
    """

    design: Tensor
    targets: Tensor
    variance: float
    prior: Tensor

    @staticmethod
    def of(problem: Problem) -> LinearGaussian:
        """Read the regression off the only replica of a problem posed by `linear_regression`."""
        x, y = (part[0] for part in problem.batch(problem.train))
        prior = torch.tensor([SLOPES] * x.shape[1] + [BIAS], dtype=x.dtype)
        variance = (NOISE / problem.targets.scale.item()) ** 2
        return LinearGaussian(torch.cat([x, torch.ones_like(x[:, :1])], 1), y, variance, prior)

    @property
    def points(self) -> int:
        """How many rows there are."""
        return len(self.targets)

    @property
    def precision(self) -> Tensor:
        """Inverse covariance of the posterior, `[parameters, parameters]`."""
        return self.design.mT @ self.design / self.variance + self.prior.pow(-2).diag()

    @property
    def covariance(self) -> Tensor:
        """Of the posterior, `[parameters, parameters]`."""
        return self.precision.inverse()

    @property
    def mean(self) -> Tensor:
        """Of the posterior, and its mode, `[parameters]`."""
        return torch.linalg.solve(self.precision, self.design.mT @ self.targets / self.variance)

    @property
    def posterior(self) -> MultivariateNormal:
        """p(w | D)."""
        return MultivariateNormal(self.mean, precision_matrix=self.precision)

    @property
    def least_squares(self) -> Tensor:
        """The weights of maximum likelihood, `[parameters]`."""
        return torch.linalg.lstsq(self.design, self.targets[:, None]).solution[:, 0]

    @property
    def log_evidence(self) -> float:
        """log p(y | X), nats, of the standardised targets."""
        noise = self.variance * torch.eye(self.points, dtype=self.design.dtype)
        signal = self.design @ self.prior.square().diag() @ self.design.mT
        marginal = MultivariateNormal(torch.zeros_like(self.targets), noise + signal)
        return marginal.log_prob(self.targets).item()

    def dropped(self, rate: float) -> Tensor:
        """Return the mode of the weights under dropout of the inputs, `[parameters]`.

        The expected loss has the penalty q sum_n w_i^2 x_ni^2 / (2 v), q = rate / (1 - rate), on
        the slopes (Wager, Wang, Liang 2013, https://arxiv.org/abs/1307.1493).
        """
        penalty = self._penalty(rate).diag()
        return torch.linalg.solve(
            self.precision + penalty, self.design.mT @ self.targets / self.variance
        )

    def dropped_variance(self, weights: Tensor, rate: float) -> Tensor:
        """Return the variance of x'w, mean over rows, under dropout of the inputs."""
        return (self._penalty(rate) * weights.square()).sum() * self.variance / self.points

    # Losses, nats per row, as functions of the weights' mean and covariance

    def negative_log_likelihood(self, mean: Tensor, covariance: Tensor | None = None) -> Tensor:
        """Return E[-log p(y | X, w)] / N under weights of these moments; no covariance: at one."""
        square = (self.targets - self.design @ mean).square().sum()
        if covariance is not None:
            square = square + (self.design @ covariance * self.design).sum()
        constant = self.points / 2 * np.log(2 * np.pi * self.variance)
        return (square / (2 * self.variance) + constant) / self.points

    def negative_log_joint(self, weights: Tensor) -> Tensor:
        """Return -log p(w, y | X) / N."""
        prior = torch.distributions.Normal(0.0, self.prior).log_prob(weights).sum()
        return self.negative_log_likelihood(weights) - prior / self.points

    def dropped_loss(self, weights: Tensor, rate: float) -> Tensor:
        """Return the expectation of `negative_log_joint` over dropout of the inputs."""
        penalty = (self._penalty(rate) * weights.square()).sum() / 2
        return self.negative_log_joint(weights) + penalty / self.points

    def negative_elbo(self, mean: Tensor, covariance: Tensor) -> Tensor:
        """Return -ELBO / N of a Normal guide."""
        guide = MultivariateNormal(mean, covariance)
        divergence = torch.distributions.kl_divergence(guide, self.posterior)
        return (divergence - self.log_evidence) / self.points

    def _penalty(self, rate: float) -> Tensor:
        square = self.design.square().sum(0) / self.variance
        square[-1] = 0  # the bias is no input
        return rate / (1 - rate) * square


def linear_regression(features: int = 3, points: int = 40) -> Problem:
    """Pose a regression whose inputs are correlated, so that its weights are too."""
    random = np.random.RandomState(0)  # whose stream is frozen: the same rows in any NumPy
    x = torch.from_numpy(random.standard_normal((points, features)))
    x[:, 1:] = 0.7 * x[:, :1] + 0.5 * x[:, 1:]
    y = x.sum(1) + NOISE * torch.from_numpy(random.standard_normal(points))
    everything, nothing = torch.arange(points)[None], torch.empty(1, 0, dtype=torch.long)
    data = Dataset(
        name="linear",
        task="regression",
        x=torch.cat([x, x[:1]]),
        y=torch.cat([y, y[:1]]),
        split=Split(everything, nothing, nothing, torch.tensor([[points]]), ids=(0,)),
        provenance=Provenance("drawn", "none needed", ""),
    )
    return Problem.of(
        data,
        MLP(features, [], 1).double(),
        prior=Normal({"*.bias": BIAS, "*": SLOPES}),
        likelihood=NormalLikelihood(FixedNoise(NOISE)),
    )
