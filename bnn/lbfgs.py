"""L-BFGS for many replicas at once: from near an optimum to the optimum itself.

    d = -H g,   H from the last few pairs (s, y) of steps and changes of the gradient
    w <- w + t d,   t by the Wolfe conditions on phi(t) = objective(w + t d)

scipy's L-BFGS would do for one replica; it takes one vector and stops as one. Here every replica
has its own history, its own line search and its own end, in one batched computation, so that
replica r of R goes the way of its single run. Near the optimum the decrease of the objective is
lost in rounding long before the gradient is; there the slopes alone decide (the approximate Wolfe
condition of Hager & Zhang), and a gradient of 1e-10 is within reach in float64.

Liu & Nocedal 1989, https://doi.org/10.1007/BF01589116; Hager & Zhang 2005,
https://doi.org/10.1137/030601880.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Objective = Callable[[Tensor], Tensor]  # [replicas, P] -> [replicas], each of its own row alone

MEMORY = 20  # pairs of steps and gradient changes
TRIALS = 40  # steps tried along a line
DECREASE, CURVATURE = 1e-4, 0.9  # of Wolfe's conditions


def polish(
    objective: Objective, start: Tensor, tolerance: float = 1e-10, iterations: int = 1000
) -> tuple[Tensor, Tensor]:
    """Minimise every replica's objective until its largest derivative is within a tolerance.

    A replica that has arrived, or along whose line no better point is found, stays where it is; one
    that is not finite at the start stays there too.

    Arguments:
        objective: from `[replicas, P]` to `[replicas]`, replicas independent of each other.
        start: `[replicas, P]`; its dtype is that of the computation.
        tolerance: on max_i |d objective / d w_i|.
        iterations: of the quickest; at most.

    Returns:
        the points, `[replicas, P]`, and the largest derivatives there, `[replicas]`: those above
        the tolerance have not arrived.
    """
    at = _Point.of(objective, start.detach())
    history = _History.empty(start)
    going = torch.ones_like(at.value, dtype=torch.bool)
    for _ in range(iterations):
        going = going & at.finite & (at.norm > tolerance)
        if not going.any():
            break
        direction = torch.where(going[:, None], history.direction(at.gradient), 0.0)
        after, found = _search(objective, at, direction)
        # Where a line leads nowhere, the history is at fault; without one, there is nowhere to go.
        going = going & (found | history.known)
        history = history.add(at, after, found)
        at = after
    return at.place, at.norm


@dataclass(frozen=True)
class _Point:
    """Where the replicas are, with their objectives `[replicas]` and gradients `[replicas, P]`."""

    place: Tensor
    value: Tensor
    gradient: Tensor

    @staticmethod
    def of(objective: Objective, place: Tensor) -> _Point:
        with torch.enable_grad():
            leaf = place.detach().requires_grad_()
            value = objective(leaf)
            (gradient,) = torch.autograd.grad(value.sum(), leaf)
        return _Point(place, value.detach(), gradient)

    @property
    def norm(self) -> Tensor:
        return self.gradient.abs().amax(-1)

    @property
    def finite(self) -> Tensor:
        return self.value.isfinite() & self.gradient.isfinite().all(-1)

    def where(self, chosen: Tensor, other: _Point) -> _Point:
        """Return these replicas where they are chosen, else the other's."""
        row = chosen[:, None]
        return _Point(
            torch.where(row, self.place, other.place),
            torch.where(chosen, self.value, other.value),
            torch.where(row, self.gradient, other.gradient),
        )


def _search(objective: Objective, at: _Point, direction: Tensor) -> tuple[_Point, Tensor]:
    """Return points along lines that satisfy Wolfe's conditions, and which replicas have one.

    A step too long is an upper bound, one too short a lower; the next one halves what lies between
    them, or doubles the lower. What is not finite is too long.
    """
    slope = _dot(at.gradient, direction)
    rounding = 10 * torch.finfo(slope.dtype).eps * at.value.abs()
    step, low = torch.ones_like(slope), torch.zeros_like(slope)
    high = torch.full_like(slope, torch.inf)
    searching = slope < 0
    after, found = at, torch.zeros_like(searching)
    for _ in range(TRIALS):
        trial = _Point.of(objective, at.place + step[:, None] * direction)
        there = _dot(trial.gradient, direction)
        lower = trial.value <= at.value + DECREASE * step * slope
        level = trial.value <= at.value + rounding
        long = ~(trial.finite & (lower | level & (there <= (2 * DECREASE - 1) * slope)))
        short = ~long & (there < CURVATURE * slope)
        arrived = searching & ~long & ~short
        after, found = trial.where(arrived, after), found | arrived
        searching = searching & ~arrived
        if not searching.any():
            break
        high, low = torch.where(long, step, high), torch.where(short, step, low)
        halved = torch.where(high.isinf(), 2 * low, (low + high) / 2)
        step = torch.where(searching, halved, step)
    return after, found


@dataclass(frozen=True)
class _History:
    """The last pairs of steps and gradient changes, `[replicas, MEMORY, P]`, newest last.

    A pair of zeros changes nothing; a replica without any goes along its gradient.
    """

    steps: Tensor
    changes: Tensor

    @staticmethod
    def empty(start: Tensor) -> _History:
        none = start.new_zeros(len(start), MEMORY, start.shape[1])
        return _History(none, none)

    @property
    def known(self) -> Tensor:
        """Which replicas have a history, `[replicas]`."""
        return (_dot(self.steps[:, -1], self.changes[:, -1])) > 0

    def add(self, before: _Point, after: _Point, found: Tensor) -> _History:
        """Return the history with one more pair; where none was found, it is forgotten."""
        keep = found[:, None, None]
        return _History(
            torch.where(keep, _pushed(self.steps, after.place - before.place), 0.0),
            torch.where(keep, _pushed(self.changes, after.gradient - before.gradient), 0.0),
        )

    def direction(self, gradient: Tensor) -> Tensor:
        """Return -H g by the two-loop recursion, `[replicas, P]`."""
        inner = _dot(self.steps, self.changes)
        weight = torch.where(inner > 0, 1 / inner, 0.0)
        shares = []
        for i in reversed(range(MEMORY)):
            share = weight[:, i] * _dot(self.steps[:, i], gradient)
            gradient = gradient - share[:, None] * self.changes[:, i]
            shares.append(share)
        gradient = gradient * self._scale(gradient)[:, None]
        for i, share in enumerate(reversed(shares)):
            back = share - weight[:, i] * _dot(self.changes[:, i], gradient)
            gradient = gradient + back[:, None] * self.steps[:, i]
        return -gradient

    def _scale(self, gradient: Tensor) -> Tensor:
        """Return the first guess of H: by the newest pair, or steps of length one at most."""
        step, change = self.steps[:, -1], self.changes[:, -1]
        shortened = 1 / torch.linalg.vector_norm(gradient, dim=-1).clamp(min=1)
        return torch.where(self.known, _dot(step, change) / _dot(change, change), shortened)


def _pushed(kept: Tensor, new: Tensor) -> Tensor:
    return torch.cat([kept[:, 1:], new[:, None]], dim=1)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1)
