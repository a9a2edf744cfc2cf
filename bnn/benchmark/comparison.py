"""What came out: repeats of both sides, their ratio, and whether it is what it must be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from bnn.benchmark.item import Goal, Item, Repeat


@dataclass(frozen=True)
class Comparison:
    """One goal of an item.

    Arguments:
        goal: what is to be reached.
        ours: repeats of the suite.
        theirs: repeats of the peer, in the same rounds.
        difference: of the values that both sides computed first, relative; NaN if unknown.
        void: why there is no ratio; empty if there is one.
    """

    goal: Goal
    ours: tuple[Repeat, ...]
    theirs: tuple[Repeat, ...] = ()
    difference: float = math.nan
    void: str = ""

    @property
    def seconds(self) -> tuple[float, float]:
        """Medians of ours and theirs; NaN where there are none."""
        return _median(self.ours, "seconds"), _median(self.theirs, "seconds")

    @property
    def found(self) -> float:
        """The measure, from medians; NaN where it is void."""
        if self.void:
            return math.nan
        if self.goal.measure == "memory":
            return _median(self.ours, "bytes")
        ours, theirs = self.seconds
        return ours / theirs if self.goal.measure == "share" else theirs / ours

    @property
    def spread(self) -> tuple[float, float]:
        """The smallest and the largest measure of a single round; NaN where it is void."""
        if self.void:
            return math.nan, math.nan
        if self.goal.measure == "memory":
            each = [float(repeat["bytes"]) for repeat in self.ours]
        else:
            rounds = zip(self.ours, self.theirs, strict=False)
            each = [b["seconds"] / a["seconds"] for a, b in rounds]
            each = [1 / ratio for ratio in each] if self.goal.measure == "share" else each
        return min(each), max(each)

    @property
    def verdict(self) -> str:
        """What became of the goal."""
        if self.void or math.isnan(self.found):
            return "void"
        for name, wanted in (("aim reached", self.goal.aim), ("must reached", self.goal.must)):
            if self.found >= wanted if self.goal.more else self.found <= wanted:
                return name
        return "measured" if math.isnan(self.goal.must) else "not reached"

    def to_json(self) -> dict[str, Any]:
        """Return everything, raw repeats included; what is unknown is null."""
        ours, theirs = self.seconds
        return {
            "peer": self.goal.peer,
            "measure": self.goal.measure,
            "must": _known(self.goal.must),
            "aim": _known(self.goal.aim),
            "ours_seconds": _known(ours),
            "peer_seconds": _known(theirs),
            "found": _known(self.found),
            "spread": [_known(end) for end in self.spread],
            "verdict": self.verdict,
            "void": self.void,
            "difference_of_values": _known(self.difference),
            "peer_repeats": [dict(repeat) for repeat in self.theirs],
        }


@dataclass(frozen=True)
class Outcome:
    """All that was found on one item.

    Arguments:
        item: what was measured.
        ours: repeats of the suite.
        comparisons: one per goal.
    """

    item: Item
    ours: tuple[Repeat, ...]
    comparisons: tuple[Comparison, ...]

    def to_json(self) -> dict[str, Any]:
        """Return everything, raw repeats included."""
        return {
            "name": self.item.name,
            "title": self.item.title,
            "unit": self.item.unit,
            "settings": dict(self.item.settings),
            "ours_repeats": [dict(repeat) for repeat in self.ours],
            "comparisons": [comparison.to_json() for comparison in self.comparisons],
        }


def _median(repeats: Sequence[Mapping[str, Any]], name: str) -> float:
    return median(float(repeat[name]) for repeat in repeats) if repeats else math.nan


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
