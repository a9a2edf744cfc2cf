"""Hamiltonian Monte Carlo: samples of the posterior itself, from many chains at once.

    U(w) = -log p(w) - sum_n log p(y_n | x_n, w),    w_1, w_2, ... ~ exp(-U(w))

Every leapfrog step takes one gradient over all rows, for all chains of all replicas together. The
gradient is that of the program written out; when a fit starts, its value and gradient are compared
with Pyro's trace of `problem.model`, and if they differ, Pyro's is used. Of a perceptron it is
written out further, without autograd (`bnn.gradients`), and compared with autograd's.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import pyro
import torch
from pyro import poutine
from torch import Tensor

from bnn.errors import InputError
from bnn.forecast import Forecast, check, of_chains
from bnn.gradients import Gradient, exact, of_joint
from bnn.hamiltonian import Potential, Sampled, State, sample
from bnn.methods.accuracy import Accuracy
from bnn.methods.members import spread
from bnn.methods.partial import Which, inferred, partial
from bnn.optimise import CURVE_POINTS, Curve, Fit, Progress, agrees, difference, silent
from bnn.posterior import Chains, Posterior
from bnn.problem import Problem
from bnn.seeds import Streams, as_seeds
from bnn.threads import threads_for

TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}  # relative difference to Pyro's density


@dataclass(frozen=True)
class HMC:
    """Hamiltonian Monte Carlo, with trajectories of adapted length over parallel chains."""

    chains: int = 16  # at once, for each replica
    warmup: int = 500  # iterations that adapt the step, the scales and the trajectories
    samples: int = 250  # kept of each chain
    thin: int = 4  # iterations per kept sample
    acceptance: float = 0.8  # mean acceptance probability to adapt the step to
    max_steps: int = 256  # leapfrog steps of a trajectory, at most
    last_layer: Which = False  # infer the last layer alone, or what a predicate over names chooses

    name: ClassVar[str] = "hmc"
    label: ClassVar[str] = "HMC"
    reference: ClassVar[str] = (
        "Hoffman, Radul, Sountsov 2021, https://proceedings.mlr.press/v130/hoffman21a.html"
    )
    version: ClassVar[int] = 1
    accuracy: ClassVar[Accuracy] = Accuracy("posterior", None, 0.01)

    def __post_init__(self) -> None:
        check_chains(self.chains, self.warmup, self.samples, self.acceptance)
        counts = (self.thin, self.max_steps)
        if not all(isinstance(n, int) and n >= 1 for n in counts):
            raise InputError(
                "at least one iteration per kept sample, and one leapfrog step",
                f"thin={self.thin!r}, max_steps={self.max_steps!r}",
                "4 and 256 are usual.",
            )

    def thorough(self) -> Self:
        """Return settings for a problem of a few weights, to small Monte-Carlo errors."""
        return replace(self, warmup=1000, samples=1000)

    def forecast(self, problem: Problem) -> Forecast:
        """Return what one replica takes: the samples of its chains."""
        size = inferred(problem, self.last_layer).size
        return of_chains(problem, self.chains, self.samples, size)

    def fit(self, problem: Problem, seeds: Sequence[int], progress: Progress = silent) -> Posterior:
        """Run the chains of all seeds at once."""
        seeds = as_seeds(seeds)
        problem = problem.for_seeds(seeds)
        check(self.forecast(problem), problem)
        problem = partial(problem, seeds, self.last_layer)
        check_proper(problem)
        start = starts(problem, seeds, self.chains)
        began = time.perf_counter()
        # Validation would raise where a replica is not finite.
        with threads_for(problem.layout.size), pyro.validation_enabled(False):
            sampled = sample(
                trusted(problem, start),
                start,
                Streams(seeds, "trajectories", start.device, start.dtype),
                warmup=self.warmup,
                samples=self.samples,
                thin=self.thin,
                acceptance=self.acceptance,
                max_steps=self.max_steps,
                progress=progress,
            )
        seconds = time.perf_counter() - began
        fit = _fit(sampled, problem.points, seconds)
        return Posterior(problem, Chains(sampled.positions), seeds, fit)


def check_chains(chains: int, warmup: int, samples: int, acceptance: float) -> None:
    """Refuse numbers of chains and iterations, and a target, that are none."""
    counts = (chains, warmup + 1, samples) if isinstance(warmup, int) else ()
    if not counts or not all(isinstance(n, int) and n >= 1 for n in counts):
        raise InputError(
            "at least one chain and one sample, and a whole number of iterations before it",
            f"chains={chains!r}, samples={samples!r}, warmup={warmup!r}",
            "At least 4 chains are needed to tell whether they agree.",
        )
    if not 0 < acceptance < 1:
        raise InputError(
            "an acceptance probability between 0 and 1", repr(acceptance), "0.8 is usual."
        )


def check_proper(problem: Problem) -> None:
    """Refuse a prior that is no density: there may be no posterior to sample from."""
    if not problem.prior.proper:
        raise InputError(
            "a proper prior", "Flat", "Without a prior the posterior may not be a distribution."
        )


def starts(problem: Problem, seeds: Sequence[int], chains: int) -> Tensor:
    """Return where the chains start, `[replicas, chains, parameters]`.

    Chain 0 starts where every other method does, the others at starts of their own, as the members
    of a deep ensemble.
    """
    everyone, each = spread(problem, seeds, chains)
    return everyone.initial(each).unflatten(0, (problem.replicas, chains))


def potential_of(problem: Problem) -> Potential:
    """Return U(w) = -log p(w, D) of weights `[replicas, chains, parameters]`."""
    x, y = problem.batch(problem.train)
    prior = problem.prior_distribution()

    def potential(weights: Tensor) -> Tensor:
        log_likelihood = problem.log_likelihood(weights, problem.outputs(weights, x), y)
        return -prior.log_prob(weights) - log_likelihood.sum(-1)

    return potential


def pyro_potential_of(problem: Problem) -> Potential:
    """Return the same by Pyro's trace of the program `problem.model`, chain by chain."""

    def one(weights: Tensor) -> Tensor:
        model = poutine.condition(problem.model, {"weights": weights})
        trace = poutine.trace(model).get_trace()
        trace.compute_log_prob()
        return -trace.nodes["weights"]["log_prob"][:, 0] - trace.nodes["y"]["log_prob"].sum(-1)

    return lambda weights: torch.stack([one(w) for w in weights.split(1, dim=1)], dim=1)


def trusted(problem: Problem, start: Tensor) -> Potential:
    """Return the potential written out if it agrees with Pyro's at the first chains' starts."""
    weights = start[:, :1]
    fast, slow = potential_of(problem), pyro_potential_of(problem)
    found, expected = (State.at(potential, weights) for potential in (fast, slow))
    worst = max(
        difference(found.potential, expected.potential),
        difference(found.gradient, expected.gradient),
    )
    if worst <= TOLERANCE.get(start.dtype, 1e-3):
        return _written_out(problem, fast, start)
    warnings.warn(
        f"The log density differs from Pyro's by {worst:.1e} (relative). Sampling goes on with "
        "Pyro's own, which is slower.",
        stacklevel=2,
    )
    return slow


@dataclass(frozen=True)
class WrittenOut:
    """A potential whose gradient is written out.

    Arguments:
        potential: U.
        gradient: of U / N on all rows, at the positions in `place`.
        place: `[replicas, chains, parameters]`.
        points: N.
        none: streams from which nothing is drawn.
    """

    potential: Potential
    gradient: Gradient
    place: Tensor
    points: int
    none: Streams

    @staticmethod
    def of(problem: Problem, potential: Potential, start: Tensor) -> WrittenOut | None:
        """Return the potential with its gradient, where that is known."""
        place = start.detach().clone()
        gradient = of_joint(problem, problem.points, place)
        if gradient is None:
            return None
        gradient.see(*problem.batch(problem.train))
        none = Streams([], "none", start.device, start.dtype)
        return WrittenOut(potential, gradient, place, problem.points, none)

    def __call__(self, position: Tensor) -> Tensor:
        """Return U."""
        return self.potential(position)

    def with_gradient(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """Return U and its gradient."""
        with torch.inference_mode():
            self.place.copy_(position)
            value, slope = self.gradient.at(0, self.none)
        return value * self.points, slope * self.points


def _written_out(problem: Problem, potential: Potential, start: Tensor) -> Potential:
    """Return the potential with its gradient, where that is known and agrees with autograd."""
    written = WrittenOut.of(problem, potential, start)
    if written is None:
        return potential
    problem, start = exact(problem), start.double()
    again = WrittenOut.of(problem, potential, start) or potential
    found, expected = (State.at(way, start) for way in (again, potential_of(problem)))
    close = agrees((found.potential, found.gradient), (expected.potential, expected.gradient))
    return written if close else potential


def _fit(sampled: Sampled, points: int, seconds: float) -> Fit:
    """Return the account of the chains; the curve is their mean of U per row."""
    lost = [not finite for finite in sampled.potential.isfinite().all(0).tolist()]
    curves = tuple(
        _curve([u / points for u in course], diverged)
        for course, diverged in zip(sampled.potential.T.tolist(), lost, strict=True)
    )
    told = zip(
        sampled.divergences.tolist(),
        sampled.acceptance.tolist(),
        sampled.step.tolist(),
        sampled.gradients.tolist(),
        strict=True,
    )
    names = ("divergences", "acceptance", "step", "gradients")
    diagnostics = tuple(dict(zip(names, one, strict=True)) for one in told)
    return Fit(sampled.positions, curves, tuple(lost), seconds, diagnostics)


def _curve(course: list[float], diverged: bool) -> Curve:
    """Return every so many iterations of a chain; of one that is lost, how long it lasted."""
    if diverged:
        course = course[: 1 + next(i for i, u in enumerate(course) if not math.isfinite(u))]
    stride = math.ceil(len(course) / CURVE_POINTS)
    rows = range((len(course) - 1) % stride, len(course), stride)
    return Curve(tuple(row + 1 for row in rows), tuple(course[row] for row in rows))
