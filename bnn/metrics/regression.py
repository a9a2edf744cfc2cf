"""Regression: what a predictive distribution of a real target was worth.

Shapes: replicas R, draws S, points N.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bnn.averages import LOG2_E

AT_ONCE = 2**16  # differences held at once: half a MiB, so that they stay in the cache
# Where an integral is summed: the step in units of the narrowest component, and how many standard
# deviations beyond all components it begins and ends. Besides rounding, its error is below 1e-12 of
# that unit.
STEP, REACH = 0.55, 7.5


def squared_error(mean: Tensor, y: Tensor) -> Tensor:
    """Return (mean - y)^2, `[R, N]`, in the target's unit squared."""
    return (mean - y).square()


def coverage(pit: Tensor, level: float) -> Tensor:
    """Return 1 where the target lies in the central interval of the given level, else 0.

        |F(y) - 1/2| <= level / 2

    Arguments:
        pit: the probability integral transform F(y), `[R, N]`.
        level: between 0 and 1.

    Returns:
        `[R, N]`; on average `level` for a calibrated model.

    Reference: Dawid (1984), https://doi.org/10.2307/2981683
    """
    return ((pit - 0.5).abs() <= level / 2).to(pit.dtype)


def crps_normal_mixture(y: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """Return the continuous ranked probability score of mixtures of S equally likely Normals.

        CRPS = int (F(t) - 1{t >= y})^2 dt = E|X - y| - 1/2 E|X - X'|,  X, X' ~ F independent
             = 1/S sum_s A(y - m_s, v_s) - 1/(2 S^2) sum_{s,t} A(m_s - m_t, v_s + v_t),

    where A(m, v) = E|Z| for Z ~ N(m, v).

    Arguments:
        y: targets, `[R, N]`.
        loc: component means, `[R, S, N]`.
        scale: component standard deviations, above 0, `[R, S, N]`.

    Returns:
        In the unit of `y`, `[R, N]`; 0 is perfect.

    Reference: Grimit et al. (2006), https://doi.org/10.1256/qj.05.235
    """
    return energy(distance(y, loc, scale), spread(loc, scale, groups=1))


def energy(distance: Tensor, spread: Tensor) -> Tensor:
    """Return E|X - y| - 1/2 E|X - X'|, `[R, N]`, from the two functions below."""
    return distance.mean(1) - spread.mean((1, 2)) / 2


def distance(y: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """Return E|X - y| for each component, `[R, S, N]`."""
    return _mean_absolute(y[:, None] - loc, scale.square())


def spread(loc: Tensor, scale: Tensor, groups: int) -> Tensor:
    """Return E|X - X'| for X, X' from two groups of components, each pair of groups apart.

    The draws, in their order, are cut into groups of equal size. The mean of all entries is
    E|X - X'| of the mixture, and the mean over some groups that of the mixture of these.

        E|X - X'| = mean_{s,t} A(m_s - m_t, v_s + v_t) = int F (1 - F') + F' (1 - F) dt

    The integrand is smooth and vanishes on both sides, so that a sum over equal steps converges
    faster than any power of the step. Unless some component is so narrow, and others so far away,
    that more steps than draws are needed, it takes the place of the sum over pairs.

    Arguments:
        loc, scale: `[R, S, N]`.
        groups: G, a divisor of S.

    Returns:
        `[R, G, G, N]`, symmetric in the groups.
    """
    replicas, draws, points = loc.shape
    columns = max(1, AT_ONCE // (replicas * draws))
    same = bool((scale == scale[..., :1]).all())  # then one serves all points
    parts = []
    for start in range(0, points, columns):
        at = slice(start, start + columns)
        own = scale[..., :1] if same else scale[..., at]
        parts.append(_spread(loc[..., at].contiguous(), own.contiguous(), groups))
    return torch.cat(parts, -1)


def _spread(loc: Tensor, scale: Tensor, groups: int) -> Tensor:
    loc = loc - loc[:, :1]  # of means far away from zero too few digits would be left
    low, high = (loc - REACH * scale).amin(1), (loc + REACH * scale).amax(1)
    steps = ((high - low) / (STEP * scale.amin(1))).max().item()
    if steps < loc.shape[1]:  # not where a number is not finite
        return _spread_by_steps(loc, scale, groups, low, high, math.ceil(steps))
    return _spread_by_pairs(loc, scale.square(), groups)


def _spread_by_steps(
    loc: Tensor, scale: Tensor, groups: int, low: Tensor, high: Tensor, steps: int
) -> Tensor:
    """Return the integral from `low` to `high`, `[R, N]`, by that many steps."""
    slope = 1 / (math.sqrt(2) * scale)
    step = (high - low) / steps
    first, stride = (low[:, None] - loc) * slope, step[:, None] * slope
    total = loc.new_zeros(loc.shape[0], groups, groups, loc.shape[2])
    for k in range(steps):
        sign = torch.add(first, stride, alpha=k + 0.5).erf_()  # 2 F - 1
        sign = sign.unflatten(1, (groups, -1)).mean(2)
        total += 1 - sign[:, :, None] * sign[:, None]  # 2 F (1 - F') + 2 F' (1 - F)
    return total * step[:, None, None] / 2


def _spread_by_pairs(loc: Tensor, variance: Tensor, groups: int) -> Tensor:
    replicas, draws, points = loc.shape
    size = draws // groups
    total = loc.new_zeros(replicas, groups, groups, points)
    for s in range(draws):  # each pair once: component s with all from s on
        pairs = _mean_absolute(loc[:, s:] - loc[:, s, None], variance[:, s:] + variance[:, s, None])
        pairs[:, 0] /= 2  # its pair with itself is counted once, all others twice, see below
        group = torch.arange(s, draws) // size
        total[:, s // size].index_add_(1, group, pairs)
    return (total + total.transpose(1, 2)) / size**2


def _mean_absolute(mean: Tensor, variance: Tensor) -> Tensor:
    """Return E|Z| for Z ~ N(mean, variance): m erf(m / sqrt(2 v)) + sqrt(2 v / pi) e^(-m^2/2v)."""
    width = (2 * variance).sqrt()
    ratio = mean / width
    near = (ratio.square() * -LOG2_E).exp2()
    return torch.addcmul(mean * torch.erf(ratio), width / math.sqrt(math.pi), near)
