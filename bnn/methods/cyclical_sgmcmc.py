"""Cyclical SG-MCMC: a step size that falls and is raised again, to visit one mode after another.

    rate_k = learning_rate / 2 (cos(pi r_k) + 1),    r_k: the share of its cycle done at step k
    v' = (1 - a) v + e_k grad log p(w, D) + sqrt(2 a e_k T_k) eps,    w' = w + v'

Here e_k = rate_k / N. While r_k is below the share of exploration there is no noise (T_k = 0), and
large steps lead to another mode; after it T_k = 1 (unless set), and samples are kept, evenly spaced
to the end of the cycle. Friction a = 1 gives cyclical SGLD, less of it cyclical SGHMC. Small steps
make a small error, but there are few of them in a cycle: what they have no time to reach stays as
exploration left it, which is narrower than the posterior.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import cos, pi
from typing import ClassVar, Self

from bnn.forecast import Forecast, check, of_chains
from bnn.methods.accuracy import Accuracy
from bnn.methods.langevin import (
    Schedule,
    check_friction,
    check_settings,
    check_share,
    evenly,
    sample,
    steps_of,
)
from bnn.optimise import Progress, Training, silent
from bnn.posterior import Posterior
from bnn.problem import Problem
from bnn.seeds import as_seeds


@dataclass(frozen=True)
class CyclicalSGMCMC:
    """Samples from the end of each cycle of several chains, each from a start of its own."""

    learning_rate: float = 0.01  # of the loss per row, at the start of a cycle
    friction: float = 0.1  # share of the velocity lost per step; 1: cyclical SGLD
    steps: int = 10_000  # of each chain, at least
    cycles: int = 5  # of each chain
    exploration: float = 0.8  # share of a cycle without noise
    batch_size: int | None = None  # rows per step; None: 128, or all where there are fewer
    chains: int = 4  # per replica
    samples: int = 5  # kept of each cycle
    temperature: float = 1.0  # of the posterior p(w | D)^(1 / temperature)

    name: ClassVar[str] = "cyclical_sgmcmc"
    label: ClassVar[str] = "Cyclical SG-MCMC"
    reference: ClassVar[str] = "Zhang et al. 2020, https://arxiv.org/abs/1902.03932"
    version: ClassVar[int] = 1
    accuracy: ClassVar[Accuracy] = Accuracy("approximate", 0.3, 0.1, spread=(0.95, 1.1))

    def __post_init__(self) -> None:
        counts = {"steps": self.steps, "chains": self.chains, "samples": self.samples}
        check_settings(
            {"learning_rate": self.learning_rate, "temperature": self.temperature},
            {**counts, "cycles": self.cycles},
        )
        check_share("exploration", self.exploration)
        check_friction(self.friction)

    def thorough(self) -> Self:
        """Return settings for a problem of a few weights: more chains, and half of each cycle."""
        return replace(self, steps=5000, chains=20, exploration=0.5, samples=10)

    def forecast(self, problem: Problem) -> Forecast:
        """Return what one replica takes: the samples of its chains."""
        return of_chains(problem, self.chains, self.cycles * self.samples)

    def fit(self, problem: Problem, seeds: Sequence[int], progress: Progress = silent) -> Posterior:
        """Run the chains of all seeds at once."""
        seeds = as_seeds(seeds)
        problem = problem.for_seeds(seeds)
        check(self.forecast(problem), problem)
        training = Training(0, self.steps, self.learning_rate, self.batch_size)
        steps = steps_of(training, problem.points)
        return sample(
            problem,
            seeds,
            training,
            self.friction,
            self.schedule(steps),
            chains=self.chains,
            kept=self.kept(steps),
            temperature=self.temperature,
            progress=progress,
        )

    def schedule(self, steps: int) -> Schedule:
        """Return learning rate and temperature by how many of the `steps` are done."""

        def phase(done: int) -> tuple[float, float]:
            share = done * self.cycles % steps / steps
            rate = self.learning_rate * (1 + cos(pi * share)) / 2
            return rate, self.temperature if share >= self.exploration else 0.0

        return phase

    def kept(self, steps: int) -> list[int]:
        """Return the steps after which weights are kept."""
        length = steps / self.cycles
        return [
            step
            for cycle in range(self.cycles)
            for step in evenly(
                (cycle + self.exploration) * length, (cycle + 1) * length, self.samples
            )
        ]
