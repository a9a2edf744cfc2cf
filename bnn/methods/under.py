"""Another prior: any method, on the same problem but for the prior over the weights.

A comparison of methods holds the prior fixed; this wrapper shows what the prior itself does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bnn.optimise import Progress, silent
from bnn.posterior import Posterior
from bnn.priors import Prior
from bnn.problem import Problem

if TYPE_CHECKING:
    from bnn.methods import Method


@dataclass(frozen=True)
class Under:
    """A method under a prior of its own."""

    method: Method
    prior: Prior
    suffix: str  # tells this variant from the method itself, in names
    note: str  # the same for a reader, for example "prior 1/sqrt(fan-in)"

    @property
    def name(self) -> str:
        """A short identifier."""
        return f"{self.method.name}_{self.suffix}"

    @property
    def label(self) -> str:
        """What a reader sees."""
        return f"{self.method.label}, {self.note}"

    @property
    def reference(self) -> str:
        """Of the method."""
        return self.method.reference

    @property
    def version(self) -> int:
        """Of the method."""
        return self.method.version

    def fit(self, problem: Problem, seeds: Sequence[int], progress: Progress = silent) -> Posterior:
        """Fit the method to the problem under this prior."""
        return self.method.fit(replace(problem, prior=self.prior), seeds, progress)
