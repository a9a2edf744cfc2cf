"""MultiSWAG: SWAG about several modes, an equal mixture.

    q(w) = 1/M sum_m q_m(w),    q_m: SWAG from start m

It has the spread of an ensemble between modes, and that of SGD within each. Members are replicas,
so they all train at once; member 0 is the SWAG of the same seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from bnn.methods.accuracy import Accuracy
from bnn.methods.members import check_members, gathered, spread
from bnn.methods.swag import SWAG, LowRankNormals
from bnn.optimise import Progress, silent
from bnn.posterior import Posterior
from bnn.problem import Problem
from bnn.seeds import as_seeds


@dataclass(frozen=True)
class MultiSWAG:
    """An equal mixture of SWAG's Normals; draws are divided among them."""

    members: int = 5  # Normals
    member: SWAG = SWAG()  # how each of them is found

    name: ClassVar[str] = "multi_swag"
    label: ClassVar[str] = "MultiSWAG"
    reference: ClassVar[str] = "Wilson & Izmailov 2020, https://arxiv.org/abs/2002.08791"
    version: ClassVar[int] = 1
    accuracy: ClassVar[Accuracy] = Accuracy("approximate", 0.1, 0.3, spread=(0.1, 0.2))

    def __post_init__(self) -> None:
        check_members(self.members)

    def thorough(self) -> Self:
        """Return settings for a problem of a few weights, in float64."""
        return replace(self, member=self.member.thorough())

    def fit(self, problem: Problem, seeds: Sequence[int], progress: Progress = silent) -> Posterior:
        """Fit the members of all seeds at once."""
        seeds = as_seeds(seeds)
        problem = problem.for_seeds(seeds)
        found = self.member.fit(*spread(problem, seeds, self.members), progress)
        assert isinstance(found.family, LowRankNormals)
        family = found.family.mixed(self.members)
        return Posterior(problem, family, seeds, gathered(found.fit, self.members))
