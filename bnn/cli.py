"""The `bnn` command: reports from finished runs, checks of methods, and lists of what there is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import TaskID

from bnn.bars import progress_bar
from bnn.check import check, table
from bnn.data import DATASETS, uci
from bnn.errors import InputError, choose, did_you_mean
from bnn.methods import METHODS
from bnn.report import page
from bnn.report.words import count
from bnn.run import Run, key_of
from bnn.store import Store
from bnn.threads import one_thread

OF_METHOD = {"method", "version", "label", "prior"}  # the settings that methods do not share
OF_REPLICA = {"seed", "split", "rows"}  # nor replicas

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="What does going Bayesian buy, how sure is that, and what does it cost?",
)


FINDINGS = (
    "The study's script adds a section of findings, which is not here: its command, which is kept"
    " with the runs, makes the whole report again, and trains nothing that is finished."
)


@app.command()
def report(
    study: Annotated[str, typer.Argument(help="The study's name, for example digits.")],
    runs: Annotated[Path, typer.Option(help="Folder of finished runs.")] = Path("runs"),
    file: Annotated[Path | None, typer.Option("--report", help="The report's file.")] = None,
) -> None:
    """Make a study's report from its finished runs; nothing is trained."""
    target = file or Path("reports") / f"{study}.html"
    store = Store(runs)
    page.check_writable(target)
    every, notes = store.load(study), store.problems(study)
    if not every:
        raise InputError(
            f"runs of {study!r} in {str(runs)!r}",
            notes[0] if notes else "none",
            _remedy(study, store),
        )
    found = _latest(every, store)
    if left := len(every) - len(found):
        notes.append(f"Left out: {count(left, 'run')} of other, earlier settings.")
    if any("findings" in run.provenance for run in found):
        notes.append(FINDINGS)
    question = str(found[0].provenance.get("question", ""))
    page.write(target, page.render(study, question, found, store.light, notes=notes))
    for note in notes:
        typer.echo(note)
    typer.echo(f"Report: {target}")


def _remedy(study: str, store: Store) -> str:
    others = [name for name in store.studies() if name != study]
    first = "Run the experiment first."
    return f"{did_you_mean(study, others)} {first}" if others else first


def _latest(runs: Sequence[Run], store: Store) -> list[Run]:
    """Return each data set's latest runs that may be compared, each method in its latest settings.

    Methods may be compared where they had the same data, network, draws and so on.
    """
    ordered = sorted(runs, key=store.saved)
    shared = {run.dataset: _shared(run) for run in ordered}
    own = {
        (run.dataset, run.method): _own(run)
        for run in ordered
        if _shared(run) == shared[run.dataset]
    }
    return [
        run
        for run in runs
        if _shared(run) == shared[run.dataset] and _own(run) == own[run.dataset, run.method]
    ]


def _shared(run: Run) -> str:
    """Return what a run has in common with those of other methods."""
    return key_of({k: v for k, v in run.settings.items() if k not in OF_METHOD | OF_REPLICA})


def _own(run: Run) -> str:
    """Return what a run has in common with other replicas."""
    return key_of({k: v for k, v in run.settings.items() if k not in OF_REPLICA})


@app.command()
def methods() -> None:
    """List the methods and where they come from."""
    for method in METHODS:
        typer.echo(f"{method.name:12} {method.label:22} {method.reference}")


@app.command(name="check")
def check_methods(
    method: Annotated[str, typer.Argument(help="A method's name, for example map, or all.")],
) -> None:
    """Hold a method to answers that are known exactly; the exit code is 1 if it fails a row."""
    by_name = {each.name: each for each in METHODS}
    chosen = METHODS if method == "all" else (choose(method, by_name, "method"),)
    console, rows = Console(), []
    with progress_bar(console) as bar, one_thread():
        for each in chosen:
            task = bar.add_task(each.label, total=1.0)

            def update(share: float, task: TaskID = task) -> None:
                bar.update(task, completed=share)

            rows += check(each, update)
    console.print(table(rows))
    failed = sum(not row.passed for row in rows)
    typer.echo(f"{count(len(rows), 'row')}, {failed or 'none'} failed.")
    raise typer.Exit(1 if failed else 0)


@app.command()
def datasets() -> None:
    """List the data sets and where they come from."""
    for name, load in DATASETS.items():
        typer.echo(f"{name:18} {load((0,)).provenance.source}")
    for name, known in (uci.REGRESSION | uci.CLASSIFICATION).items():
        typer.echo(f"{'uci_' + name:18} {known.source}")


def main() -> None:
    """Run the command; bad input ends in one sentence and exit code 2."""
    try:
        app()
    except InputError as error:
        Console(stderr=True).print(str(error), markup=False, highlight=False)
        raise SystemExit(2) from None
