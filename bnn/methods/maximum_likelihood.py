"""Maximum likelihood: the ordinary network, trained with cross-entropy or squared error.

    w* = argmin_w  -1/N sum_n log p(y_n | x_n, w)

For classes the loss is the cross-entropy. Nothing but early stopping holds the weights back. One
network is the prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from torch import Tensor

from bnn.gradients import of_likelihood
from bnn.methods.accuracy import Accuracy
from bnn.optimise import Progress, Training, silent, train
from bnn.posterior import Atoms, Posterior
from bnn.problem import Problem
from bnn.seeds import Streams, as_seeds


@dataclass(frozen=True)
class MLE:
    """The point estimate of maximum likelihood."""

    training: Training = Training(epochs=400, learning_rate=3e-3, patience=20)

    name: ClassVar[str] = "mle"
    label: ClassVar[str] = "MLE (cross-entropy)"
    reference: ClassVar[str] = "Fisher 1922, https://doi.org/10.1098/rsta.1922.0009"
    version: ClassVar[int] = 1
    accuracy: ClassVar[Accuracy] = Accuracy("least_squares", 1e-6, 0.4)

    def thorough(self) -> Self:
        """Return settings that end at the optimum of a few weights."""
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
            negative_log_likelihood,
            negative_log_likelihood,
            progress,
            write_out=of_likelihood,
        )
        return Posterior(problem, Atoms(fit.parameters[:, None]), seeds, fit)


def negative_log_likelihood(
    problem: Problem, weights: Tensor, x: Tensor, y: Tensor, noise: Streams
) -> Tensor:
    """Return the mean of -log p(y_n | x_n, w) over a batch, nats per row, `[replicas]`."""
    return problem.loss(weights[:, None], x, y)[:, 0]
