"""The `bnn` command: reports from finished runs, and lists of what there is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bnn.data import DATASETS
from bnn.errors import InputError
from bnn.methods import METHODS
from bnn.report import page
from bnn.run import Run, key_of
from bnn.store import Store

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="What does going Bayesian buy, how sure is that, and what does it cost?",
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
    found = _latest(store.load(study), store)
    if not found:
        raise InputError(f"runs of {study!r} in {str(runs)!r}", "none", "Run the experiment first.")
    question = found[0].provenance.get("question", "")
    page.write(target, page.render(study, question, found, store.arrays))
    typer.echo(f"Report: {target}")


def _latest(runs: Sequence[Run], store: Store) -> list[Run]:
    """Return the runs of each method's latest settings: older ones are another experiment."""

    def experiment(run: Run) -> tuple[str, str, str]:
        replica = dict.fromkeys(("seed", "split", "rows"))
        return run.dataset, run.method, key_of({**run.settings, **replica})

    latest = {}
    for run in sorted(runs, key=store.saved):
        latest[run.dataset, run.method] = experiment(run)
    return [run for run in runs if experiment(run) == latest[run.dataset, run.method]]


@app.command()
def methods() -> None:
    """List the methods and where they come from."""
    for method in METHODS:
        typer.echo(f"{method.name:12} {method.label:22} {method.reference}")


@app.command()
def datasets() -> None:
    """List the data sets and where they come from."""
    for name, load in DATASETS.items():
        typer.echo(f"{name:14} {load((0,)).provenance.source}")


def main() -> None:
    """Run the command; bad input ends in one sentence and exit code 2."""
    try:
        app()
    except InputError as error:
        Console(stderr=True).print(str(error), markup=False, highlight=False)
        raise SystemExit(2) from None
