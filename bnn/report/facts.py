"""What a reader needs to repeat a study, and what its numbers do not show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from bnn.report.group import Group
from bnn.report.tables import Column, Row, Table, textual
from bnn.report.words import DASH, count, ranges, short
from bnn.run import Run

FEW = 5  # replicas; below it a standard deviation is hardly known


def facts(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Return names and values for the footer."""
    states = ("finished", "diverged", "failed")
    counts = {state: sum(run.status == state for run in runs) for state in states}
    found = [
        ("Command", _all(run.provenance.get("command") for run in runs)),
        ("Runs", ", ".join(f"{n} {state}" for state, n in counts.items())),
        ("Seeds", ranges(run.seed for run in runs) or DASH),
        ("Split ids", ranges(run.split for run in runs) or DASH),
        ("Versions", _all(_pairs(run.provenance.get("versions")) for run in runs)),
        ("Machine", _all(_pairs(run.provenance.get("machine")) for run in runs)),
        ("Threads", _all(run.provenance.get("threads") for run in runs)),
        ("Network", _all(_line(run.settings.get("network")) for run in runs)),
        ("Prior", _all(run.settings.get("prior") for run in runs)),
        ("Likelihood", _all(run.settings.get("likelihood") for run in runs)),
        ("Number type", _all(run.settings.get("dtype") for run in runs)),
        ("Device", _all(run.settings.get("device") for run in runs)),
    ]
    return found


def sources(groups: Sequence[Group]) -> list[Table]:
    """Return where the data come from, what was trained on them, and how."""
    if not groups:
        return []
    data = ("Rows", "Source", "Licence", "SHA-256")
    rows = []
    for group in groups:
        known = [{**run.settings, **run.provenance} for run in group.runs]
        columns = ("source", "licence", "data_sha256")
        shown = [_all(k.get(name) for k in known) for name in columns]
        size = _all(_pairs(k.get("rows")) for k in known)
        rows.append(Row(group.dataset, [textual(size), *map(textual, shown)]))
    methods: dict[str, list[Run]] = {}
    for group in groups:
        for method in group.methods:
            methods.setdefault(method, []).extend(r for r in group.runs if r.method == method)
    settings = [
        Row(
            short(str(some[0].settings.get("label", method))),
            [textual(method), textual(_all(r.settings.get("method") for r in some))],
            method,
        )
        for method, some in methods.items()
    ]
    return [
        Table("Data", "Data set", [Column(name, words=True) for name in data], rows),
        Table("Methods", "Method", [Column(n, words=True) for n in ("Name", "Settings")], settings),
    ]


def limits(groups: Sequence[Group]) -> Iterator[str]:
    """Yield what the numbers of these runs leave open."""
    yield (
        "The methods share one network and, where nothing else is said, one prior; each has the"
        " settings listed below. Another architecture, prior or setting may order them differently."
    )
    designs = {group.design for group in groups}
    if "resplit" in designs:
        yield (
            "Re-drawn splits re-use the rows of one table. They tell how results vary with the"
            " split, not how they would on a new sample from elsewhere."
        )
    if "fixed" in designs:
        yield "With one fixed split nothing is known about other splits of the same table."
    fewest = min((len(g.of(m)) for g in groups for m in g.finished), default=0)
    if 0 < fewest < FEW:
        yield (
            f"Some methods have only {count(fewest, 'replica')}: spreads and intervals from so few"
            " are themselves uncertain."
        )
    lost = sum(group.without_arrays for group in groups)
    if lost:
        yield (
            f"The arrays of {count(lost, 'finished run')} are missing: figures and paired"
            " differences leave them out."
        )
    yield ("‘Undecided’ is not ‘equal’: the interval says which differences remain possible.")
    yield (
        "A better log-likelihood is not a better posterior: no score here compares with the exact"
        " posterior over weights."
    )
    if any(c != "test" for group in groups for c in group.conditions):
        yield (
            "Shifted and unseen rows are those listed here; a method that notices them may miss"
            " others."
        )
    yield (
        "The split of entropy into data and weights is the model's own opinion; no measurement"
        " confirms it. The raw mutual information depends on how many networks are averaged."
    )
    yield (
        "Seconds are those of the machine named below, shared evenly by the replicas that were"
        " trained together; one network alone would take longer than its share."
    )


def _all(values: Iterable[Any]) -> str:
    """Return the distinct values, a dash for none."""
    found = dict.fromkeys(str(value) for value in values if value not in (None, ""))
    return "; ".join(found) or DASH


def _line(text: Any) -> str | None:
    """Return text on one line, as a network's own description is not."""
    if text is None:
        return None
    return " ".join(str(text).split()).replace("( ", "(").replace(" )", ")")


def _pairs(values: Any) -> str:
    if not isinstance(values, Mapping):
        return "" if values is None else str(values)
    return ", ".join(f"{name} {value}" for name, value in sorted(values.items()))
