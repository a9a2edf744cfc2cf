"""Improved variational online Newton: the mean field by natural gradients, with Adam's cost.

    q(w) = prod_i Normal(w_i; m_i, 1 / (N (h_i + d_i))),    d_i = 1 / (N prior scale_i^2)
    g = gradient of the loss at w = m + eps / sqrt(N (h + d)),    h^ = g eps sqrt(N (h + d))
    h <- h + rho (h^ - h) + (rho (h^ - h))^2 / (2 (h + d)),       rho = 1 - beta_2
    m <- m - rate (g_bar + d (m - prior mean)) / (h + d),         g_bar: g with momentum beta_1

where the loss is the mean of -log p(y | x, w) over a batch, and h^ an unbiased estimate of the
diagonal of its Hessian under q. The last term of h is what second order on the manifold of positive
numbers adds; it keeps h + d positive. At rest h is the expected Hessian and m a stationary point of
the ELBO, so that this is the mean field of `MeanField`, reached by other steps.

What is kept are the means and the log standard deviations, -1/2 log N (h + d): the loss's gradient
in the latter is h^ / (N (h + d)), so that an ordinary gradient is all that the update needs.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor

from bnn.errors import InputError
from bnn.methods.accuracy import Accuracy
from bnn.methods.mean_field import FactorisedNormal
from bnn.methods.partial import Which, partial
from bnn.optimise import Progress, Training, silent, train
from bnn.posterior import Posterior
from bnn.priors import Blocks
from bnn.problem import Problem
from bnn.seeds import Streams, as_seeds
from bnn.variational import check_objective, mixture_loss


@dataclass(frozen=True)
class IVON:
    """Natural-gradient variational inference with an independent Normal for every weight.

    Raises:
        InputError: in `fit`, on a prior other than independent Normals.
    """

    initial_hessian: float = 1.0  # h at the start, nats per row and squared unit of the weight
    beta1: float = 0.9  # momentum of the gradient
    beta2: float = 0.998  # of the Hessian: it follows about the last 1 / (1 - beta2) steps
    clip: float = 1.0  # largest Newton step of a mean, in units of the weight, before the rate
    draws: int = 1  # of the weights, per step
    last_layer: Which = False  # infer the last layer alone, or parameters chosen by name
    training: Training = Training(epochs=500, steps=5000, learning_rate=0.1, decay=True)

    name: ClassVar[str] = "ivon"
    label: ClassVar[str] = "IVON"
    reference: ClassVar[str] = "Shen et al. 2024, https://arxiv.org/abs/2402.17641"
    version: ClassVar[int] = 1
    accuracy: ClassVar[Accuracy] = Accuracy(
        "factorised", 0.03, 0.06, elbo=True, gradient="expected_likelihood"
    )

    def __post_init__(self) -> None:
        _check_positive("initial Hessian", self.initial_hessian, "1")
        _check_positive("clip", self.clip, "1")
        for name in ("beta1", "beta2"):
            _check_beta(name, getattr(self, name))
        check_objective(self.draws, kl_weight=1)

    def thorough(self) -> IVON:
        """Return settings for a few weights: many draws, of which few steps tell the Hessian."""
        training = Training(epochs=0, steps=1000, learning_rate=0.1, decay=True, average=0.5)
        return replace(self, beta2=0.99, draws=32, training=training)

    def fit(self, problem: Problem, seeds: Sequence[int], progress: Progress = silent) -> Posterior:
        """Fit one posterior per seed, all at once."""
        seeds = as_seeds(seeds)
        problem = partial(problem.for_seeds(seeds), seeds, self.last_layer, progress)
        loc, scale = normal_prior(problem)
        mean = problem.initial(seeds)
        precision = problem.points * self.initial_hessian + scale**-2
        start = torch.stack([mean, (-precision.log() / 2).expand_as(mean)], dim=1)

        def loss(problem: Problem, guide: Tensor, x: Tensor, y: Tensor, noise: Streams) -> Tensor:
            return half_negative_elbo(problem, guide, x, y, noise, self.draws)

        def update(guide: Tensor) -> VariationalNewton:
            return VariationalNewton(guide, loc, scale, problem.points, self)

        validate = mixture_loss(FactorisedNormal)
        fit = train(problem, seeds, self.training, start, loss, validate, progress, update)
        return Posterior(problem, FactorisedNormal(fit.parameters), seeds, fit)


class VariationalNewton:
    """The update of means and log standard deviations, entry by entry.

    Arguments:
        guide: means and log standard deviations, `[replicas, 2, parameters]`; not kept.
        loc, scale: of the prior, `[parameters]`.
        points: training rows, N.
        settings: whose beta1, beta2 and clip are taken.
    """

    def __init__(
        self, guide: Tensor, loc: Tensor, scale: Tensor, points: int, settings: IVON
    ) -> None:
        self.loc, self.scale, self.points = loc, scale, points
        self.beta1, self.beta2, self.clip = settings.beta1, settings.beta2, settings.clip
        self.momentum, self.steps = torch.zeros_like(guide[:, 0]), 0

    def step(self, parameters: Tensor, gradient: Tensor, rate: float, noise: Streams) -> None:
        """Make one step; the gradient is of the loss without the prior."""
        mean, log_scale = parameters.unbind(1)
        slope, stretch = gradient.unbind(1)
        self.steps += 1
        self.momentum = self.beta1 * self.momentum + (1 - self.beta1) * slope
        debiased = self.momentum / (1 - self.beta1**self.steps)
        # (h^ - h) / (h + d), which is also the ELBO's gradient in the log standard deviation
        change = self.points * stretch + ((log_scale.exp() / self.scale) ** 2 - 1)
        change *= 1 - self.beta2
        log_scale -= (change + change**2 / 2).log1p() / 2
        pull = (mean - self.loc) / self.scale**2
        newton = (2 * log_scale).exp() * (self.points * debiased + pull)
        mean -= rate * newton.clamp(-self.clip, self.clip)

    def take(self, rows: Sequence[int]) -> VariationalNewton:
        """Return the update of some of the replicas."""
        some = copy.copy(self)
        some.momentum = self.momentum[rows].clone()
        return some


def half_negative_elbo(
    problem: Problem, parameters: Tensor, x: Tensor, y: Tensor, noise: Streams, draws: int
) -> Tensor:
    """Return -ELBO / N in nats per row, `[replicas]`, with the gradient of the loss alone.

    What the KL adds to the gradient is known, and the update adds it without momentum.
    """
    guide = FactorisedNormal(parameters)
    eps = noise.normal(1, draws, guide.numbers)[:, 0]
    weights, divergence = guide.with_divergence(eps, problem.prior_distribution())
    return (problem.loss(weights, x, y) + divergence.detach() / problem.points).mean(1)


def normal_prior(problem: Problem) -> tuple[Tensor, Tensor]:
    """Return the mean and the standard deviation of a prior of independent Normals, `[parameters]`.

    Raises:
        InputError: on any other prior.
    """
    prior = problem.prior_distribution()
    parts = prior.parts if isinstance(prior, Blocks) else [prior]
    for part in parts:
        if not isinstance(getattr(part, "base_dist", None), dist.Normal):
            raise InputError(
                "a prior of independent Normals, as IVON's update assumes",
                f"{problem.prior}",
                "Use bnn.priors.Normal, or MeanField, which takes any prior.",
            )
    return (
        torch.cat([part.mean for part in parts]),
        torch.cat([part.stddev for part in parts]),
    )


def _check_positive(what: str, value: float, usual: str) -> None:
    if not (isinstance(value, Real) and 0 < value < math.inf):
        raise InputError(f"a positive, finite {what}", repr(value), f"{usual} is usual.")


def _check_beta(name: str, value: float) -> None:
    if not (isinstance(value, Real) and 0 <= value < 1):
        raise InputError(f"{name} in [0, 1)", repr(value), "0.9 and 0.998 are usual.")
