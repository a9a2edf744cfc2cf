"""Label smoothing: the ordinary network, told that every label is a little uncertain.

    w* = argmin_w  -1/N sum_n [ (1 - rate) log p(y_n | x_n, w) + rate 1/K sum_k log p(k | x_n, w) ]

It is the cross-entropy from labels of which a share `rate` is spread evenly over the K classes. Its
best answer is not the class frequencies p but (1 - rate) p + rate / K: less sure than the labels
warrant, which often mends a network that was surer than they warrant. The objective is no
likelihood of the labels, and a prior has no part in it; early stopping looks at the plain
cross-entropy, as maximum likelihood does, which it is at rate 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from torch import Tensor

from bnn.data import Task
from bnn.errors import InputError
from bnn.likelihoods import SoftCategorical
from bnn.methods.accuracy import Accuracy
from bnn.methods.maximum_likelihood import negative_log_likelihood
from bnn.optimise import Progress, Training, silent, train
from bnn.posterior import Atoms, Posterior
from bnn.problem import Problem
from bnn.seeds import Streams, as_seeds


@dataclass(frozen=True)
class LabelSmoothing:
    """The point estimate under smoothed labels.

    Raises:
        InputError: on rates outside [0, 1); in `fit`, on a regression.
    """

    rate: float = 0.1  # share of every label that is spread over all classes
    training: Training = Training(epochs=400, learning_rate=3e-3, patience=20)

    name: ClassVar[str] = "label_smoothing"
    label: ClassVar[str] = "Label smoothing"
    reference: ClassVar[str] = "Szegedy et al. 2016, https://arxiv.org/abs/1512.00567"
    version: ClassVar[int] = 1
    tasks: ClassVar[tuple[Task, ...]] = ("classification",)
    accuracy: ClassVar[Accuracy] = Accuracy("none", None, 0.2, gradient="other")

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise InputError("a smoothing rate in [0, 1)", repr(self.rate), "0.1 is usual.")

    def thorough(self) -> Self:
        """Return settings that end at the optimum of a few weights."""
        training = Training(epochs=3000, learning_rate=0.05, decay=True)
        return replace(self, training=training)

    def fit(self, problem: Problem, seeds: Sequence[int], progress: Progress = silent) -> Posterior:
        """Train one network per seed, all at once."""
        if problem.likelihood.task != "classification":
            raise InputError(
                "a classification, whose labels can be smoothed",
                problem.likelihood.task,
                "Use MLE for real targets.",
            )
        seeds = as_seeds(seeds)
        problem = problem.for_seeds(seeds)
        start = problem.initial(seeds)

        def loss(problem: Problem, weights: Tensor, x: Tensor, y: Tensor, noise: Streams) -> Tensor:
            return smoothed_cross_entropy(problem, weights, x, y, self.rate)

        fit = train(problem, seeds, self.training, start, loss, negative_log_likelihood, progress)
        return Posterior(problem, Atoms(fit.parameters[:, None]), seeds, fit)


def smoothed_cross_entropy(
    problem: Problem, weights: Tensor, x: Tensor, y: Tensor, rate: float
) -> Tensor:
    """Return the mean over a batch of the cross-entropy from smoothed labels, `[replicas]`.

    Counts of labels are smoothed label by label.

    Arguments:
        weights: flat, `[replicas, parameters]`.
        x, y: a standardised minibatch, `[replicas, batch, ...]`.
        rate: share of every label that is spread over all classes.
    """
    outputs = problem.outputs(weights[:, None], x)
    given = problem.likelihood.distribution(outputs, {}, outputs.new_ones(()))
    if isinstance(given, SoftCategorical):
        even = given.log_prob(y[:, None].mean(-1, keepdim=True))
    else:
        even = given.log_prob(given.enumerate_support()).mean(0)
    return -((1 - rate) * given.log_prob(y[:, None]) + rate * even).mean((1, 2))
