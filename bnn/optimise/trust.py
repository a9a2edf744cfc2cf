"""Whether a gradient that is written out is to be trusted: it is compared with autograd's."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from bnn.gradients import Gradient, WriteOut, exact
from bnn.optimise.loss import Loss, by_autograd
from bnn.problem import Problem
from bnn.seeds import Streams

TOLERANCE = 1e-9  # relative difference in float64 above which a written-out gradient is not used


def trusted(
    write_out: WriteOut | None,
    loss: Loss,
    problem: Problem,
    parameters: Tensor,
    seeds: Sequence[int],
    size: int,
) -> WriteOut | None:
    """Return what writes the gradient out, if that agrees with autograd's on the first rows."""
    if write_out is None or write_out(problem, size, parameters.detach()) is None:
        return None
    problem, parameters = exact(problem), parameters.detach().double().contiguous()
    columns = torch.arange(size, device=parameters.device).expand(problem.replicas, -1)
    x, y = problem.batch(problem.train.at(columns))
    noise = [
        Streams(seeds, "check against autograd", parameters.device, parameters.dtype)
        for _ in range(2)
    ]
    makes: tuple[WriteOut, WriteOut] = (write_out, partial(by_autograd, loss))
    found, expected = (
        _once(make(problem, size, parameters), x, y, streams)
        for make, streams in zip(makes, noise, strict=True)
    )
    return write_out if agrees(found, expected) else None


def _once(gradient: Gradient | None, x: Tensor, y: Tensor, noise: Streams) -> tuple[Tensor, Tensor]:
    assert gradient is not None
    gradient.see(x, y)
    return gradient.at(0, noise)


def agrees(found: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    """Are values and gradients written out those of autograd? If not, say so.

    Arguments:
        found, expected: tensors `[replicas, ...]`, float64.
    """
    worst = max(difference(a, b) for a, b in zip(found, expected, strict=True))
    if worst <= TOLERANCE:
        return True
    warnings.warn(
        f"A gradient written out differs from autograd's by {worst:.1e} (relative), more than "
        f"{TOLERANCE:.0e}. The fit goes on with autograd, which is slower.",
        stacklevel=4,
    )
    return False


def difference(found: Tensor, expected: Tensor) -> float:
    """Return the worst difference over replicas, relative to the largest number of each.

    A replica that is not finite in both counts as equal.
    """
    found, expected = (part.reshape(len(part), -1) for part in (found, expected))
    gap = (found - expected).abs().amax(1) / expected.abs().amax(1)
    gap = torch.where((found == expected).all(1), 0.0, gap)  # zeros
    lost, lost_too = (~part.isfinite().all(1) for part in (found, expected))
    gap = torch.where(lost | lost_too, torch.where(lost == lost_too, 0.0, torch.inf), gap)
    return gap.max().item()
