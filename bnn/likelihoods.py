"""Likelihoods: from a network's outputs to a distribution over the target.

Minimising -log p(y | x, w) under each is a loss of the field: categorical gives cross-entropy,
Bernoulli binary cross-entropy, Normal with fixed noise the squared error up to constants.

Shapes: outputs `[..., points, width]` become a distribution with batch shape `[..., points]`; a
likelihood's own parameters ("latents") have shape `[...]`. Targets of regression are standardised
by the `Problem`; `unit`, broadcastable to `[..., points]`, is the standard deviation that they were
divided by, so that a noise scale can be stated in original units.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, Protocol, runtime_checkable

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import logsigmoid, softplus

from bnn.data import Task
from bnn.errors import InputError
from bnn.predictive import CategoricalMixture, NormalMixture, Predictive
from bnn.priors import Normal as NormalPrior
from bnn.priors import Prior

Latents = Mapping[str, Tensor]

NO_LATENTS: Mapping[str, Prior] = {}


@runtime_checkable
class Likelihood(Protocol):
    """What a likelihood must offer."""

    @property
    def task(self) -> Task:
        """What kind of target it is for."""

    @property
    def latents(self) -> Mapping[str, Prior]:
        """Scalar parameters of its own, by name, with their priors."""

    def width(self, classes: int) -> int:
        """Return how many outputs of the network it reads."""

    def targets(self, y: Tensor, like: Tensor) -> Tensor:
        """Return targets in the form in which `distribution` scores them."""

    def distribution(self, outputs: Tensor, latents: Latents, unit: Tensor) -> TorchDistribution:
        """Return p(y | outputs)."""

    def predictive(
        self, outputs: Tensor, latents: Latents, shift: Tensor, unit: Tensor
    ) -> Predictive:
        """Return the mixture over the draws of `outputs [replicas, draws, points, width]`."""


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


class Noise(Protocol):
    """Where the standard deviation of a Normal likelihood comes from."""

    @property
    def latents(self) -> Mapping[str, Prior]:
        """Parameters of the noise, with their priors."""

    @property
    def width(self) -> int:
        """Outputs of the network per target: 1 for the mean, and what the noise reads."""

    def scale(self, outputs: Tensor, latents: Latents, unit: Tensor) -> Tensor:
        """Return the standardised noise scale, broadcastable to `[..., points]`."""


@dataclass(frozen=True)
class FixedNoise:
    """Noise of known standard deviation.

    Arguments:
        value: the standard deviation, in the target's original units.
    """

    value: float
    latents: ClassVar[Mapping[str, Prior]] = NO_LATENTS
    width: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not (isinstance(self.value, Real) and 0 < self.value < math.inf):
            raise InputError(
                "a positive, finite noise scale", repr(self.value), "It is a standard deviation."
            )

    def scale(self, outputs: Tensor, latents: Latents, unit: Tensor) -> Tensor:
        """Return value / unit."""
        return self.value / unit


@dataclass(frozen=True)
class LearnedNoise:
    """One unknown standard deviation for all rows, inferred with the weights.

    Its logarithm is a latent with a Normal prior, in units of the training targets' standard
    deviation.

    Arguments:
        median: prior median of the standard deviation.
        spread: prior standard deviation of its logarithm.
        floor: smallest standard deviation, so that a point estimate cannot collapse onto its rows.
    """

    median: float = 0.3
    spread: float = 1.0
    floor: float = 0.003
    width: ClassVar[int] = 1

    @property
    def latents(self) -> Mapping[str, Prior]:
        """The log of the noise scale."""
        return {"noise.log_scale": NormalPrior(scale=self.spread, loc=math.log(self.median))}

    def scale(self, outputs: Tensor, latents: Latents, unit: Tensor) -> Tensor:
        """Return sqrt(floor^2 + exp(2 log_scale))."""
        return _floored(latents["noise.log_scale"][..., None], self.floor)


@dataclass(frozen=True)
class InputNoise:
    """A standard deviation that depends on the input: the exponential of a second output.

    Arguments:
        floor: smallest standard deviation, in units of the training targets'.
    """

    floor: float = 0.003
    latents: ClassVar[Mapping[str, Prior]] = NO_LATENTS
    width: ClassVar[int] = 2

    def scale(self, outputs: Tensor, latents: Latents, unit: Tensor) -> Tensor:
        """Return sqrt(floor^2 + exp(2 f_2(x)))."""
        return _floored(outputs[..., 1], self.floor)


@dataclass(frozen=True)
class SoftplusNoise:
    """A variance that depends on the input: softplus of a second output, as of deep ensembles.

    Arguments:
        floor: smallest variance, in units of the training targets'.

    Reference: Lakshminarayanan, Pritzel, Blundell 2017, https://arxiv.org/abs/1612.01474
    """

    floor: float = 1e-6
    latents: ClassVar[Mapping[str, Prior]] = NO_LATENTS
    width: ClassVar[int] = 2

    def scale(self, outputs: Tensor, latents: Latents, unit: Tensor) -> Tensor:
        """Return sqrt(floor + log(1 + exp f_2(x)))."""
        return (softplus(outputs[..., 1]) + self.floor).sqrt()


def _floored(log_scale: Tensor, floor: float) -> Tensor:
    scale = log_scale.exp()
    return torch.hypot(scale, torch.full_like(scale, floor))


@dataclass(frozen=True)
class Normal:
    """y = f(x, w) + scale * standard Normal noise.

    Arguments:
        noise: where the scale comes from.
    """

    noise: Noise = LearnedNoise()
    task: ClassVar[Task] = "regression"

    @property
    def latents(self) -> Mapping[str, Prior]:
        """The noise's parameters."""
        return self.noise.latents

    def width(self, classes: int) -> int:
        """One output for the mean, and what the noise reads."""
        return self.noise.width

    def targets(self, y: Tensor, like: Tensor) -> Tensor:
        """Standardised targets, as they are."""
        return y.to(like)

    def distribution(self, outputs: Tensor, latents: Latents, unit: Tensor) -> TorchDistribution:
        """Return the Normal distribution of the standardised target."""
        return dist.Normal(outputs[..., 0], self.noise.scale(outputs, latents, unit))

    def predictive(
        self, outputs: Tensor, latents: Latents, shift: Tensor, unit: Tensor
    ) -> Predictive:
        """Return the mixture of Normal distributions, in original units."""
        loc = outputs[..., 0].double()
        scale = self.noise.scale(outputs, latents, unit[:, None, None])
        return NormalMixture(loc, scale.double().expand_as(loc), shift.double(), unit.double())


def default(task: Task, soft: bool, outputs: int) -> Likelihood:
    """Return the usual likelihood for a task and a network with this many outputs."""
    if task == "regression":
        return Normal(InputNoise() if outputs == 2 else LearnedNoise())
    if soft:
        return SoftLabels()
    return Bernoulli() if outputs == 1 else Categorical()
