"""Soft labels: distributions over the classes, or counts of labels, in place of one label a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from bnn.data import Task
from bnn.likelihoods.classification import Categorical
from bnn.likelihoods.likelihood import NO_LATENTS, Latents
from bnn.predictive import Predictive
from bnn.priors import Prior


@dataclass(frozen=True)
class SoftLabels:
    """Rows labelled by distributions q over the classes: sum_k q_k log softmax(f(x, w))_k.

    This is the expected log-likelihood of a label drawn from q, one factor of weight one per row.
    It is not a normalised density of q, so no evidence is claimed from it.

    Arguments:
        counts: take y as counts of labels and give every single label weight one (the multinomial,
            without its coefficient, which does not depend on the weights).
    """

    counts: bool = False
    task: ClassVar[Task] = "classification"
    latents: ClassVar[Mapping[str, Prior]] = NO_LATENTS

    def width(self, classes: int) -> int:
        """One logit per class."""
        return classes

    def targets(self, y: Tensor, like: Tensor) -> Tensor:
        """Counts, or label distributions that sum to one."""
        y = y.to(like)
        return y if self.counts else y / y.sum(-1, keepdim=True)

    def distribution(self, outputs: Tensor, latents: Latents, unit: Tensor) -> TorchDistribution:
        """Return the factor that scores a label distribution."""
        return SoftCategorical(outputs)

    def predictive(
        self, outputs: Tensor, latents: Latents, shift: Tensor, unit: Tensor
    ) -> Predictive:
        """Return the mixture of categorical distributions over one label."""
        return Categorical().predictive(outputs, latents, shift, unit)


class SoftCategorical(TorchDistribution):
    """The categorical distribution of some logits, scoring a distribution in place of a label."""

    arg_constraints: Mapping[str, Any] = {}
    support = constraints.independent(constraints.nonnegative, 1)

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits
        super().__init__(logits.shape[:-1], logits.shape[-1:], validate_args=False)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> SoftCategorical:
        """Return the same factor over a larger batch."""
        return SoftCategorical(self.logits.expand(*batch_shape, -1))

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw one label, as a distribution with all mass on it."""
        return dist.OneHotCategorical(logits=self.logits).sample(torch.Size(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Return sum_k value_k log softmax(logits)_k."""
        return (value * self.logits.log_softmax(-1)).sum(-1)
