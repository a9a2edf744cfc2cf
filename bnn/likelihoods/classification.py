"""Labels of rows: one logit per class, or a single one for two classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.nn.functional import logsigmoid

from bnn.data import Task
from bnn.errors import InputError
from bnn.likelihoods.likelihood import NO_LATENTS, Latents
from bnn.predictive import CategoricalMixture, Predictive
from bnn.priors import Prior


@dataclass(frozen=True)
class Categorical:
    """p(y = k | x, w) = softmax(f(x, w))_k; minus its logarithm is the cross-entropy."""

    task: ClassVar[Task] = "classification"
    latents: ClassVar[Mapping[str, Prior]] = NO_LATENTS

    def width(self, classes: int) -> int:
        """One logit per class."""
        return classes

    def targets(self, y: Tensor, like: Tensor) -> Tensor:
        """Class numbers, as they are."""
        return y

    def distribution(self, outputs: Tensor, latents: Latents, unit: Tensor) -> TorchDistribution:
        """Return the categorical distribution of these logits."""
        return dist.Categorical(logits=outputs)

    def predictive(
        self, outputs: Tensor, latents: Latents, shift: Tensor, unit: Tensor
    ) -> Predictive:
        """Return the mixture of categorical distributions."""
        return CategoricalMixture(outputs)


@dataclass(frozen=True)
class Bernoulli:
    """Two classes by one logit: p(y = 1 | x, w) = 1 / (1 + exp(-f(x, w)))."""

    task: ClassVar[Task] = "classification"
    latents: ClassVar[Mapping[str, Prior]] = NO_LATENTS

    def width(self, classes: int) -> int:
        """One logit, for two classes only."""
        if classes != 2:
            raise InputError("two classes", f"{classes}", "Use Categorical, with a logit for each.")
        return 1

    def targets(self, y: Tensor, like: Tensor) -> Tensor:
        """0 and 1 as real numbers."""
        return y.to(like)

    def distribution(self, outputs: Tensor, latents: Latents, unit: Tensor) -> TorchDistribution:
        """Return the Bernoulli distribution of this logit."""
        return dist.Bernoulli(logits=outputs[..., 0])

    def predictive(
        self, outputs: Tensor, latents: Latents, shift: Tensor, unit: Tensor
    ) -> Predictive:
        """Return the same mixture as two classes of a categorical distribution."""
        logit = outputs[..., 0].double()
        return CategoricalMixture(torch.stack([logsigmoid(-logit), logsigmoid(logit)], dim=-2).mT)
