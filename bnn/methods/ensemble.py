"""Deep ensemble: the same network trained from several starts.

    p(y | x) = 1/M sum_m p(y | x, w_m),    w_m = argmin of the cross-entropy from start m

Member 0 is the MLE of the same seed; the others start, and see their rows, in orders of their own.
Members are replicas, so they all train at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from bnn.methods.accuracy import Accuracy
from bnn.methods.maximum_likelihood import MLE
from bnn.methods.members import check_members, gathered, spread
from bnn.optimise import Progress, silent
from bnn.posterior import Atoms, Posterior
from bnn.problem import Problem
from bnn.seeds import as_seeds


@dataclass(frozen=True)
class DeepEnsemble:
    """An equal mixture of maximum-likelihood networks."""

    members: int = 5  # networks
    member: MLE = MLE()  # how each of them is trained

    name: ClassVar[str] = "ensemble"
    label: ClassVar[str] = "Deep ensemble"
    reference: ClassVar[str] = (
        "Lakshminarayanan, Pritzel, Blundell 2017, https://arxiv.org/abs/1612.01474"
    )
    version: ClassVar[int] = 1
    accuracy: ClassVar[Accuracy] = Accuracy("least_squares", 1e-6, 0.4)

    def __post_init__(self) -> None:
        check_members(self.members)

    def thorough(self) -> Self:
        """Return settings whose members end at the optimum of a few weights."""
        return replace(self, member=self.member.thorough())

    def fit(self, problem: Problem, seeds: Sequence[int], progress: Progress = silent) -> Posterior:
        """Train the members of all seeds at once."""
        seeds = as_seeds(seeds)
        problem = problem.for_seeds(seeds)
        posterior = self.member.fit(*spread(problem, seeds, self.members), progress)
        fit = gathered(posterior.fit, self.members)
        return Posterior(problem, Atoms(fit.parameters), seeds, fit)
