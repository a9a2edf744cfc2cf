"""The tables of shifted and unseen rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bnn.report.compare import value
from bnn.report.group import Group
from bnn.report.tables import NOTHING, Cell, Row, Table, head, numeric
from bnn.report.words import DASH, short, with_error

SHOWN = (  # a score, those below it in the same cell, and the title of their table
    ("nll", ("accuracy",), "Negative log-likelihood under shift, accuracy below"),
    ("nll", ("rmse",), "Negative log-likelihood under shift, root mean squared error below"),
    (
        "auroc_entropy",
        ("auroc_expected_entropy", "auroc_mutual_information"),
        "AUROC of telling these rows from test rows by entropy;"
        " below, by expected entropy and by mutual information",
    ),
)


def conditions(group: Group) -> Iterator[Table]:
    """Yield how each method fares on shifted and unseen rows."""
    order = [c for c in group.conditions if c != "test"]
    present = {n for m in group.finished for run in group.of(m) for n in run.scores if "@" in n}
    order += sorted({n.partition("@")[2] for n in present} - set(order))
    for first, below, title in SHOWN:
        shown = [c for c in order if f"{first}@{c}" in present]
        known = any(f"{name}@{c}" in present for name in below for c in shown)
        if not shown or (first == "nll" and not known):
            continue
        if first == "nll":
            shown = ["test", *shown]
        rows = [
            Row(group.labels[m], [_cell(group, m, first, below, c) for c in shown], m)
            for m in group.finished
        ]
        yield Table(title, "Method", [head(first, short(c)) for c in shown], rows)


def _cell(group: Group, method: str, first: str, below: Sequence[str], condition: str) -> Cell:
    end = "" if condition == "test" else f"@{condition}"
    main = value(group, method, first + end)
    if main is None:
        return NOTHING
    others = [value(group, method, name + end) for name in below]
    notes = [DASH if other is None else with_error(other.mean, other.error) for other in others]
    return numeric(with_error(main.mean, main.error), main.mean, *notes)
