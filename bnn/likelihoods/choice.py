"""The usual likelihood, where none is named: by the task and what the network puts out."""

from __future__ import annotations

from bnn.data import Task
from bnn.likelihoods.classification import Bernoulli, Categorical
from bnn.likelihoods.likelihood import Likelihood
from bnn.likelihoods.noise import InputNoise, LearnedNoise
from bnn.likelihoods.normal import Normal
from bnn.likelihoods.soft_labels import SoftLabels


def default(task: Task, soft: bool, outputs: int) -> Likelihood:
    """Return the usual likelihood for a task and a network with this many outputs."""
    if task == "regression":
        return Normal(InputNoise() if outputs == 2 else LearnedNoise())
    if soft:
        return SoftLabels()
    return Bernoulli() if outputs == 1 else Categorical()
