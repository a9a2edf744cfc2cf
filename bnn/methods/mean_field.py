"""Mean-field variational inference: a factorised Normal posterior, fitted by maximising the ELBO.

    q(w) = prod_i Normal(w_i; loc_i, scale_i),    w = loc + scale * eps,  eps ~ Normal(0, 1)
    -ELBO / N = -1/B sum_{n in batch} log p(y_n | x_n, w) + KL(q || p) / N

The KL is in closed form where the prior has one, else estimated at the same draw.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from pyro.infer import ELBO, TraceMeanField_ELBO
from torch import Tensor
from torch.distributions import kl_divergence

from bnn.errors import InputError
from bnn.methods.accuracy import Accuracy
from bnn.optimise import Progress, Training, silent
from bnn.posterior import Posterior
from bnn.problem import Problem
from bnn.seeds import as_seeds
from bnn.variational import Guide, check_objective, fit_guide


@dataclass(frozen=True)
class MeanField:
    """Stochastic variational inference with an independent Normal for every weight."""

    initial_scale: float = 0.01  # standard deviation of q at the start
    draws: int = 1  # of the weights, per step
    kl_weight: float = 1.0  # factor on the KL term; with any but 1 the objective is no ELBO
    training: Training = Training(epochs=500, steps=5000, decay=True)

    name: ClassVar[str] = "mean_field"
    label: ClassVar[str] = "Mean-field SVI"
    reference: ClassVar[str] = "Blundell et al. 2015, https://arxiv.org/abs/1505.05424"
    version: ClassVar[int] = 1
    accuracy: ClassVar[Accuracy] = Accuracy("factorised", 1e-2, 0.06, elbo=True)

    def __post_init__(self) -> None:
        check_initial_scale(self.initial_scale)
        check_objective(self.draws, self.kl_weight)

    def thorough(self) -> Self:
        """Return settings for the most exact answer on a problem of a few weights."""
        training = Training(epochs=0, steps=3000, learning_rate=0.02, decay=True, average=0.5)
        return replace(self, draws=64, training=training)

    def fit(self, problem: Problem, seeds: Sequence[int], progress: Progress = silent) -> Posterior:
        """Fit one posterior per seed, all at once."""
        seeds = as_seeds(seeds)
        problem = problem.for_seeds(seeds)
        loc = problem.initial(seeds)
        start = torch.stack([loc, torch.full_like(loc, math.log(self.initial_scale))], dim=1)
        return fit_guide(
            FactorisedNormal,
            problem,
            seeds,
            start,
            self.training,
            self.draws,
            self.kl_weight,
            progress,
        )


def check_initial_scale(scale: float) -> None:
    """Refuse a standard deviation that is none."""
    if not 0 < scale < math.inf:
        raise InputError("a positive, finite initial scale", str(scale), "0.01 is usual.")


@dataclass(frozen=True)
class FactorisedNormal(Guide):
    """Independent Normals over the weights.

    Arguments:
        parameters: means and log standard deviations, `[replicas, 2, parameters]`.
    """

    elbo: ClassVar[type[ELBO]] = TraceMeanField_ELBO

    @property
    def loc(self) -> Tensor:
        """The means, `[replicas, parameters]`."""
        return self.parameters[:, 0]

    @property
    def scale(self) -> Tensor:
        """The standard deviations, `[replicas, parameters]`."""
        return self.parameters[:, 1].exp()

    @property
    def mean(self) -> Tensor:
        """E[w], `[replicas, parameters]`."""
        return self.loc

    @property
    def covariance(self) -> Tensor:
        """Cov[w], `[replicas, parameters, parameters]`."""
        return torch.diag_embed(self.scale**2)

    @property
    def numbers(self) -> int:
        """One for each weight."""
        return self.parameters.shape[-1]

    def sample(self, noise: Tensor) -> Tensor:
        """Return loc + scale * noise."""
        return self.loc[:, None] + self.scale[:, None] * noise

    def with_divergence(self, noise: Tensor, prior: TorchDistribution) -> tuple[Tensor, Tensor]:
        """Return weights, and KL(q || prior) or, where it has no closed form, its estimate."""
        weights, q = self.sample(noise), self.distribution(noise)
        try:
            return weights, kl_divergence(q, prior)
        except NotImplementedError:  # the same estimate that Pyro falls back to
            return weights, q.log_prob(weights) - prior.log_prob(weights)

    def distribution(self, noise: Tensor) -> TorchDistribution:
        """Return Pyro's Normal."""
        return dist.Normal(self.loc[:, None], self.scale[:, None]).to_event(1)
