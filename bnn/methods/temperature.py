"""Temperature scaling: any classifier, its logits divided by one number chosen on rows kept back.

    p_T(y | x, D) = 1/S sum_s softmax(f(x, w_s) / T)_y
    T* = argmin_T  -1/M sum_m log p_T(y_m | x_m, D)        over the M calibration rows

The logits of every draw are divided by T before the average, so the predictive stays an exact
mixture; and T is chosen for the average, so it is the predictive that becomes calibrated, not its
members. T > 1 makes it less sure. One network keeps its most probable classes; an average over
several may change its mind where two classes are close.

For one network the loss is convex in 1/T. For a mixture it need not be, so the best of a grid over
log T is found first, and then the zero of the slope beside it, by bisection.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from bnn.data import Rows, Task
from bnn.methods.scaling import fit_scaled, in_pieces
from bnn.optimise import Progress, silent
from bnn.posterior import Affine, Posterior
from bnn.problem import Problem

if TYPE_CHECKING:
    from bnn.methods import Method

COLDEST, HOTTEST = 1 / 16, 16.0  # temperatures that are looked at
GRID = 17  # of them are tried first, evenly in log T
BISECTIONS = 40


@dataclass(frozen=True)
class TemperatureScaled:
    """A method with a temperature chosen on the calibration rows."""

    method: Method
    draws: int = 100  # networks averaged, where there is a choice

    reference: ClassVar[str] = "Guo, Pleiss, Sun, Weinberger 2017, https://arxiv.org/abs/1706.04599"
    tasks: ClassVar[tuple[Task, ...]] = ("classification",)

    @property
    def name(self) -> str:
        """A short identifier."""
        return f"{self.method.name}_temperature"

    @property
    def label(self) -> str:
        """What a reader sees."""
        return f"{self.method.label}, temperature-scaled"

    @property
    def version(self) -> int:
        """Of the method, and of the scaling: the sum rises with either."""
        return self.method.version + 1

    def fit(self, problem: Problem, seeds: Sequence[int], progress: Progress = silent) -> Posterior:
        """Fit the method, and then a temperature to each replica.

        Raises:
            InputError: on a regression, or without calibration rows.
        """
        return fit_scaled(self.method, problem, seeds, progress, self._choose)

    def _choose(self, posterior: Posterior) -> Affine:
        found = best_temperature(posterior, posterior.problem.calibration, self.draws)
        diverged = torch.tensor(posterior.fit.diverged, device=found.device)
        found = torch.where(diverged, 1.0, found)
        told = zip(posterior.seeds, at_edge(found).tolist(), strict=True)
        if edge := [seed for seed, at in told if at]:
            warnings.warn(
                f"The temperature of {self.method.label} for seeds {edge} ended at the edge of "
                f"[{COLDEST}, {HOTTEST}]: perhaps the calibration rows are few and all predicted "
                "right.",
                stacklevel=4,
            )
        return Affine.temperature(found)


def at_edge(temperature: Tensor) -> Tensor:
    """Return whether a temperature is as low or as high as is looked at."""
    return (temperature < COLDEST * (1 + 1e-6)) | (temperature > HOTTEST * (1 - 1e-6))


def best_temperature(posterior: Posterior, rows: Rows, draws: int = 100) -> Tensor:
    """Return the T by which to divide the outputs, so that some rows become most likely.

    Arguments:
        posterior: of a classifier.
        rows: with labels or label distributions, one choice per replica.
        draws: networks averaged, where there is a choice.

    Returns:
        `[replicas]`, float64, from 1/16 to 16.
    """
    return torch.cat(
        [_best_temperature(*piece, draws) for piece in in_pieces(posterior, rows, draws)]
    )


def _best_temperature(posterior: Posterior, rows: Rows, draws: int) -> Tensor:
    outputs, latents = posterior.outputs(rows.x, draws)
    outputs, y = outputs.double(), rows.y

    def loss(log_temperature: Tensor) -> Tensor:
        scaled = outputs / log_temperature.exp()[:, None, None, None]
        return -posterior.problem.predictive(scaled, latents).log_prob(y).mean(1)

    ends = torch.tensor([COLDEST, HOTTEST], dtype=outputs.dtype, device=outputs.device).log()
    return _minimise(loss, ends, rows.replicas).exp()


def _minimise(loss: Callable[[Tensor], Tensor], ends: Tensor, replicas: int) -> Tensor:
    """Return where a loss `[replicas]` is least between two ends, `[replicas]`."""
    grid = torch.linspace(0, 1, GRID).to(ends) * (ends[1] - ends[0]) + ends[0]
    with torch.no_grad():
        losses = torch.stack([loss(point.expand(replicas)) for point in grid])
    best = losses.nan_to_num(nan=torch.inf).argmin(0)
    low, high = grid[(best - 1).clamp(min=0)], grid[(best + 1).clamp(max=GRID - 1)]
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        falling = _slope(loss, middle) < 0
        low, high = torch.where(falling, middle, low), torch.where(falling, high, middle)
    return (low + high) / 2


def _slope(loss: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    with torch.enable_grad():
        at = at.detach().requires_grad_()
        (slope,) = torch.autograd.grad(loss(at).sum(), at)
    return slope
