"""Is a method right? Its numbers against answers that are known exactly.

A method states in its class's `accuracy` what it claims, and in `thorough()` the settings under
which it claims it. Each check is a function from a `Subject`, the method with its fits, to rows of
expected and found; a method that is listed in `METHODS` is checked like all others. Calibration by
simulation takes many fits and any model, so it stands apart: `simulations(...).calibration()`.
"""

from collections.abc import Callable

from bnn.check.calibration import Calibration
from bnn.check.evidence import evidence
from bnn.check.gradients import gradients
from bnn.check.moments import moments
from bnn.check.predictions import predictions
from bnn.check.row import Row
from bnn.check.simulation import Simulations, simulations
from bnn.check.subject import Subject
from bnn.check.table import table
from bnn.check.training import training
from bnn.methods import Method
from bnn.optimise import Progress, silent

Check = Callable[[Subject], list[Row]]

CHECKS: tuple[Check, ...] = (moments, evidence, training, gradients, predictions)


def check(method: Method, progress: Progress = silent) -> list[Row]:
    """Return what every check says of a method.

    Arguments:
        method: with `accuracy` and `thorough()`.
        progress: told the share that is done, of the fits to both problems.
    """
    fits, last = 0, 0.0

    def fitting(share: float) -> None:
        nonlocal fits, last
        fits += share < last  # it has begun anew; a fit may tell its end more than once
        last = share
        progress((fits + share) / 2)

    subject = Subject(method, fitting)
    rows = [row for each in CHECKS for row in each(subject)]
    progress(1.0)
    return rows


__all__ = [
    "CHECKS",
    "Calibration",
    "Check",
    "Row",
    "Simulations",
    "Subject",
    "check",
    "simulations",
    "table",
]
