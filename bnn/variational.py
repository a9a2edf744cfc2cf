"""Stochastic variational inference: the best of a family of distributions over the weights.

    w_s = g(phi, eps_s),  eps_s ~ Normal(0, I),  s = 1, ..., S
    -ELBO / N = 1/S sum_s [ -1/B sum_{n in batch} log p(y_n | x_n, w_s) + d_s / N ]

d_s is the divergence of the guide q(w; phi) from the prior: KL(q || p), or its estimate
log q(w_s) - log p(w_s) at the draw. A method brings a `Guide`, the family; all else is here. The
step that is trained with is written out below, because Pyro's general machinery takes most of a
small network's time; when a fit starts, its value and gradient are compared with Pyro's own ELBO of
the same program at the same draws, and if they differ, Pyro's is used.
"""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from numbers import Real
from typing import Any, ClassVar, Literal, Self, get_args

import pyro
import torch
from pyro.distributions import TorchDistribution
from pyro.infer import ELBO, Trace_ELBO
from pyro.poutine.messenger import Messenger
from torch import Tensor

from bnn.errors import InputError, choose
from bnn.gradients import WriteOut
from bnn.optimise import Loss, Progress, Training, difference, silent, train
from bnn.posterior import Family as Networks
from bnn.posterior import Masks, Posterior
from bnn.predictive import log_mean_exp
from bnn.problem import Problem
from bnn.seeds import Streams
from bnn.threads import threads_for

TOLERANCE = 1e-5  # relative difference to Pyro's ELBO above which the fast step is not trusted
SINGLE_TOLERANCE = 1e-4  # in float32, where log q of Pyro loses digits in w - E[w]
VALIDATION_DRAWS = 8


@dataclass(frozen=True)
class Guide(ABC):
    """A distribution over the weights with parameters to fit; also the posterior's family.

    Arguments:
        parameters: phi, `[replicas, ...]`.
    """

    parameters: Tensor

    atoms: ClassVar[None] = None

    @property
    @abstractmethod
    def numbers(self) -> int:
        """How many standard Normal numbers make a draw."""

    @abstractmethod
    def sample(self, noise: Tensor) -> Tensor:
        """Return weights `[replicas, draws, parameters]`, of `noise [replicas, draws, numbers]`."""

    @abstractmethod
    def with_divergence(self, noise: Tensor, prior: TorchDistribution) -> tuple[Tensor, Tensor]:
        """Return the same weights, and KL(q || prior) or its estimate at each, `[replicas, draws]`.

        A divergence in closed form may be `[replicas, 1]`.
        """

    @abstractmethod
    def distribution(self, noise: Tensor) -> TorchDistribution:
        """Return q as a distribution of Pyro, of batch shape `[replicas, 1]`.

        Arguments:
            noise: of the draw where its density is asked for, `[replicas, 1, numbers]`; for
                families whose density at other places is hard to tell.
        """

    @property
    def elbo(self) -> type[ELBO]:
        """Pyro's, with which `with_divergence` agrees."""
        return Trace_ELBO

    @property
    def density(self) -> Self:
        """The same guide, as log q sees it: with parameters through which gradients flow or not."""
        return self

    def draw(self, streams: Streams, draws: int) -> tuple[Tensor, Masks]:
        """Draw weights."""
        return self.sample(streams.normal(draws, self.numbers)), {}

    def take(self, replicas: Sequence[int]) -> Self:
        """Return the guide of some of the replicas."""
        return replace(self, parameters=self.parameters[replicas])


@dataclass(frozen=True)
class EstimatedGuide(Guide):
    """A guide whose divergence is estimated at each draw, by log q(w_s) - log p(w_s).

    Arguments:
        path: take the gradient along the path of the draw alone, with the parameters of log q held
            fixed (Roeder, Wu, Duvenaud 2017, https://arxiv.org/abs/1703.09194). What is left out
            has mean zero. Where q is the posterior, no noise is left in the gradient; where q is
            far narrower, there is more than without.
    """

    path: bool = field(default=False, kw_only=True)

    @property
    def density(self) -> Self:
        """The same guide, with fixed parameters where only the path counts."""
        return replace(self, parameters=self.parameters.detach()) if self.path else self

    @abstractmethod
    def log_prob(self, weights: Tensor) -> Tensor:
        """Return log q(w), `[replicas, draws]`; NaN, and no error, where parameters are lost."""

    def with_divergence(self, noise: Tensor, prior: TorchDistribution) -> tuple[Tensor, Tensor]:
        """Return weights, and log q - log p at each."""
        weights = self.sample(noise)
        return weights, self.density.log_prob(weights) - prior.log_prob(weights)


class NormalGuide(EstimatedGuide):
    """A Normal over all weights, by its mean and by offsets from it."""

    @property
    @abstractmethod
    def mean(self) -> Tensor:
        """E[w], `[replicas, parameters]`."""

    @abstractmethod
    def offset(self, noise: Tensor) -> Tensor:
        """Return w - E[w], `[replicas, draws, parameters]`, of noise."""

    @abstractmethod
    def log_density(self, offset: Tensor) -> Tensor:
        """Return log q(E[w] + offset), `[replicas, draws]`."""

    def sample(self, noise: Tensor) -> Tensor:
        """Return the mean plus the offset."""
        return self.mean[:, None] + self.offset(noise)

    def log_prob(self, weights: Tensor) -> Tensor:
        """Return log q(w)."""
        return self.log_density(weights - self.mean[:, None])

    def with_divergence(self, noise: Tensor, prior: TorchDistribution) -> tuple[Tensor, Tensor]:
        """Return weights, and log q - log p at each."""
        if self.path:
            return super().with_divergence(noise, prior)
        offset = self.offset(noise)
        weights = self.mean[:, None] + offset
        # Not by way of the weights, where offsets far smaller than the mean lose their digits, and
        # the mean's part of the gradient would not cancel.
        return weights, self.log_density(offset) - prior.log_prob(weights)


Estimator = Literal["reparameterised", "path"]  # of the gradient; see `EstimatedGuide`

Family = Callable[[Tensor], Guide]  # from parameters [replicas, ...] to the guide that has them

# (family, problem, parameters, noise [replicas, draws, numbers], x, y, kl_weight)
# -> -ELBO / N, [replicas]
NegativeElbo = Callable[[Family, Problem, Tensor, Tensor, Tensor, Tensor, float], Tensor]


def check_objective(
    draws: int,
    kl_weight: float,
    estimator: str = "reparameterised",
    estimators: Sequence[str] = get_args(Estimator),
) -> None:
    """Refuse settings of the objective, and of its estimate, that mean nothing."""
    choose(estimator, {name: name for name in estimators}, "estimator")
    if not isinstance(draws, int) or draws < 1:
        raise InputError("a whole number, at least one draw per step", repr(draws), "1 is usual.")
    if not (isinstance(kl_weight, Real) and 0 < kl_weight < math.inf):
        raise InputError(
            "a positive, finite weight of the KL term", repr(kl_weight), "1 makes it an ELBO."
        )


def check_prior(problem: Problem) -> None:
    """Refuse a problem that has no ELBO."""
    if not problem.prior.proper:
        raise InputError("a proper prior", "Flat", "Without a prior there is no ELBO.")


def fit_guide(
    family: Family,
    problem: Problem,
    seeds: tuple[int, ...],
    start: Tensor,
    training: Training,
    draws: int = 1,
    kl_weight: float = 1.0,
    progress: Progress = silent,
    loss: Loss | None = None,
    write_out: WriteOut | None = None,
) -> Posterior:
    """Maximise the ELBO over a family's parameters, all replicas at once.

    Arguments:
        family: makes the guide of parameters.
        problem: one replica per seed.
        start: initial parameters, `[replicas, ...]`.
        draws: of the weights, per step.
        kl_weight: what the divergence is multiplied by; only 1 makes the objective an ELBO.
        loss: another estimate of the same objective; that of `fast_negative_elbo` unless given.
            It shares its parts, and is not trusted either where that is not.
        write_out: that of `fast_negative_elbo` with its gradient.

    Raises:
        InputError: under a prior without a density.
    """
    check_prior(problem)
    negative_elbo = trusted(family, problem, start, seeds, training, draws, kl_weight)

    def by_draws(problem: Problem, phi: Tensor, x: Tensor, y: Tensor, noise: Streams) -> Tensor:
        eps = noise.normal(draws, family(phi).numbers)
        return negative_elbo(family, problem, phi, eps, x, y, kl_weight)

    fast = negative_elbo is fast_negative_elbo
    fit = train(
        problem,
        seeds,
        training,
        start,
        (loss if fast else None) or by_draws,
        mixture_loss(family),
        progress,
        write_out=write_out if fast else None,
    )
    return Posterior(
        problem, family(fit.parameters), seeds, fit, caveats=objective_caveats(kl_weight)
    )


def objective_caveats(kl_weight: float) -> tuple[str, ...]:
    """Return what a reader must know of an objective that is no ELBO."""
    if kl_weight == 1:
        return ()
    return (f"The objective is not an ELBO: its KL term is multiplied by {kl_weight:g}.",)


def mixture_loss(family: Callable[[Tensor], Networks]) -> Loss:
    """Return the loss of a guide's predictive: the mean of -log p(y_n | x_n, D), by a few draws."""

    def loss(problem: Problem, phi: Tensor, x: Tensor, y: Tensor, noise: Streams) -> Tensor:
        weights, _ = family(phi).draw(noise, VALIDATION_DRAWS)
        log_prob = problem.log_likelihood(weights, problem.outputs(weights, x), y)
        return -log_mean_exp(log_prob, dim=1).mean(-1)

    return loss


def fast_negative_elbo(
    family: Family,
    problem: Problem,
    parameters: Tensor,
    noise: Tensor,
    x: Tensor,
    y: Tensor,
    kl_weight: float = 1.0,
) -> Tensor:
    """Return -ELBO / N in nats per row, `[replicas]`, at a few draws of the weights.

    Arguments:
        family: makes the guide of parameters.
        parameters: `[replicas, ...]`.
        noise: standard Normal, `[replicas, draws, numbers]`.
        x, y: a standardised minibatch, `[replicas, batch, ...]`.
        kl_weight: what the divergence is multiplied by.
    """
    weights, divergence = family(parameters).with_divergence(noise, problem.prior_distribution())
    return (problem.loss(weights, x, y) + kl_weight / problem.points * divergence).mean(1)


def pyro_negative_elbo(
    family: Family,
    problem: Problem,
    parameters: Tensor,
    noise: Tensor,
    x: Tensor,
    y: Tensor,
    kl_weight: float = 1.0,
) -> Tensor:
    """Return the same by Pyro's own ELBO of the program `problem.model`.

    Replica by replica, so that one which diverges takes no other along; arguments as above.
    """
    losses = []
    for r in range(problem.replicas):
        guide, replica = family(parameters[r : r + 1]), problem.take([r])
        batch = x[r : r + 1], y[r : r + 1]
        each = [_by_pyro(guide, replica, eps[None, None], batch, kl_weight) for eps in noise[r]]
        losses.append(torch.stack(each).mean())
    return torch.stack(losses)


def _by_pyro(
    guide: Guide, problem: Problem, noise: Tensor, batch: tuple[Tensor, Tensor], kl_weight: float
) -> Tensor:
    """Return -ELBO / N of one replica at one draw, of `noise [1, 1, numbers]`."""

    def program(batch: tuple[Tensor, Tensor]) -> None:
        with pyro.plate("replicas", 1, dim=-2), _Given(guide.sample(noise)):
            pyro.sample("weights", guide.density.distribution(noise))

    with warnings.catch_warnings(), _Weighted(kl_weight):
        warnings.filterwarnings("ignore", message="Encountered NaN")  # the training loop tells it
        loss: Tensor = guide.elbo().differentiable_loss(problem.model, program, batch)
    return loss / problem.points


class _Given(Messenger):
    """Gives a sample site its value, so that two ways of computing see the same draw."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = value

    def _pyro_sample(self, message: Any) -> None:
        message["value"], message["done"] = self.value, True


class _Weighted(Messenger):
    """Multiplies the log-densities of the weights, prior's and guide's, by a number."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight

    def _pyro_sample(self, message: Any) -> None:
        if message["name"] == "weights":
            message["scale"] = message["scale"] * self.weight


def trusted(
    family: Family,
    problem: Problem,
    parameters: Tensor,
    seeds: Sequence[int],
    training: Training,
    draws: int = 1,
    kl_weight: float = 1.0,
) -> NegativeElbo:
    """Return the fast step if it agrees with Pyro's ELBO on one minibatch, else Pyro's.

    The value and the gradient, at up to two draws, are compared, relative to the largest number of
    each replica.
    """
    streams = Streams(seeds, "check against Pyro", parameters.device, parameters.dtype)
    noise = streams.normal(min(draws, 2), family(parameters).numbers)
    rows = torch.arange(training.batch_of(problem.points), device=parameters.device)
    x, y = problem.batch(problem.train.at(rows.expand(problem.replicas, -1)))
    # Validation would raise where a replica is not finite.
    with threads_for(problem.layout.size), pyro.validation_enabled(False):
        found, expected = (
            _value_and_gradient(partial(elbo, family, problem), parameters, noise, x, y, kl_weight)
            for elbo in (fast_negative_elbo, pyro_negative_elbo)
        )
    worst = max(difference(a, b) for a, b in zip(found, expected, strict=True))
    tolerance = TOLERANCE if parameters.dtype == torch.float64 else SINGLE_TOLERANCE
    if worst <= tolerance:
        return fast_negative_elbo
    warnings.warn(
        f"The fast ELBO differs from Pyro's by {worst:.1e} (relative), more than {tolerance:.0e}. "
        "Training goes on with Pyro's own, which is slower.",
        stacklevel=2,
    )
    return pyro_negative_elbo


def _value_and_gradient(
    objective: Callable[..., Tensor], parameters: Tensor, *arguments: Any
) -> tuple[Tensor, Tensor]:
    parameters = parameters.detach().requires_grad_()
    losses = objective(parameters, *arguments)
    (gradient,) = torch.autograd.grad(losses.sum(), parameters)
    return losses.detach(), gradient
