"""SGLD: stochastic gradient Langevin dynamics, gradient steps with noise that samples weights.

    w' = w + h/2 grad log p(w, D) + sqrt(h T) eps,    eps ~ Normal(0, 1)

The gradient is estimated on a minibatch, of the log joint summed over all N rows; in terms of the
loss per row h = 2 learning_rate / N. The step is constant and no proposal is rejected, so the law
of the chain is near the posterior and not at it: for a Normal posterior of precision l its variance
is 1 / (l (1 - h l / 4)), and minibatches add to that. The largest precision bounds the step, and
the least one sets how long a start is remembered: about 2 / (h l) steps, which for a weight that
the data leave to a prior of standard deviation s is s^2 N / learning_rate. Where precisions differ
much, as with targets of little noise, SGHMC gets there in fewer steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from bnn.forecast import Forecast, check, of_chains
from bnn.methods.accuracy import Accuracy
from bnn.methods.langevin import check_settings, check_share, evenly, sample, steps_of
from bnn.optimise import Progress, Training, silent
from bnn.posterior import Posterior
from bnn.problem import Problem
from bnn.seeds import as_seeds


@dataclass(frozen=True)
class SGLD:
    """Samples of several chains of Langevin dynamics, each from a start of its own."""

    learning_rate: float = 0.01  # of the loss per row; the posterior's step is h = 2 times it / N
    steps: int = 10_000  # of each chain, at least
    batch_size: int | None = None  # rows per step; None: 128, or all where there are fewer
    burn_in: float = 0.5  # share of the steps before samples are kept
    chains: int = 4  # per replica
    samples: int = 25  # kept of each chain, evenly spaced
    temperature: float = 1.0  # of the posterior p(w | D)^(1 / temperature)

    name: ClassVar[str] = "sgld"
    label: ClassVar[str] = "SGLD"
    reference: ClassVar[str] = "Welling & Teh 2011, https://icml.cc/2011/papers/398_icmlpaper.pdf"
    version: ClassVar[int] = 1
    accuracy: ClassVar[Accuracy] = Accuracy("posterior", None, 0.2)

    def __post_init__(self) -> None:
        check_settings(
            {"learning_rate": self.learning_rate, "temperature": self.temperature},
            {"steps": self.steps, "chains": self.chains, "samples": self.samples},
        )
        check_share("burn_in", self.burn_in)

    def thorough(self) -> Self:
        """Return settings for a problem of a few weights, to some percent of each variance.

        Directions as wide as a prior of scale 3 would need ten times the steps.
        """
        return replace(self, learning_rate=0.005, steps=3000, chains=100, samples=20)

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
            friction=1.0,
            schedule=lambda done: (self.learning_rate, self.temperature),
            chains=self.chains,
            kept=evenly(self.burn_in * steps, steps, self.samples),
            temperature=self.temperature,
            progress=progress,
        )
