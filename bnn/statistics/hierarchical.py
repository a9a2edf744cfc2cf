"""Two methods over several data sets: a Bayesian hierarchical comparison.

On data set i the methods differ by x_i on average over its splits, with the standard error e_i and
the f_i degrees of freedom of `paired_difference`. Their true difference d_i varies from one data
set to the next:

    x_i ~ t(f_i, d_i, e_i),    d_i ~ t(v, m, s),
    m ~ Normal(0, a),    s ~ HalfCauchy(b),    v ~ Gamma(2, 0.1)

The second t density is that of d_i ~ Normal(m, s / sqrt(g_i)) with g_i ~ Gamma(v / 2, v / 2). The
first is the likelihood of differences on R splits that correlate by n_test / (n_test + n_train),
their unknown variance integrated out in closed form under the density 1 / variance: f = R - 1, and
e^2 = (1/R + n_test / n_train) times the variance over splits. So one data set alone gives the
Bayesian correlated t-test, whose interval is the corrected one.

A difference within the region of practical equivalence is as good as none. The answers are the
probabilities that the difference on a next data set of the same kind, and the mean over all such
data sets, lie below, within and above that region.

Reference: Corani and Benavoli (2015), https://doi.org/10.1007/s10994-015-5486-z;
    Corani, Benavoli, Demsar, Mangili and Zaffalon (2017),
    https://doi.org/10.1007/s10994-017-5641-9
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from scipy import stats
from torch import Tensor

from bnn.diagnostics import caveats_of, worst_of
from bnn.errors import InputError
from bnn.hamiltonian import sample
from bnn.seeds import Streams
from bnn.statistics.paired import Difference

SEED, CHAINS, WARMUP, SAMPLES = 0, 32, 200, 300
LONGER = 4  # times as long, once more, where the chains have not converged
MAX_STEPS = 16  # of a trajectory; in these coordinates the posterior is nearly a standard Normal
ACCEPTANCE = 0.98  # steps so small follow the weights g of few data sets, one of them an outlier
TAILS = (
    2.0,
    0.1,
)  # the prior of v (Juarez and Steel 2010, https://doi.org/10.1198/jbes.2009.07145)
SITES = ("mean", "spread", "tails", "weight", "difference")  # of the program: m, s, v, g, d
WIDE = 10.0  # a, in units of b: next to flat
NEGLIGIBLE = 0.01  # an error of so small a share of the region of equivalence is as good as none


@dataclass(frozen=True)
class Regions:
    """Probabilities that a difference lies below, within and above the region of equivalence."""

    below: float
    within: float
    above: float


@dataclass(frozen=True)
class Generalisation:
    """What several data sets say of the difference of two methods, in the unit of the score.

    Arguments:
        mean, low, high: median and interval of m, the mean over data sets.
        next_low, next_high: interval of the difference on a next data set.
        on_average: regions of m.
        on_next: regions of the difference on a next data set.
        spread: median of s, the spread between data sets.
        datasets: how many there were.
        rope: the region of practical equivalence reaches from -rope to rope.
        level: of the intervals.
        caveats: sentences to be read with these numbers, if the chains have not converged.
    """

    mean: float
    low: float
    high: float
    next_low: float
    next_high: float
    on_average: Regions
    on_next: Regions
    spread: float
    datasets: int
    rope: float
    level: float
    caveats: tuple[str, ...]


@dataclass(frozen=True)
class Hierarchy:
    """Data and prior of comparisons over as many data sets each; ... are batch dimensions.

    Arguments:
        estimate, error, freedom: x, e and f, `[..., data sets]`.
        centre, unit: a and b, `[..., 1]`.
    """

    estimate: Tensor
    error: Tensor
    freedom: Tensor
    centre: Tensor
    unit: Tensor

    @staticmethod
    def of(found: Sequence[Sequence[Difference]], rope: float) -> Hierarchy:
        """Return the hierarchy of some comparisons, `[comparisons, data sets]`.

        The unit is the root mean square of x and e together, so that the answer does not depend on
        the unit of the score.
        """
        estimate, error, freedom = (
            torch.tensor([[getattr(d, name) for d in row] for row in found], dtype=torch.float64)
            for name in ("estimate", "error", "freedom")
        )
        error = error.clamp(min=NEGLIGIBLE * rope)
        unit = (estimate.square() + error.square()).mean(-1, keepdim=True).sqrt()
        return Hierarchy(estimate, error, freedom, WIDE * unit, unit)

    def take(self, comparisons: Sequence[int]) -> Hierarchy:
        """Return some of the comparisons."""
        return Hierarchy(*(getattr(self, part.name)[list(comparisons)] for part in fields(self)))

    def per_chain(self) -> Hierarchy:
        """Return it with an axis for chains, `[comparisons, 1, data sets]`."""
        return Hierarchy(*(getattr(self, part.name).unsqueeze(-2) for part in fields(self)))


@dataclass(frozen=True)
class Draws:
    """Draws from the posterior.

    Arguments:
        mean, spread, tails: m, s and v, `[comparisons, draws, 1]`.
        difference: d, `[comparisons, draws, data sets]`.
        caveats: of each comparison.
    """

    mean: Tensor
    spread: Tensor
    tails: Tensor
    difference: Tensor
    caveats: tuple[tuple[str, ...], ...]


def generalise(
    found: Sequence[Sequence[Difference]], rope: float, level: float = 0.95
) -> list[Generalisation]:
    """Return what each comparison of two methods says of data sets not seen.

    Arguments:
        found: for each comparison its differences, one per data set, as many for all.
        rope: differences from -rope to rope are practically equivalent; in the unit of the score.
        level: of the intervals.

    Raises:
        InputError: without a region, and on differences that are not finite.
    """
    sizes = {len(row) for row in found}
    sound = all(np.isfinite((d.estimate, d.error, d.freedom)).all() for row in found for d in row)
    if not rope > 0 or len(sizes) != 1 or 0 in sizes or not sound:
        raise InputError(
            "finite differences on as many data sets for all comparisons, and a region above zero",
            f"{sorted(sizes)} data sets, and a region of {rope}",
            "Leave out data sets without a comparison.",
        )
    hierarchy = Hierarchy.of(found, rope)
    draws = posterior(hierarchy)
    told = [_told(draws, row, rope, level) for row in range(len(found))]
    if slow := [row for row, one in enumerate(told) if one.caveats]:
        draws = posterior(hierarchy.take(slow), LONGER * WARMUP, LONGER * SAMPLES)
        for place, row in enumerate(slow):
            told[row] = _told(draws, place, rope, level)
    return told


def model(hierarchy: Hierarchy, shape: Sequence[int]) -> Tensor:
    """Run the Pyro program for a batch of this shape; its sites are `[*shape, data sets or 1]`."""
    h = hierarchy
    with pyro.plate_stack("batch", shape, rightmost_dim=-2):
        mean = pyro.sample("mean", dist.Normal(0.0, h.centre))
        spread = pyro.sample("spread", dist.HalfCauchy(h.unit))
        tails = pyro.sample("tails", dist.Gamma(*h.unit.new_tensor(TAILS)))
        with pyro.plate("data sets", h.error.shape[-1], dim=-1):
            weight = pyro.sample("weight", dist.Gamma(tails / 2, tails / 2))
            true = pyro.sample("difference", dist.Normal(mean, spread / weight.sqrt()))
            seen = dist.StudentT(h.freedom, true, h.error)
            return pyro.sample("estimate", seen, obs=h.estimate)


def posterior(hierarchy: Hierarchy, warmup: int = WARMUP, samples: int = SAMPLES) -> Draws:
    """Return draws from the posterior, by Hamiltonian Monte Carlo on all comparisons at once.

    The seed is fixed and the same for every comparison: equal differences give equal draws,
    whatever else is compared beside them.

    Arguments:
        hierarchy: `[comparisons, data sets]`.
        warmup, samples: iterations of each chain.
    """
    wide, (comparisons, datasets) = hierarchy.per_chain(), hierarchy.estimate.shape
    streams = _streams(comparisons, "hierarchical comparison")
    start = streams.normal(CHAINS, 3 + 2 * datasets) / 2
    position = sample(
        partial(potential, wide),
        start,
        streams,
        warmup=warmup,
        samples=samples,
        acceptance=ACCEPTANCE,
        max_steps=MAX_STEPS,
    ).positions.flatten(1, 2)
    values, _ = constrained(wide, position)
    looked_at = torch.cat([values[name] for name in ("mean", "spread", "tails")], dim=-1)
    worst = [worst_of(each.unflatten(0, (CHAINS, samples)).numpy()) for each in looked_at]
    del values["weight"]  # of which nothing is asked
    return Draws(**values, caveats=tuple(caveats_of(each) for each in worst))


def potential(hierarchy: Hierarchy, position: Tensor) -> Tensor:
    """Return minus the log joint density of the Pyro program, in the coordinates of the chains.

    It is written out, which takes less than half the time of a trace of the program.
    """
    h, (sites, log_volume) = hierarchy, constrained(hierarchy, position)
    mean, spread, tails, weight, true = (sites[name] for name in SITES)
    shape, rate = TAILS
    one = (
        _log_normal(mean, h.centre)
        + math.log(2 / math.pi)
        - h.unit.log()
        - (spread / h.unit).square().log1p()
        + shape * math.log(rate)
        - math.lgamma(shape)
        + (shape - 1) * tails.log()
        - rate * tails
    )
    half = tails / 2
    each = (
        half * half.log()
        - half.lgamma()
        + (half - 1) * weight.log()
        - half * weight
        + _log_normal(true - mean, spread / weight.sqrt())
        + _log_t(h.estimate, h.freedom, true, h.error)
    )
    return -(one[..., 0] + each.sum(-1) + log_volume)


def _log_normal(x: Tensor, scale: Tensor) -> Tensor:
    return -(x / scale).square() / 2 - scale.log() - math.log(2 * math.pi) / 2


def _log_t(x: Tensor, freedom: Tensor, centre: Tensor, scale: Tensor) -> Tensor:
    half, square = (freedom + 1) / 2, ((x - centre) / scale).square()
    size = half.lgamma() - (freedom / 2).lgamma() - (math.pi * freedom).log() / 2 - scale.log()
    return size - half * (square / freedom).log1p()


def constrained(hierarchy: Hierarchy, position: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Return the sites at a position, and the log volume of the change of coordinates.

    The coordinates are log s and log v, the log g_i over about their standard deviation, and what m
    and d would be, standardised, if the likelihood were Normal: given s and g, that is known in
    closed form, and it leaves no funnel to the chains. With s_i = s / sqrt(g_i),

        m = sum_i x_i p_i / p + z / sqrt(p),    p_i = 1 / (e_i^2 + s_i^2),  p = sum_i p_i + 1 / a^2
        d_i = p_i (s_i^2 x_i + e_i^2 m) + sqrt(p_i) e_i s_i z_i

    A data set far from the others is one of small g, so that chains pass from "an outlier" to "all
    are far apart" and back.

    Arguments:
        hierarchy: `[..., data sets]`.
        position: `[..., 3 + 2 data sets]`.
    """
    h, datasets = hierarchy, hierarchy.error.shape[-1]
    log_s, log_v, z_mean, y, z = position.split((1, 1, 1, datasets, datasets), dim=-1)
    spread, tails = h.unit * log_s.exp(), TAILS[0] / TAILS[1] * log_v.exp()
    about = (2 / tails + (2 / tails).square()).sqrt()
    weight = (about * y).exp()
    own = spread / weight.sqrt()
    each = 1 / (h.error.square() + own.square())
    whole = each.sum(-1, keepdim=True) + h.centre**-2
    mean = (each * h.estimate).sum(-1, keepdim=True) / whole + z_mean / whole.sqrt()
    width = each.sqrt() * h.error * own
    centre = each * (own.square() * h.estimate + h.error.square() * mean)
    scales = (spread, tails, about * weight, whole.rsqrt(), width)
    log_volume = sum(scale.log().sum(-1) for scale in scales)
    values = (mean, spread, tails, weight, centre + width * z)
    return dict(zip(SITES, values, strict=True)), torch.as_tensor(log_volume)


def _told(draws: Draws, row: int, rope: float, level: float) -> Generalisation:
    """Return the answers of one comparison; those on a next data set average over t densities."""
    mean, spread, tails = (
        part[row, :, 0].numpy() for part in (draws.mean, draws.spread, draws.tails)
    )
    ends = (1 - level) / 2, (1 + level) / 2
    low, middle, high = np.quantile(mean, (ends[0], 0.5, ends[1]))
    chance = _streams(1, "next data set").uniform(1, len(mean))[0, 0].numpy()
    following = stats.t.ppf(chance, tails, mean, spread)
    next_low, next_high = np.quantile(following, ends)
    return Generalisation(
        mean=float(middle),
        low=float(low),
        high=float(high),
        next_low=float(next_low),
        next_high=float(next_high),
        on_average=_regions((mean < -rope).mean(), (mean > rope).mean()),
        on_next=_regions(
            stats.t.cdf(-rope, tails, mean, spread).mean(),
            stats.t.sf(rope, tails, mean, spread).mean(),
        ),
        spread=float(np.median(spread)),
        datasets=draws.difference.shape[-1],
        rope=rope,
        level=level,
        caveats=draws.caveats[row],
    )


def _streams(comparisons: int, purpose: str) -> Streams:
    return Streams([SEED] * comparisons, purpose, torch.device("cpu"), torch.float64)


def _regions(below: float, above: float) -> Regions:
    return Regions(float(below), max(0.0, float(1 - below - above)), float(above))
