"""Vector scaling: any classifier, each logit with a gain and a shift chosen on rows kept back.

    p(y | x, D) = 1/S sum_s softmax(a * f(x, w_s) + b)_y,    a, b: one number per class
    a*, b* = argmin  -1/M sum_m log p(y_m | x_m, D) + |(a - 1, b)|^2 / (2 M spread^2)

The logits of every draw are mapped before the average, and the map is chosen for the average, as in
temperature scaling, which is the case of equal gains and no shifts. A network with one logit has
one gain and one shift: Platt's scaling. Unlike a temperature, the map may change which class is the
most probable.

There are two numbers per class to fit, and they overfit where calibration rows are few; where the
rows can be told apart without error, the likelihood has no finite optimum at all. So the map starts
from the identity and is held near it by a Normal prior, which many rows outweigh and which decides
where the rows cannot, as between the gains of two logits that mirror each other. A posterior with
fewer than ten rows for each number carries a caveat, and a map beyond sense is told by a warning.
For one network the loss is convex. For a mixture it need not be: the optimum found is the one
downhill of the identity, and so never worse than it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from bnn.data import Rows, Task
from bnn.errors import InputError
from bnn.lbfgs import polish
from bnn.methods.scaling import fit_scaled, in_pieces
from bnn.methods.temperature import HOTTEST
from bnn.optimise import Progress, silent
from bnn.posterior import Affine, Posterior
from bnn.problem import Problem

if TYPE_CHECKING:
    from bnn.methods import Method

TOLERANCE = 1e-8  # largest derivative at the optimum, nats per row
STEEPEST = HOTTEST  # gains beyond it, or below zero, are not to be trusted
ROWS_PER_NUMBER = 10  # calibration rows for each fitted number below which a reader is told


@dataclass(frozen=True)
class VectorScaled:
    """A method with a gain and a shift per class chosen on the calibration rows."""

    method: Method
    draws: int = 100  # networks averaged, where there is a choice
    spread: float = 1.0  # standard deviation of the prior on gains around 1 and on shifts around
    # 0, in units of the logits; infinite for none, as in the paper

    reference: ClassVar[str] = "Guo, Pleiss, Sun, Weinberger 2017, https://arxiv.org/abs/1706.04599"
    tasks: ClassVar[tuple[Task, ...]] = ("classification",)

    def __post_init__(self) -> None:
        if not self.spread > 0:
            raise InputError("a positive spread", repr(self.spread), "1.0 holds the map loosely.")

    @property
    def name(self) -> str:
        """A short identifier."""
        return f"{self.method.name}_vector"

    @property
    def label(self) -> str:
        """What a reader sees."""
        return f"{self.method.label}, vector-scaled"

    @property
    def version(self) -> int:
        """Of the method, and of the scaling: the sum rises with either."""
        return self.method.version + 1

    def fit(self, problem: Problem, seeds: Sequence[int], progress: Progress = silent) -> Posterior:
        """Fit the method, and then a map of the logits to each replica.

        Raises:
            InputError: on a regression, or without calibration rows.
        """
        posterior = fit_scaled(self.method, problem, seeds, progress, self._choose)
        numbers, rows = 2 * posterior.problem.network.outputs, posterior.problem.calibration.points
        return replace(posterior, caveats=posterior.caveats + few(numbers, rows))

    def _choose(self, posterior: Posterior) -> Affine:
        rows = posterior.problem.calibration
        found, norms = best_map(posterior, rows, self.draws, self.spread)
        found = _identity_where(posterior.fit.diverged, found)
        self._tell(found, norms, posterior.seeds)
        return found

    def _tell(self, found: Affine, norms: Tensor, seeds: Sequence[int]) -> None:
        doubtful = ~sensible(found) | (norms > TOLERANCE)
        told = [seed for seed, bad in zip(seeds, doubtful.tolist(), strict=True) if bad]
        if told:
            warnings.warn(
                f"The vector scaling of {self.method.label} for seeds {told} ended without gains "
                f"between 0 and {STEEPEST}: perhaps the calibration rows are few, or all predicted "
                "right. Bring more of them, or make the spread smaller.",
                stacklevel=5,
            )


def sensible(found: Affine) -> Tensor:
    """Return whether all gains keep the logits' order and are not far steeper, `[replicas]`."""
    return ((found.gain > 0) & (found.gain < STEEPEST)).all(1)


def few(numbers: int, rows: int) -> tuple[str, ...]:
    """Return a caveat where so many numbers were fitted to too few rows."""
    if rows >= ROWS_PER_NUMBER * numbers:
        return ()
    return (
        f"vector scaling fitted {numbers} numbers to {rows} calibration rows, fewer than "
        f"{ROWS_PER_NUMBER} for each: it may have overfitted them",
    )


def best_map(
    posterior: Posterior, rows: Rows, draws: int = 100, spread: float = 1.0
) -> tuple[Affine, Tensor]:
    """Return the gains and shifts of the outputs under which some rows are most likely.

    Arguments:
        posterior: of a classifier.
        rows: with labels or label distributions, one choice per replica.
        draws: networks averaged, where there is a choice.
        spread: standard deviation of the prior around the identity.

    Returns:
        the map, of width C, float64, the identity where the outputs are not finite; and the largest
        derivative of the loss there, nats per row, `[replicas]`.
    """
    found = [_best_map(*piece, draws, spread) for piece in in_pieces(posterior, rows, draws)]
    gain, shift, norms = (torch.cat(part) for part in zip(*found, strict=True))
    return Affine(gain, shift), norms


def _best_map(
    posterior: Posterior, rows: Rows, draws: int, spread: float
) -> tuple[Tensor, Tensor, Tensor]:
    outputs, latents = posterior.outputs(rows.x, draws)
    outputs = outputs.double()
    replicas, width = rows.replicas, outputs.shape[-1]

    def loss(change: Tensor) -> Tensor:
        mapped = _affine(change)(outputs)
        log_prob = posterior.problem.predictive(mapped, latents).log_prob(rows.y)
        return -log_prob.mean(1) + change.square().sum(1) / (2 * rows.points * spread**2)

    change, norms = polish(loss, outputs.new_zeros(replicas, 2 * width), TOLERANCE)
    best = _affine(change)
    assert best.shift is not None
    return best.gain, best.shift, norms


def _identity_where(lost: Sequence[bool], found: Affine) -> Affine:
    keep = ~torch.tensor(lost, device=found.gain.device)[:, None]
    assert found.shift is not None
    return Affine(torch.where(keep, found.gain, 1.0), torch.where(keep, found.shift, 0.0))


def _affine(change: Tensor) -> Affine:
    """Return the map that differs from the identity by `[replicas, 2 width]` numbers."""
    gain, shift = change.chunk(2, dim=1)
    return Affine(1 + gain, shift)
