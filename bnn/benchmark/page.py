"""The benchmark's page, made from its JSON alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bnn.benchmark import chart
from bnn.report import page
from bnn.report.article import Table, picture
from bnn.report.figures import Figure
from bnn.report.words import DASH, count, interval, number, with_error

Document = Mapping[str, Any]

TITLE = "The suite and its peers, the same work side by side"
HEADER = ("Work", "Peer", "Suite", "Peer's", "Found (lowest to highest)", "Must", "Aim", "Outcome")
QUICK = "A first look: few items, few repeats, one peer. It decides nothing."
UNITS = {"speedup": (1.0, "×"), "peak": (100.0, "%"), "share": (100.0, "%"), "memory": (1e-6, "MB")}


def render(document: Document) -> str:
    """Return the page as HTML.

    Arguments:
        document: what `experiments/benchmark.py` writes as JSON.
    """
    style = page.own("style.css")
    return page.template("benchmark.html").render(
        title=TITLE,
        summary=_summary(document),
        note=QUICK if document["quick"] else "",
        table=Table("", HEADER, tuple(_rows(document))),
        charts=_charts(document),
        growth=_growth(document),
        stress=_stress(document["stress"]),
        gpu=_gpu(document["gpu"]),
        peers=_peers(document),
        facts=_facts(document),
        policy=page.policy(style),
        style=style,
    )


def seconds(value: float | None) -> str:
    """Return seconds as people write them."""
    if value is None:
        return DASH
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size:
            return f"{number(value / size)} {unit}"
    return f"{number(value * 1e9)} ns"


def measured(value: float | None, measure: str) -> str:
    """Return what was found, with its unit."""
    factor, unit = UNITS[measure]
    return DASH if value is None else f"{number(value * factor)} {unit}"


def _comparisons(document: Document) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    for item in document["items"]:
        for comparison in item["comparisons"]:
            yield item, comparison


def _labels(document: Document) -> dict[str, str]:
    return {peer["name"]: peer["label"] for peer in document["peers"]}


def _rows(document: Document) -> Iterator[tuple[str, ...]]:
    labels = _labels(document)
    for item, one in _comparisons(document):
        low, high = one["spread"]
        factor, _ = UNITS[one["measure"]]
        outcome = f"void: {one['void']}" if one["void"] else one["verdict"]
        spread = "" if low is None else f" ({interval(low * factor, high * factor)})"
        yield (
            f"{item['title']}, {item['unit']}",
            labels.get(one["peer"], one["peer"]),
            seconds(one["ours_seconds"]),
            seconds(one["peer_seconds"]),
            measured(one["found"], one["measure"]) + spread,
            measured(one["must"], one["measure"]),
            measured(one["aim"], one["measure"]),
            outcome,
        )


def _summary(document: Document) -> str:
    verdicts = [one["verdict"] for _, one in _comparisons(document)]
    reached = sum(verdict in ("must reached", "aim reached") for verdict in verdicts)
    asked = reached + verdicts.count("not reached")
    return (
        f"Of {count(asked, 'ratio')} of which something is asked, {reached} are what they must be, "
        f"{verdicts.count('aim reached')} also what they should be. "
        f"{verdicts.count('measured')} were measured for information; "
        f"{count(verdicts.count('void'), 'comparison')} void"
    )


def _charts(document: Document) -> list[Figure]:
    labels = _labels(document)
    rows = [
        (f"{item['title']} · {labels.get(one['peer'], one['peer'])}", one)
        for item, one in _comparisons(document)
        if one["measure"] == "speedup" and not one["void"]
    ]
    if not rows:
        return []
    described = "; ".join(f"{label}: {number(one['found'])}" for label, one in rows)
    caption = (
        "How many times as long each peer takes. Dots are ratios of medians, lines reach from the "
        "lowest to the highest round. A bar | marks what must be reached, a tip ▸ what is aimed at."
    )
    return [picture(chart.ratios(rows), "Ratios", described, caption)]


def _growth(document: Document) -> list[Figure]:
    found = []
    for one in document["growth"]:
        for name, label in (("seconds", "processor seconds"), ("bytes", "bytes at the peak")):
            points = [(s, c) for s, c in zip(one["size"], one[name], strict=True) if c and c > 0]
            if len(points) > 1:
                size, cost = zip(*points, strict=True)
                power, error = one[f"{name}_slope"], one[f"{name}_slope_error"]
                ax = chart.growth(size, cost, one["axis"], label, with_error(power, error))
                told = ", ".join(f"{number(s)}: {number(c)}" for s, c in points)
                what = f"{one['title']}: {label} against {one['axis']}"
                found.append(picture(ax, what, told, what))
    return found


def _stress(found: Mapping[str, Any]) -> str:
    if not found:
        return ""
    met = "as it must" if found["kept"] >= found["must"] else "less than it must"
    return (
        f"With as many busy processes beside it as there are cores ({found['cores']}), a fit of 20 "
        f"small networks keeps {found['kept']:.0%} of the speed that its share of a core permits, "
        f"{met}, which is {found['must']:.0%}."
    )


def _gpu(found: Mapping[str, Any]) -> Table:
    rows = [
        (
            row["title"],
            seconds(row.get("ours_seconds")),
            seconds(row.get("peer_seconds")) if found["device"] else "no GPU at hand",
            measured(row.get("found"), "speedup"),
            row.get("void") or "",
        )
        for row in found["rows"]
    ]
    header = ("Work", "CPU, one thread", found["device"] or "GPU", "CPU over GPU", "")
    return Table("", header, tuple(rows))


def _peers(document: Document) -> Table:
    rows = tuple(
        (peer["label"], peer["version"] or DASH, peer["outcome"], peer["note"])
        for peer in document["peers"]
    )
    return Table("", ("Peer", "Version", "Here", "How its work is done"), rows)


def _facts(document: Document) -> Sequence[tuple[str, str]]:
    facts = [
        ("Command", document["command"]),
        ("Made", document["made"]),
        ("Repeats", f"{document['repeats']} rounds, but where a repeat takes minutes"),
        ("Clock", "processor time of the process, one thread; medians"),
    ]
    return [*facts, *document["machine"].items(), *document["versions"].items()]
