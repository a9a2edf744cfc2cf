"""Mean-field variational inference: a factorised Normal posterior, fitted by maximising the ELBO.

    q(w) = prod_i Normal(w_i; loc_i, scale_i),    w = loc + scale * eps,  eps ~ Normal(0, 1)
    -ELBO / N = -1/B sum_{n in batch} log p(y_n | x_n, w) + KL(q || p) / N

The KL is in closed form where the prior has one, else estimated at the same draw. Along the path of
the draw alone it is always estimated, log q(w) - log p(w): near the optimum that leaves less noise
in the gradient. For a linear model with Normal prior and noise the optimum is known: the mean of
the posterior, and the variances 1 / diag(precision).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial as given
from typing import ClassVar, Self, get_args

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from pyro.infer import ELBO, Trace_ELBO, TraceMeanField_ELBO
from torch import Tensor
from torch.distributions import kl_divergence

from bnn.errors import InputError
from bnn.gradients import WriteOut, of_elbo, of_elbo_by_rows
from bnn.methods.accuracy import Accuracy
from bnn.methods.partial import Which, partial
from bnn.networks.layerwise import Layerwise, Perturbation
from bnn.optimise import Loss, Progress, Training, silent
from bnn.posterior import Posterior
from bnn.priors import normal_moments
from bnn.problem import Problem
from bnn.seeds import Streams, as_seeds
from bnn.variational import Estimator, NormalGuide, check_objective, fit_guide


@dataclass(frozen=True)
class MeanField:
    """Stochastic variational inference with an independent Normal for every weight."""

    initial_scale: float = 0.01  # standard deviation of q at the start
    draws: int = 1  # of the weights, per step
    estimator: Estimator | Perturbation = "reparameterised"  # of the gradient; "path": along each
    # draw's path alone, with less noise near the end and more at the start; "local" or "flipout":
    # with noise of its own for every row, through the linear layers (`bnn.networks.layerwise`)
    kl_weight: float = 1.0  # factor on the KL term; with any but 1 the objective is no ELBO
    last_layer: Which = False  # infer the last layer alone, or what a predicate over names chooses
    training: Training = Training(epochs=500, steps=5000, decay=True)

    name: ClassVar[str] = "mean_field"
    label: ClassVar[str] = "Mean-field SVI"
    reference: ClassVar[str] = "Blundell et al. 2015, https://arxiv.org/abs/1505.05424"
    version: ClassVar[int] = 1
    accuracy: ClassVar[Accuracy] = Accuracy("factorised", 1e-2, 0.06, elbo=True)

    def __post_init__(self) -> None:
        check_initial_scale(self.initial_scale)
        check_objective(
            self.draws,
            self.kl_weight,
            self.estimator,
            (*get_args(Estimator), *get_args(Perturbation)),
        )
        if self.last_layer is not False and self.estimator in get_args(Perturbation):
            raise InputError(
                "an estimator that serves a part of the weights",
                f"estimator={self.estimator!r}, which perturbs all layers",
                "Use 'reparameterised' or 'path' together with last_layer.",
            )

    def thorough(self) -> Self:
        """Return settings for the most exact answer on a problem of a few weights."""
        training = Training(epochs=0, steps=1000, learning_rate=0.03, decay=True, average=0.5)
        return replace(self, initial_scale=0.1, draws=32, estimator="path", training=training)

    def fit(self, problem: Problem, seeds: Sequence[int], progress: Progress = silent) -> Posterior:
        """Fit one posterior per seed, all at once."""
        seeds = as_seeds(seeds)
        problem = partial(problem.for_seeds(seeds), seeds, self.last_layer, progress)
        loc = problem.initial(seeds)
        start = torch.stack([loc, torch.full_like(loc, math.log(self.initial_scale))], dim=1)
        return fit_guide(
            given(FactorisedNormal, path=self.estimator == "path"),
            problem,
            seeds,
            start,
            self.training,
            self.draws,
            self.kl_weight,
            progress,
            self._by_rows(problem),
            self._written_out,
        )

    @property
    def _written_out(self) -> WriteOut | None:
        if self.estimator == "reparameterised":
            return given(of_elbo, draws=self.draws, kl_weight=self.kl_weight)
        if self.estimator == "local" and self.draws == 1:
            return given(of_elbo_by_rows, kl_weight=self.kl_weight)
        return None

    def _by_rows(self, problem: Problem) -> Loss | None:
        """Return the loss with noise of its own for every row; None where rows share it."""
        if self.estimator not in get_args(Perturbation):
            return None
        example = problem.take([0]).batch(problem.train.take([0]))[0][0, :1]
        kind: Perturbation = "local" if self.estimator == "local" else "flipout"
        network = Layerwise(problem.network.network, example, kind)

        def loss(problem: Problem, phi: Tensor, x: Tensor, y: Tensor, noise: Streams) -> Tensor:
            guide, size = FactorisedNormal(phi), network.layout.size
            eps = noise.normal(1, self.draws, guide.numbers)[:, 0]
            rows = noise.normal(1, self.draws, x.shape[1], sum(network.sizes))[:, 0]
            weights, divergence = guide.with_divergence(eps, problem.prior_distribution())
            spreads = guide.offset(eps if kind == "flipout" else torch.ones_like(eps))
            if kind == "flipout":
                rows = torch.where(rows < 0, -1.0, 1.0).to(rows)
            outputs = network(guide.loc[:, None, :size], spreads[..., :size], rows, x)
            fitted = -problem.log_likelihood(weights, outputs, y).mean(-1)
            return (fitted + self.kl_weight / problem.points * divergence).mean(1)

        return loss


def check_initial_scale(scale: float) -> None:
    """Refuse a standard deviation that is none."""
    if not 0 < scale < math.inf:
        raise InputError("a positive, finite initial scale", str(scale), "0.01 is usual.")


@dataclass(frozen=True)
class FactorisedNormal(NormalGuide):
    """Independent Normals over the weights.

    Arguments:
        parameters: means and log standard deviations, `[replicas, 2, parameters]`.
    """

    @property
    def elbo(self) -> type[ELBO]:
        """Pyro's with the same KL."""
        return Trace_ELBO if self.path else TraceMeanField_ELBO

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
        """Return loc + scale * noise, in one pass over many draws."""
        return torch.addcmul(self.loc[:, None], self.scale[:, None], noise)

    def offset(self, noise: Tensor) -> Tensor:
        """Return scale * noise."""
        return self.scale[:, None] * noise

    def log_density(self, offset: Tensor) -> Tensor:
        """Return log q."""
        return dist.Normal(torch.zeros_like(offset), self.scale[:, None]).log_prob(offset).sum(-1)

    def with_divergence(self, noise: Tensor, prior: TorchDistribution) -> tuple[Tensor, Tensor]:
        """Return weights, and KL(q || prior) where it has a closed form and not the path counts."""
        if not self.path:
            if (moments := normal_moments(prior)) is not None:
                return self.sample(noise), self._from_normal(*moments)[:, None]
            with suppress(NotImplementedError):  # then the same estimate that Pyro falls back to
                return self.sample(noise), kl_divergence(self.distribution(noise), prior)
        return super().with_divergence(noise, prior)

    def _from_normal(self, mean: Tensor, scale: Tensor) -> Tensor:
        """Return KL(q || Normal(mean, scale)), `[replicas]`: torch's own takes twice as long."""
        squares = ((self.loc - mean) / scale).square() + (self.scale / scale).square()
        return ((squares - 1) / 2 - self.parameters[:, 1] + scale.log()).sum(-1)

    def distribution(self, noise: Tensor) -> TorchDistribution:
        """Return Pyro's Normal."""
        return dist.Normal(self.loc[:, None], self.scale[:, None]).to_event(1)
