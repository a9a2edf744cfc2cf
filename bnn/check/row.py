"""One row of the table: what was expected, what was found, and how far apart they may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Row:
    """The outcome of one comparison.

    Arguments:
        method: its name.
        check: what is compared, and in which unit.
        expected, found: the two numbers.
        tolerance: how far `found` may be from `expected`, or beyond it.
        relation: what `found` must be: as expected ("="), no more ("<=") or no less (">=").
    """

    method: str
    check: str
    expected: float
    found: float
    tolerance: float
    relation: Literal["=", "<=", ">="] = "="

    @property
    def passed(self) -> bool:
        """Is it as expected? What is not a number is not."""
        above, below = self.found - self.expected, self.expected - self.found
        return {
            "=": max(above, below) <= self.tolerance,
            "<=": above <= self.tolerance,
            ">=": below <= self.tolerance,
        }[self.relation]
