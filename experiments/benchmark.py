"""The suite against its peers, the same work side by side, in one run.

    make peers
    .venv-peers/bin/python experiments/benchmark.py

With --quick it takes less than a minute and needs plain Pyro alone, which is installed anyway.
"""

from __future__ import annotations

import json
import math
import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from items import GPU_ITEMS, ITEMS
from peers import PEERS, Peer
from rich.console import Console

from bnn.bars import progress_bar
from bnn.benchmark import growth, stress
from bnn.benchmark.comparison import Outcome
from bnn.benchmark.item import Item
from bnn.benchmark.machine import machine, versions
from bnn.benchmark.page import measured, render
from bnn.benchmark.rounds import Told, answers, measure
from bnn.benchmark.worker import Worker
from bnn.errors import InputError
from bnn.report import page

HERE = Path(__file__).resolve().parent
FOLDERS = (HERE, HERE.parent)
RECORD = Path(sys.prefix) / "peers.json"  # written by peers/install.py
PACKAGES = ("bnn", "torch", "numpy", "jax", "scikit-learn")
QUICK_REPEATS = 3


def main(
    items: Annotated[str, typer.Option(help="Names, with commas; all unless given.")] = "",
    peers: Annotated[str, typer.Option(help="Names, with commas; all unless given.")] = "",
    repeats: Annotated[int, typer.Option(min=1, help="Rounds.")] = 7,
    quick: Annotated[bool, typer.Option("--quick", help="A first look, in a minute.")] = False,
    device: Annotated[str, typer.Option(help="cpu, or cuda to measure a GPU as well.")] = "cpu",
    growing: Annotated[
        bool | None, typer.Option("--growth/--no-growth", help="How cost grows; in full runs.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="The page; JSON is written beside it.")
    ] = None,
) -> None:
    """Measure, and write the page and the JSON file."""
    console = Console()
    report = report or Path("reports") / f"benchmark{'-quick' if quick else ''}.html"
    try:
        page.check_writable(report)
        known = {peer.name: peer for peer in PEERS}
        wanted = named(peers, known, "peers") or (["pyro"] if quick else list(known))
        chosen = chosen_items(items, wanted, quick)
    except InputError as error:
        Console(stderr=True).print(str(error), markup=False, highlight=False)
        raise typer.Exit(2) from None
    repeats = min(repeats, QUICK_REPEATS) if quick else repeats
    where = machine()
    with ExitStack() as stack:
        sides = {peer.name: side(peer, peer.name in wanted, stack) for peer in PEERS}
        ours = stack.enter_context(Worker("items", FOLDERS))
        outcomes = measure_all(chosen, ours, sides, repeats, console)
    if growing is None:
        growing = not (quick or items or peers)
    document = {
        "command": shlex.join(["python", *sys.argv]),
        "made": datetime.now(UTC).isoformat(timespec="minutes"),
        "quick": quick,
        "repeats": repeats,
        "machine": where,
        "versions": versions(PACKAGES),
        "peers": [told_of(peer, sides[peer.name], outcomes) for peer in PEERS],
        "items": [outcome.to_json() for outcome in outcomes],
        "growth": grown(console) if growing else [],
        "stress": dict(stress.measure().to_json()) if growing else {},
        "gpu": on_gpu(device == "cuda", repeats, console),
    }
    page.write(report.with_suffix(".json"), json.dumps(document, indent=1) + "\n")
    page.write(report, render(document))
    console.print(f"Report: {report}", highlight=False)


def chosen_items(items: str, peers: Sequence[str], quick: bool) -> list[Item]:
    """Return the items that are asked for, with their goals against some of the peers."""
    names = named(items, {item.name: item for item in ITEMS}, "items")
    chosen = [i for i in ITEMS if (i.name in names if names else i.quick or not quick)]
    return [
        replace(item, goals=goals)
        for item in chosen
        if (goals := tuple(goal for goal in item.goals if goal.peer in peers))
    ]


def named(given: str, known: dict[str, Any], what: str) -> list[str]:
    """Return names given with commas between them.

    Raises:
        InputError: on one that is not known.
    """
    names = [name.strip() for name in given.split(",") if name.strip()]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(f"{what} among {', '.join(known)}", ", ".join(unknown), "Choose of those.")
    return names


def side(peer: Peer, wanted: bool, stack: ExitStack) -> Worker | str:
    """Return a peer's process, or why there is none."""
    if not wanted:
        return "not asked for"
    failed = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    if failed.get(peer.name):
        return f"does not install here: {failed[peer.name]}"
    return stack.enter_context(Worker(peer.module, FOLDERS))


def measure_all(
    chosen: Sequence[Item],
    ours: Worker,
    sides: dict[str, Worker | str],
    repeats: int,
    console: Console,
) -> list[Outcome]:
    """Measure the items one after the other, and print what came out."""
    there = [name for name, found in sides.items() if isinstance(found, Worker)]
    outcomes = []
    with progress_bar(console) as bar:
        row = bar.add_task("", total=sum(answers(item, there, repeats) for item in chosen))
        told: Told = lambda: bar.advance(row)  # noqa: E731
        for item in chosen:
            bar.update(row, description=item.name)
            outcomes.append(measure(item, ours, sides, repeats, told))
            for one in outcomes[-1].comparisons:
                found = measured(None if math.isnan(one.found) else one.found, one.goal.measure)
                console.print(
                    f"{item.name} · {one.goal.peer}: {found} {one.verdict} {one.void}", markup=False
                )
    return outcomes


def grown(console: Console) -> list[dict[str, Any]]:
    """Measure how cost grows along every axis."""
    found = []
    with progress_bar(console) as bar:
        row = bar.add_task("How cost grows", total=sum(len(axis.sizes) for axis in growth.AXES))
        for axis in growth.AXES:
            found.append(dict(growth.measure(axis, told=lambda: bar.advance(row)).to_json()))
    return found


def on_gpu(wanted: bool, repeats: int, console: Console) -> dict[str, Any]:
    """Measure steps of many replicas on the processor and on a GPU, if one is at hand."""
    name = torch.cuda.get_device_name() if wanted and torch.cuda.is_available() else ""
    rows: list[dict[str, Any]] = [{"title": item.title} for item in GPU_ITEMS]
    if not name:
        return {"device": "", "rows": rows}
    with (
        Worker("items", FOLDERS) as ours,
        Worker("peers.with_cuda", FOLDERS) as theirs,
        progress_bar(console) as bar,
    ):
        total = sum(answers(item, ["cuda"], repeats) for item in GPU_ITEMS)
        task = bar.add_task("On a GPU", total=total)
        for item, row in zip(GPU_ITEMS, rows, strict=True):
            found = measure(item, ours, {"cuda": theirs}, repeats, lambda: bar.advance(task))
            row.update(found.comparisons[0].to_json())
    return {"device": name, "rows": rows}


def told_of(peer: Peer, found: Worker | str, outcomes: Sequence[Outcome]) -> dict[str, str]:
    """Return what the page says of a peer."""
    if isinstance(found, Worker):
        told = [c for o in outcomes for c in o.comparisons if c.goal.peer == peer.name]
        void = [c.void for c in told if c.void]
        found = "not measured" if not told else "runs"
        if void and len(void) == len(told):
            found = f"no ratio: {void[0]}"
    version = versions([peer.package]).get(peer.package, "")
    return {
        "name": peer.name,
        "label": peer.label,
        "version": version,
        "outcome": found,
        "note": peer.note,
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    typer.run(main)
