"""Several fits per replica: the members of an ensemble, or the chains of a sampler, as replicas."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from bnn.errors import InputError
from bnn.optimise import Fit
from bnn.problem import Problem
from bnn.seeds import derived


def check_members(members: object) -> None:
    """Refuse a number of members that is none."""
    if not isinstance(members, int) or members < 1:
        raise InputError("a whole number, at least one member", repr(members), "5 is usual.")


def unwrapped(method: object) -> Iterator[object]:
    """Yield a method, what it wraps or chooses among, and so on to the innermost."""
    while method is not None:
        yield method
        among = getattr(method, "candidates", (None,))  # which are all of one kind
        method = getattr(method, "method", getattr(method, "member", among[0]))


def members_of(method: object) -> int:
    """Return how many members a method has: its own, times those of what it wraps or chooses."""
    return math.prod(getattr(one, "members", 1) for one in unwrapped(method))


def spread(problem: Problem, seeds: Sequence[int], members: int) -> tuple[Problem, list[int]]:
    """Return the problem with a replica for every member of every seed, and their seeds.

    Member 0 has the seed itself; the others' follow from it.
    """
    rows = [r for r in range(problem.replicas) for _ in range(members)]
    starts = [derived(s, f"member {m}") if m else s for s in seeds for m in range(members)]
    return problem.take(rows), starts


def gathered(fit: Fit, members: int) -> Fit:
    """Return the fit of the replicas from that of all their members.

    Its parameters are `[replicas, members, ...]`. A replica has diverged where any of its members
    has, and then its curve is that of the first one lost, else that of member 0.
    """
    replicas = len(fit.diverged) // members
    lost = [fit.diverged[r * members : (r + 1) * members] for r in range(replicas)]
    return replace(
        fit,
        parameters=fit.parameters.unflatten(0, (replicas, members)),
        curves=tuple(fit.curves[r * members + m.index(max(m))] for r, m in enumerate(lost)),
        diverged=tuple(map(any, lost)),
    )
