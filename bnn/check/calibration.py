"""Simulation-based calibration: is a posterior that of the model, whatever the model?

    w* ~ p(w),    y ~ p(y | X, w*),    w_1, ..., w_L ~ q(w | X, y)
    rank of g(w*, y) among g(w_1, y), ..., g(w_L, y)  ~  uniform on {0, ..., L},  if q is p(w | D)

for every quantity g and independent draws (Talts et al. 2018, https://arxiv.org/abs/1804.06788).
The quantities are what a network is for, its outputs at stated inputs, and the log-likelihood and
the log-prior. Predictions cannot tell a posterior from the prior, which passes; the log-likelihood
depends on the data and can (Modrák et al. 2023, https://arxiv.org/abs/2211.02383).

Each quantity's ranks face three tests, Bonferroni over all quantities and tests:

    dispersion   sum of squared normal scores ~ chi-square(n)  (Cook, Gelman & Rubin 2006)
    shift        Kolmogorov and Smirnov, on the steps of the ranks
    uniformity   chi-square over bins of nearly equal width

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
from pyro.distributions import TorchDistribution
from scipy import stats
from torch import Tensor

from bnn.check.row import Row
from bnn.data import Rows
from bnn.data.arrays import as_inputs
from bnn.diagnostics import worst_of
from bnn.errors import InputError
from bnn.likelihoods import SoftLabels
from bnn.methods import Method
from bnn.optimise import Progress, silent
from bnn.posterior import Atoms, Chains, Posterior
from bnn.problem import Problem
from bnn.seeds import as_seeds, seeded

FALSE_ALARMS = 1e-3  # probability that exact posteriors fail any test at all
BINS = 20  # of the test for uniformity, at most
LOWEST = 0.1  # share of the simulations whose ESS may be below the number of draws
TESTS = ("dispersion", "shift", "uniformity")


@dataclass(frozen=True)
class Simulated:
    """Replicas of a problem with targets drawn from the model.

    Arguments:
        problem: one replica per simulation; inputs, and all scaling, are those of the original.
        weights: from which the targets were drawn, `[simulations, 1, parameters]`.
    """

    problem: Problem
    weights: Tensor

    @staticmethod
    def of(problem: Problem, seeds: Iterable[int]) -> Simulated:
        """Draw weights from the prior and targets from the model, one simulation per seed.

        Arguments:
            problem: with one replica, whose inputs are kept, those of validation and calibration
                too, and whose targets play no part.
            seeds: one per simulation.

        Raises:
            InputError: on several replicas; where prior or likelihood are no density to draw from.
        """
        _check_generative(problem)
        parts = (problem.train, problem.validation, problem.calibration)
        x = torch.cat([rows.x for rows in parts], dim=1)
        prior, z = problem.prior_distribution(), problem.standardise(x)
        drawn = [_draw(problem, prior, z, seed) for seed in as_seeds(seeds)]
        weights, y = (torch.cat(part) for part in zip(*drawn, strict=True))
        table = x[0].repeat(len(y), *[1] * (x.ndim - 2))
        index = torch.arange(len(table), device=x.device).view(y.shape)
        every = Rows(table, y.flatten().to(problem.train.labels), index)
        train, validation, calibration = (
            replace(every, index=some) for some in index.split([p.points for p in parts], dim=1)
        )
        many = problem.take([0] * len(y))
        made = replace(many, train=train, validation=validation, calibration=calibration)
        return Simulated(made, weights)


def _draw(
    problem: Problem, prior: TorchDistribution, x: Tensor, seed: int
) -> tuple[Tensor, Tensor]:
    """Return weights `[1, 1, parameters]`, and targets in original units, `[1, points]`.

    Arguments:
        x: standardised inputs, `[1, points, *features]`.
    """
    unit = problem.targets.scale.to(problem.like)[:, None, None]
    with seeded(seed, "simulation"), torch.no_grad():
        weights = prior.sample((1, 1))
        outputs = problem.outputs(weights, x)
        given = problem.likelihood.distribution(outputs, problem.latents(weights), unit)
        y = given.sample()[:, 0]
    if problem.likelihood.task == "regression":
        y = problem.targets.mean[:, None] + problem.targets.scale[:, None] * y
    return weights, y


def _check_generative(problem: Problem) -> None:
    if problem.replicas != 1:
        raise InputError(
            "a problem of one replica", f"{problem.replicas}", "Take one: problem.take([0])."
        )
    if not problem.prior.proper:
        raise InputError("a proper prior", "Flat", "There are no weights to draw from it.")
    if isinstance(problem.likelihood, SoftLabels):
        raise InputError(
            "a likelihood that is a density of the targets", "SoftLabels", "Use class numbers."
        )


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


@dataclass(frozen=True)
class Calibration:
    """How the truth ranks among draws.

    Arguments:
        names: of the quantities.
        counts: how many simulations had each rank, `[quantities, draws + 1]`; NaN where a quantity
            was not finite.
    """

    names: tuple[str, ...]
    counts: np.ndarray

    @staticmethod
    def of(names: tuple[str, ...], truth: Tensor, draws: Tensor) -> Calibration:
        """Count ranks.

        Arguments:
            names: of the quantities.
            truth: `[simulations, quantities]`.
            draws: independent ones, `[simulations, draws, quantities]`.
        """
        ranks = (draws < truth[:, None]).sum(1)
        possible = torch.arange(draws.shape[1] + 1)
        counts = (ranks[..., None] == possible).sum(0).double()
        lost = ~(truth.isfinite().all(0) & draws.isfinite().all(0).all(0))
        return Calibration(names, counts.masked_fill(lost[:, None], math.nan).numpy())

    @property
    def p_values(self) -> np.ndarray:
        """Of each test, `[quantities, tests]`, in the order of `TESTS`."""
        return p_values(self.counts)

    def rows(self, method: str, false_alarms: float = FALSE_ALARMS) -> list[Row]:
        """Return a row per quantity and test: the p-value must not be below the line.

        Arguments:
            method: its name.
            false_alarms: probability that exact posteriors fail any of the rows.
        """
        line = false_alarms / self.p_values.size
        return [
            Row(method, f"calibration: {test} of {name}, p-value", line, p, 0.0, ">=")
            for name, row in zip(self.names, self.p_values.tolist(), strict=True)
            for test, p in zip(TESTS, row, strict=True)
        ]

    def caught(self, false_alarms: float = FALSE_ALARMS) -> set[str]:
        """Return the names of the quantities that are not calibrated."""
        p = self.p_values
        return {
            name
            for name, row in zip(self.names, p, strict=True)
            if not (row >= false_alarms / p.size).all()
        }

    def power(
        self, quantity: str, size: int, subsets: int = 1000, false_alarms: float = FALSE_ALARMS
    ) -> float:
        """Return the probability that so many simulations show a quantity not to be calibrated.

        It is the share of subsets of these simulations that fail a test. Subsets of that size are
        what other runs of that size would be, so the estimate is unbiased; samples drawn with
        replacement would vary too much, and fail too often.

        Arguments:
            quantity: its name.
            size: simulations of each subset; many fewer than there are, for a precise answer.
            subsets: how many.
            false_alarms: as of `rows`.
        """
        counts = self.counts[self.names.index(quantity)].astype(int)
        found = np.random.default_rng(0).multivariate_hypergeometric(counts, size, subsets)
        failed = ~(p_values(found) >= false_alarms / self.p_values.size).all(1)
        return float(failed.mean())


def p_values(counts: np.ndarray) -> np.ndarray:
    """Return p-values of the hypothesis that ranks are uniform, `[..., tests]`.

    Arguments:
        counts: how often each rank was found, `[..., ranks]`.
    """
    return np.stack([_dispersion(counts), _shift(counts), _uniformity(counts)], axis=-1)


def _dispersion(counts: np.ndarray) -> np.ndarray:
    """Squared normal scores, of variance one by construction, against chi-square; both sides."""
    ranks = counts.shape[-1]
    scores = stats.norm.ppf((np.arange(ranks) + 0.5) / ranks) ** 2
    n, total = counts.sum(-1), counts @ scores / scores.mean()
    return np.minimum(1.0, 2 * np.minimum(stats.chi2.cdf(total, n), stats.chi2.sf(total, n)))


def _shift(counts: np.ndarray) -> np.ndarray:
    """Kolmogorov and Smirnov at the steps: conservative, as always where there are ties."""
    n, ranks = counts.sum(-1), counts.shape[-1]
    uniform = np.arange(1, ranks + 1) / ranks
    gap = np.abs(counts.cumsum(-1) / n[..., None] - uniform).max(-1)
    return stats.kstwo.sf(gap, n)


def _uniformity(counts: np.ndarray) -> np.ndarray:
    """Chi-square over bins that hold nearly as many ranks each."""
    ranks = counts.shape[-1]
    bins = min(BINS, ranks)
    first = np.arange(bins) * ranks // bins
    found = np.add.reduceat(counts, first, axis=-1)
    expected = counts.sum(-1, keepdims=True) * np.diff([*first, ranks]) / ranks
    return stats.chi2.sf(((found - expected) ** 2 / expected).sum(-1), bins - 1)
