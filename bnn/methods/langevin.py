"""Langevin dynamics: steps with friction and noise whose stationary law is near the posterior.

    v' = (1 - a) v + e grad log p(w, D) + sqrt(2 a e T) eps,    w' = w + v',    eps ~ Normal(0, 1)

with the log joint summed over all N rows, step e, friction a in (0, 1] and temperature T. These are
the dynamics of SGHMC (Chen, Fox, Guestrin 2014, equation 15, its estimate of gradient noise zero).
Friction 1 forgets the velocity, which is SGLD with h = 2 e (Welling & Teh 2011); temperature 0 is
SGD with momentum 1 - a. The training loop's loss is -log p(w, D) / N, so e = learning rate / N.

On a Normal posterior of precision l, with all rows in every step, the chain's law is known: it is
Normal, with the right mean and the variance

    T / (l (1 - e l / (2 (2 - a)))),    while e l < 2 (2 - a),

so its error is of first order in e. Minibatches add the noise of their gradients, which nothing
takes off. They are those of the training loop, where each epoch visits its rows in a new order:
successive batches are not independent, so at small steps their noise partly cancels.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from bnn.errors import InputError
from bnn.gradients import of_joint
from bnn.methods.maximum_likelihood import negative_log_likelihood
from bnn.methods.maximum_posterior import negative_log_joint
from bnn.methods.members import gathered, spread
from bnn.optimise import Progress, Training, train
from bnn.posterior import Chains, Posterior
from bnn.problem import Problem
from bnn.seeds import Streams

Schedule = Callable[[int], tuple[float, float]]  # steps done -> learning rate, temperature


class Langevin:
    """An update by Langevin dynamics.

    Arguments:
        parameters: what will be moved; only its shape counts.
        points: N, training rows.
        friction: a.
        schedule: of learning rate and temperature, in place of the loop's own rate.
    """

    def __init__(
        self, parameters: Tensor, points: int, friction: float, schedule: Schedule
    ) -> None:
        self._velocity = torch.zeros_like(parameters)
        self._points, self._friction, self._schedule = points, friction, schedule
        self._done = 0

    def step(self, parameters: Tensor, gradient: Tensor, rate: float, noise: Streams) -> None:
        """Make one step."""
        rate, temperature = self._schedule(self._done)
        self._velocity.mul_(1 - self._friction).sub_(gradient, alpha=rate)
        if temperature > 0:
            kick = math.sqrt(2 * self._friction * rate * temperature / self._points)
            self._velocity.add_(noise.normal(1, parameters.shape[1])[:, 0], alpha=kick)
        parameters.add_(self._velocity)
        self._done += 1

    def take(self, rows: Sequence[int]) -> Langevin:
        """Return the dynamics of some of the replicas."""
        some = copy.copy(self)
        some._velocity = self._velocity[list(rows)]
        return some


class Samples:
    """The weights after some of the steps.

    Arguments:
        start: initial weights, `[replicas, parameters]`.
        steps: after which steps, counted from 1.
    """

    def __init__(self, start: Tensor, steps: Iterable[int]) -> None:
        self._place = {step: place for place, step in enumerate(sorted(set(steps)))}
        self.weights = start[:, None].repeat(1, len(self._place), 1)

    def visit(self, replicas: Sequence[int], done: int, parameters: Tensor) -> None:
        """Keep the weights if this is one of the steps."""
        if done in self._place:
            self.weights[list(replicas), self._place[done]] = parameters


def sample(
    problem: Problem,
    seeds: Sequence[int],
    training: Training,
    friction: float,
    schedule: Schedule,
    chains: int,
    kept: Iterable[int],
    temperature: float,
    progress: Progress,
) -> Posterior:
    """Run chains from starts of their own, all at once, and return the weights they passed.

    Arguments:
        problem: with one replica per seed.
        seeds: one per replica.
        training: how many steps, on how many rows each.
        friction, schedule: as of `Langevin`.
        chains: per replica.
        kept: the steps after which weights are kept, counted from 1.
        temperature: at which samples are taken; any but 1 is a caveat.
        progress: told the finished share of the work.

    Raises:
        InputError: on an improper prior, under which there need be no posterior.
    """
    if not problem.prior.proper:
        raise InputError(
            "a proper prior", "Flat", "Without a prior there need be no posterior to sample."
        )
    everyone, starts = spread(problem, seeds, chains)
    start = everyone.initial(starts)
    samples = Samples(start, kept)
    fit = train(
        everyone,
        starts,
        training,
        start,
        negative_log_joint,
        negative_log_likelihood,
        progress,
        update=lambda parameters: Langevin(parameters, problem.points, friction, schedule),
        visit=samples.visit,
        write_out=of_joint,
    )
    family = Chains(samples.weights.unflatten(0, (len(seeds), chains)))
    return Posterior(
        problem, family, tuple(seeds), gathered(fit, chains), caveats=caveats(temperature)
    )


def steps_of(training: Training, points: int) -> int:
    """Return how many steps a training makes on so many rows."""
    return training.epochs_of(points) * (points // training.batch_of(points))


def evenly(after: float, until: float, samples: int) -> list[int]:
    """Return up to `samples` whole numbers evenly in (after, until], the last of them included."""
    return [math.floor(after + (until - after) * (s + 1) / samples) for s in range(samples)]


def caveats(temperature: float) -> tuple[str, ...]:
    """Return what a reader must know of a temperature."""
    if temperature == 1:
        return ()
    return (
        f"sampled at temperature {temperature:g}: the chains' law is near p(w | D)^(1/T) with "
        f"T = {temperature:g}, which is not the posterior",
    )


def check_settings(positive: dict[str, float], counts: dict[str, int]) -> None:
    """Refuse settings that are not positive and finite, and counts below one."""
    for name, value in positive.items():
        if not 0 < value < math.inf:
            raise InputError(f"a positive, finite {name}", repr(value), f"Raise {name} above 0.")
    for name, count in counts.items():
        if not isinstance(count, int) or count < 1:
            raise InputError(f"a whole number of {name}, at least one", repr(count), "Try 4.")


def check_share(name: str, value: float) -> None:
    """Refuse a share outside [0, 1)."""
    if not 0 <= value < 1:
        raise InputError(f"a share {name} in [0, 1)", repr(value), "0.5 is usual.")


def check_friction(value: float) -> None:
    """Refuse a friction outside (0, 1]."""
    if not 0 < value <= 1:
        raise InputError("a friction in (0, 1]", repr(value), "0.1 is usual; 1 is SGLD.")
