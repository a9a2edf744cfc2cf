"""Check 2: predictions of a logistic regression of two weights, against a sum over a lattice.

The worst error of a predicted probability, over three repetitions with ten rows each and x from
-6 to 6, is held to the method's own statement. Families without end are drawn from 10,000 times,
which is an error of 0.005 at most in one standard error.
"""

from __future__ import annotations

from bnn.check.row import Row
from bnn.check.subject import Subject


def predictions(subject: Subject) -> list[Row]:
    """Return one row: the worst error of a probability."""
    worst = subject.probability_errors.max().item()
    what = "logistic model: worst probability error"
    return [Row(subject.method.name, what, 0.0, worst, subject.claim.probability)]
