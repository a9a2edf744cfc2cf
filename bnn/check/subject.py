"""The method under examination, and its fits to the two problems whose posterior is known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from bnn.check.linear import LinearGaussian, linear_regression
from bnn.check.objective import Objective, watched
from bnn.data.gaussians import two_gaussians
from bnn.exact import grid_posterior
from bnn.methods import Method
from bnn.methods.accuracy import Accuracy
from bnn.methods.dropout import DroppedUnits
from bnn.networks import MLP
from bnn.optimise import Progress, silent
from bnn.posterior import Posterior, predict
from bnn.priors import Normal
from bnn.problem import Problem

SPLITS = range(3)  # repetitions of the logistic regression
ROWS = 10  # training rows of each
SCALE = 3.0  # of its prior
DRAWS = 10_000
GRID = torch.linspace(-6, 6, 61, dtype=torch.float64)[:, None]


@dataclass(frozen=True)
class Subject:
    """A method at its most thorough, with each fit made once.

    Arguments:
        method: to be examined; its class states its `accuracy`.
        progress: told the share of a fit that is done.
        seed: of the first replica.
    """

    method: Any  # a Method with `accuracy` and `thorough`
    progress: Progress = silent
    seed: int = 1

    @property
    def claim(self) -> Accuracy:
        """What the method says of itself."""
        claim: Accuracy = self.method.accuracy
        return claim

    @cached_property
    def thorough(self) -> Method:
        """The method in its most exact settings."""
        thorough: Method = self.method.thorough()
        return thorough

    @cached_property
    def problem(self) -> Problem:
        """The linear regression."""
        return linear_regression()

    @cached_property
    def truth(self) -> LinearGaussian:
        """Its exact solution."""
        return LinearGaussian.of(self.problem)

    @property
    def posterior(self) -> Posterior:
        """The method's fit to the regression."""
        return self._regression[0]

    @property
    def objective(self) -> Objective | None:
        """What was minimised to that end; None where nothing was, in the common training loop.

        Of a method for classes only, it is that of the logistic regression.
        """
        return (self._logistic if self.claim.linear == "none" else self._regression)[1]

    @property
    def input_rate(self) -> float:
        """Probability with which dropout leaves out an input of the regression."""
        family = self.posterior.family
        return float(family.masks.rates["input"]) if isinstance(family, DroppedUnits) else 0.0

    @cached_property
    def probability_errors(self) -> Tensor:
        """The largest errors of predicted probabilities on a logistic regression, `[splits]`.

        A slope and an intercept, ten rows; the exact prediction is a sum over a lattice.
        """
        posterior = self._logistic[0]
        each = [grid_posterior(posterior.problem.take([r])) for r in range(len(SPLITS))]
        exact = torch.stack([lattice.log_probs(GRID) for lattice in each]).exp()
        found: Any = predict(posterior, GRID, DRAWS)
        errors: Tensor = (found.probs - exact).abs().amax((1, 2))
        return errors

    @cached_property
    def _regression(self) -> tuple[Posterior, Objective | None]:
        return self._fit(self.problem)

    @cached_property
    def _logistic(self) -> tuple[Posterior, Objective | None]:
        data = two_gaussians(SPLITS, ROWS)
        problem = Problem.of(data, MLP(1, [], 1).double(), prior=Normal(SCALE))
        return self._fit(problem)

    def _fit(self, problem: Problem) -> tuple[Posterior, Objective | None]:
        with watched() as caught:
            seeds = range(self.seed, self.seed + problem.replicas)
            posterior = self.thorough.fit(problem, seeds, self.progress)
        return posterior, caught[0] if caught else None
