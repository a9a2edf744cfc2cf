"""Regression: the scores of a predictive distribution of a real target.

Shapes: replicas R, draws S, groups of draws G, points N. Scores are in the target's original unit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bnn.metrics.regression import coverage, distance, energy, spread, squared_error
from bnn.predictive import NormalMixture, log_mean_exp
from bnn.scores.estimates import Estimate, mean, root_mean

LEVELS = (50, 90, 95)  # of central intervals, per cent


@dataclass(frozen=True)
class Truth:
    """The targets, and what each group of draws says of them.

    Arguments:
        y: targets, `[R, N]`.
        log_prob: log density of the group's mixture at the target, `[R, G, N]`.
        pit: P(Y <= y), `[R, G, N]`.
        distance: E|X - y|, standardised, `[R, G, N]`.
        spread: E|X - X'| for each pair of groups, standardised, `[R, G, G, N]`.
    """

    y: Tensor
    log_prob: Tensor
    pit: Tensor
    distance: Tensor
    spread: Tensor

    @staticmethod
    def of(y: Tensor, mixture: NormalMixture, parts: Sequence[NormalMixture]) -> Truth:
        """Compare targets with a mixture and the groups of draws that are its parts."""
        standard = (y - mixture.shift[:, None]) / mixture.unit[:, None]
        return Truth(
            y,
            torch.stack([part.log_prob(y) for part in parts], 1),
            torch.stack([part.cdf(y) for part in parts], 1),
            torch.stack([distance(standard, part.loc, part.scale).mean(1) for part in parts], 1),
            spread(mixture.loc, mixture.scale, len(parts)),
        )

    def subset(self, kept: list[int]) -> Truth:
        """Return what some of the groups say."""
        log_prob, pit, gap = (part[:, kept] for part in (self.log_prob, self.pit, self.distance))
        return Truth(self.y, log_prob, pit, gap, self.spread[:, kept][:, :, kept])


@dataclass(frozen=True)
class Regressed:
    """The predictions for some rows by groups of draws: all that their scores depend on.

    The groups are of equal size, so a mean over draws is the mean of the groups' means.

    Arguments:
        draws: S, how many there are in all groups together.
        shift, unit: as those of a mixture, `[R, 1]`.
        loc: mean of the components' means in each group, standardised, `[R, G, N]`.
        noise: mean of their variances, standardised, `[R, G, N]`.
        within: variance of their means in the group, standardised, `[R, G, N]`.
        truth: if it is known.
    """

    draws: int
    shift: Tensor
    unit: Tensor
    loc: Tensor
    noise: Tensor
    within: Tensor
    truth: Truth | None

    @staticmethod
    def of(mixture: NormalMixture, y: Tensor | None, groups: int = 1) -> Regressed:
        """Return the predictions with the draws, in their order, in groups of equal size."""
        size = mixture.draws // groups
        parts = [mixture.subset(slice(g * size, (g + 1) * size)) for g in range(groups)]
        return Regressed(
            mixture.draws,
            mixture.shift[:, None],
            mixture.unit[:, None],
            torch.stack([part.loc.mean(1) for part in parts], 1),
            torch.stack([part.scale.square().mean(1) for part in parts], 1),
            torch.stack([part.loc.var(1, correction=0) for part in parts], 1),
            None if y is None else Truth.of(y, mixture, parts),
        )

    def subset(self, kept: list[int]) -> Regressed:
        """Return the predictions of some of the groups."""
        draws = self.draws * len(kept) // self.components
        loc, noise, within = (part[:, kept] for part in (self.loc, self.noise, self.within))
        truth = self.truth and self.truth.subset(kept)
        return Regressed(draws, self.shift, self.unit, loc, noise, within, truth)

    @property
    def components(self) -> int:
        """G, how many groups there are."""
        return self.loc.shape[1]

    @property
    def mean(self) -> Tensor:
        """E[Y | x, D], `[R, N]`."""
        return self.shift + self.unit * self.loc.mean(1)

    @property
    def noise_variance(self) -> Tensor:
        """E_w Var[Y | x, w], `[R, N]`."""
        return self.unit**2 * self.noise.mean(1)

    @property
    def weight_variance(self) -> Tensor:
        """Var_w E[Y | x, w], that within groups and that between them, `[R, N]`."""
        return self.unit**2 * (self.within.mean(1) + self.loc.var(1, correction=0))

    @property
    def pointwise(self) -> dict[str, Tensor]:
        """The proper scores of each point, `[R, N]`; none where the truth is not known."""
        if self.truth is None:
            return {}
        crps = self.unit * energy(self.truth.distance, self.truth.spread)
        return {"nll": -log_mean_exp(self.truth.log_prob, dim=1), "crps": crps}


def estimates(rows: Mapping[str, Regressed]) -> dict[str, Estimate]:
    """Return the scores of the rows "test", and `score@condition` of all others."""
    test = rows["test"]
    found = _agreement(test) | _coverage(test) | _doubt(test)
    for condition, other in rows.items():
        if condition != "test":
            more = _agreement(other) | _doubt(other)
            found |= {f"{name}@{condition}": estimate for name, estimate in more.items()}
    return found


def _agreement(rows: Regressed) -> dict[str, Estimate]:
    if rows.truth is None:
        return {}
    error = root_mean(squared_error(rows.mean, rows.truth.y))
    return {"rmse": error, **{name: mean(values) for name, values in rows.pointwise.items()}}


def _coverage(rows: Regressed) -> dict[str, Estimate]:
    if rows.truth is None:
        return {}
    pit = rows.truth.pit.mean(1)
    return {f"coverage_{level}": mean(coverage(pit, level / 100)) for level in LEVELS}


def _doubt(rows: Regressed) -> dict[str, Estimate]:
    found = {"noise_sd": root_mean(rows.noise_variance)}
    if rows.draws > 1:
        found["weight_sd"] = root_mean(rows.weight_variance)
    return found
