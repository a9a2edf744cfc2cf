"""SGHMC: stochastic gradient Hamiltonian Monte Carlo, gradient steps with inertia and noise.

    v' = (1 - a) v + e grad log p(w, D) + sqrt(2 a e T) eps,    w' = w + v',    eps ~ Normal(0, 1)

The gradient is estimated on a minibatch, of the log joint summed over all N rows; in terms of the
loss per row e = learning_rate / N. Friction a takes off what the noise puts in. The velocity keeps
its direction for about 1 / a steps, so that the chain moves as SGLD with the step h = 2 e / a, at a
fraction of the error: for a Normal posterior of precision l its variance is
1 / (l (1 - e l / (2 (2 - a)))), and minibatches add to that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from bnn.forecast import Forecast, check, of_chains
from bnn.methods.accuracy import Accuracy
from bnn.methods.langevin import (
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
class SGHMC:
    """Samples of several chains of underdamped Langevin dynamics, each from a start of its own."""

    learning_rate: float = 0.005  # of the loss per row; the posterior's step is e = it / N
    friction: float = 0.1  # share of the velocity lost per step; 1: SGLD with h = 2 e
    steps: int = 10_000  # of each chain, at least
    batch_size: int | None = None  # rows per step; None: 128, or all where there are fewer
    burn_in: float = 0.5  # share of the steps before samples are kept
    chains: int = 4  # per replica
    samples: int = 25  # kept of each chain, evenly spaced
    temperature: float = 1.0  # of the posterior p(w | D)^(1 / temperature)

    name: ClassVar[str] = "sghmc"
    label: ClassVar[str] = "SGHMC"
    reference: ClassVar[str] = "Chen, Fox, Guestrin 2014, https://arxiv.org/abs/1402.4102"
    version: ClassVar[int] = 1
    accuracy: ClassVar[Accuracy] = Accuracy("posterior", None, 0.05)

    def __post_init__(self) -> None:
        check_settings(
            {"learning_rate": self.learning_rate, "temperature": self.temperature},
            {"steps": self.steps, "chains": self.chains, "samples": self.samples},
        )
        check_share("burn_in", self.burn_in)
        check_friction(self.friction)

    def thorough(self) -> Self:
        """Return settings for a problem of a few weights, to some percent of each variance."""
        return replace(self, learning_rate=0.005, steps=5000, chains=40, samples=20)

    def forecast(self, problem: Problem) -> Forecast:
        """Return what one replica takes: the samples of its chains."""
        return of_chains(problem, self.chains, self.samples)

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
            schedule=lambda done: (self.learning_rate, self.temperature),
            chains=self.chains,
            kept=evenly(self.burn_in * steps, steps, self.samples),
            temperature=self.temperature,
            progress=progress,
        )
