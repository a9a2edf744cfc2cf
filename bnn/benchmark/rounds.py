"""Measuring an item: first the same value on both sides, then all sides in turn, round by round."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bnn.benchmark.comparison import Comparison, Outcome
from bnn.benchmark.item import Item, Repeat
from bnn.benchmark.worker import Refused, Worker

Told = Callable[[], None]  # called after every answer that is waited for


def answers(item: Item, peers: Sequence[str], repeats: int) -> int:
    """Return how many answers an item waits for, which is how often `Told` is called."""
    sides = 1 + sum(name in peers for name in item.peers)
    return sides * (1 + min(repeats, item.repeats or repeats))


def measure(
    item: Item, ours: Worker, peers: Mapping[str, Worker | str], repeats: int, told: Told
) -> Outcome:
    """Measure the suite and those peers that agree with it.

    Arguments:
        item: the work.
        ours: the suite's process.
        peers: processes by name, or why there is none.
        repeats: rounds.
        told: called after every answer.
    """
    void = {name: peers[name] for name in item.peers if not isinstance(peers[name], Worker)}
    workers = {name: worker for name in item.peers if isinstance(worker := peers[name], Worker)}
    with tempfile.TemporaryDirectory() as folder:
        differences = _prepare(item, ours, workers, void, Path(folder) / "given.npz", told)
    sides = {"": ours, **workers}
    found: dict[str, list[Repeat]] = {name: [] for name in sides}
    for _ in range(min(repeats, item.repeats or repeats)):
        for name, worker in sides.items():
            if name in void or "" in void:
                told()
                continue
            try:
                found[name].append(worker.ask("time"))
            except Refused as reason:
                void[name] = f"it stopped: {reason}"
            told()
    for name in workers:
        void.setdefault(name, item.judge(found[""], found[name]) if "" not in void else "")
    mine = f"the suite's own side: {void['']}" if "" in void else ""
    return Outcome(
        item,
        tuple(found[""]),
        tuple(
            Comparison(
                goal,
                tuple(found[""]),
                tuple(found.get(goal.peer, ())),
                differences.get(goal.peer, math.nan),
                mine or str(void.get(goal.peer, "")),
            )
            for goal in item.goals
        ),
    )


def _prepare(
    item: Item,
    ours: Worker,
    workers: Mapping[str, Worker],
    void: dict[str, Any],
    given: Path,
    told: Told,
) -> dict[str, float]:
    """Let every side compute its value; note the differences, and why a side is left out."""
    work = {"family": item.family, "settings": dict(item.settings), "given": str(given)}
    differences: dict[str, float] = {}
    try:
        expected = ours.ask("prepare", make=True, **work)["value"]
    except Refused as reason:
        void[""] = str(reason)
    told()
    for name, worker in workers.items():
        try:
            found = worker.ask("prepare", make=False, **work)["value"] if "" not in void else []
        except Refused as reason:
            void[name] = str(reason)
        else:
            if "" not in void:
                differences[name] = difference(found, expected)
                if not differences[name] <= item.tolerance:
                    void[name] = (
                        f"both sides differ by {differences[name]:.1e} (relative) in what they"
                        " compute from the same numbers"
                    )
        told()
    return differences


def difference(found: Sequence[float | None], expected: Sequence[float]) -> float:
    """Return the largest difference, relative to the largest value; infinite where not finite.

    Arguments:
        found: values, with None where a side has none to offer; it must have one.
        expected: as many values.
    """
    pairs = [(a, b) for a, b in zip(found, expected, strict=False) if a is not None]
    if not expected:
        return 0.0
    if len(found) != len(expected) or not pairs:
        return math.inf
    gaps, largest = [abs(a - b) for a, b in pairs], max(abs(b) for _, b in pairs)
    if not all(map(math.isfinite, gaps)):  # a NaN among others would be lost in their maximum
        return math.inf
    if largest == 0:
        return math.inf if any(gaps) else 0.0
    return max(gaps) / largest
