"""Concrete dropout: Monte-Carlo dropout whose rates are learned with the weights.

    minimise  -1/N sum_n log p(y_n | x_n, w, z~_n) + KL / N,
    KL = sum_i f_i w_i^2 / (2 scale_i^2) - sum_s K_s H(p_s) + const,
    f_i = 1 / (1 - p_s) for the weights that units of site s are multiplied by, else 1,
    H(p) = -p log p - (1 - p) log(1 - p)

over the weights w and the rate p_s of every site s, with K_s units. It is the KL divergence of the
approximating distribution of the weights, w * z, from a Normal prior (Gal & Ghahramani 2016), up to
a constant; here w / (1 - p) is the weight of a unit that is kept. The entropy pulls the rates to
1/2, the weights and the data pull them down, the data the more the more there are.

Bernoulli masks have no derivative in p, so training has relaxed ones, of the concrete distribution:

    z~ = (1 - sigmoid((logit p + logit u) / t)) / (1 - p),    u ~ Uniform(0, 1)

A prediction has masks of zeros and ones at the learned rates, one set per draw. The weights that a
site's units are multiplied by are found by trying: halving them undoes the doubling of the units.
Where no weights do that, as behind a normalisation, the site has its entropy alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from bnn.errors import InputError
from bnn.methods.accuracy import Accuracy
from bnn.methods.dropout import DroppedUnits, UnitMasks, check_rates, unit_masks
from bnn.methods.maximum_likelihood import negative_log_likelihood
from bnn.optimise import Progress, Training, silent, train
from bnn.posterior import Masks, Posterior
from bnn.priors import Normal
from bnn.problem import Problem
from bnn.seeds import Streams, as_seeds


@dataclass(frozen=True)
class ConcreteDropout:
    """Dropout kept on in prediction, at learned rates, one for each site and replica.

    A network's own `nn.Dropout` layers start from their own rates.

    Raises:
        InputError: on rates outside [0, 1) and temperatures that are not positive; in `fit`, on
            priors that are not Normal around zero, and as MC dropout does.
    """

    rate: float = 0.1  # probability that a hidden unit is left out, at the start
    input_rate: float = 0.0  # the same of an input; 0: inputs are never left out
    temperature: float = 0.1  # t of the relaxation: small is near to zeros and ones
    training: Training = Training(epochs=200, steps=2000, decay=True)

    name: ClassVar[str] = "concrete_dropout"
    label: ClassVar[str] = "Concrete dropout"
    reference: ClassVar[str] = "Gal, Hron, Kendall 2017, https://arxiv.org/abs/1705.07832"
    version: ClassVar[int] = 2
    accuracy: ClassVar[Accuracy] = Accuracy(
        "approximate", 0.1, 0.2, gradient="other", spread=(0.2, 0.4)
    )

    def __post_init__(self) -> None:
        check_rates({"hidden": self.rate, "input": self.input_rate})
        if not 0 < self.temperature < math.inf:
            raise InputError(
                "a positive, finite temperature", repr(self.temperature), "0.1 is usual."
            )

    def thorough(self) -> Self:
        """Return settings for a few weights: inputs are dropped, for there are no hidden units."""
        training = Training(epochs=3000, learning_rate=0.02, decay=True, average=0.5)
        return replace(self, input_rate=0.1, training=training)

    def fit(self, problem: Problem, seeds: Sequence[int], progress: Progress = silent) -> Posterior:
        """Train one network per seed, with its rates, all at once."""
        seeds = as_seeds(seeds)
        problem = problem.for_seeds(seeds)
        _check_prior(problem)
        masks = unit_masks(problem, self.rate, self.input_rate)
        divergence = Divergence.of(problem, masks)

        def loss(problem: Problem, both: Tensor, x: Tensor, y: Tensor, noise: Streams) -> Tensor:
            weights, logits = split(problem, both)
            relaxed = relaxed_masks(masks, logits, self.temperature, noise, x.shape[1])
            error = problem.loss(weights[:, None], x, y, relaxed)[:, 0]
            return error + divergence(problem, weights, logits) / problem.points

        fit = train(
            problem, seeds, self.training, _start(problem, seeds, masks), loss, _held_out, progress
        )
        weights, logits = split(problem, fit.parameters)
        learned = dict(zip(masks.shapes, logits.sigmoid().unbind(1), strict=True))
        return Posterior(
            problem, DroppedUnits(weights, UnitMasks(masks.shapes, learned)), seeds, fit
        )


def split(problem: Problem, parameters: Tensor) -> tuple[Tensor, Tensor]:
    """Return weights `[replicas, parameters]` and the logits of the rates, `[replicas, sites]`."""
    size = problem.layout.size
    return parameters[:, :size], parameters[:, size:]


def relaxed_masks(
    masks: UnitMasks, logits: Tensor, temperature: float, noise: Streams, points: int
) -> Masks:
    """Return masks by site from the concrete distribution, each `[replicas, 1, points, *units]`.

    Arguments:
        masks: which units there are.
        logits: of the rates, `[replicas, sites]`.
        temperature: of the relaxation.
        noise: streams to take random numbers from.
        points: rows, each with masks of its own.
    """
    uniform = noise.uniform(1, points, sum(masks.sizes))
    parts = uniform.logit().split(masks.sizes, dim=-1)
    found = {}
    for (site, shape), part, logit in zip(masks.shapes.items(), parts, logits.T, strict=True):
        logit = logit[:, None, None, None]
        kept = torch.sigmoid(-(logit + part) / temperature) / torch.sigmoid(-logit)
        found[site] = kept.unflatten(-1, shape)
    return found


@dataclass(frozen=True)
class Divergence:
    """KL(q || p) of the weights of a network with dropped units, up to a constant.

    Arguments:
        sizes: units of each site.
        fed: for each site the name of the weights that its units are multiplied by, or None.
    """

    sizes: Sequence[int]
    fed: Sequence[str | None]

    @staticmethod
    def of(problem: Problem, masks: UnitMasks) -> Divergence:
        """Find out which weights each site feeds."""
        fed = fed_weights(problem, masks)
        return Divergence(masks.sizes, [fed[site] for site in masks.shapes])

    def __call__(self, problem: Problem, weights: Tensor, logits: Tensor) -> Tensor:
        """Return sum f w^2 / (2 scale^2) - sum K H(p) + const, nats, `[replicas]`."""
        log_rate, log_kept = logsigmoid(logits), logsigmoid(-logits)
        entropy = -(log_rate.exp() * log_rate + log_kept.exp() * log_kept)
        units = logits.new_tensor(self.sizes)
        log_prior = problem.log_prior(weights[:, None])[:, 0]
        return self._surplus(problem, weights, log_kept) - log_prior - (units * entropy).sum(1)

    def _surplus(self, problem: Problem, weights: Tensor, log_kept: Tensor) -> Tensor:
        """Return sum (f - 1) w^2 / (2 scale^2), what the prior's own density leaves out."""
        layout = problem.network.layout
        scale = problem.prior.distribution(layout, problem.like).stddev
        energy = (weights[:, : layout.size] / scale).square() / 2
        total = weights.new_zeros(len(weights))
        for name, part in layout.views(energy).items():
            sites = [log_kept[:, s] for s, fed in enumerate(self.fed) if fed == name]
            if sites:
                factor = torch.expm1(-torch.stack(sites).sum(0))  # f - 1
                total = total + factor * part.flatten(1).sum(1)
        return total


def fed_weights(problem: Problem, masks: UnitMasks) -> Mapping[str, str | None]:
    """Return for each site the weights whose halving undoes the doubling of its units.

    Tried on two rows, at weights of no meaning; of several such weights, the last are meant.
    """
    network, like = problem.network, problem.like
    columns = torch.arange(min(2, problem.points), device=like.device)[None]
    x, _ = problem.take([0]).batch(problem.train.take([0]).at(columns))
    noise = Streams([0], "trial weights", like.device, like.dtype).normal(1, network.layout.size)
    weights = network.layout.views(network.initial([0])[:, None] + 0.3 * noise)
    ones = {site: like.new_ones(1, 1, 1, *shape) for site, shape in masks.shapes.items()}
    matrices = [name for name, shape in network.layout.shapes.items() if len(shape) > 1]
    with torch.no_grad():
        usual = network(weights, x, ones)

        def undone(site: str, name: str) -> bool:
            halved = {**weights, name: weights[name] / 2}
            found = network(halved, x, {**ones, site: 2 * ones[site]})
            return bool((found - usual).abs().max() <= _rounding(usual))

        return {
            site: next((name for name in reversed(matrices) if undone(site, name)), None)
            for site in masks.shapes
        }


def _rounding(outputs: Tensor) -> float:
    return 1e3 * torch.finfo(outputs.dtype).eps * outputs.abs().max().clamp(min=1e-30).item()


def _start(problem: Problem, seeds: Sequence[int], masks: UnitMasks) -> Tensor:
    weights = problem.initial(seeds)
    rates = weights.new_tensor([float(rate) for rate in masks.rates.values()])
    return torch.cat([weights, rates.logit().expand(len(weights), -1)], dim=1)


def _held_out(problem: Problem, both: Tensor, x: Tensor, y: Tensor, noise: Streams) -> Tensor:
    """Return the loss without masks, as MC dropout validates."""
    return negative_log_likelihood(problem, split(problem, both)[0], x, y, noise)


def _check_prior(problem: Problem) -> None:
    if not (isinstance(problem.prior, Normal) and problem.prior.loc == 0):
        raise InputError(
            "a Normal prior around zero, whose divergence is known",
            f"{problem.prior}",
            "Use bnn.priors.Normal, or MCDropout with this one.",
        )
