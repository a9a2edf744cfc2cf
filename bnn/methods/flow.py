"""A normalising flow: independent Normals, bent and correlated by affine couplings.

    u_0 = eps ~ Normal(0, I),    u_l = T_l(u_{l-1}),    w = loc + scale * u_L
    T_l: half a of the numbers is kept, half b becomes  u_b exp(s(u_a)) + t(u_a)
         (Dinh, Sohl-Dickstein, Bengio 2017, https://arxiv.org/abs/1605.08803)
    log q(w) = log Normal(eps; 0, I) - sum_l sum_b s_l - sum_i log scale_i

A coupling is inverted in closed form and the determinant of its Jacobian is a product, so that the
density is exact (change of variables), and the ELBO is an ELBO. Shifts and stretches read half a
through H units, few of them, which keeps the parameters at some multiple of the weights:

    h = V u_a / sqrt(size of a) + c,    t = (A h + B tanh h) / H,    s = tanh(C tanh(h) / H)

By the linear part every coupling can shear, so correlated Normals are in the family; a stretch is
at most a factor e. A, B and C start at zero, where the flow is the identity and q the mean field.
Layers 2k and 2k + 1 take for a and b the weights whose place has its k-th binary digit 0 or 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from functools import partial as given
from typing import ClassVar

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Size, Tensor
from torch.distributions import Transform, constraints
from torch.distributions.transforms import AffineTransform

from bnn.errors import InputError
from bnn.layout import Layout
from bnn.methods.accuracy import Accuracy
from bnn.methods.mean_field import check_initial_scale
from bnn.methods.partial import Which, partial
from bnn.optimise import Progress, Training, silent
from bnn.posterior import Posterior
from bnn.problem import Problem
from bnn.seeds import Streams, as_seeds
from bnn.variational import EstimatedGuide, Estimator, check_objective, fit_guide


@dataclass(frozen=True)
class Flow:
    """Stochastic variational inference with a flow of affine couplings."""

    layers: int = 2  # couplings
    width: int = 8  # units through which one half of the weights acts on the other
    initial_scale: float = 0.01  # standard deviation of q at the start
    draws: int = 1  # of the weights, per step
    kl_weight: float = 1.0  # factor on the KL term; with any but 1 the objective is no ELBO
    estimator: Estimator = "reparameterised"  # of the gradient; "path": along each draw's path
    last_layer: Which = False  # infer the last layer alone, or parameters chosen by name
    training: Training = Training(epochs=500, steps=5000, decay=True)

    name: ClassVar[str] = "flow"
    label: ClassVar[str] = "Flow SVI"
    reference: ClassVar[str] = "Rezende & Mohamed 2015, https://arxiv.org/abs/1505.05770"
    version: ClassVar[int] = 1
    accuracy: ClassVar[Accuracy] = Accuracy("posterior", 0.05, 0.01, elbo=True)

    def __post_init__(self) -> None:
        for name in ("layers", "width"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise InputError(f"a whole number of {name}, at least one", repr(value), "Try 4.")
        check_initial_scale(self.initial_scale)
        check_objective(self.draws, self.kl_weight, self.estimator)

    def thorough(self) -> Flow:
        """Return settings for a few weights: many draws per step, and long training."""
        training = Training(epochs=0, steps=2000, learning_rate=0.03, decay=True)
        return replace(
            self,
            layers=4,
            initial_scale=0.1,
            draws=8,
            estimator="path",
            training=training,
        )

    def fit(self, problem: Problem, seeds: Sequence[int], progress: Progress = silent) -> Posterior:
        """Fit one posterior per seed, all at once."""
        seeds = as_seeds(seeds)
        problem = partial(problem.for_seeds(seeds), seeds, self.last_layer, progress)
        size, path = problem.layout.size, self.estimator == "path"
        family = given(CoupledNormal, size=size, layers=self.layers, width=self.width, path=path)
        start = self._start(problem, seeds)
        return fit_guide(
            family, problem, seeds, start, self.training, self.draws, self.kl_weight, progress
        )

    def _start(self, problem: Problem, seeds: Sequence[int]) -> Tensor:
        """Return the parameters of the mean field; only what reads the weights is random."""
        loc = problem.initial(seeds)
        layout = flow_layout(loc.shape[-1], self.layers, self.width)
        noise = Streams(seeds, "flow", loc.device, loc.dtype).normal(1, layout.size)[:, 0]
        named = {
            name: part if name.endswith("reader") else torch.zeros_like(part)
            for name, part in layout.views(noise).items()
        }
        named |= {"loc": loc, "log_scale": torch.full_like(loc, math.log(self.initial_scale))}
        return layout.flat(named)


@cache
def halves(size: int, layer: int) -> tuple[Tensor, Tensor]:
    """Return which places a coupling reads, and which it changes."""
    digits = max(1, (size - 1).bit_length())
    digit = torch.arange(size) >> (layer // 2 % digits) & 1
    reads = digit == layer % 2
    return reads.nonzero()[:, 0], (~reads).nonzero()[:, 0]


@cache
def flow_layout(size: int, layers: int, width: int) -> Layout:
    """Return the names and places of a flow's parameters."""
    shapes = {"loc": Size([size]), "log_scale": Size([size])}
    for layer in range(layers):
        reads, changes = (len(half) for half in halves(size, layer))
        shapes |= {
            f"{layer}.reader": Size([width, reads]),
            f"{layer}.offset": Size([1, width]),
            f"{layer}.shift": Size([changes, 2 * width]),
            f"{layer}.stretch": Size([changes, width]),
        }
    return Layout(shapes)


@dataclass(frozen=True)
class CoupledNormal(EstimatedGuide):
    """The distribution of standard Normal numbers after couplings, a scale and a shift.

    Arguments:
        parameters: of `flow_layout`, `[replicas, ...]`.
        size: weights.
        layers: couplings.
        width: units of each.
    """

    size: int
    layers: int
    width: int

    @property
    def numbers(self) -> int:
        """One for each weight."""
        return self.size

    def sample(self, noise: Tensor) -> Tensor:
        """Return loc + scale * T(noise)."""
        for coupling in self.couplings:
            noise = coupling(noise)
        return self.loc + self.log_scale.exp() * noise

    def log_prob(self, weights: Tensor) -> Tensor:
        """Return log q(w), by the change of variables."""
        u, log_stretch = (weights - self.loc) / self.log_scale.exp(), self.log_scale.sum(-1)
        for coupling in reversed(self.couplings):
            u, stretch = coupling.undone(u)
            log_stretch = log_stretch + stretch.sum(-1)
        return -(u.square() + math.log(2 * math.pi)).sum(-1) / 2 - log_stretch

    def distribution(self, noise: Tensor) -> TorchDistribution:
        """Return Pyro's transformed Normal."""
        zero = torch.zeros_like(self.loc)
        normal = dist.Normal(zero, torch.ones_like(zero)).to_event(1)
        last = AffineTransform(self.loc, self.log_scale.exp(), event_dim=1)
        return dist.TransformedDistribution(normal, [*self.couplings, last], validate_args=False)

    @property
    def loc(self) -> Tensor:
        """The shift of every weight, `[replicas, 1, parameters]`."""
        return self._named["loc"][:, None]

    @property
    def log_scale(self) -> Tensor:
        """The log scale of every weight, `[replicas, 1, parameters]`."""
        return self._named["log_scale"][:, None]

    @property
    def couplings(self) -> list[Coupling]:
        """The couplings, first to last."""
        named, device = self._named, self.parameters.device
        return [
            Coupling(
                *(half.to(device) for half in halves(self.size, layer)),
                *(named[f"{layer}.{part}"] for part in ("reader", "offset", "shift", "stretch")),
            )
            for layer in range(self.layers)
        ]

    @property
    def _named(self) -> dict[str, Tensor]:
        return flow_layout(self.size, self.layers, self.width).views(self.parameters)


class Coupling(Transform):
    """An affine map of half of the numbers, by what the other half says.

    Arguments:
        reads, changes: places of the halves.
        reader, offset, shift, stretch: its parameters, each `[replicas, ...]`, as of `flow_layout`.
    """

    domain = codomain = constraints.real_vector
    bijective = True

    def __init__(
        self,
        reads: Tensor,
        changes: Tensor,
        reader: Tensor,
        offset: Tensor,
        shift: Tensor,
        stretch: Tensor,
    ) -> None:
        super().__init__()
        self.reads, self.changes = reads, changes
        self.reader, self.offset, self.shift, self.stretch = reader, offset, shift, stretch

    def undone(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return what became `u [replicas, draws, size]`, and the log stretches."""
        shift, stretch = self._affine(u)
        before = (u[..., self.changes] - shift) * (-stretch).exp()
        return u.index_copy(-1, self.changes, before), stretch

    def _affine(self, u: Tensor) -> tuple[Tensor, Tensor]:
        read = u[..., self.reads] / math.sqrt(max(1, len(self.reads)))
        units = read @ self.reader.mT + self.offset
        bent = units.tanh()
        # Means over the units, so that a step of the optimiser is no longer where there are many.
        shift = torch.cat([units, bent], dim=-1) @ self.shift.mT / units.shape[-1]
        return shift, (bent @ self.stretch.mT / units.shape[-1]).tanh()

    def _call(self, u: Tensor) -> Tensor:
        shift, stretch = self._affine(u)
        return u.index_copy(-1, self.changes, u[..., self.changes] * stretch.exp() + shift)

    def _inverse(self, u: Tensor) -> Tensor:
        return self.undone(u)[0]

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the sum of the log stretches."""
        return self._affine(x)[1].sum(-1)
