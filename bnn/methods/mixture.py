"""A mixture of independent fits: any method from several starts, all equally likely.

    p(y | x, D) = 1/M sum_m p_m(y | x, D),    p_m: the method's predictive from start m

A fit that describes the posterior about one mode says nothing of the others; a few of them from
different starts do. Of `MLE` this is a deep ensemble, of `SWAG` it is MultiSWAG, and of `Laplace` a
mixture of Laplace approximations (Eschenhagen et al. 2021, https://arxiv.org/abs/2111.03577).
Members are replicas, so they all train at once; member 0 is the fit of the seed itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from torch import Tensor

from bnn.errors import InputError
from bnn.methods.members import check_members, gathered, members_of, spread
from bnn.optimise import Progress, silent
from bnn.posterior import Chains, Posterior
from bnn.problem import Problem
from bnn.seeds import as_seeds

if TYPE_CHECKING:
    from bnn.methods import Method


@dataclass(frozen=True)
class Mixture:
    """An equal mixture of fits of one method; draws are divided among them.

    Raises:
        InputError: on a number of members that is none, and on a method that has members itself;
            in `fit`, on Markov chains.
    """

    method: Method
    members: int = 5  # independent fits

    def __post_init__(self) -> None:
        check_members(self.members)
        if (many := members_of(self.method)) > 1:  # some would be the same fit: seeds follow alike
            raise InputError(
                "a method of one fit per replica",
                f"{self.method.label}, with {many} members",
                "Ask that method itself for more members.",
            )

    @property
    def name(self) -> str:
        """A short identifier."""
        return f"{self.method.name}_mixture"

    @property
    def label(self) -> str:
        """What a reader sees."""
        return f"{self.method.label}, mixture of {self.members}"

    @property
    def reference(self) -> str:
        """Of mixtures of approximations."""
        return "Wilson & Izmailov 2020, https://arxiv.org/abs/2002.08791"

    @property
    def version(self) -> int:
        """Of the method."""
        return self.method.version

    def fit(self, problem: Problem, seeds: Sequence[int], progress: Progress = silent) -> Posterior:
        """Fit the members of all seeds at once."""
        seeds = as_seeds(seeds)
        problem = problem.for_seeds(seeds)
        return mixed(
            problem, seeds, self.method.fit(*spread(problem, seeds, self.members), progress)
        )


@dataclass(frozen=True)
class Mixed(Posterior):
    """The posterior of a mixture.

    Each member's networks are drawn and run as that member's own posterior draws and runs them, for
    members may differ in more than their weights: in where a network is linearised, or in what its
    outputs are scaled by.

    Arguments:
        family: that of `each`, of which the members draw.
        each: the posterior of all members as replicas, those of a seed next to each other.
    """

    each: Posterior = field(kw_only=True)

    @property
    def members(self) -> int:
        """How many members a replica has."""
        return len(self.each.seeds) // len(self.seeds)

    def draws(self, wanted: int) -> int:
        """Return how many networks a prediction averages: where they are a set, all members'."""
        return wanted if self.family.atoms is None else self.members * self.family.atoms

    def weights(self, draws: int = 100) -> dict[str, Tensor]:
        """Return named weights, `[replicas, draws, *shape]`, of the first networks drawn.

        Of members whose networks differ in their masks alone, the weights are returned once each.
        """
        found = self.each.weights(math.ceil(draws / self.members))
        return {name: interleaved(value, self.members, draws) for name, value in found.items()}

    def outputs(self, x: Tensor, draws: int = 100) -> tuple[Tensor, dict[str, Tensor]]:
        """Run the drawn networks, each as its member does; see `Posterior.outputs`."""
        rows = x if len(x) == 1 else x.repeat_interleave(self.members, dim=0)
        outputs, latents = self.each.outputs(rows, math.ceil(draws / self.members))
        draws = self.draws(draws)
        outputs = interleaved(outputs, self.members, draws)
        if self.scaling is not None:  # of the mixture, after that of its members
            outputs = self.scaling(outputs).to(outputs)
        return outputs, {
            name: interleaved(value, self.members, draws) for name, value in latents.items()
        }

    def take(self, replicas: Sequence[int]) -> Mixed:
        """Return the posterior of some of the replicas."""
        plain, each = super().take(replicas), self.each.take(rows_of(replicas, self.members))
        return Mixed(
            plain.problem,
            each.family,
            plain.seeds,
            plain.fit,
            plain.scaling,
            self.caveats,
            each=each,
        )


def mixed(problem: Problem, seeds: Sequence[int], each: Posterior) -> Mixed:
    """Return the posterior of replicas from that of their members.

    Arguments:
        problem: of the replicas.
        seeds: of the replicas.
        each: of all their members, those of a seed next to each other.

    Raises:
        InputError: on Markov chains.
    """
    if isinstance(each.family, Chains):
        raise InputError(
            "members whose draws are independent",
            "Markov chains, whose convergence would go unseen",
            "Give the sampler more chains instead.",
        )
    size = len(each.seeds) // len(seeds)
    fit = replace(
        gathered(each.fit, size),
        seconds=each.fit.seconds + each.problem.network.seconds,
        diagnostics=_told(each.fit.diagnostics, size),
    )
    return Mixed(problem, each.family, tuple(seeds), fit, caveats=each.caveats, each=each)


def _told(each: Sequence[Mapping[str, float]], size: int) -> tuple[Mapping[str, float], ...]:
    """Return what all members of each replica tell."""
    return tuple(
        {
            f"{name}, member {m}": value
            for m, told in enumerate(each[start : start + size])
            for name, value in told.items()
        }
        for start in range(0, len(each), size)
    )


def rows_of(replicas: Sequence[int], size: int) -> list[int]:
    """Return where the members of some replicas stand among the members of all."""
    return [r * size + m for r in replicas for m in range(size)]


def interleaved(values: Tensor, size: int, draws: int) -> Tensor:
    """Return `[replicas, draws, ...]` from members `[replicas x size, draws of each, ...]`."""
    return values.unflatten(0, (-1, size)).transpose(1, 2).flatten(1, 2)[:, :draws]
