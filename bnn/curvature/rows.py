"""The training rows' shares of G: rows V_n J_n, the squares of which sum to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.func import jacrev, vmap

from bnn.backpropagation import perceptron
from bnn.curvature import perceptrons
from bnn.curvature.information import fisher_root
from bnn.problem import Problem

NUMBERS_AT_ONCE = 2**24  # of the Jacobians of some rows: 128 MiB, a few times over


def roots(problem: Problem, weights: Tensor, names: Sequence[str]) -> Iterator[Tensor]:
    """Yield V_n J_n for some rows at a time, with J_n the derivative in some of the parameters.

    Arguments:
        weights: flat, of the network and the likelihood, `[replicas, parameters]`.
        names: of the parameters.

    Yields:
        `[replicas, rows, rank, parameters]`, float64.
    """
    if perceptron(problem.network) and list(names) == list(problem.network.layout.shapes):
        for x, y in chunks(problem, problem.network.outputs * problem.network.layout.size):
            yield perceptrons.roots(problem, weights, x, y)
        return
    views = problem.network.layout.views(own(problem, weights))
    moving = {name: views[name] for name in names}

    def outputs(moving: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        every = {name: value[:, None] for name, value in {**views, **moving}.items()}
        found = problem.network(every, x[:, None])[:, 0, 0]
        # Replicas do not depend on each other, so that each sees its own outputs in the sum.
        return found.sum(0), found

    slopes_of = vmap(jacrev(outputs, has_aux=True), in_dims=(None, 1), out_dims=1)
    numbers = problem.network.outputs * sum(value[0].numel() for value in moving.values())
    for x, y in chunks(problem, numbers):
        slopes, found = slopes_of(moving, x)
        parts = [slopes[name].flatten(3) for name in names]
        slope = torch.cat(parts, dim=-1).permute(2, 1, 0, 3)  # from [outputs, rows, ...]
        yield _product(fisher_root(problem, weights, found, y), slope)


def _product(root: Tensor, slope: Tensor) -> Tensor:
    """Return V J, contiguous: of one output in one pass, in less than two thirds of the time."""
    if slope.shape[2] > 1:
        return root @ slope.double()
    return torch.mul(root, slope, out=root.new_empty(slope.shape))


def chunks(problem: Problem, numbers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the training rows, few enough at a time where each needs so many numbers."""
    x, y = problem.batch(problem.train)
    size = max(1, NUMBERS_AT_ONCE // (problem.replicas * numbers))
    yield from zip(x.split(size, 1), y.split(size, 1), strict=True)


def own(problem: Problem, weights: Tensor) -> Tensor:
    """Return the network's part of the flat vector."""
    return weights.detach()[..., : problem.network.layout.size]


def sound(values: Tensor) -> Tensor:
    """Return values with zeros for the replicas that are lost, so that no other is lost by them."""
    lost = ~values.isfinite().flatten(1).all(1)
    return torch.where(lost.view(-1, *[1] * (values.ndim - 1)), 0.0, values)
