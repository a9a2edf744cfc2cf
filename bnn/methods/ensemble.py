"""Deep ensemble: the same network trained from several starts.

    p(y | x) = 1/M sum_m p(y | x, w_m),    w_m = argmin of the cross-entropy from start m

Member 0 is the MLE of the same seed; the others start, and see their rows, in orders of their own.
Members are replicas, so they all train at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from bnn.errors import InputError
from bnn.methods.maximum_likelihood import MLE
from bnn.optimise import Progress, silent
from bnn.posterior import Atoms, Posterior
from bnn.problem import Problem
from bnn.seeds import as_seeds, derived


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

    def __post_init__(self) -> None:
        if not isinstance(self.members, int) or self.members < 1:
            raise InputError(
                "a whole number, at least one member", repr(self.members), "5 is usual."
            )

    def fit(self, problem: Problem, seeds: Sequence[int], progress: Progress = silent) -> Posterior:
        """Train the members of all seeds at once."""
        seeds = as_seeds(seeds)
        problem = problem.for_seeds(seeds)
        replicas, members = range(problem.replicas), range(self.members)
        everyone = problem.take([r for r in replicas for _ in members])
        starts = [derived(s, f"member {m}") if m else s for s in seeds for m in members]
        posterior = self.member.fit(everyone, starts, progress)
        weights = posterior.fit.parameters.unflatten(0, (len(replicas), len(members)))
        fit = replace(
            posterior.fit,
            parameters=weights,
            curves=posterior.fit.curves[:: self.members],  # member 0's, the MLE's
            diverged=tuple(
                any(posterior.fit.diverged[r * self.members : (r + 1) * self.members])
                for r in replicas
            ),
        )
        return Posterior(problem, Atoms(weights), seeds, fit)
