"""Low-rank variational inference: a Normal whose weights are correlated through a few factors.

    q(w) = Normal(loc, D (I + U U') D),    D = diag(scale),  U  [weights, rank]
    w = loc + D (eps + U z),               eps ~ Normal(0, I),  z ~ Normal(0, I), of length rank

fitted by maximising the ELBO. The covariance is diagonal plus a matrix of that rank: rank 0 would
be the mean field, and from one less than the number of weights on it is any covariance, the family
of `FullRank`. P weights take (2 + rank) P numbers. U starts small and random, for at zero it would
have no gradient.
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

from bnn.errors import InputError
from bnn.forecast import Forecast, check, of_training
from bnn.methods.accuracy import Accuracy
from bnn.methods.mean_field import check_initial_scale
from bnn.methods.partial import Which, inferred, partial
from bnn.optimise import Progress, Training, silent
from bnn.posterior import Posterior
from bnn.problem import Problem
from bnn.seeds import Streams, as_seeds
from bnn.variational import Estimator, NormalGuide, check_objective, fit_guide

INITIAL_FACTOR = 0.1  # standard deviation of the entries of U at the start


@dataclass(frozen=True)
class LowRank:
    """Stochastic variational inference with a Normal of diagonal plus low-rank covariance."""

    rank: int = 4  # factors that correlate the weights
    initial_scale: float = 0.01  # `scale` at the start
    draws: int = 1  # of the weights, per step
    estimator: Estimator = "reparameterised"  # of the gradient; "path": along each draw's path
    # alone, with less noise near the end and more at the start
    kl_weight: float = 1.0  # factor on the KL term; with any but 1 the objective is no ELBO
    last_layer: Which = False  # infer the last layer alone, or what a predicate over names chooses
    training: Training = Training(epochs=500, steps=5000, decay=True)

    name: ClassVar[str] = "low_rank"
    label: ClassVar[str] = "Low-rank SVI"
    reference: ClassVar[str] = "Ong, Nott, Smith 2018, https://arxiv.org/abs/1701.03208"
    version: ClassVar[int] = 1
    accuracy: ClassVar[Accuracy] = Accuracy("posterior", 1e-2, 0.03, elbo=True)

    def __post_init__(self) -> None:
        check_initial_scale(self.initial_scale)
        check_objective(self.draws, self.kl_weight, self.estimator)
        if not isinstance(self.rank, int) or self.rank < 1:
            raise InputError(
                "a whole number, a rank of at least one",
                repr(self.rank),
                "4 is usual; rank 0 is MeanField.",
            )

    def thorough(self) -> Self:
        """Return settings for the most exact answer on a problem of a few weights: all factors."""
        training = Training(epochs=0, steps=1500, learning_rate=0.05, decay=True)
        return replace(self, rank=max(self.rank, 8), draws=16, estimator="path", training=training)

    def forecast(self, problem: Problem) -> Forecast:
        """Return what one replica takes: mean, scale and factors of each weight, in training."""
        found = of_training(problem, 2 + self.rank, inferred(problem, self.last_layer).size)
        return replace(found, remedy="Use a smaller rank, MeanField, or fewer replicas at once.")

    def fit(self, problem: Problem, seeds: Sequence[int], progress: Progress = silent) -> Posterior:
        """Fit one posterior per seed, all at once."""
        seeds = as_seeds(seeds)
        problem = problem.for_seeds(seeds)
        check(self.forecast(problem), problem)
        problem = partial(problem, seeds, self.last_layer, progress)
        loc = problem.initial(seeds)
        log_scale = torch.full_like(loc, math.log(self.initial_scale))
        streams = Streams(seeds, "initial factors", loc.device, loc.dtype)
        factors = INITIAL_FACTOR * streams.normal(self.rank, loc.shape[1])
        return fit_guide(
            given(LowRankNormal, path=self.estimator == "path"),
            problem,
            seeds,
            torch.cat([loc[:, None], log_scale[:, None], factors], dim=1),
            self.training,
            self.draws,
            self.kl_weight,
            progress,
        )


@dataclass(frozen=True)
class LowRankNormal(NormalGuide):
    """A Normal whose covariance is diagonal plus low-rank.

    Arguments:
        parameters: the mean, the logarithms of `scale` and the columns of U,
            `[replicas, 2 + rank, parameters]`.
    """

    @property
    def mean(self) -> Tensor:
        """E[w], `[replicas, parameters]`."""
        return self.parameters[:, 0]

    @property
    def scale(self) -> Tensor:
        """The diagonal of D, `[replicas, parameters]`."""
        return self.parameters[:, 1].exp()

    @property
    def factor(self) -> Tensor:
        """D U, `[replicas, parameters, rank]`."""
        return (self.scale[:, None] * self.parameters[:, 2:]).mT

    @property
    def covariance(self) -> Tensor:
        """Cov[w], `[replicas, parameters, parameters]`."""
        return torch.diag_embed(self.scale**2) + self.factor @ self.factor.mT

    @property
    def numbers(self) -> int:
        """One for each weight and each factor."""
        _, rows, parameters = self.parameters.shape
        return parameters + rows - 2

    def offset(self, noise: Tensor) -> Tensor:
        """Return D (eps + U z), the noise being eps and then z."""
        own, shared = noise.tensor_split([self.parameters.shape[-1]], dim=-1)
        return self.scale[:, None] * own + shared @ self.factor.mT

    def log_density(self, offset: Tensor) -> Tensor:
        """Return log q, by the determinant lemma and Woodbury's identity.

        With v = offset / scale and M = I + U' U = C C', the determinant of I + U U' is that of M,
        and v' (I + U U')^-1 v = v' v - |C^-1 U' v|^2.
        """
        u, v = self.parameters[:, 2:], offset / self.scale[:, None]
        inner = torch.eye(u.shape[1]).to(u) + u @ u.mT
        root = torch.linalg.cholesky_ex(inner).L  # which raises no error where it is NaN
        shared = torch.linalg.solve_triangular(root, u @ v.mT, upper=False)
        log_determinant = self.scale.log().sum(-1) + root.diagonal(dim1=1, dim2=2).log().sum(-1)
        square = (v**2).sum(-1) - (shared**2).sum(1)
        constant = v.shape[-1] * math.log(2 * math.pi)
        return -log_determinant[:, None] - (square + constant) / 2

    def distribution(self, noise: Tensor) -> TorchDistribution:
        """Return Pyro's Normal of this mean, factor and diagonal."""
        return dist.LowRankMultivariateNormal(
            self.mean[:, None],
            self.factor[:, None],
            (self.scale**2)[:, None],
            validate_args=False,
        )
