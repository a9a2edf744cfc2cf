"""The objective: what may be asked of it, and what a reader must know of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import get_args

from bnn.errors import InputError, choose
from bnn.problem import Problem
from bnn.variational.guide import Estimator


def check_objective(
    draws: int,
    kl_weight: float,
    estimator: str = "reparameterised",
    estimators: Sequence[str] = get_args(Estimator),
) -> None:
    """Refuse settings of the objective, and of its estimate, that mean nothing."""
    choose(estimator, {name: name for name in estimators}, "estimator")
    if not isinstance(draws, int) or draws < 1:
        raise InputError("a whole number, at least one draw per step", repr(draws), "1 is usual.")
    if not (isinstance(kl_weight, Real) and 0 < kl_weight < math.inf):
        raise InputError(
            "a positive, finite weight of the KL term", repr(kl_weight), "1 makes it an ELBO."
        )


def check_prior(problem: Problem) -> None:
    """Refuse a problem that has no ELBO."""
    if not problem.prior.proper:
        raise InputError("a proper prior", "Flat", "Without a prior there is no ELBO.")


def objective_caveats(kl_weight: float) -> tuple[str, ...]:
    """Return what a reader must know of an objective that is no ELBO."""
    if kl_weight == 1:
        return ()
    return (f"The objective is not an ELBO: its KL term is multiplied by {kl_weight:g}.",)
