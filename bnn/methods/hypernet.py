"""Bayes by Hypernet: weights made by a small generator network, a posterior without a density.

    w = G(z) = loc + scale * (B [z, tanh(A z + a)]) / sqrt(units),    z ~ Normal(0, I)
    loss = E_q[-log p(y | x, w)] - (E_q[log p(w)] + H) / N,    averaged over w_1, ..., w_S ~ q

Nobody knows q's density, so its entropy H is estimated from the distances of the draws themselves:

    marginal  H = sum_i 1/(S - k) sum_s log(w_i(s+k) - w_i(s)) + c    k-spacings of sorted draws,
              (Vasicek 1976, https://www.jstor.org/stable/2984828), weight by weight
    joint     H = P/S sum_s log(distance of w_s to its k-th nearest draw) + c
              (Kozachenko & Leonenko 1987; Perez-Cruz 2008), of all weights at once

These are the two estimates of the paper's experiments (there with k = 1, and with draws from the
prior in place of its density, which is known). Neither makes the loss minus an ELBO. The marginal
one leaves out what the weights' dependence takes from their entropy, so that q may correlate them
at no cost: its marginals become too wide. The joint one is consistent, but needs many more draws
than there are directions: it is for a few weights. Both are of a density, and q has none where
there are more weights than numbers in z and hidden units.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from functools import partial as given
from typing import ClassVar, Literal

import torch
from torch import Size, Tensor

from bnn.errors import InputError
from bnn.layout import Layout
from bnn.methods.accuracy import Accuracy
from bnn.methods.mean_field import check_initial_scale
from bnn.methods.partial import Which, partial
from bnn.optimise import Progress, Training, silent, train
from bnn.posterior import Masks, Posterior
from bnn.problem import Problem
from bnn.seeds import Streams, as_seeds
from bnn.variational import check_prior, mixture_loss

Entropy = Literal["marginal", "joint"]


@dataclass(frozen=True)
class Hypernet:
    """An implicit posterior: the weights that a generator network makes of noise."""

    latent: int = 16  # numbers that the generator reads
    hidden: int = 16  # its units
    entropy: Entropy = "marginal"  # whose entropy is estimated: each weight's, or all weights'
    draws: int = 10  # of the weights, per step; the entropy is estimated from them
    neighbour: int = 3  # k: which spacing or neighbour is measured; 1 has unbounded gradients
    initial_scale: float = 0.01  # standard deviation of the weights at the start, about
    last_layer: Which = False  # infer the last layer alone, or parameters chosen by name
    training: Training = Training(epochs=500, steps=5000, decay=True)

    name: ClassVar[str] = "hypernet"
    label: ClassVar[str] = "Bayes by Hypernet"
    reference: ClassVar[str] = "Pawlowski et al. 2017, https://arxiv.org/abs/1711.01297"
    version: ClassVar[int] = 1
    accuracy: ClassVar[Accuracy] = Accuracy(
        "approximate", 0.2, 0.05, gradient="other", spread=(0.95, 1.05)
    )

    def __post_init__(self) -> None:
        for name in ("latent", "hidden", "neighbour"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise InputError(f"a whole number, {name} of at least one", repr(value), "Try 3.")
        if not isinstance(self.draws, int) or self.draws <= self.neighbour:
            raise InputError(
                f"more draws than neighbour={self.neighbour}, to measure distances",
                f"draws={self.draws!r}",
                "10 draws and the third neighbour are usual.",
            )
        if self.entropy not in ("marginal", "joint"):
            raise InputError('entropy "marginal" or "joint"', repr(self.entropy), "Choose one.")
        check_initial_scale(self.initial_scale)

    def thorough(self) -> Hypernet:
        """Return settings for a few weights: their joint entropy, from many draws."""
        training = Training(epochs=0, steps=3000, learning_rate=0.02, decay=True, average=0.3)
        return replace(self, entropy="joint", draws=100, initial_scale=0.1, training=training)

    def fit(self, problem: Problem, seeds: Sequence[int], progress: Progress = silent) -> Posterior:
        """Fit one generator per seed, all at once."""
        seeds = as_seeds(seeds)
        problem = partial(problem.for_seeds(seeds), seeds, self.last_layer, progress)
        check_prior(problem)
        size = problem.layout.size
        family = given(Generated, size=size, latent=self.latent, hidden=self.hidden)
        estimate = marginal_entropy if self.entropy == "marginal" else joint_entropy

        def loss(problem: Problem, phi: Tensor, x: Tensor, y: Tensor, noise: Streams) -> Tensor:
            weights = family(phi).sample(noise.normal(1, self.draws, self.latent)[:, 0])
            divergence = -estimate(weights, self.neighbour) - problem.log_prior(weights).mean(1)
            return problem.loss(weights, x, y).mean(1) + divergence / problem.points

        start, validate = self._start(problem, seeds), mixture_loss(family)
        fit = train(problem, seeds, self.training, start, loss, validate, progress)
        return Posterior(problem, family(fit.parameters), seeds, fit, caveats=self._caveats)

    @property
    def _caveats(self) -> tuple[str, ...]:
        whose = "each weight alone" if self.entropy == "marginal" else "the weights"
        return (
            "The objective is not an ELBO and bounds no evidence: the entropy of "
            f"{whose} is estimated from {self.draws} draws.",
        )

    def _start(self, problem: Problem, seeds: Sequence[int]) -> Tensor:
        """Return a random generator of weights near the network's own start."""
        loc = problem.initial(seeds)
        layout = generator_layout(loc.shape[-1], self.latent, self.hidden)
        noise = Streams(seeds, "generator", loc.device, loc.dtype).normal(1, layout.size)[:, 0]
        log_scale = torch.full_like(loc, math.log(self.initial_scale))
        named = {**layout.views(noise), "loc": loc, "log_scale": log_scale}
        return layout.flat(named)


@cache
def generator_layout(size: int, latent: int, hidden: int) -> Layout:
    """Return the names and places of a generator's parameters."""
    return Layout(
        {
            "loc": Size([size]),
            "log_scale": Size([size]),
            "inner": Size([hidden, latent]),
            "offset": Size([1, hidden]),
            "outer": Size([size, latent + hidden]),
        }
    )


@dataclass(frozen=True)
class Generated:
    """The distribution of the weights that a generator makes.

    Arguments:
        parameters: of `generator_layout`, `[replicas, ...]`.
        size: weights.
        latent: numbers that the generator reads.
        hidden: its units.
    """

    parameters: Tensor
    size: int
    latent: int
    hidden: int

    atoms: ClassVar[None] = None

    def sample(self, noise: Tensor) -> Tensor:
        """Return weights `[replicas, draws, size]`, of `noise [replicas, draws, latent]`."""
        layout = generator_layout(self.size, self.latent, self.hidden)
        named = layout.views(self.parameters)
        inner = noise @ named["inner"].mT / math.sqrt(self.latent) + named["offset"]
        units = torch.cat([noise, inner.tanh()], dim=-1)
        made = units @ named["outer"].mT / math.sqrt(self.latent + self.hidden)
        return named["loc"][:, None] + named["log_scale"][:, None].exp() * made

    def draw(self, streams: Streams, draws: int) -> tuple[Tensor, Masks]:
        """Draw weights."""
        return self.sample(streams.normal(draws, self.latent)), {}

    def take(self, replicas: Sequence[int]) -> Generated:
        """Return the family of some of the replicas."""
        return replace(self, parameters=self.parameters[replicas])


def marginal_entropy(weights: Tensor, spacing: int) -> Tensor:
    """Return the sum of the weights' own entropies in nats, `[replicas]`, from k-spacings.

        H_i = 1/(S - k) sum_s log(w_i(s+k) - w_i(s)) + digamma(S + 1) - digamma(k)

    Exact on average where w_i is uniform (Vasicek 1976, bias-corrected).

    Arguments:
        weights: draws, `[replicas, S, parameters]`.
        spacing: k.
    """
    draws = weights.shape[1]
    ordered = weights.sort(dim=1).values
    gaps = ordered[:, spacing:] - ordered[:, :-spacing]
    constant = _digamma(draws + 1) - _digamma(spacing)
    return (gaps.clamp_min(_tiny(weights)).log().mean(1) + constant).sum(-1)


def joint_entropy(weights: Tensor, neighbour: int) -> Tensor:
    """Return the weights' joint entropy in nats, `[replicas]`, from nearest neighbours.

        H = P/S sum_s log r_s + log V_P + digamma(S) - digamma(k)

    r_s is the distance of draw s to its k-th nearest, V_P the volume of the unit ball.

    Arguments:
        weights: draws, `[replicas, S, P]`.
        neighbour: k.
    """
    draws, size = weights.shape[1:]
    square = (weights[:, :, None] - weights[:, None]).square().sum(-1)
    nearest = square.kthvalue(neighbour + 1, dim=-1).values  # the first is the draw itself
    ball = size / 2 * math.log(math.pi) - math.lgamma(size / 2 + 1)
    constant = ball + _digamma(draws) - _digamma(neighbour)
    return size / 2 * nearest.clamp_min(_tiny(weights)).log().mean(1) + constant


def _digamma(n: int) -> float:
    return torch.tensor(float(n), dtype=torch.float64).digamma().item()


def _tiny(like: Tensor) -> float:
    """Return the smallest distance that is told from none, so that equal draws are no error."""
    return torch.finfo(like.dtype).tiny
