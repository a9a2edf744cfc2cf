"""Simulation-based calibration: is a posterior that of the model, whatever the model?

    w* ~ p(w),    y ~ p(y | X, w*),    w_1, ..., w_L ~ q(w | X, y)
    rank of g(w*, y) among g(w_1, y), ..., g(w_L, y)  ~  uniform on {0, ..., L},  if q is p(w | D)

for every quantity g and independent draws (Talts et al. 2018, https://arxiv.org/abs/1804.06788).
The quantities are what a network is for, its outputs at stated inputs, and the log-likelihood and
the log-prior. Predictions cannot tell a posterior from the prior, which passes; the log-likelihood
depends on the data and can (Modrák et al. 2023, https://arxiv.org/abs/2211.02383).

Each quantity's ranks face the tests of `bnn.check.uniformity`, Bonferroni over all quantities and
tests.

Samples of a chain are not independent, so they are thinned to their effective size: L draws, evenly
spaced, with L the worst bulk or tail ESS (ArviZ) over the quantities, at its lowest decile over the
simulations.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from bnn.check.calibration import Calibration
from bnn.check.generation import Simulated
from bnn.data.arrays import as_inputs
from bnn.diagnostics import worst_of
from bnn.methods import Method
from bnn.optimise import Progress, silent
from bnn.posterior import Atoms, Chains, Posterior
from bnn.problem import Problem
from bnn.seeds import as_seeds

LOWEST = 0.1  # share of the simulations whose ESS may be below the number of draws


@dataclass(frozen=True)
class Simulations:
    """Quantities at the weights that made the data, and at the posterior's.

    Arguments:
        names: of the quantities.
        truth: `[simulations, quantities]`.
        samples: `[simulations, chains, samples, quantities]`; a method that is no chain has one
            chain, of independent draws.
        chained: whether samples depend on each other.
    """

    names: tuple[str, ...]
    truth: Tensor
    samples: Tensor
    chained: bool

    @staticmethod
    def joined(parts: Sequence[Simulations]) -> Simulations:
        """Return the simulations of several runs together."""
        truth, samples = (torch.cat([getattr(p, n) for p in parts]) for n in ("truth", "samples"))
        return replace(parts[0], truth=truth, samples=samples)

    @cached_property
    def effective(self) -> int:
        """To how many draws the samples are thinned."""
        total = self.samples.shape[1] * self.samples.shape[2]
        if not self.chained:
            return total
        worst = [worst_of(one.numpy()) for one in self.samples]
        sizes = [min(one["ess_bulk"], one["ess_tail"]) for one in worst]
        return max(1, min(total, math.floor(np.quantile(np.nan_to_num(sizes), LOWEST))))

    @property
    def draws(self) -> Tensor:
        """The thinned samples, `[simulations, draws, quantities]`."""
        every = self.samples.flatten(1, 2)
        return every[:, torch.linspace(0, every.shape[1] - 1, self.effective).round().long()]

    def calibration(self) -> Calibration:
        """Return the ranks of the truth among the draws."""
        return Calibration.of(self.names, self.truth, self.draws)


def simulations(
    method: Method,
    problem: Problem,
    at: ArrayLike | Tensor,
    seeds: Iterable[int],
    draws: int = 100,
    progress: Progress = silent,
) -> Simulations:
    """Fit data that the model made, all simulations as replicas of one fit.

    Arguments:
        method: any.
        problem: with one replica, whose inputs are kept and whose targets are drawn anew.
        at: inputs at which outputs of the network are looked at, original units,
            `[points, *features]`.
        seeds: one per simulation, for its data and for its fit.
        draws: of each posterior, where it is no finite set.
        progress: told the share that is done.

    Raises:
        InputError: as `Simulated.of`, and as the method's fit.
    """
    seeds = as_seeds(seeds)
    simulated = Simulated.of(problem, seeds)
    posterior = method.fit(simulated.problem, seeds, progress)
    source = Posterior(simulated.problem, Atoms(simulated.weights), seeds, posterior.fit)
    x = (at if isinstance(at, Tensor) else as_inputs("at", at)).to(problem.train.table.device)
    truth, samples = (quantities(one, x, draws) for one in (source, posterior))
    family = posterior.family
    shape = family.weights.shape[1:3] if isinstance(family, Chains) else (1, samples.shape[1])
    return Simulations(
        names=_names(len(x), source.problem.network.outputs),
        truth=truth[:, 0],
        samples=samples.unflatten(1, shape),
        chained=isinstance(family, Chains),
    )


def quantities(posterior: Posterior, at: Tensor, draws: int) -> Tensor:
    """Return outputs at some inputs, the log-likelihood and the log-prior of a posterior's draws.

    Arguments:
        posterior: of one or more replicas.
        at: inputs, original units, `[points, *features]`.
        draws: how many, where there is a choice.

    Returns:
        `[replicas, draws, points * outputs + 2]`.
    """
    problem = posterior.problem
    predicted = posterior.outputs(at[None], draws)[0].flatten(2)
    outputs, latents = posterior.outputs(problem.train.x, draws)
    _, y = problem.batch(problem.train)
    unit = problem.targets.scale.to(problem.like)[:, None, None]
    given = problem.likelihood.distribution(outputs, latents, unit)
    log_likelihood = given.log_prob(y[:, None]).sum(-1)
    log_prior = problem.log_prior(problem.layout.flat(posterior.weights(draws)))
    densities = [log_likelihood, log_prior.expand(log_likelihood.shape)]
    return torch.cat([predicted, torch.stack(densities, dim=-1)], dim=-1).cpu()


def _names(points: int, outputs: int) -> tuple[str, ...]:
    predicted = [f"output {k} at {i}" for i in range(points) for k in range(outputs)]
    return (*predicted, "log-likelihood", "log-prior")
