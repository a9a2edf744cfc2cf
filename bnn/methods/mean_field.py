"""Mean-field variational inference: a factorised Normal posterior, fitted by maximising the ELBO.

    q(w) = prod_i Normal(w_i; loc_i, scale_i),    w = loc + scale * eps,  eps ~ Normal(0, 1)
    -ELBO / N = -1/B sum_{n in batch} log p(y_n | x_n, w) + KL(q || p) / N

The KL is in closed form where the prior has one, else estimated at the same draw. The step that is
trained with is written out below, because Pyro's general machinery takes most of a small network's
time; when a fit starts, its value and gradient are compared with Pyro's own `TraceMeanField_ELBO`
of the same program on the same noise, and if they differ, Pyro's is used.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import TraceMeanField_ELBO
from torch import Tensor
from torch.distributions import kl_divergence

from bnn.errors import InputError
from bnn.optimise import Progress, Training, silent, train
from bnn.posterior import Masks, Posterior
from bnn.predictive import log_mean_exp
from bnn.problem import Problem
from bnn.seeds import Streams, as_seeds

TOLERANCE = 1e-5  # relative difference to Pyro's ELBO above which the fast step is not trusted
VALIDATION_DRAWS = 8

# (problem, guide parameters [replicas, 2, P], noise [replicas, P], x, y) -> -ELBO / N, [replicas]
NegativeElbo = Callable[[Problem, Tensor, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class MeanField:
    """Stochastic variational inference with an independent Normal for every weight."""

    initial_scale: float = 0.01  # standard deviation of q at the start
    training: Training = Training(epochs=500, steps=5000, decay=True)

    name: ClassVar[str] = "mean_field"
    label: ClassVar[str] = "Mean-field SVI"
    reference: ClassVar[str] = "Blundell et al. 2015, https://arxiv.org/abs/1505.05424"
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not 0 < self.initial_scale < math.inf:
            raise InputError(
                "a positive, finite initial scale", str(self.initial_scale), "0.01 is usual."
            )

    def fit(self, problem: Problem, seeds: Sequence[int], progress: Progress = silent) -> Posterior:
        """Fit one posterior per seed, all at once."""
        seeds = as_seeds(seeds)
        problem = problem.for_seeds(seeds)
        if not problem.prior.proper:
            raise InputError("a proper prior", "Flat", "Without a prior there is no ELBO.")
        loc = problem.initial(seeds)
        start = torch.stack([loc, torch.full_like(loc, math.log(self.initial_scale))], dim=1)
        negative_elbo = trusted(problem, start, seeds, self.training)

        def loss(problem: Problem, guide: Tensor, x: Tensor, y: Tensor, noise: Streams) -> Tensor:
            return negative_elbo(problem, guide, noise.normal(1, guide.shape[-1])[:, 0], x, y)

        fit = train(problem, seeds, self.training, start, loss, mixture_loss, progress)
        return Posterior(problem, FactorisedNormal(fit.parameters), seeds, fit)


@dataclass(frozen=True)
class FactorisedNormal:
    """Independent Normals over the weights.

    Arguments:
        guide: means and log standard deviations, `[replicas, 2, parameters]`.
    """

    guide: Tensor

    atoms: ClassVar[None] = None

    @property
    def loc(self) -> Tensor:
        """The means, `[replicas, parameters]`."""
        return self.guide[:, 0]

    @property
    def scale(self) -> Tensor:
        """The standard deviations, `[replicas, parameters]`."""
        return self.guide[:, 1].exp()

    def draw(self, streams: Streams, draws: int) -> tuple[Tensor, Masks]:
        """Draw weights."""
        noise = streams.normal(draws, self.guide.shape[-1])
        return _reparameterise(self.guide[:, None], noise), {}

    def take(self, replicas: Sequence[int]) -> FactorisedNormal:
        """Return the family of some of the replicas."""
        return FactorisedNormal(self.guide[replicas])


def mixture_loss(problem: Problem, guide: Tensor, x: Tensor, y: Tensor, noise: Streams) -> Tensor:
    """Return the mean of -log p(y_n | x_n, D) over a batch, by a few draws, `[replicas]`."""
    eps = noise.normal(VALIDATION_DRAWS, guide.shape[-1])
    weights = _reparameterise(guide[:, None], eps)
    log_prob = problem.log_likelihood(weights, problem.outputs(weights, x), y)
    return -log_mean_exp(log_prob, dim=1).mean(-1)


def fast_negative_elbo(
    problem: Problem, guide: Tensor, noise: Tensor, x: Tensor, y: Tensor
) -> Tensor:
    """Return -ELBO / N in nats per row, `[replicas]`, at one draw of the weights.

    Arguments:
        guide: means and log standard deviations, `[replicas, 2, parameters]`.
        noise: standard Normal, `[replicas, parameters]`.
        x, y: a standardised minibatch, `[replicas, batch, ...]`.
    """
    weights = _reparameterise(guide, noise)
    q = dist.Normal(guide[:, 0], guide[:, 1].exp()).to_event(1)
    p = problem.prior_distribution()
    try:
        divergence = kl_divergence(q, p)
    except NotImplementedError:  # no closed form: the same estimate that Pyro falls back to
        divergence = q.log_prob(weights) - p.log_prob(weights)
    return problem.loss(weights[:, None], x, y)[:, 0] + divergence / problem.points


def pyro_negative_elbo(
    problem: Problem, guide: Tensor, noise: Tensor, x: Tensor, y: Tensor
) -> Tensor:
    """Return the same by Pyro's own `TraceMeanField_ELBO` of the program `problem.model`.

    Replica by replica, so that one which diverges takes no other along; arguments as above.
    """
    losses = []
    for r in range(problem.replicas):
        replica = problem.take([r])

        def program(batch: tuple[Tensor, Tensor], r: int = r) -> None:
            loc, scale = guide[r, 0], guide[r, 1].exp()
            with pyro.plate("replicas", 1, dim=-2):
                pyro.sample("weights", GivenNoise(loc, scale, noise[r]).to_event(1))

        elbo = TraceMeanField_ELBO()
        batch = (x[r : r + 1], y[r : r + 1])
        with warnings.catch_warnings():  # the training loop itself reports a loss of NaN
            warnings.filterwarnings("ignore", message="Encountered NaN")
            losses.append(elbo.differentiable_loss(replica.model, program, batch) / problem.points)
    return torch.stack(losses)


def trusted(
    problem: Problem, guide: Tensor, seeds: Sequence[int], training: Training
) -> NegativeElbo:
    """Return the fast step if it agrees with Pyro's ELBO on one minibatch and draw, else Pyro's.

    The value and the gradient are compared, relative to the largest number of each replica.
    """
    streams = Streams(seeds, "check against Pyro", guide.device, guide.dtype)
    noise = streams.normal(1, guide.shape[-1])[:, 0]
    rows = torch.arange(training.batch_of(problem.points), device=guide.device)
    x, y = problem.batch(problem.train.at(rows.expand(problem.replicas, -1)))
    with pyro.validation_enabled(False):  # it would raise where a replica is not finite
        found = _value_and_gradient(fast_negative_elbo, problem, guide, noise, x, y)
        expected = _value_and_gradient(pyro_negative_elbo, problem, guide, noise, x, y)
    worst = max(_difference(a, b) for a, b in zip(found, expected, strict=True))
    if worst <= TOLERANCE:
        return fast_negative_elbo
    warnings.warn(
        f"The fast ELBO differs from Pyro's by {worst:.1e} (relative), more than {TOLERANCE:.0e}. "
        "Training goes on with Pyro's own, which is slower.",
        stacklevel=2,
    )
    return pyro_negative_elbo


class GivenNoise(dist.Normal):
    """A Normal whose standard noise is given, so that two ways of computing see the same draw."""

    def __init__(self, loc: Tensor, scale: Tensor, noise: Tensor) -> None:
        super().__init__(loc, scale, validate_args=False)
        self.noise = noise

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> GivenNoise:
        """Return the same distribution over a larger batch."""
        parts = (self.loc, self.scale, self.noise)
        return GivenNoise(*(part.expand(batch_shape) for part in parts))

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Return loc + scale * noise."""
        return self.loc + self.scale * self.noise


def _reparameterise(guide: Tensor, noise: Tensor) -> Tensor:
    loc, log_scale = guide.unbind(-2)
    return loc + log_scale.exp() * noise


def _difference(found: Tensor, expected: Tensor) -> float:
    """Return the worst relative difference over replicas; one that is lost in both counts as 0."""
    found, expected = (part.reshape(len(part), -1) for part in (found, expected))
    gap = (found - expected).abs().amax(1) / expected.abs().amax(1)
    lost, lost_too = (~part.isfinite().all(1) for part in (found, expected))
    gap = torch.where(lost | lost_too, torch.where(lost == lost_too, 0.0, torch.inf), gap)
    return gap.max().item()


def _value_and_gradient(
    elbo: NegativeElbo, problem: Problem, guide: Tensor, noise: Tensor, x: Tensor, y: Tensor
) -> tuple[Tensor, Tensor]:
    guide = guide.detach().requires_grad_()
    losses = elbo(problem, guide, noise, x, y)
    (gradient,) = torch.autograd.grad(losses.sum(), guide)
    return losses.detach(), gradient
