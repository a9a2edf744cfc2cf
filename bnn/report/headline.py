"""The headline: what the numbers say about the question, and what they do not settle."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from bnn.report.compare import cost_ratio, differences
from bnn.report.group import Group
from bnn.report.words import count, decimals_of, interval, multiple, rounded, short, verdict
from bnn.run import Run
from bnn.scores import SCORES
from bnn.statistics import Difference

SCORE = "nll"  # the score of the headline
NAMED = 3  # of the methods of one verdict, those that are told in full; all are in the tables


def headline(runs: Sequence[Run], groups: Sequence[Group]) -> list[str]:
    """Return the answer in a few sentences."""
    if not runs:
        return ["There are no runs yet, so there is nothing to say."]
    if not any(run.status == "finished" for run in runs):
        return [
            f"No run finished, so there is nothing to compare: {count(len(runs), 'run')}"
            " diverged or failed, listed below with the reasons."
        ]
    return [sentence for group in groups for sentence in _answers(group)]


def _answers(group: Group) -> Iterator[str]:
    where = f"On {short(group.dataset)}"
    if not group.finished:
        yield f"{where}, no run finished."
        return
    if group.baseline not in group.finished:
        yield (
            f"{where}, cross-entropy training ({short(group.baseline)}) has no finished run, so"
            " there is nothing to compare the other methods with."
        )
        return
    found, missing = differences(group, SCORE, group.baseline, group.finished)
    if not found:
        others = " No other method finished." if not missing else " No pair could be compared."
        yield f"{where}, only cross-entropy training can be judged.{others}"
        return
    told = _by_verdict(found)
    yield from _sorted_out(group, where, told, found)
    named = {method for some in told.values() for method in some[:NAMED]} | {group.baseline}
    yield from (note for m in group.finished if m in named for note in group.caveats.get(m, ()))
    one = next(iter(found.values()))
    yield (
        f"Intervals are {one.level * 100:g} %, {one.scope}, from"
        f" {count(max(d.replicas for d in found.values()), 'replica')}; a claim needs a"
        f" Holm-adjusted p below {1 - one.level:.2g} among {count(len(found), 'comparison')}."
    )


def _by_verdict(found: dict[str, Difference]) -> dict[str, list[str]]:
    """Return the better, worse and undecided methods, each the furthest from the baseline first."""
    by: dict[str, list[str]] = {"better": [], "worse": [], "undecided": []}
    for method in sorted(found, key=lambda m: -abs(found[m].estimate)):
        by[verdict(found[method], SCORES[SCORE].better)].append(method)
    by["undecided"].sort(key=lambda m: found[m].estimate)
    return by


def _sorted_out(
    group: Group, where: str, by: dict[str, list[str]], found: dict[str, Difference]
) -> Iterator[str]:
    if better := by["better"]:
        verb = "beats" if len(better) == 1 else "beat"
        n = "one method" if len(better) == 1 else f"{len(better)} methods"
        yield (
            f"{where}, {n} of {len(found)} {verb} cross-entropy training on log-likelihood:"
            f" {_first(better, lambda m: _claim(group, m, found[m]))}."
        )
    else:
        yield (
            f"{where}, no method is shown to beat cross-entropy training on log-likelihood"
            f" ({len(found)} compared)."
        )
    if by["worse"]:
        yield f"Worse: {_first(by['worse'], lambda m: _claim(group, m, found[m]))}."
    if by["undecided"]:
        names = _first(by["undecided"], lambda m: _undecided(group, m, found[m]))
        yield f"Undecided, with the differences that remain possible in nats per row: {names}."


def _first(methods: Sequence[str], tell: Callable[[str], str]) -> str:
    """Return the first few methods in full, and how many others there are."""
    left = len(methods) - NAMED
    others = [f"and {left} more in the tables below"] if left > 0 else []
    return "; ".join([*map(tell, methods[:NAMED]), *others])


def _claim(group: Group, method: str, d: Difference) -> str:
    low, high = sorted((abs(d.low), abs(d.high)))
    if d.low <= 0 <= d.high:
        low = 0.0
    size = rounded(abs(d.estimate), decimals_of((d.high - d.low) / 2))
    text = f"{group.labels[method]} by {size} nats per row ({interval(low, high)})"
    ratio = cost_ratio(group, method)
    return text if ratio is None else f"{text} at {multiple(ratio)} the training time"


def _undecided(group: Group, method: str, d: Difference) -> str:
    return f"{group.labels[method]} {interval(d.low, d.high)}"
