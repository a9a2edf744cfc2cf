"""Two small matrices for each layer, whose Kronecker product stands for its part of G.

    G_layer ~ 1/(N T) sum_nt (h_nt, 1)(h_nt, 1)'  (x)  sum_nt (df/dz_nt)' H_n (df/dz_nt)

with h_nt the inputs and z_nt the outputs of a linear or convolutional layer at the T places of a
row that share it (positions of an image, tokens). It is exact for a linear model with one output
and constant noise. Weights and biases of a layer are correlated, layers are not; the parameters of
other modules keep the diagonal of G.

Martens & Grosse 2015, https://arxiv.org/abs/1503.05671; Ritter, Botev, Barber 2018,
https://openreview.net/forum?id=Skdvd2xAZ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bnn.curvature.diagonal import DiagonalGaussian, diagonal_of
from bnn.curvature.layers import Layers
from bnn.problem import Problem


@dataclass(frozen=True)
class Block:
    """One layer's part of G: outer (x) inner, over a matrix of parameters.

    Arguments:
        places: of the parameters in the flat vector, `[outputs, inputs]`, biases last.
        outer: `[replicas, outputs, outputs]`.
        inner: `[replicas, inputs, inputs]`.
    """

    places: Tensor
    outer: Tensor
    inner: Tensor

    def posterior(self, prior: Tensor) -> BlockGaussian:
        """Return the Normal of precision outer (x) inner + diag(prior)."""
        spread = prior[:, self.places[0]].rsqrt()  # equal for all outputs
        inner, outer = (
            torch.linalg.eigh(part)
            for part in (spread[:, :, None] * self.inner * spread[:, None], self.outer)
        )
        values = outer[0].clamp(min=0)[:, :, None] * inner[0].clamp(min=0)[:, None]
        return BlockGaussian(self.places, outer[1], inner[1], 1 + values, spread)


@dataclass(frozen=True)
class BlockGaussian:
    """The Normal matrix whose rows and columns, turned and divided by spread, are independent.

    Arguments:
        places: of the parameters in the flat vector, `[outputs, inputs]`.
        outer, inner: eigenvectors, `[replicas, outputs, outputs]` and `[replicas, inputs, inputs]`.
        values: precisions, `[replicas, outputs, inputs]`.
        spread: prior standard deviation of each column, `[replicas, inputs]`.
    """

    places: Tensor
    outer: Tensor
    inner: Tensor
    values: Tensor
    spread: Tensor

    @property
    def log_det(self) -> Tensor:
        """The log determinant of the precision, `[replicas]`."""
        return self.values.log().sum((1, 2)) - 2 * len(self.places) * self.spread.log().sum(1)

    @property
    def variance(self) -> Tensor:
        """The variances, `[replicas, outputs, inputs]`."""
        turned = self.outer.square() @ self.values.reciprocal() @ self.inner.square().mT
        return turned * self.spread[:, None].square()

    def colour(self, noise: Tensor) -> Tensor:
        """Turn standard Normal numbers `[replicas, draws, outputs, inputs]` into draws of it.

        The root of the covariance is the symmetric one, because eigenvectors of nearly equal
        values, of which there are many, are a matter of rounding.
        """
        outer, inner = self.outer[:, None], self.inner[:, None]
        scaled = outer.mT @ noise @ inner * self.values.rsqrt()[:, None]
        return outer @ scaled @ inner.mT * self.spread[:, None, None]

    def take(self, replicas: Sequence[int]) -> BlockGaussian:
        """Return the distribution of some of the replicas."""
        parts = (self.outer, self.inner, self.values, self.spread)
        return BlockGaussian(self.places, *(part[replicas] for part in parts))


@dataclass(frozen=True)
class Kronecker:
    """A block for each layer, and the diagonal of G for what is in none.

    Arguments:
        blocks: of the layers.
        rest: places in the flat vector of all other parameters, `[others]`.
        values: their part of the diagonal, `[replicas, others]`.
    """

    blocks: tuple[Block, ...]
    rest: Tensor
    values: Tensor

    @staticmethod
    def of(problem: Problem, weights: Tensor) -> Kronecker:
        """Return the factors; arguments as of `Full.of`."""
        layers, layout = Layers(problem), problem.network.layout
        order = torch.arange(layout.size, device=weights.device)
        blocks, rest = [], layout.views(order)
        for name, (outer, inner) in layers.factors(weights).items():
            columns = [rest.pop(part) for part in layers.parameters(name)]
            matrix = torch.cat([column.reshape(outer.shape[1], -1) for column in columns], dim=1)
            blocks.append(Block(matrix, outer, inner))
        others = [place.flatten() for place in rest.values()]
        index = torch.cat([order[:0], *others])
        return Kronecker(tuple(blocks), index, diagonal_of(problem, weights, list(rest)))

    def posterior(self, prior: Tensor) -> KroneckerGaussian:
        """Return the Normal whose layers are independent of each other."""
        return KroneckerGaussian(
            tuple(block.posterior(prior) for block in self.blocks),
            self.rest,
            DiagonalGaussian(self.values + prior[:, self.rest]),
        )


@dataclass(frozen=True)
class KroneckerGaussian:
    """Independent blocks."""

    blocks: tuple[BlockGaussian, ...]
    rest: Tensor
    others: DiagonalGaussian

    @property
    def size(self) -> int:
        """How many parameters there are."""
        return len(self.rest) + sum(block.places.numel() for block in self.blocks)

    @property
    def log_det(self) -> Tensor:
        """The log determinant of the precision, `[replicas]`."""
        return sum((block.log_det for block in self.blocks), start=self.others.log_det)

    @property
    def variance(self) -> Tensor:
        """The diagonal of the covariance, `[replicas, parameters]`."""
        found = self.others.precision.new_empty(len(self.others.precision), self.size)
        found[:, self.rest] = self.others.variance
        for block in self.blocks:
            found[:, block.places] = block.variance
        return found

    def colour(self, noise: Tensor) -> Tensor:
        """Turn standard Normal numbers `[replicas, draws, parameters]` into draws of it."""
        found = torch.empty_like(noise)
        found[..., self.rest] = self.others.colour(noise[..., self.rest])
        for block in self.blocks:
            found[..., block.places] = block.colour(noise[..., block.places])
        return found

    def take(self, replicas: Sequence[int]) -> KroneckerGaussian:
        """Return the distribution of some of the replicas."""
        blocks = tuple(block.take(replicas) for block in self.blocks)
        return KroneckerGaussian(blocks, self.rest, self.others.take(replicas))
