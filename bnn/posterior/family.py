"""Families of networks: sets, and distributions to draw from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from bnn.seeds import Streams

Masks = dict[str, Tensor]


class Family(Protocol):
    """A set or a distribution of networks, per replica."""

    @property
    def atoms(self) -> int | None:
        """How many networks there are; None where they are drawn at random without end."""

    def draw(self, streams: Streams, draws: int) -> tuple[Tensor, Masks]:
        """Return the next `draws` networks: the same ones, drawn at once or a few at a time.

        Returns:
            flat weights `[replicas, draws, parameters]`, and masks on units (usually none).
        """

    def take(self, replicas: Sequence[int]) -> Family:
        """Return the family of some of the replicas."""


@dataclass(frozen=True)
class Atoms:
    """A finite set of equally likely networks: one for a point estimate, M for an ensemble.

    Arguments:
        weights: flat, `[replicas, atoms, parameters]`.
    """

    weights: Tensor

    @property
    def atoms(self) -> int:
        """How many networks there are."""
        return self.weights.shape[1]

    def draw(self, streams: Streams, draws: int) -> tuple[Tensor, Masks]:
        """Return all of them: a set needs no sampling."""
        return self.weights, {}

    def take(self, replicas: Sequence[int]) -> Atoms:
        """Return the set of some of the replicas."""
        return Atoms(self.weights[replicas])


@dataclass(frozen=True)
class Chains:
    """Samples of Markov chains, all equally likely.

    Arguments:
        weights: flat, `[replicas, chains, samples, parameters]`.
    """

    weights: Tensor

    @property
    def atoms(self) -> int:
        """How many samples there are, of all chains together."""
        return self.weights.shape[1] * self.weights.shape[2]

    def draw(self, streams: Streams, draws: int) -> tuple[Tensor, Masks]:
        """Return all of them, chain after chain."""
        return self.weights.flatten(1, 2), {}

    def take(self, replicas: Sequence[int]) -> Chains:
        """Return the chains of some of the replicas."""
        return Chains(self.weights[replicas])
