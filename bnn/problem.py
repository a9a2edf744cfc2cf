"""The problem: a network, a prior, a likelihood and training rows; it *is* the Pyro program.

    w ~ p(w)                                    one flat vector per replica
    y_n ~ p(y | f(x_n, w)),  n = 1, ..., N      the training rows

A method sees a problem and nothing else; there are no test rows in it. Inputs and real targets are
standardised here, by the mean and scale of each replica's own training rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import pyro
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from bnn import likelihoods
from bnn.data import Dataset, Rows, Scaling
from bnn.errors import InputError
from bnn.layout import Layout
from bnn.likelihoods import Latents, Likelihood
from bnn.networks import Functional, Network
from bnn.predictive import Predictive
from bnn.priors import Blocks, Normal, Prior
from bnn.seeds import as_seeds


@dataclass(frozen=True)
class Problem:
    """All that a method may see, for one or more replicas. Made by `Problem.of`.

    Arguments:
        network: the network as a function of its weights.
        prior: over the network's weights; a likelihood's own parameters bring theirs.
        likelihood: of the targets given the network's outputs.
        train, validation, calibration: rows, one choice per replica.
        inputs, targets: the standardisation, per replica.
    """

    network: Network
    prior: Prior
    likelihood: Likelihood
    train: Rows
    validation: Rows
    calibration: Rows
    inputs: Scaling
    targets: Scaling

    def __post_init__(self) -> None:
        _check_kind("prior", self.prior, Prior, "bnn.priors.Normal(1.0)")

    @staticmethod
    def of(
        data: Dataset,
        network: nn.Module,
        prior: Prior | None = None,
        likelihood: Likelihood | None = None,
    ) -> Problem:
        """Pose the problem of fitting a network to a data set's training rows.

        Arguments:
            data: the problem keeps no index of its test rows.
            network: any module from `[points, *features]` to `[points, outputs]`; its dtype and
                device are the problem's.
            prior: Normal(1.0) unless given.
            likelihood: unless given, categorical for classes (Bernoulli where the network has one
                output), Normal with a learned noise scale for real targets (with a noise that
                depends on the input where the network has two outputs).

        Raises:
            InputError: where data, network and likelihood do not fit together.
        """
        like = next(network.parameters(), None)
        if like is None:
            raise InputError(
                "a network with parameters",
                f"{type(network).__name__} without any",
                "Give it some.",
            )
        # Rows stay as precise as they came, until they are standardised: a column of dates would
        # be constant in float32.
        train = data.train.to(like.device)
        # One replica at a time, because together they are as many copies of the table.
        each = [train.take([r]) for r in range(data.replicas)]
        inputs = Scaling.joined([Scaling.of(rows.x, data.scale_inputs) for rows in each])
        examples = inputs.take([0]).standardise(_unlike(each[0].x))
        function = Functional(network, examples[0].to(like))
        soft = data.y.ndim == 2
        if likelihood is None:
            likelihood = likelihoods.default(data.task, soft, function.outputs)
        _check_kind("likelihood", likelihood, Likelihood, "bnn.likelihoods.Categorical()")
        _check(data, likelihood, function.outputs)
        return Problem(
            network=function,
            prior=Normal(1.0) if prior is None else prior,
            likelihood=likelihood,
            train=train,
            validation=data.validation.to(like.device),
            calibration=data.calibration.to(like.device),
            inputs=inputs,
            targets=(
                Scaling.of(train.y)
                if data.task == "regression"
                else Scaling.identity(data.replicas).to(like.device, like.dtype)
            ),
        )

    @property
    def replicas(self) -> int:
        """How many independent training runs there are."""
        return self.train.replicas

    @property
    def points(self) -> int:
        """How many training rows each replica has."""
        return self.train.points

    @property
    def layout(self) -> Layout:
        """Names and places in the flat vector: the network's weights, then the likelihood's own."""
        own = {name: torch.Size([]) for name in self.likelihood.latents}
        return self.network.layout + Layout(own)

    @property
    def like(self) -> Tensor:
        """A tensor of the problem's dtype and device."""
        return self.network.like

    def take(self, replicas: Sequence[int]) -> Problem:
        """Return the problem of some of the replicas; one may be named more than once."""
        parts = ("network", "train", "validation", "calibration", "inputs", "targets")
        return replace(self, **{name: getattr(self, name).take(replicas) for name in parts})

    def for_seeds(self, seeds: Iterable[int]) -> Problem:
        """Return the problem with one replica per seed; a single split is shared by all seeds."""
        seeds = as_seeds(seeds)
        if not seeds:
            raise InputError("at least one seed", "0 seeds", "Name a seed for each replica.")
        if self.replicas not in (1, len(seeds)):
            raise InputError(
                f"one seed for each of the {self.replicas} splits",
                f"{len(seeds)} seeds",
                "Draw as many splits as there are seeds, or a single one for all.",
            )
        if self.replicas == 1 and len(set(seeds)) < len(seeds):
            raise InputError(
                "different seeds for the replicas of one split",
                f"{list(seeds)}",
                "On equal rows, equal seeds train equal networks: name each seed once.",
            )
        return self if self.replicas == len(seeds) else self.take([0] * len(seeds))

    def batch(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """Return standardised inputs `[replicas, points, *features]` and targets of some rows."""
        y = rows.y
        if self.likelihood.task == "regression":
            y = self.targets.standardise(y)
        return self.standardise(rows.x), self.likelihood.targets(y, self.like)

    def standardise(self, x: Tensor) -> Tensor:
        """Return inputs in original units, `[replicas or 1, points, *features]`, standardised."""
        return self.inputs.standardise(x.to(self.inputs.mean)).to(self.like)

    def outputs(self, weights: Tensor, x: Tensor, masks: dict[str, Tensor] | None = None) -> Tensor:
        """Run the network.

        Arguments:
            weights: flat, `[replicas, draws, parameters]`.
            x: standardised, `[replicas, points, *features]`.
            masks: factors on units, as of `MLP.batched`.

        Returns:
            `[replicas, draws, points, outputs]`.
        """
        return self.network(self.network.layout.views(self._split(weights)[0]), x, masks)

    def log_likelihood(self, weights: Tensor, outputs: Tensor, y: Tensor) -> Tensor:
        """Return log p(y_n | x_n, w) in standardised units, `[replicas, draws, points]`."""
        given = self.likelihood.distribution(
            outputs, self._split(weights)[1], self._unit[:, None, None]
        )
        return given.log_prob(y[:, None])

    def log_prior(self, weights: Tensor) -> Tensor:
        """Return log p(w), `[replicas, draws]`."""
        return self.prior_distribution().log_prob(weights).expand(weights.shape[:-1])

    def log_joint(self, weights: Tensor) -> Tensor:
        """Return log p(w) + sum_n log p(y_n | x_n, w) over the training rows, `[replicas, draws]`.

        Arguments:
            weights: flat, `[replicas, draws, parameters]`.
        """
        x, y = self.batch(self.train)
        outputs = self.outputs(weights, x)
        return self.log_prior(weights) + self.log_likelihood(weights, outputs, y).sum(-1)

    def loss(
        self, weights: Tensor, x: Tensor, y: Tensor, masks: dict[str, Tensor] | None = None
    ) -> Tensor:
        """Return the mean of -log p(y_n | x_n, w) over a batch, nats per row, `[replicas, draws]`.

        For classes this is the cross-entropy of torch; arguments as of `outputs`.
        """
        return -self.log_likelihood(weights, self.outputs(weights, x, masks), y).mean(-1)

    def latents(self, weights: Tensor) -> dict[str, Tensor]:
        """Return the likelihood's own parameters by name, `[replicas, draws]`."""
        return self._split(weights)[1]

    def predictive(self, outputs: Tensor, latents: Latents) -> Predictive:
        """Return the mixture over draws, targets in original units."""
        return self.likelihood.predictive(outputs, latents, self.targets.mean, self.targets.scale)

    def initial(self, seeds: Sequence[int]) -> Tensor:
        """Return starting weights, `[replicas, parameters]`; noise starts at its prior mean."""
        start = self.network.initial(seeds)
        own = [prior.distribution(_SCALAR, self.like).mean for prior in self._own_priors()]
        return torch.cat([start, *(mean.expand(len(start), 1) for mean in own)], dim=-1)

    def prior_distribution(self) -> TorchDistribution:
        """Return p(w), a Pyro distribution with event shape `[parameters]`."""
        weights = self.prior.distribution(self.network.layout, self.like)
        own = [prior.distribution(_SCALAR, self.like) for prior in self._own_priors()]
        return Blocks([weights, *own]) if own else weights

    def model(self, batch: tuple[Tensor, Tensor] | None = None) -> None:
        """Run the Pyro program, with sites "weights" `[replicas, 1, parameters]` and "y".

        Arguments:
            batch: standardised inputs and targets of a minibatch, as `self.batch` returns; all
                training rows unless given. Each replica has rows of its own, so the plate is told
                only how many they are, which gives the factor N / batch.
        """
        x, y = self.batch(self.train) if batch is None else batch
        subsample = None if batch is None else torch.arange(x.shape[1], device=x.device)
        with pyro.plate("replicas", self.replicas, dim=-2):
            weights = pyro.sample("weights", self.prior_distribution())
            outputs = self.outputs(weights, x)[:, 0]
            latents = self.latents(weights[:, 0])
            with pyro.plate("points", self.points, subsample=subsample, dim=-1):
                unit = self._unit[:, None]
                pyro.sample("y", self.likelihood.distribution(outputs, latents, unit), obs=y)

    @property
    def _unit(self) -> Tensor:
        return self.targets.scale.to(self.like)

    def _own_priors(self) -> list[Prior]:
        return list(self.likelihood.latents.values())

    def _split(self, flat: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the network's part of a flat vector, and the likelihood's parameters by name."""
        size = self.network.layout.size
        names = self.likelihood.latents
        return flat[..., :size], {name: flat[..., size + i] for i, name in enumerate(names)}


_SCALAR = Layout({"": torch.Size([])})


def _unlike(x: Tensor) -> Tensor:
    """Return the first row of `x [1, points, *features]`, and the first that differs from it."""
    other = (x != x[:, :1]).flatten(2).any(2)[0].nonzero()[:1, 0]
    return torch.cat([x[:, :1], x[:, other]], dim=1)


def _check_kind(what: str, value: object, kind: type, example: str) -> None:
    if isinstance(value, type) or not isinstance(value, kind):
        raise InputError(f"a {what}, such as {example}", repr(value), f"Write {what}={example}.")


def _check(data: Dataset, likelihood: Likelihood, outputs: int) -> None:
    if likelihood.task != data.task:
        raise InputError(
            f"a likelihood for {data.task}",
            f"{type(likelihood).__name__}, which is for {likelihood.task}",
            "Choose one that fits the targets.",
        )
    soft = data.task == "classification" and data.y.ndim == 2
    hard = likelihoods.Categorical | likelihoods.Bernoulli
    if isinstance(likelihood, hard if soft else likelihoods.SoftLabels):
        raise InputError(
            f"a likelihood for {'label distributions' if soft else 'one target per row'}",
            type(likelihood).__name__,
            "Use SoftLabels with label distributions, and only with them.",
        )
    width = likelihood.width(len(data.classes))
    if outputs != width:
        raise InputError(
            f"a network with {width} outputs, as {type(likelihood).__name__} reads",
            f"{outputs} outputs",
            "Change the network's last layer, or the likelihood.",
        )
