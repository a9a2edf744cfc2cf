"""Losses that are no likelihoods: what else networks are trained with, for any method.

    exp(-loss(y, f(x, w))) stands where p(y | x, w) stood

so that "MLE" minimises the mean loss, and a posterior is a generalised one: nothing says on which
scale the loss is to be weighed against the prior, because exp(-loss) is no density of y.

Reference: Bissiri, Holmes, Walker (2016), https://doi.org/10.1111/rssb.12158
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from bnn.data import Task
from bnn.errors import InputError
from bnn.likelihoods import NO_LATENTS, Categorical, Latents
from bnn.metrics.likelihood import brier
from bnn.predictive import Predictive
from bnn.priors import Prior


@dataclass(frozen=True)
class SquaredError:
    """Squared error between softmax outputs and one-hot labels: the Brier score as a loss.

    Its mean is smallest where softmax(f(x)) is the true p(y | x): a proper score, like the
    cross-entropy, but bounded by 2, so that certainty in the wrong is hardly punished.
    """

    task: ClassVar[Task] = "classification"
    latents: ClassVar[Mapping[str, Prior]] = NO_LATENTS

    def width(self, classes: int) -> int:
        """One logit per class."""
        return classes

    def targets(self, y: Tensor, like: Tensor) -> Tensor:
        """Class numbers, as they are."""
        return y

    def distribution(self, outputs: Tensor, latents: Latents, unit: Tensor) -> TorchDistribution:
        """Return the factor exp(-Brier score)."""
        return Factor(outputs, lambda y: brier(outputs.softmax(-1), y))

    def predictive(
        self, outputs: Tensor, latents: Latents, shift: Tensor, unit: Tensor
    ) -> Predictive:
        """Return the mixture of categorical distributions."""
        return Categorical().predictive(outputs, latents, shift, unit)


@dataclass(frozen=True)
class Hinge:
    """The loss of a support vector machine: max(0, 1 - t f(x)), t = -1 or 1, for two classes.

    Its mean is smallest at f(x) = sign(p(y = 1 | x) - 1/2): a decision, and no probability.
    """

    task: ClassVar[Task] = "classification"
    latents: ClassVar[Mapping[str, Prior]] = NO_LATENTS

    def width(self, classes: int) -> int:
        """One margin, for two classes only."""
        if classes != 2:
            raise InputError("two classes", f"{classes}", "A margin separates two.")
        return 1

    def targets(self, y: Tensor, like: Tensor) -> Tensor:
        """-1 and 1."""
        return 2 * y.to(like) - 1

    def distribution(self, outputs: Tensor, latents: Latents, unit: Tensor) -> TorchDistribution:
        """Return the factor exp(-hinge loss)."""
        return Factor(outputs, lambda t: (1 - t * outputs[..., 0]).relu())

    def predictive(
        self, outputs: Tensor, latents: Latents, shift: Tensor, unit: Tensor
    ) -> Predictive:
        """Refuse: there is no probability in a margin."""
        raise InputError(
            "outputs that are probabilities or become them",
            "margins of the hinge loss",
            "Read them from Posterior.outputs, and calibrate them on rows held out.",
        )


class Factor(TorchDistribution):
    """A factor exp(-loss(y)) in the place of a distribution; it cannot be drawn from.

    Arguments:
        outputs: of the network, `[..., points, width]`.
        loss: from targets to `[..., points]`, nats.
    """

    arg_constraints: Mapping[str, Any] = {}
    support = constraints.real

    def __init__(self, outputs: Tensor, loss: Callable[[Tensor], Tensor]) -> None:
        self.loss = loss
        super().__init__(outputs.shape[:-1], validate_args=False)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Factor:
        """Return the same factor over a larger batch."""
        wider = Factor.__new__(Factor)
        wider.loss = self.loss
        TorchDistribution.__init__(wider, torch.Size(batch_shape), validate_args=False)
        return wider

    def log_prob(self, value: Tensor) -> Tensor:
        """Return -loss(value)."""
        return -self.loss(value)
