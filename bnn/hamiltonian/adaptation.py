"""What is learnt from the chains of one replica: the step, the time of a trajectory, the scales.

Sources: dual averaging, Hoffman & Gelman 2014, https://arxiv.org/abs/1111.4246; the ChEES
criterion, Hoffman, Radul & Sountsov 2021, https://proceedings.mlr.press/v130/hoffman21a.html.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bnn.hamiltonian.kernel import Moved


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
