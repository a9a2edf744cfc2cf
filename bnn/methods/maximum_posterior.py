"""Maximum a posteriori: the mode of the posterior.

    w* = argmin_w  -1/N sum_n log p(y_n | x_n, w) - 1/N log p(w)

Under a Normal prior this is coupled L2 weight decay of 1/(N scale^2) on the mean loss (not AdamW).
It is trained for a fixed budget: stopped early, it would be no mode.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from torch import Tensor

from bnn.gradients import of_joint
from bnn.methods.accuracy import Accuracy
from bnn.methods.maximum_likelihood import negative_log_likelihood
from bnn.optimise import Progress, Training, silent, train
from bnn.posterior import Atoms, Posterior
from bnn.problem import Problem
from bnn.seeds import Streams, as_seeds


@dataclass(frozen=True)
class MAP:
    """The point estimate at the mode of the posterior."""

    training: Training = Training(epochs=200, steps=2000, decay=True)

    name: ClassVar[str] = "map"
    label: ClassVar[str] = "MAP"
    reference: ClassVar[str] = "MacKay 1992, https://doi.org/10.1162/neco.1992.4.3.448"
    version: ClassVar[int] = 1
    accuracy: ClassVar[Accuracy] = Accuracy("mode", 1e-6, 0.2)

    def thorough(self) -> Self:
        """Return settings that end at the mode of a few weights."""
        training = Training(epochs=1000, learning_rate=0.05, decay=True)
        return replace(self, training=training)

    def fit(self, problem: Problem, seeds: Sequence[int], progress: Progress = silent) -> Posterior:
        """Train one network per seed, all at once."""
        seeds = as_seeds(seeds)
        problem = problem.for_seeds(seeds)
        start = problem.initial(seeds)
        fit = train(
            problem,
            seeds,
            self.training,
            start,
            negative_log_joint,
            negative_log_likelihood,
            progress,
            write_out=of_joint,
        )
        return Posterior(problem, Atoms(fit.parameters[:, None]), seeds, fit)


def negative_log_joint(
    problem: Problem, weights: Tensor, x: Tensor, y: Tensor, noise: Streams
) -> Tensor:
    """Return -1/N log p(w, y | x) as a batch estimates it, nats per row, `[replicas]`."""
    log_prior = problem.log_prior(weights[:, None])[:, 0]
    return negative_log_likelihood(problem, weights, x, y, noise) - log_prior / problem.points
