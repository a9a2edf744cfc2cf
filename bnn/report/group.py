"""A group: the runs that may be compared, those of one data set under one design."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from bnn.plots.style import STYLES
from bnn.report.words import ranges, short
from bnn.run import Arrays, Run
from bnn.statistics import Design

DAGGER = "†"
CAVEATS_SHOWN = 2  # of one method, below a table

Lookup = Callable[[Run], Arrays]


@dataclass(frozen=True)
class Group:
    """The runs of one data set under one design.

    Arguments:
        dataset: its name.
        design: "resplit" or "fixed".
        runs: all of them, whatever became of them.
        baseline: the method that others are compared with.
        lookup: finds the arrays of a run.
    """

    dataset: str
    design: Design
    runs: tuple[Run, ...]
    baseline: str
    lookup: Lookup = field(repr=False)

    @property
    def task(self) -> str:
        """Classification or regression."""
        return self.runs[0].task

    @cached_property
    def methods(self) -> list[str]:
        """All methods: the baseline first, then those of the suite in their order, then others."""
        known = list(STYLES)
        return sorted(
            {run.method for run in self.runs},
            key=lambda m: (m != self.baseline, known.index(m) if m in known else len(known), m),
        )

    def of(self, method: str) -> list[Run]:
        """Return the finished runs of a method."""
        return [r for r in self.runs if r.method == method and r.status == "finished"]

    @cached_property
    def finished(self) -> list[str]:
        """The methods that finished at least one run."""
        return [method for method in self.methods if self.of(method)]

    @cached_property
    def labels(self) -> dict[str, str]:
        """What readers call the methods; a dagger marks those whose numbers have a caveat."""
        labels = labels_of(self.runs)
        return {
            m: f"{label} {DAGGER}" if m in self.caveats else label for m, label in labels.items()
        }

    @cached_property
    def caveats(self) -> dict[str, list[str]]:
        """What must be known with the numbers of a method, in sentences, where there is anything.

        Sentences that are the same in several replicas are told once, and only a few that differ.
        """
        labels, found = labels_of(self.runs), {}
        for method in self.finished:
            seeds: dict[str, list[int]] = {}
            for run in self.of(method):
                for sentence in run.caveats:
                    seeds.setdefault(sentence, []).append(run.seed)
            told = [
                f"{DAGGER} {labels[method]}, seed{'s' * (len(who) > 1)} {ranges(who)}: {text}"
                for text, who in seeds.items()
            ]
            if len(told) > CAVEATS_SHOWN:
                more = f"{DAGGER} {labels[method]}: {len(told) - CAVEATS_SHOWN} more caveats are"
                told[CAVEATS_SHOWN:] = [f"{more} listed under “What went wrong, or nearly”."]
            if told:
                found[method] = told
        return found

    @cached_property
    def _arrays(self) -> dict[str, Arrays]:
        done = [run for run in self.runs if run.status == "finished"]
        return {run.key: self.lookup(run) for run in done}

    def arrays(self, method: str) -> list[Arrays]:
        """Return the arrays of a method's finished runs."""
        return [self._arrays[run.key] for run in self.of(method)]

    def values(self, method: str, name: str) -> list[np.ndarray]:
        """Return an array of each finished run of a method that has it."""
        return [arrays[name] for arrays in self.arrays(method) if name in arrays]

    @cached_property
    def without_arrays(self) -> int:
        """How many finished runs have lost their arrays."""
        return sum(not arrays for arrays in self._arrays.values())

    @cached_property
    def conditions(self) -> list[str]:
        """The conditions under which entropies are known: test, shifts in their order, unseen."""
        names = {
            name.removesuffix("_entropy"): None
            for arrays in self._arrays.values()
            for name in sorted(arrays, key=_natural)
            if name.endswith("_entropy") and not name.startswith("grid_")
        }
        shifts = [name for name in names if name not in ("test", "unseen")]
        return [*(n for n in names if n == "test"), *shifts, *(n for n in names if n == "unseen")]


def groups(runs: Sequence[Run], baseline: str, lookup: Lookup) -> Iterator[Group]:
    """Yield the groups of a study in the order of their data sets."""
    for dataset, design in sorted({(run.dataset, run.design) for run in runs}):
        some = tuple(r for r in runs if (r.dataset, r.design) == (dataset, design))
        yield Group(dataset, design, some, baseline, lookup)


def labels_of(runs: Sequence[Run]) -> dict[str, str]:
    """Return what readers call the methods, by name; no two are called the same."""
    labels = {run.method: short(str(run.settings.get("label", run.method))) for run in runs}
    shared = [label for label, count in Counter(labels.values()).items() if count > 1]
    return {m: f"{label} ({short(m)})" if label in shared else label for m, label in labels.items()}


def _natural(name: str) -> tuple[tuple[int, float, str], ...]:
    """Return a key that sorts 'rotation 15' before 'rotation 105'."""
    return tuple(
        (0, float(part), "") if _is_number(part) else (1, 0.0, part)
        for part in name.removesuffix("_entropy").split(" ")
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
