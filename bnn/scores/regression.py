"""Regression: the scores of a predictive distribution of a real target.

Shapes: replicas R, draws S, points N. Scores are in the target's original unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bnn.metrics.regression import coverage, distance, energy, spread, squared_error
from bnn.predictive import NormalMixture
from bnn.scores.estimates import Estimate, mean, root_mean

LEVELS = (50, 90, 95)  # of central intervals, per cent


@dataclass(frozen=True)
class Truth:
    """The targets, and how far the predictions are from them and from each other.

    The pairs of draws that the CRPS needs are many, so they are summed by groups of draws, once.

    Arguments:
        y: targets, `[R, N]`.
        distance: E|X - y| for each draw, standardised, `[R, S, N]`.
        spread: E|X - X'| for each pair of groups of draws, standardised, `[R, G, G, N]`.
    """

    y: Tensor
    distance: Tensor
    spread: Tensor

    @staticmethod
    def of(y: Tensor, mixture: NormalMixture, groups: int) -> Truth:
        """Compare targets with a mixture, its draws cut into groups of equal size."""
        standard = (y - mixture.shift[:, None]) / mixture.unit[:, None]
        return Truth(
            y,
            distance(standard, mixture.loc, mixture.scale),
            spread(mixture.loc, mixture.scale, groups),
        )


@dataclass(frozen=True)
class Regressed:
    """The predictions for some rows: all that their scores depend on.

    Arguments:
        mixture: whose components are the draws.
        groups: which draws form which group, `[G, size]`; all of them are used.
        truth: if it is known.
    """

    mixture: NormalMixture
    groups: Tensor
    truth: Truth | None

    @staticmethod
    def of(mixture: NormalMixture, y: Tensor | None, groups: Tensor | None = None) -> Regressed:
        """Return the predictions with draws in groups, or, where some are left aside, in one."""
        if groups is None or groups.numel() < mixture.draws:
            groups = torch.arange(mixture.draws)[None]
        truth = None if y is None else Truth.of(y, mixture, len(groups))
        return Regressed(mixture, groups, truth)

    def grouped(self, groups: Tensor) -> Regressed:
        """Return the same predictions with groups of draws `[G, size]`."""
        if torch.equal(self.groups, groups):
            return self
        mixture = self.mixture.subset(groups.flatten())
        truth = None if self.truth is None else Truth.of(self.truth.y, mixture, len(groups))
        return Regressed(mixture, groups, truth)

    def subset(self, kept: list[int]) -> Regressed:
        """Return the predictions of some of the groups."""
        draws = self.groups[kept].flatten()
        truth = self.truth and Truth(
            self.truth.y, self.truth.distance[:, draws], self.truth.spread[:, kept][:, :, kept]
        )
        return Regressed(
            self.mixture.subset(draws), torch.arange(len(draws)).view(len(kept), -1), truth
        )


def estimates(rows: Mapping[str, Regressed]) -> dict[str, Estimate]:
    """Return the scores of the rows "test", and `score@condition` of all others."""
    test = rows["test"]
    found = _agreement(test) | _coverage(test) | _doubt(test)
    for condition, other in rows.items():
        if condition != "test":
            more = _agreement(other) | _doubt(other)
            found |= {f"{name}@{condition}": estimate for name, estimate in more.items()}
    return found


def pointwise(mixture: NormalMixture, y: Tensor) -> dict[str, Tensor]:
    """Return the proper scores of each point, `[R, N]`."""
    return _proper(mixture, Truth.of(y, mixture, groups=1))


def _proper(mixture: NormalMixture, truth: Truth) -> dict[str, Tensor]:
    crps = mixture.unit[:, None] * energy(truth.distance, truth.spread)
    return {"nll": -mixture.log_prob(truth.y), "crps": crps}


def _agreement(rows: Regressed) -> dict[str, Estimate]:
    if rows.truth is None:
        return {}
    error = root_mean(squared_error(rows.mixture.mean, rows.truth.y))
    proper = _proper(rows.mixture, rows.truth)
    return {"rmse": error, **{name: mean(values) for name, values in proper.items()}}


def _coverage(rows: Regressed) -> dict[str, Estimate]:
    if rows.truth is None:
        return {}
    pit = rows.mixture.cdf(rows.truth.y)
    return {f"coverage_{level}": mean(coverage(pit, level / 100)) for level in LEVELS}


def _doubt(rows: Regressed) -> dict[str, Estimate]:
    found = {"noise_sd": root_mean(rows.mixture.noise_variance)}
    if rows.mixture.draws > 1:
        found["weight_sd"] = root_mean(rows.mixture.weight_variance)
    return found
