"""What is measured: an item of work, and what is to be reached on it against each peer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Repeat = Mapping[str, Any]  # what a process told of one repeat: "seconds", and what else there is
Judge = Callable[[Sequence[Repeat], Sequence[Repeat]], str]

# "speedup": their seconds over ours; "peak": the same, as a share of what the machine can do;
# "share": our seconds over theirs, of which little is better; "memory": our bytes, likewise.
Measure = Literal["speedup", "peak", "share", "memory"]


class Goal(NamedTuple):
    """What is to be reached against a peer.

    Arguments:
        peer: its name.
        must, aim: of the measure; NaN where nothing is asked.
        measure: what is compared.
    """

    peer: str
    must: float
    aim: float
    measure: Measure = "speedup"

    @property
    def more(self) -> bool:
        """Is more better?"""
        return self.measure in ("speedup", "peak")


def comparable(ours: Sequence[Repeat], theirs: Sequence[Repeat]) -> str:
    """Say nothing against a comparison."""
    return ""


@dataclass(frozen=True)
class Item:
    """A piece of work that the suite and its peers do.

    Arguments:
        name: a short identifier.
        family: which kind of work; it names what does it in the file of each peer.
        title: what a reader sees.
        unit: what the seconds are for, "per step".
        goals: against each peer.
        settings: of the work, numbers and words; every process is given them.
        repeats: at most so many, where a repeat takes minutes.
        quick: part of the first look.
        tolerance: relative difference of both sides' values above which nothing is compared.
        judge: says from the repeats of both sides why they cannot be compared; empty if they can.
    """

    name: str
    family: str
    title: str
    unit: str
    goals: tuple[Goal, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    repeats: int | None = None
    quick: bool = False
    tolerance: float = 1e-5
    judge: Judge = comparable

    @property
    def peers(self) -> tuple[str, ...]:
        """Whom it is measured against, each named once."""
        return tuple(dict.fromkeys(goal.peer for goal in self.goals))
