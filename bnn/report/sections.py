"""The section of a data set: what stands in it, in which order, and how to read it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bnn import plots
from bnn.report import figures, shift, tables
from bnn.report.compare import POINTWISE, cost_ratio, differences, seconds, value
from bnn.report.figures import Figure
from bnn.report.group import Group
from bnn.report.tables import Table
from bnn.report.words import count, design_sentence, multiple, phrase, short
from bnn.scores import SCORES
from bnn.statistics import Difference

DESIGNS = {"resplit": "re-drawn splits", "fixed": "one fixed split"}


@dataclass(frozen=True)
class Part:
    """A heading with words, tables and figures under it."""

    title: str
    words: Sequence[str] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    wide: Sequence[Figure] = ()  # figures that come before the tables
    kind: str = ""  # how the figures are laid out


@dataclass(frozen=True)
class Section:
    """All about one data set under one design."""

    title: str
    anchor: str
    summary: str
    parts: Sequence[Part]


def section(group: Group, anchor: str, company: Sequence[Group]) -> Section:
    """Return the section of a group; parts without content are left out."""
    twice = sum(other.dataset == group.dataset for other in company) > 1
    title = f"Results on {short(group.dataset)}"
    title += f", {DESIGNS[group.design]}" if twice else ""
    parts = [part for part in _parts(group) if part.tables or part.figures or part.wide]
    return Section(title, anchor, _summary(group), parts)


def _summary(group: Group) -> str:
    done = sum(run.status == "finished" for run in group.runs)
    size = f"{count(len(group.methods), 'method')}, {done} of {count(len(group.runs), 'run')}"
    return f"{group.task.capitalize()}, {DESIGNS[group.design]}, {size} finished."


def _parts(group: Group) -> Iterator[Part]:
    if not group.finished:
        return
    yield Part("Scores", [_how_to_read(group)], [tables.warned(tables.scores(group), group)])
    yield _differences(group)
    yield Part("Reliability", [RELIABILITY], figures=list(figures.reliability(group)))
    entropy = tables.doubt(group)
    yield Part(
        "Entropy: test, shifted and unseen rows",
        [ENTROPY],
        [tables.warned(entropy, group)] if entropy else [],
        list(figures.entropies(group)),
    )
    shown = [tables.warned(table, group) for table in shift.conditions(group)]
    yield Part("Under shift, and on unseen rows", [SHIFT], shown)
    kind = "pairs" if group.task == "classification" else ""
    yield Part(
        "Predictions, pictured",
        [PICTURES[group.task]],
        [],
        list(figures.pictures(group)),
        kind=kind,
    )
    yield Part("Training", [TRAINING], [], list(figures.curves(group)))
    cost = tables.costs(group)
    yield Part("Cost", [COST], [cost] if cost else [], wide=list(_cost(group)))


RELIABILITY = (
    "How often the most probable class was right, against the confidence it was given (isotonic"
    " curves, one per replica). The grey band is where the first replica's curve would lie in nine"
    " of ten cases if it were perfectly calibrated. Below the diagonal is overconfident. The bars"
    " are how often each confidence was given."
)
CALIBRATION = (
    " A calibration error is never zero: read it beside what a perfectly calibrated model would"
    " show."
)
ENTROPY = (
    "How unsure each method says it is: on test rows, on the shift with the highest mean entropy,"
    " and on inputs from outside the trained classes. Histograms pool the replicas; shares are"
    " on a root scale, and the axis ends where all classes are equally probable."
)
SHIFT = (
    "AUROC is the probability that a strange row looks more uncertain than a test row: 0.5 is"
    " chance, 1 is perfect. ± is the standard error. Unseen rows are the same in every replica, so"
    " the error of their sampling does not shrink with the number of replicas."
)
PICTURES = {
    "classification": (
        "The first replica of each method. The line is where both classes are equally probable."
    ),
    "regression": (
        "The first replica of each method. Dark: two standard deviations over draws of the"
        " weights, either side of the mean. Light, where it is drawn: the predictive distribution,"
        " noise included, from its 2.5 % to its 97.5 % quantile. Dots are training rows."
    ),
}
TRAINING = (
    "Loss per epoch, median and range over the replicas still training; ticks mark the epochs whose"
    " weights were kept. The losses of different methods are not comparable."
)
COST = "Replicas are trained together; a replica's share of that time is what is shown."


def _how_to_read(group: Group) -> str:
    error = {
        "resplit": "standard error, corrected for splits that share rows",
        "fixed": "standard error over seeds and test rows, for this split",
    }[group.design]
    if all(len(group.of(method)) == 1 for method in group.finished):
        error = "standard error over test rows; with one replica the spread over seeds is unknown"
    words = (
        f"Mean over replicas ± {error}. Below, where they exist: sd, the standard deviation over"
        " replicas; and of one replica the standard error over its test rows and the Monte-Carlo"
        " error over its draws. A dot marks the best, and every method whose paired difference to"
        " the best may be nothing."
    )
    return words + CALIBRATION if group.task == "classification" else words


def _differences(group: Group) -> Part:
    """Compare all methods with the baseline on each proper score."""
    title = f"Differences to {group.labels.get(group.baseline, short(group.baseline))}"
    if group.baseline not in group.finished or len(group.finished) < 2:
        return Part(title)
    found = {}
    for name in POINTWISE:
        if any(value(group, method, name) for method in group.finished):
            found[name] = differences(group, name, group.baseline, group.finished)
    every = [d for some, _ in found.values() for d in some.values()]
    forests = [_forest(group, name, some) for name, (some, _) in found.items() if some]
    shown = [
        tables.warned(tables.differences(group, name, *both), group, group.baseline)
        for name, both in found.items()
    ]
    return Part(title, [design_sentence(every)], shown, wide=forests)


def _forest(group: Group, name: str, found: dict[str, Difference]) -> Figure:
    kind = SCORES[name]
    unit = f" ({kind.unit})" if kind.unit not in ("", "y") else ""
    better = "better to the left" if kind.better == "lower" else "better to the right"
    ax = plots.differences(
        {method: (d.estimate, d.low, d.high) for method, d in found.items()},
        labels=group.labels,
        x=f"difference in {phrase(kind.label)}{unit}",
        better=better,
    )
    words = f"Intervals that fit the design; {better}."
    title = f"{kind.label}: differences to {group.labels[group.baseline]} on {group.dataset}"
    return Figure("", (figures.drawing(ax, title, words),))


def _cost(group: Group) -> Iterator[Figure]:
    points = {}
    for method in group.finished:
        score, took = value(group, method, "nll"), seconds(group, method)
        if score is not None and took and math.isfinite(score.mean):
            points[method] = took, score.mean, score.error or math.nan
    if len(points) < 2:
        return
    ax = plots.cost(points, labels=group.labels, y="negative log-likelihood (nats)")
    dearest = max(points, key=lambda method: points[method][0])
    ratio = cost_ratio(group, dearest)
    words = "Lower is better, left is cheaper; bars are one standard error."
    words += f" {group.labels[dearest]} takes longest to train"
    words += "." if ratio is None else f", {multiple(ratio)} the time of the baseline."
    title = f"Log-likelihood against training time on {group.dataset}"
    yield Figure("", (figures.drawing(ax, title, words),), words)
