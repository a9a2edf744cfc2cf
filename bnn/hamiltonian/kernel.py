"""The kernel: one trajectory of every chain, accepted with probability min(1, exp(-change of H)).

That leaves the distribution exp(-U) as it is (Neal 2011, https://arxiv.org/abs/1206.1901).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bnn.hamiltonian.flow import Potential, State, energy, leapfrog

DIVERGENT = 1000.0  # change of H in nats beyond which a trajectory has left the flow, as in Stan


@dataclass(frozen=True)
class Moved:
    """What became of one trajectory of every chain.

    Arguments:
        state: where the chains are now.
        end, velocity: of the trajectories, whether accepted or not.
        acceptance: probability, `[replicas, chains]`.
        divergent: whether the trajectory left the flow, `[replicas, chains]`.
    """

    state: State
    end: State
    velocity: Tensor
    acceptance: Tensor
    divergent: Tensor


def transition(
    potential: Potential,
    state: State,
    velocity: Tensor,
    uniform: Tensor,
    step: Tensor,
    steps: Tensor,
    scale: Tensor,
) -> Moved:
    """Move every chain once, and leave the distribution exp(-U) as it is.

    Arguments:
        velocity: standard Normal numbers, of the shape of the positions.
        uniform: numbers on [0, 1) that decide on acceptance, `[replicas, chains]`.
        potential, state, step, steps, scale: as of `leapfrog`.
    """
    end, last = leapfrog(potential, state, velocity, step, steps, scale)
    change = energy(end, last) - energy(state, velocity)
    change = torch.where(change.isfinite(), change, torch.inf)  # what is not finite is refused
    acceptance = (-change).exp().clamp(max=1.0)
    moved = end.where(uniform < acceptance, state)
    return Moved(moved, end, last, acceptance, change > DIVERGENT)
