"""The flow of H(w, v) = U(w) + |v|^2 / 2, followed in leapfrog steps.

In the coordinates w / scale, a step h is

    v <- v - h/2 scale dU/dw,    w <- w + h scale v,    v <- v - h/2 scale dU/dw
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

# Positions [replicas, chains, parameters] -> -log density up to a constant, [replicas, chains].
Potential = Callable[[Tensor], Tensor]


@runtime_checkable
class WithGradient(Protocol):
    """A potential that knows its gradient."""

    def with_gradient(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """Return U, `[replicas, chains]`, and its gradient, of the shape of the position."""


@dataclass(frozen=True)
class State:
    """Where the chains are.

    Arguments:
        position: `[replicas, chains, parameters]`.
        potential: U, `[replicas, chains]`.
        gradient: of U, of the shape of `position`.
    """

    position: Tensor
    potential: Tensor
    gradient: Tensor

    @staticmethod
    def at(potential: Potential, position: Tensor) -> State:
        """Return the state at a position; chains share no number, so one gradient serves all."""
        if isinstance(potential, WithGradient):
            return State(position.detach(), *potential.with_gradient(position))
        position = position.detach().requires_grad_()
        with torch.enable_grad():
            value = potential(position)
            (gradient,) = torch.autograd.grad(value.sum(), position)
        return State(position.detach(), value.detach(), gradient)

    def where(self, accepted: Tensor, other: State) -> State:
        """Return this state for the accepted chains `[replicas, chains]`, the other elsewhere."""
        return State(
            torch.where(accepted[..., None], self.position, other.position),
            torch.where(accepted, self.potential, other.potential),
            torch.where(accepted[..., None], self.gradient, other.gradient),
        )


def leapfrog(
    potential: Potential, state: State, velocity: Tensor, step: Tensor, steps: Tensor, scale: Tensor
) -> tuple[State, Tensor]:
    """Follow the flow, with one gradient per step.

    Arguments:
        potential: U.
        state: where the trajectories begin.
        velocity: of the shape of the positions.
        step: h, `[replicas]`.
        steps: how many each replica makes, `[replicas]`; one that is done waits for the others.
        scale: unit of each coordinate, `[replicas, parameters]`.
    """
    whole, least = (step[:, None] * scale)[:, None], int(steps.min())
    for done in range(int(steps.max())):
        stride = whole if done < least else torch.where((steps > done)[:, None, None], whole, 0.0)
        half = stride / 2
        velocity = velocity - half * state.gradient
        state = State.at(potential, state.position + stride * velocity)
        velocity = velocity - half * state.gradient
    return state, velocity


def energy(state: State, velocity: Tensor) -> Tensor:
    """Return H = U + |v|^2 / 2, `[replicas, chains]`."""
    return state.potential + velocity.square().sum(-1) / 2
