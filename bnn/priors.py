"""Priors over the weights: each turns a layout into one Pyro distribution over the flat vector.

A scale is always a standard deviation, whatever the family, so that priors compare. It is one
number for all weights, or a number per layer: a mapping from patterns of parameter names
(`"layers.0.*"`, `"*.bias"`, `"*"`; the first that matches counts) to numbers. With `fan_in=True`
the scale of weight matrices and kernels is divided by sqrt(number of inputs of a unit), which keeps
the variance of a layer's output independent of its width (Neal 1996); biases are left as they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from numbers import Real
from typing import Protocol, runtime_checkable

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints, kl_divergence
from torch.distributions.kl import register_kl

from bnn.errors import InputError, did_you_mean, listed
from bnn.layout import Layout

Scale = float | Mapping[str, float]


@runtime_checkable
class Prior(Protocol):
    """What a prior must offer."""

    @property
    def proper(self) -> bool:
        """Does the density integrate to one?"""

    def distribution(self, layout: Layout, like: Tensor) -> TorchDistribution:
        """Return a distribution with event shape `[layout.size]`, of the dtype of `like`."""


@dataclass(frozen=True)
class Flat:
    """p(w) = 1: no prior at all, under which the posterior mode is the MLE. Not a density."""

    proper = False

    def distribution(self, layout: Layout, like: Tensor) -> TorchDistribution:
        """Return the improper uniform distribution."""
        return dist.ImproperUniform(constraints.real_vector, (), (layout.size,))


@dataclass(frozen=True)
class Normal:
    """Independent Normals: log p(w) = -w^2 / (2 scale^2) + const.

    Arguments:
        scale: standard deviation, for all weights or per layer.
        fan_in: divide the scale of weight matrices by sqrt(fan-in).
        loc: mean.
    """

    scale: Scale = 1.0
    fan_in: bool = False
    loc: float = 0.0
    proper = True

    def distribution(self, layout: Layout, like: Tensor) -> TorchDistribution:
        """Return the distribution over the flat vector."""
        scale = scales(self.scale, self.fan_in, layout).to(like)
        return dist.Normal(torch.full_like(scale, self.loc), scale).to_event(1)


@dataclass(frozen=True)
class Laplace:
    """Independent Laplace densities: log p(w) = -sqrt(2) |w| / scale + const.

    Arguments:
        scale: standard deviation, for all weights or per layer.
        fan_in: divide the scale of weight matrices by sqrt(fan-in).
    """

    scale: Scale = 1.0
    fan_in: bool = False
    proper = True

    def distribution(self, layout: Layout, like: Tensor) -> TorchDistribution:
        """Return the distribution over the flat vector."""
        scale = scales(self.scale, self.fan_in, layout).to(like)
        return dist.Laplace(torch.zeros_like(scale), scale / math.sqrt(2)).to_event(1)


@dataclass(frozen=True)
class StudentT:
    """Independent Student-t densities, heavier in the tails than a Normal of equal scale.

    Arguments:
        scale: standard deviation, for all weights or per layer.
        df: degrees of freedom, above 2, so that there is a standard deviation.
        fan_in: divide the scale of weight matrices by sqrt(fan-in).
    """

    scale: Scale = 1.0
    df: float = 4.0
    fan_in: bool = False
    proper = True

    def __post_init__(self) -> None:
        if not (isinstance(self.df, Real) and 2 < self.df < math.inf):
            raise InputError(
                "more than 2 degrees of freedom, and finitely many",
                repr(self.df),
                "Only then is there a scale; with infinitely many it is the Normal prior.",
            )

    def distribution(self, layout: Layout, like: Tensor) -> TorchDistribution:
        """Return the distribution over the flat vector."""
        scale = scales(self.scale, self.fan_in, layout).to(like)
        spread = scale * math.sqrt((self.df - 2) / self.df)
        return dist.StudentT(self.df, torch.zeros_like(scale), spread).to_event(1)


def scales(scale: Scale, fan_in: bool, layout: Layout) -> Tensor:
    """Return the standard deviation of each entry of the flat vector, `[layout.size]`."""
    patterns = scale if isinstance(scale, Mapping) else {"*": scale}
    _check_patterns(patterns, layout)
    value = {}
    for name, shape in layout.shapes.items():
        first = next((p for p in patterns if fnmatchcase(name, p)), None)
        if first is None:
            raise InputError(
                f"a prior scale for every parameter, {listed(layout.shapes)}",
                f"none for {name!r}",
                'End the mapping with a scale for "*".',
            )
        if not (isinstance(patterns[first], Real) and 0 < patterns[first] < math.inf):
            raise InputError(
                "a prior scale that is positive and finite",
                f"{patterns[first]!r} for {name!r}",
                "A scale is a standard deviation; for no prior at all use Flat().",
            )
        shrink = math.sqrt(layout.fan_in(name)) if fan_in and len(shape) > 1 else 1.0
        value[name] = patterns[first] / shrink
    return layout.fill(value)


def scale_within(scale: Mapping[str, float], layout: Layout) -> dict[str, float]:
    """Return the scales whose patterns match some parameter of a part of the network."""
    return {p: s for p, s in scale.items() if any(fnmatchcase(n, p) for n in layout.shapes)}


def _check_patterns(patterns: Mapping[str, float], layout: Layout) -> None:
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in layout.shapes):
            raise InputError(
                f"patterns that match some parameter, {listed(layout.shapes)}",
                repr(pattern),
                did_you_mean(pattern, layout.shapes),
            )


class Blocks(TorchDistribution):
    """Independent distributions over consecutive blocks of one vector.

    Arguments:
        parts: distributions with event shapes `[size_i]`; the event is `[sum of sizes]`.
    """

    arg_constraints: Mapping[str, constraints.Constraint] = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, parts: Sequence[TorchDistribution]) -> None:
        self.parts = tuple(parts)
        self.sizes = [part.event_shape[0] for part in parts]
        super().__init__(parts[0].batch_shape, (sum(self.sizes),), validate_args=False)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Blocks:
        """Return the same blocks over a larger batch."""
        return Blocks([part.expand(batch_shape) for part in self.parts])

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw every block and join them."""
        return torch.cat([part.rsample(sample_shape) for part in self.parts], dim=-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the sum of the blocks' log-densities."""
        values = value.split(self.sizes, dim=-1)
        return sum(
            (part.log_prob(v) for part, v in zip(self.parts, values, strict=True)),
            start=value.new_zeros(()),
        )


def normal_moments(prior: TorchDistribution) -> tuple[Tensor, Tensor] | None:
    """Return mean and scale of independent Normals, `[size]`; None where a prior has others."""
    if isinstance(prior, Blocks):
        parts = [normal_moments(part) for part in prior.parts]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return None
        return torch.cat([mean for mean, _ in known]), torch.cat([scale for _, scale in known])
    if not isinstance(prior, dist.Independent) or type(prior.base_dist) is not dist.Normal:
        return None
    return prior.base_dist.loc, prior.base_dist.scale


@register_kl(dist.Independent, Blocks)
def _kl_independent_blocks(q: dist.Independent, p: Blocks) -> Tensor:
    """KL(q || p) of a factorised Normal q is the sum over blocks; in closed form where each is."""
    if not isinstance(q.base_dist, dist.Normal):
        raise NotImplementedError
    locs = q.base_dist.loc.split(p.sizes, dim=-1)
    spreads = q.base_dist.scale.split(p.sizes, dim=-1)
    return sum(
        (
            kl_divergence(dist.Normal(loc, scale).to_event(1), part)
            for loc, scale, part in zip(locs, spreads, p.parts, strict=True)
        ),
        start=q.base_dist.loc.new_zeros(()),
    )
