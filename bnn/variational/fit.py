"""The fit: a family's parameters under which the ELBO is greatest, of all replicas at once."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from bnn.gradients import WriteOut
from bnn.optimise import Loss, Progress, Training, silent, train
from bnn.posterior import Family as Networks
from bnn.posterior import Posterior
from bnn.predictive import log_mean_exp
from bnn.problem import Problem
from bnn.seeds import Streams
from bnn.variational.elbo import fast_negative_elbo
from bnn.variational.guide import Family
from bnn.variational.objective import check_prior, objective_caveats
from bnn.variational.trust import trusted

VALIDATION_DRAWS = 8


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


def mixture_loss(family: Callable[[Tensor], Networks]) -> Loss:
    """Return the loss of a guide's predictive: the mean of -log p(y_n | x_n, D), by a few draws."""

    def loss(problem: Problem, phi: Tensor, x: Tensor, y: Tensor, noise: Streams) -> Tensor:
        weights, _ = family(phi).draw(noise, VALIDATION_DRAWS)
        log_prob = problem.log_likelihood(weights, problem.outputs(weights, x), y)
        return -log_mean_exp(log_prob, dim=1).mean(-1)

    return loss
