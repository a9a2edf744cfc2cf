"""Full-rank variational inference: one Normal over all weights, with all their correlations.

    q(w) = Normal(loc, L L'),    w = loc + L eps,  eps ~ Normal(0, I)
    L = diag(scale) (I + T),     T strictly lower triangular

fitted by maximising the ELBO. The rows of T are free of units, so one learning rate fits both. For
a linear model with Normal prior and noise the posterior is in the family, and q becomes exact. P
weights take P^2 numbers: for networks of some hundred weights, or for the last layer of a larger
one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial as given
from typing import ClassVar, Self

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from bnn.forecast import Forecast, check, of_training
from bnn.methods.accuracy import Accuracy
from bnn.methods.mean_field import check_initial_scale
from bnn.methods.partial import Which, inferred, partial
from bnn.optimise import Progress, Training, silent
from bnn.posterior import Posterior
from bnn.problem import Problem
from bnn.seeds import as_seeds
from bnn.variational import Estimator, NormalGuide, check_objective, fit_guide

OPERATIONS = 500  # of a Cholesky factor that take as long as a step does, per number of the matrix
REMEDY = "Use LowRank, or FullRank(last_layer=True), or fewer replicas at once."


@dataclass(frozen=True)
class FullRank:
    """Stochastic variational inference with one Normal over all weights.

    Raises:
        InputError: on settings that mean nothing; in `fit`, where the weights are too many.
    """

    initial_scale: float = 0.01  # standard deviation of every weight under q at the start
    draws: int = 1  # of the weights, per step
    estimator: Estimator = "reparameterised"  # of the gradient; "path": along each draw's path
    # alone, with less noise near the end and more at the start
    kl_weight: float = 1.0  # factor on the KL term; with any but 1 the objective is no ELBO
    last_layer: Which = False  # infer the last layer alone, or what a predicate over names chooses
    training: Training = Training(epochs=500, steps=5000, decay=True)

    name: ClassVar[str] = "full_rank"
    label: ClassVar[str] = "Full-rank SVI"
    reference: ClassVar[str] = "Kucukelbir et al. 2017, https://arxiv.org/abs/1603.00788"
    version: ClassVar[int] = 1
    accuracy: ClassVar[Accuracy] = Accuracy("posterior", 1e-2, 0.03, elbo=True)

    def __post_init__(self) -> None:
        check_initial_scale(self.initial_scale)
        check_objective(self.draws, self.kl_weight, self.estimator)

    def thorough(self) -> Self:
        """Return settings for the most exact answer on a problem of a few weights."""
        training = Training(epochs=0, steps=1500, learning_rate=0.05, decay=True)
        return replace(self, draws=16, estimator="path", training=training)

    def forecast(self, problem: Problem) -> Forecast:
        """Return what one replica takes: a matrix over the weights, in all copies of training."""
        size = inferred(problem, self.last_layer).size
        points = problem.points
        steps = self.training.epochs_of(points) * (points // self.training.batch_of(points))
        flops = OPERATIONS * size**2 * float(steps)
        return replace(of_training(problem, 1 + size, size), flops=flops, remedy=REMEDY)

    def fit(self, problem: Problem, seeds: Sequence[int], progress: Progress = silent) -> Posterior:
        """Fit one posterior per seed, all at once."""
        seeds = as_seeds(seeds)
        problem = problem.for_seeds(seeds)
        check(self.forecast(problem), problem)
        problem = partial(problem, seeds, self.last_layer, progress)
        loc = problem.initial(seeds)
        log_scales = torch.full_like(loc, math.log(self.initial_scale)).diag_embed()
        start = torch.cat([loc[:, None], log_scales], dim=1)
        return fit_guide(
            given(FullRankNormal, path=self.estimator == "path"),
            problem,
            seeds,
            start,
            self.training,
            self.draws,
            self.kl_weight,
            progress,
        )


@dataclass(frozen=True)
class FullRankNormal(NormalGuide):
    """One Normal over all weights.

    Arguments:
        parameters: the mean, and below it a matrix with T under its diagonal and the logarithms of
            `scale` on it, `[replicas, 1 + parameters, parameters]`.
    """

    @property
    def mean(self) -> Tensor:
        """E[w], `[replicas, parameters]`."""
        return self.parameters[:, 0]

    @property
    def root(self) -> Tensor:
        """L, `[replicas, parameters, parameters]`."""
        matrix = self.parameters[:, 1:]
        unit = matrix.tril(-1) + torch.eye(self.numbers).to(matrix)
        return matrix.diagonal(dim1=1, dim2=2).exp()[..., None] * unit

    @property
    def covariance(self) -> Tensor:
        """Cov[w], `[replicas, parameters, parameters]`."""
        return self.root @ self.root.mT

    @property
    def numbers(self) -> int:
        """One for each weight."""
        return self.parameters.shape[-1]

    def offset(self, noise: Tensor) -> Tensor:
        """Return L noise."""
        return noise @ self.root.mT

    def log_density(self, offset: Tensor) -> Tensor:
        """Return log q, by the noise that makes this offset."""
        noise = torch.linalg.solve_triangular(self.root, offset.mT, upper=False)
        log_determinant = self.parameters[:, 1:].diagonal(dim1=1, dim2=2).sum(-1)
        return dist.Normal(0.0, 1.0).log_prob(noise).sum(1) - log_determinant[:, None]

    def distribution(self, noise: Tensor) -> TorchDistribution:
        """Return Pyro's Normal of this mean and root."""
        return dist.MultivariateNormal(
            self.mean[:, None], scale_tril=self.root[:, None], validate_args=False
        )
