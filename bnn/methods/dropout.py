"""Monte-Carlo dropout: units are left out at random, in training and in prediction.

    z_u ~ Bernoulli(1 - rate) / (1 - rate),    f(x, w, z): every unit u is multiplied by z_u
    w* = argmin_w  -1/N sum_n log p(y_n | x_n, w, z_n) - 1/N log p(w)

Gal & Ghahramani read this as variational inference over weights w * z. In training every row has
masks of its own; in prediction one set of masks serves all rows, so that a draw is one function.
The prior acts as weight decay. With rate p and q = p / (1 - p), a linear network whose inputs are
dropped has predictive variance q sum_i w_i^2 x_i^2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Self

import torch
from torch import Size, Tensor, nn

from bnn.errors import InputError
from bnn.gradients import of_joint
from bnn.methods.accuracy import Accuracy
from bnn.methods.maximum_likelihood import negative_log_likelihood
from bnn.optimise import Progress, Training, silent, train
from bnn.posterior import Masks, Posterior
from bnn.problem import Problem
from bnn.seeds import LEVELS, Streams, as_seeds


@dataclass(frozen=True)
class MCDropout:
    """Dropout kept on in prediction. A network's own `nn.Dropout` layers keep their own rates.

    It is the only method under which those layers act; for all others they are the identity.

    Raises:
        InputError: on rates outside [0, 1); in `fit`, on a network without units to leave out, and
            on dropout inside an attention layer, whose masks cannot be drawn here.
    """

    rate: float = 0.1  # probability that a hidden unit is left out
    input_rate: float = 0.0  # probability that an input is left out
    training: Training = Training(epochs=200, steps=2000, decay=True)

    name: ClassVar[str] = "mc_dropout"
    label: ClassVar[str] = "MC dropout"
    reference: ClassVar[str] = "Gal & Ghahramani 2016, https://arxiv.org/abs/1506.02142"
    version: ClassVar[int] = 2
    accuracy: ClassVar[Accuracy] = Accuracy("dropout", 0.02, 0.15)

    def __post_init__(self) -> None:
        check_rates({"hidden": self.rate, "input": self.input_rate})

    def thorough(self) -> Self:
        """Return settings for a few weights: inputs are dropped, for there are no hidden units."""
        training = Training(epochs=2000, learning_rate=0.03, decay=True, average=0.5)
        return replace(self, rate=0.0, input_rate=0.1, training=training)

    def fit(self, problem: Problem, seeds: Sequence[int], progress: Progress = silent) -> Posterior:
        """Train one network per seed, all at once."""
        seeds = as_seeds(seeds)
        problem = problem.for_seeds(seeds)
        start = problem.initial(seeds)
        masks = unit_masks(problem, self.rate, self.input_rate)

        def negative_log_joint(
            problem: Problem, weights: Tensor, x: Tensor, y: Tensor, noise: Streams
        ) -> Tensor:
            dropped = masks.of_rows(noise, x.shape[1])
            log_prior = problem.log_prior(weights[:, None])[:, 0]
            return problem.loss(weights[:, None], x, y, dropped)[:, 0] - log_prior / problem.points

        fit = train(
            problem,
            seeds,
            self.training,
            start,
            negative_log_joint,
            negative_log_likelihood,
            progress,
            write_out=partial(of_joint, masks=masks.of_rows),
        )
        return Posterior(problem, DroppedUnits(fit.parameters, masks), seeds, fit)


def unit_masks(problem: Problem, rate: float, input_rate: float) -> UnitMasks:
    """Return the masks of all sites that drop units; those of a network's own keep their rates.

    Raises:
        InputError: where there is no such site, or where masks cannot be drawn.
    """
    _check_attention(problem.network.network)
    own = problem.network.dropout_rates
    rates = {
        site: own.get(site, input_rate if site == "input" else rate)
        for site in problem.network.mask_shapes
    }
    check_rates(rates)
    rates = {site: rate for site, rate in rates.items() if rate > 0}
    if not rates:
        raise InputError(
            "a network with units to leave out",
            f"{type(problem.network.network).__name__} without any",
            "Give it nn.Dropout layers, or set input_rate above zero.",
        )
    return UnitMasks({site: problem.network.mask_shapes[site] for site in rates}, rates)


def _check_attention(network: nn.Module) -> None:
    for name, module in network.named_modules():
        if isinstance(module, nn.MultiheadAttention) and module.dropout > 0:
            raise InputError(
                "dropout in nn.Dropout layers alone, where MC dropout can draw its masks",
                f"dropout={module.dropout} inside MultiheadAttention at {name!r}",
                "Set it to 0 (module.dropout = 0.0), and drop units by nn.Dropout where wanted.",
            )


def check_rates(rates: Mapping[str, float]) -> None:
    """Refuse rates outside [0, 1)."""
    for site, rate in rates.items():
        if not 0 <= rate < 1:
            raise InputError(f"a dropout rate in [0, 1) for {site!r}", str(rate), "0.1 is usual.")


@dataclass(frozen=True)
class UnitMasks:
    """Masks on the units of some sites: 1 / (1 - rate) with probability 1 - rate, else 0.

    The rate is rounded to a multiple of 2^-16, because random numbers of 16 bits take a third of
    the time of others; the masks have a mean of one all the same.

    Arguments:
        shapes: of the units of each site.
        rates: of each site, one for all replicas or `[replicas]`.
    """

    shapes: Mapping[str, Size]
    rates: Mapping[str, float | Tensor]

    @property
    def sizes(self) -> list[int]:
        """How many units each site has."""
        return [shape.numel() for shape in self.shapes.values()]

    def take(self, replicas: Sequence[int]) -> UnitMasks:
        """Return the masks of some of the replicas."""
        rates = self.rates.items()
        return UnitMasks(
            self.shapes,
            {site: rate[replicas] if isinstance(rate, Tensor) else rate for site, rate in rates},
        )

    def draw(self, streams: Streams, draws: int) -> Masks:
        """Return masks by site, each `[replicas, draws, *units]`."""
        levels = streams.levels(draws, sum(self.sizes)).split(self.sizes, dim=2)
        return {
            site: self._of(site, part, streams.dtype).unflatten(2, shape)
            for (site, shape), part in zip(self.shapes.items(), levels, strict=True)
        }

    def of_rows(self, streams: Streams, rows: int) -> Masks:
        """Return masks for each row of a batch, `[replicas, 1, rows, *units]`."""
        # Rows lie side by side, as in the units that backpropagation multiplies by the masks.
        levels = streams.levels(1, sum(self.sizes), rows)[:, 0].split(self.sizes, dim=1)
        return {
            site: self._of(site, part, streams.dtype).mT.unflatten(2, shape)[:, None]
            for (site, shape), part in zip(self.shapes.items(), levels, strict=True)
        }

    def _of(self, site: str, levels: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the masks whose units are kept where the levels are among the upper ones."""
        dropped = _dropped(self.rates[site])
        kept = torch.empty(levels.shape, dtype=dtype, device=levels.device)
        torch.ge(levels, dropped - LEVELS // 2, out=kept)
        return kept.mul_(LEVELS / (LEVELS - dropped))


def _dropped(rate: float | Tensor) -> int | Tensor:
    """Return how many of the levels drop a unit, `[replicas, 1, 1]` of a tensor."""
    if isinstance(rate, Tensor):
        return (rate * LEVELS).round().clamp(max=LEVELS - 1).reshape(-1, 1, 1)
    return min(round(rate * LEVELS), LEVELS - 1)


@dataclass(frozen=True)
class DroppedUnits:
    """One set of weights with random units left out.

    Arguments:
        weights: flat, `[replicas, parameters]`.
        masks: which units, and how often.
    """

    weights: Tensor
    masks: UnitMasks

    atoms: ClassVar[None] = None

    def draw(self, streams: Streams, draws: int) -> tuple[Tensor, Masks]:
        """Return the weights, repeated, with one set of masks per draw."""
        weights = self.weights[:, None].expand(-1, draws, -1)
        return weights, self.masks.draw(streams, draws)

    def take(self, replicas: Sequence[int]) -> DroppedUnits:
        """Return the family of some of the replicas."""
        return DroppedUnits(self.weights[replicas], self.masks.take(replicas))
