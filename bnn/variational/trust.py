"""Whether the ELBO written out is to be trusted: it is compared with Pyro's."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pyro
import torch
from torch import Tensor

from bnn.optimise import Training, difference
from bnn.problem import Problem
from bnn.seeds import Streams
from bnn.threads import threads_for
from bnn.variational.elbo import NegativeElbo, fast_negative_elbo, pyro_negative_elbo
from bnn.variational.guide import Family

TOLERANCE = 1e-5  # relative difference to Pyro's ELBO above which the fast step is not trusted
SINGLE_TOLERANCE = 1e-4  # in float32, where log q of Pyro loses digits in w - E[w]


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
