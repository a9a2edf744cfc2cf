"""Generality: what all data sets of a study say together, and of a next one like them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass

from bnn import plots
from bnn.report import figures
from bnn.report.compare import differences, relative_errors
from bnn.report.figures import Figure
from bnn.report.group import DAGGER, Group
from bnn.report.sections import Part, Section
from bnn.report.tables import NOTHING, Cell, Column, Row, Table, numeric
from bnn.report.words import chance, interval, listed, number, probability, short
from bnn.statistics import Difference, Generalisation, Ranks, generalise, ranks
from bnn.statistics.ranks import FEWEST

SCORE = "nll"  # in nats per row, so that differences are comparable over data sets
ROPE = 0.01  # nats per row: a difference that small is practically none

HIERARCHICAL = (
    "Every data set counts with the interval of its own paired difference, and the data sets as a"
    " sample of those of interest: ‘a next data set’ is one like them. A hierarchical model tells"
    " the mean difference over such data sets from its spread between them."
)
FIXED = (
    "A data set with one fixed split counts with the interval for that split, which knows of no"
    " other."
)
RELATIVE = (
    "Root mean squared errors have the unit of each data set's target, so that they are compared by"
    " the logarithm of their ratio, split by split: 0.01 is one per cent."
)
RANKS = (
    "On each data set the method of the best log-likelihood, in paired differences, has rank 1."
    " A bar beside the rows joins methods whose mean ranks lie within the critical difference"
    " (Nemenyi). Mean ranks depend on which methods take part; the p-values (Wilcoxon, adjusted by"
    " Holm for all pairs) do so only by their number. With few data sets neither can decide much."
)


@dataclass(frozen=True)
class Overall:
    """The methods over the data sets that they share with the baseline.

    Arguments:
        groups: one per data set.
        found: by method, the most probably better one first.
        ranks: of the methods that finished on all data sets, where they are enough.
        rope: of practical equivalence, in nats per row; of errors, in log ratios.
        errors: of regressions, the log ratios of RMSEs, by method in the same order.
    """

    groups: Sequence[Group]
    found: dict[str, Generalisation]
    ranks: Ranks | None
    rope: float
    errors: dict[str, Generalisation]

    @property
    def baseline(self) -> str:
        """The method that others are compared with."""
        return self.groups[0].baseline

    @property
    def labels(self) -> dict[str, str]:
        """What readers call the methods; a dagger marks those whose numbers have a caveat."""
        known = {m: label for group in self.groups for m, label in group.labels.items()}
        marked = {m for group in self.groups for m in group.caveats}
        marked |= {m for m, found in self.found.items() if found.caveats}
        bare = {m: label.removesuffix(f" {DAGGER}") for m, label in known.items()}
        return {m: f"{label} {DAGGER}" if m in marked else label for m, label in bare.items()}

    @property
    def caveats(self) -> list[str]:
        """What must be known with the numbers, in sentences."""
        told = []
        for method in (self.baseline, *self.found):
            where = [short(g.dataset) for g in self.groups if method in g.caveats]
            if where:
                told.append(f"{self.labels[method]}: see the caveat on {listed(where)}.")
        return told + [
            f"{self.labels[method]}, over data sets: {sentence}"
            for method, found in self.found.items()
            for sentence in found.caveats
        ]


def overall(groups: Sequence[Group], rope: float = ROPE) -> Overall | None:
    """Return the comparison over data sets; None where too few of them have a comparison.

    A data set that was run under two designs counts once, with its re-drawn splits.
    """
    once = {g.dataset: g for g in sorted(groups, key=lambda g: g.design)}  # resplit comes last
    chosen = [g for g in groups if g is once[g.dataset] and g.baseline in g.finished]
    pairs = [differences(g, SCORE, g.baseline, g.finished)[0] for g in chosen]
    rows, found = _rows(pairs), _generalised_rows(pairs, rope)
    if not found:
        return None
    everywhere = {
        m: [d.estimate for d in row] for m, row in rows.items() if len(row) == len(chosen)
    }
    scores = {chosen[0].baseline: [0.0] * len(chosen), **everywhere}
    order = sorted(found, key=lambda m: -found[m].on_next.below)
    errors = _generalised_rows([relative_errors(g) for g in chosen], rope)
    return Overall(
        groups=chosen,
        found={m: found[m] for m in order},
        ranks=ranks(scores) if len(scores) >= FEWEST else None,
        rope=rope,
        errors={m: errors[m] for m in order if m in errors},
    )


def _rows(pairs: Sequence[Mapping[str, Difference]]) -> dict[str, list[Difference]]:
    methods = dict.fromkeys(m for some in pairs for m in some)
    return {m: [some[m] for some in pairs if m in some] for m in methods}


def _generalised_rows(
    pairs: Sequence[Mapping[str, Difference]], rope: float
) -> dict[str, Generalisation]:
    """Return what the differences of each data set say together, of methods on enough of them."""
    enough = {m: row for m, row in _rows(pairs).items() if len(row) >= FEWEST}
    found = dict[str, Generalisation]()
    for size in sorted({len(row) for row in enough.values()}):
        some = {m: row for m, row in enough.items() if len(row) == size}
        found |= zip(some, generalise(list(some.values()), rope), strict=True)
    return found


def sentences(over: Overall) -> Iterator[str]:
    """Yield the answer over data sets, of the first method in full, and what must be known too."""
    (first, found), *others = over.found.items()
    regions = found.on_next
    yield (
        f"On a next data set like these {found.datasets}, {over.labels[first]} has a better"
        f" log-likelihood than {over.labels[over.baseline]} by more than"
        f" {number(over.rope, 1)} nats per row with probability {chance(regions.below)}, is"
        f" practically equivalent with {chance(regions.within)}, and worse with"
        f" {chance(regions.above)}."
    )
    if others:
        each = "; ".join(
            f"{over.labels[m]} {' / '.join(chance(p) for p in astuple(g.on_next))}"
            for m, g in others
        )
        yield f"The same three probabilities, better / equivalent / worse: {each}."
    yield from over.caveats


def section(over: Overall, anchor: str) -> Section:
    """Return the section over data sets."""
    names = listed(short(g.dataset) for g in over.groups)
    parts = [_generalised(over), *([_in_errors(over)] if over.errors else [])]
    parts += [_ranked(over, over.ranks)] if over.ranks else []
    return Section("Over the data sets", anchor, f"{names}.", parts)


def _columns(over: Overall, unit: str, equal: str) -> list[Column]:
    level = f"{next(iter(over.found.values())).level * 100:g} % interval"
    return [
        Column("Data sets"),
        Column("Mean difference", f"{unit}, lower is better"),
        Column(level, "of the mean"),
        Column("Spread", "between data sets"),
        Column(level, "on a next data set"),
        Column("Better", "probability on a next data set"),
        Column("Equivalent", equal),
        Column("Worse", "probability on a next data set"),
    ]


def _in_errors(over: Overall) -> Part:
    columns = _columns(over, "log ratio", f"within {100 * over.rope:g} %")
    rows = [Row(over.labels[m], list(_cells(g)), m) for m, g in over.errors.items()]
    title = f"Root mean squared error over data sets: log ratio to {over.labels[over.baseline]}"
    return Part("Errors of the mean", [RELATIVE], [Table(title, "Method", columns, rows)])


def _generalised(over: Overall) -> Part:
    base = over.labels[over.baseline]
    columns = _columns(over, "nats per row", f"within {number(over.rope, 1)} nats")
    rows = [Row(over.labels[m], list(_cells(g)), m) for m, g in over.found.items()]
    title = f"Negative log-likelihood over data sets: difference to {base}"
    table = Table(title, "Method", columns, rows, over.caveats)
    ax = plots.differences(
        {m: (g.mean, g.low, g.high) for m, g in over.found.items()},
        labels=over.labels,
        x="mean difference in negative log-likelihood (nats)",
        better="better to the left",
    )
    words = "Mean over data sets like these and its interval; better to the left."
    forest = Figure("", (figures.drawing(ax, f"{title}, mean", words),), words)
    fixed = [FIXED] if any(g.design == "fixed" for g in over.groups) else []
    below = "Below each probability on a next data set: that of the mean over data sets."
    return Part(f"Compared with {base}", [HIERARCHICAL, *fixed, below], [table], wide=[forest])


def _cells(g: Generalisation) -> Iterator[Cell]:
    yield numeric(str(g.datasets), g.datasets)
    yield numeric(number(g.mean, 2), g.mean)
    yield numeric(interval(g.low, g.high), g.low)
    yield numeric(number(g.spread, 2), g.spread)
    yield numeric(interval(g.next_low, g.next_high), g.next_low)
    for name in ("below", "within", "above"):
        p = getattr(g.on_next, name)
        yield numeric(chance(p), p, f"mean {chance(getattr(g.on_average, name))}")


def _ranked(over: Overall, found: Ranks) -> Part:
    base = over.baseline
    columns = [Column("Mean rank"), Column("p", f"against {over.labels[base]}, Holm-adjusted")]
    rows = []
    for method, rank in found.mean.items():
        p = found.pairs.get((method, base), found.pairs.get((base, method)))
        cell = NOTHING if p is None else numeric(probability(p), p)
        rows.append(Row(over.labels[method], [numeric(f"{rank:.2f}", rank), cell], method))
    title = f"Ranks over {found.datasets} data sets by negative log-likelihood"
    friedman = f"Friedman's test of all methods being equal: p {_equals(found.p_value)}."
    ax = plots.ranks(found.mean, found.critical, found.groups, labels=over.labels)
    groups = "; ".join(listed(over.labels[m] for m in group) for group in found.groups)
    words = f"Not told apart: {groups}." if groups else "All neighbours are told apart."
    figure = Figure("", (figures.drawing(ax, f"{title}, pictured", words),), words)
    return Part("Ranks", [RANKS, friedman], [Table(title, "Method", columns, rows)], wide=[figure])


def _equals(p: float) -> str:
    text = probability(p)
    return text if text.startswith("<") else f"= {text}"
