"""The chains: moved again and again, tuned during warm-up, and kept after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from bnn.hamiltonian.flow import Potential, State
from bnn.hamiltonian.kernel import transition
from bnn.hamiltonian.tuning import Tuning
from bnn.seeds import Streams


@dataclass(frozen=True)
class Sampled:
    """What the chains leave behind.

    Arguments:
        positions: kept samples, `[replicas, chains, samples, parameters]`.
        potential: mean of U over the chains after each iteration, warm-up first,
            `[iterations, replicas]`.
        divergences: trajectories after warm-up that left the flow, `[replicas]`.
        acceptance: mean acceptance probability after warm-up, `[replicas]`.
        step: of the leapfrog, in units of the scales, `[replicas]`.
        gradients: evaluated per iteration after warm-up by each chain, `[replicas]`.
    """

    positions: Tensor
    potential: Tensor
    divergences: Tensor
    acceptance: Tensor
    step: Tensor
    gradients: Tensor


def sample(
    potential: Potential,
    start: Tensor,
    streams: Streams,
    *,
    warmup: int,
    samples: int,
    thin: int = 1,
    acceptance: float = 0.8,
    max_steps: int = 256,
    progress: Callable[[float], None] = lambda share: None,
) -> Sampled:
    """Run the chains, adapt them during warm-up, and keep samples from after it.

    Arguments:
        potential: U.
        start: positions, `[replicas, chains, parameters]`.
        streams: one per replica.
        warmup: iterations before the first sample.
        samples: how many to keep of each chain.
        thin: iterations per kept sample.
        acceptance: mean acceptance probability that the step is adapted to.
        max_steps: leapfrog steps of a trajectory, at most.
        progress: told the finished share of the work.
    """
    replicas, chains, size = start.shape
    state = State.at(potential, start)
    tuning = Tuning(start, acceptance, warmup)
    kept = start.new_empty(replicas, chains, samples, size)
    total = warmup + samples * thin
    course = start.new_empty(total, replicas)
    divergences, accepted, gradients = (start.new_zeros(replicas) for _ in range(3))
    for iteration in range(total):
        share = van_der_corput(iteration + 1)
        steps = tuning.steps(share, max_steps)
        velocity = streams.normal(1, chains, size)[:, 0]
        uniform = streams.uniform(1, chains)[:, 0]
        moved = transition(potential, state, velocity, uniform, tuning.step, steps, tuning.scale)
        if iteration < warmup:
            tuning.learn(iteration, share, state, moved)
        else:
            divergences += moved.divergent.sum(1)
            accepted += moved.acceptance.mean(1)
            gradients += steps
        state = moved.state
        course[iteration] = state.potential.mean(1)
        place, rest = divmod(iteration - warmup + 1, thin)
        if iteration >= warmup and rest == 0:
            kept[:, :, place - 1] = state.position
        progress((iteration + 1) / total)
    count = max(1, samples * thin)
    return Sampled(kept, course, divergences, accepted / count, tuning.step, gradients / count)


def van_der_corput(index: int) -> float:
    """Return the index-th number of the low-discrepancy sequence 1/2, 1/4, 3/4, 1/8, ..."""
    share, place = 0.0, 0.5
    while index:
        index, bit = divmod(index, 2)
        share += bit * place
        place /= 2
    return share
