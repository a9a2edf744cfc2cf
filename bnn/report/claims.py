"""Claims: a sentence, the number expected, the number found, and what follows from the two.

An identity is mathematics: it holds to within rounding, or the suite is wrong. A finding is what an
experiment showed: it is reported with its interval whether it was expected or not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from scipy import stats
from torch import Tensor

from bnn.errors import InputError
from bnn.report.words import count, number
from bnn.statistics import Difference

Kind = Literal["identity", "finding"]
Relation = Literal["=", "≤", "≥"]
LEVEL = 0.95  # of the intervals
DIGITS = 8  # significant, of the numbers expected and found

HOLDS, FAILS = "holds", "fails"
SHOWN, CONSISTENT, OPEN = "as expected", "consistent", "undecided"
REFUTED, REPORTED = "not as expected", "reported"
OUTCOMES = (SHOWN, CONSISTENT, OPEN, REFUTED, REPORTED)


@dataclass(frozen=True)
class Claim:
    """One claim. Made by `identity`, `finding`, `difference` and `replicated`.

    Arguments:
        statement: a sentence, with formulas between dollars.
        found: the number found.
        expected: the number expected; None where a finding is only reported.
        tolerance: how far an identity may be off.
        relation: how the number found is to stand to the one expected.
        kind: "identity" or "finding".
        interval: of a finding; None where it is one fixed computation without chance.
        unit: of all the numbers.
    """

    statement: str
    found: float
    expected: float | None
    tolerance: float
    relation: Relation
    kind: Kind
    interval: tuple[float, float] | None = None
    unit: str = ""

    @property
    def verdict(self) -> str:
        """What follows: an identity holds or fails; a finding is as expected, or it is not."""
        if self.kind == "identity":
            return HOLDS if self.apart <= self.tolerance else FAILS
        if self.expected is None:
            return REPORTED
        low, high = self.interval or (self.found, self.found)
        if math.isnan(low) or math.isnan(high):
            return OPEN
        inside, below, above = (
            low <= self.expected <= high,
            high < self.expected,
            low > self.expected,
        )
        if self.relation == "=":
            return CONSISTENT if inside else REFUTED
        if inside and self.interval:
            return OPEN
        return SHOWN if (below if self.relation == "≤" else above) else REFUTED

    @property
    def apart(self) -> float:
        """How far the number found is on the wrong side of the one expected."""
        if self.expected is None or self.found == self.expected:  # also where both are infinite
            return 0.0
        off = self.found - self.expected
        if self.relation == "=":
            return abs(off)
        return off if math.isnan(off) else max(0.0, off if self.relation == "≤" else -off)

    @property
    def failed(self) -> bool:
        """Is it an identity that does not hold?"""
        return self.verdict == FAILS


def identity(
    statement: str,
    *,
    found: float | Tensor,
    expected: float | Tensor,
    tolerance: float,
    relation: Relation = "=",
    unit: str = "",
) -> Claim:
    """Return a claim that must hold, to within the tolerance."""
    return Claim(
        statement, float(found), float(expected), float(tolerance), relation, "identity", unit=unit
    )


def finding(
    statement: str,
    *,
    found: float | Tensor,
    interval: tuple[float, float] | None = None,
    expected: float | None = None,
    relation: Relation = "=",
    unit: str = "",
) -> Claim:
    """Return what an experiment showed, whether or not it was expected."""
    return Claim(statement, float(found), expected, 0.0, relation, "finding", interval, unit)


def replicated(
    statement: str,
    values: Tensor | Sequence[float],
    *,
    expected: float | None = None,
    relation: Relation = "=",
    unit: str = "",
) -> Claim:
    """Return a finding from independent repetitions: their mean, and the t interval around it.

    Arguments:
        statement, expected, relation, unit: as of `Claim`.
        values: one number per repetition, `[replicas]`; the repetitions share no rows.
    """
    numbers = [float(value) for value in values]
    if len(numbers) < 2:
        raise InputError("at least two replicas", str(len(numbers)), "One has no interval.")
    result = stats.ttest_1samp(numbers, 0.0).confidence_interval(LEVEL)
    return finding(
        statement,
        found=sum(numbers) / len(numbers),
        interval=(float(result.low), float(result.high)),
        expected=expected,
        relation=relation,
        unit=unit,
    )


def difference(
    statement: str,
    found: Difference,
    *,
    expected: float | None = None,
    relation: Relation = "=",
    unit: str = "",
) -> Claim:
    """Return a finding from a paired difference of two methods, with the interval of its design."""
    return finding(
        statement,
        found=found.estimate,
        interval=(found.low, found.high),
        expected=expected,
        relation=relation,
        unit=unit,
    )


def tally(claims: Sequence[Claim]) -> list[str]:
    """Return how many claims of each kind there are and what became of them, in words."""
    identities = [c.verdict for c in claims if c.kind == "identity"]
    findings = [c.verdict for c in claims if c.kind == "finding"]
    parts: list[str] = []
    failed = identities.count(FAILS)
    if len(identities) == 1:
        parts.append(f"1 identity, which {identities[0]}")
    elif failed:
        parts.append(
            f"{failed} of {len(identities)} identities {'fails' if failed == 1 else 'fail'}"
        )
    elif identities:
        parts.append(f"{len(identities)} identities, all hold")
    if findings:
        verdicts = [f"{findings.count(v)} {v}" for v in OUTCOMES if v in findings]
        parts.append(f"{count(len(findings), 'finding')}: {', '.join(verdicts)}")
    return parts


def exact(value: float) -> str:
    """Return a number with all the digits that a reader may want to compare."""
    if value == 0 or not math.isfinite(value) or not 1e-4 <= abs(value) < 1e7:
        return small(value)
    return f"{value:.{DIGITS}g}".replace("-", "\N{MINUS SIGN}")


def small(value: float) -> str:
    """Return a difference or a tolerance, in which only the size counts: '3.1 × 10⁻¹³'."""
    if value == 0 or not math.isfinite(value) or 1e-3 <= abs(value) < 1e4:
        return number(value, 2)
    mantissa, exponent = f"{value:.1e}".split("e")
    raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{mantissa.removesuffix('.0')} × 10{raised}"
