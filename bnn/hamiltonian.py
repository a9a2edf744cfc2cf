"""Hamiltonian Monte Carlo: the kernel, for all chains of all replicas at once.

A position w with potential U(w) = -log p(w, D) gets a random velocity v ~ Normal(0, 1) and moves
along the flow of H(w, v) = U(w) + |v|^2 / 2 in the coordinates w / scale, in leapfrog steps h:

    v <- v - h/2 scale dU/dw,    w <- w + h scale v,    v <- v - h/2 scale dU/dw

Where it ends is accepted with probability min(1, exp(-change of H)), which leaves p(w | D) as it is
(Neal 2011, https://arxiv.org/abs/1206.1901). During warm-up the step is adapted by dual averaging
(Hoffman & Gelman 2014, https://arxiv.org/abs/1111.4246), the scales to the spread of the chains,
and the time of a trajectory by the ChEES criterion (Hoffman, Radul & Sountsov 2021,
https://proceedings.mlr.press/v130/hoffman21a.html), over the chains of one replica. All chains of a
replica make the same number of steps, which a low-discrepancy sequence varies from one iteration to
the next, so that no trajectory is a multiple of an orbit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from bnn.seeds import Streams

# Positions [replicas, chains, parameters] -> -log density up to a constant, [replicas, chains].
Potential = Callable[[Tensor], Tensor]


@runtime_checkable
class WithGradient(Protocol):
    """A potential that knows its gradient."""

    def with_gradient(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """Return U, `[replicas, chains]`, and its gradient, of the shape of the position."""


DIVERGENT = 1000.0  # change of H in nats beyond which a trajectory has left the flow, as in Stan
SEARCH = 0.1  # share of the warm-up that looks for the typical set, with short trajectories
WINDOWS = (0.1, 0.2, 0.4, 0.8)  # shares of the warm-up after which the scales are set anew
FIRST_STEP = 0.1  # where the search for the step begins, in units of the scales
SEARCH_STEPS = 10  # leapfrog steps at most, during the search


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


class Tuning:
    """Step, scales and trajectory time of every replica, learnt from its own chains.

    Arguments:
        start: positions, `[replicas, chains, parameters]`.
        acceptance: what the step is adapted to.
        warmup: iterations of learning.
    """

    def __init__(self, start: Tensor, acceptance: float, warmup: int) -> None:
        replicas, _, size = start.shape
        self.acceptance, self.warmup = acceptance, warmup
        self.ends = {round(share * warmup) for share in WINDOWS}
        self.scale = start.new_ones(replicas, size)
        self.averaging = DualAveraging(start.new_full((replicas,), math.log(FIRST_STEP)))
        self.ascent = Ascent(start.new_zeros(replicas))
        self.spread = Spread(start)
        self.searching = warmup > 0

    @property
    def step(self) -> Tensor:
        """The leapfrog step in units of the scales, `[replicas]`."""
        return self.averaging.log_step.exp()

    def steps(self, share: float, most: int) -> Tensor:
        """Return how many steps to make in a share of the trajectory time, `[replicas]`."""
        if self.searching:
            return self.step.new_full(self.step.shape, math.ceil(share * SEARCH_STEPS))
        return (share * self.ascent.log_time.exp() / self.step).ceil().clamp(1, most)

    def learn(self, iteration: int, share: float, before: State, moved: Moved) -> None:
        """Learn from one iteration of the warm-up."""
        self.averaging.update(self.acceptance - moved.acceptance.mean(1))
        if not self.searching:
            self.ascent.update(chees(before.position, moved, share, self.scale))
        self.spread.add(moved.state.position)
        if iteration + 1 in self.ends:
            self._rescale(moved.state.position)
        if iteration + 1 == self.warmup:
            self.averaging.log_step = self.averaging.log_average
            self.ascent.log_time = self.ascent.log_average

    def _rescale(self, position: Tensor) -> None:
        """Set the scales to the chains' spread; a coordinate moves as far as before on average."""
        found = self.spread.deviation()
        scale = torch.where(found > 0, found, self.scale)
        shift = (self.scale / scale).log().mean(-1)
        self.scale = scale
        self.averaging = DualAveraging(self.averaging.log_step + shift)
        if not self.searching:
            self.ascent = Ascent(self.ascent.log_time + shift)
        self.spread, self.searching = Spread(position), False


class DualAveraging:
    """Steps log h whose mean error goes to zero (Hoffman & Gelman 2014, section 3.2.1).

    Arguments:
        log_start: the first step's logarithm, to which it is drawn, `[replicas]`.
    """

    PULL, DELAY, FORGET = 0.05, 10, 0.75  # gamma, t0 and kappa of the paper

    def __init__(self, log_start: Tensor) -> None:
        self.centre = self.log_step = self.log_average = log_start
        self.error = torch.zeros_like(log_start)
        self.count = 0

    def update(self, error: Tensor) -> None:
        """Take the target less what was found, `[replicas]`."""
        self.count += 1
        n = self.count
        self.error = self.error + (error - self.error) / (n + self.DELAY)
        self.log_step = self.centre - math.sqrt(n) / self.PULL * self.error
        weight = n**-self.FORGET
        self.log_average = weight * self.log_step + (1 - weight) * self.log_average


class Ascent:
    """Stochastic ascent in the logarithm of the trajectory time: Adam without momentum.

    Arguments:
        log_start: where it begins, `[replicas]`; the time is in units of the scales.
    """

    RATE, DECAY = 0.025, 0.95

    def __init__(self, log_start: Tensor) -> None:
        self.log_time = self.log_average = log_start
        self.square = torch.zeros_like(log_start)
        self.count = 0

    def update(self, gradient: Tensor) -> None:
        """Make one step along the gradient of the criterion, `[replicas]`."""
        self.count += 1
        self.square = self.DECAY * self.square + (1 - self.DECAY) * gradient.square()
        size = (self.square / (1 - self.DECAY**self.count)).sqrt()
        self.log_time = self.log_time + torch.where(size > 0, self.RATE * gradient / size, 0.0)
        self.log_average = self.log_average + (self.log_time - self.log_average) / self.count


class Spread:
    """Running standard deviation of each coordinate within the chains.

    Arguments:
        origin: any position, `[replicas, chains, parameters]`.
    """

    def __init__(self, origin: Tensor) -> None:
        self.count = 0
        self.mean = torch.zeros_like(origin)
        self.squares = torch.zeros_like(origin)

    def add(self, position: Tensor) -> None:
        """Take one position of every chain (Welford 1962)."""
        self.count += 1
        gap = position - self.mean
        self.mean = self.mean + gap / self.count
        self.squares = self.squares + gap * (position - self.mean)

    def deviation(self) -> Tensor:
        """Return the standard deviation pooled over chains, `[replicas, parameters]`."""
        return (self.squares.mean(1) / max(1, self.count - 1)).sqrt()


def chees(position: Tensor, moved: Moved, share: float, scale: Tensor) -> Tensor:
    """Return the gradient of the ChEES criterion in the logarithm of the time, `[replicas]`.

    The criterion is the expected squared change of the squared distance from the chains' mean,
    per time. Trajectories count by their acceptance probability.

    Arguments:
        position: before the trajectories, `[replicas, chains, parameters]`.
        moved: the trajectories.
        share: of the trajectory time that they made.
        scale: unit of each coordinate, `[replicas, parameters]`.
    """
    weight = moved.acceptance / moved.acceptance.sum(1, keepdim=True).clamp(min=1e-10)
    sound = moved.acceptance[..., None] > 0
    begin = position / scale[:, None]
    end = torch.where(sound, moved.end.position / scale[:, None], begin)
    velocity = torch.where(sound, moved.velocity, 0.0)
    begin = begin - begin.mean(1, keepdim=True)
    end = end - (weight[..., None] * end).sum(1, keepdim=True)
    gain = end.square().sum(-1) - begin.square().sum(-1)
    return (weight * share * gain * (end * velocity).sum(-1)).sum(1)


def van_der_corput(index: int) -> float:
    """Return the index-th number of the low-discrepancy sequence 1/2, 1/4, 3/4, 1/8, ..."""
    share, place = 0.0, 0.5
    while index:
        index, bit = divmod(index, 2)
        share += bit * place
        place /= 2
    return share
