"""The tuning of the kernel during warm-up: what is learnt when."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bnn.hamiltonian.adaptation import Ascent, DualAveraging, Spread, chees
from bnn.hamiltonian.flow import State
from bnn.hamiltonian.kernel import Moved

SEARCH = 0.1  # share of the warm-up that looks for the typical set, with short trajectories
WINDOWS = (SEARCH, 0.2, 0.4, 0.8)  # shares of the warm-up after which the scales are set anew
FIRST_STEP = 0.1  # where the search for the step begins, in units of the scales
SEARCH_STEPS = 10  # leapfrog steps at most, during the search


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
