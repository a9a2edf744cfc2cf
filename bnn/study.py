"""A study: what an experiment script declares, and the command line that every script has.

    study = Study(name="digits", question="...", datasets={"digits": digits}, network=...)
    if __name__ == "__main__":
        study.main()

A script reads like the methods section of a paper; the running is done here.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, TypeVar

import torch
import typer
from rich.console import Console
from torch import nn

from bnn.batch import Batch
from bnn.data import Dataset
from bnn.errors import InputError, choose, listed
from bnn.execution import execute, pending
from bnn.likelihoods import Likelihood
from bnn.methods import CORE, METHODS, Method
from bnn.priors import Normal, Prior
from bnn.report import page
from bnn.report.group import Lookup
from bnn.report.sections import Section
from bnn.run import Arrays, Run
from bnn.store import Store
from bnn.table import table

QUICK_SEEDS = 3
QUICK_DRAWS = 30
QUICK_NOTE = "A quick look: so few replicas and draws are too few for conclusions."

T = TypeVar("T")


@dataclass(frozen=True)
class Look:
    """What a first look takes of a study: names (comma-separated; None: all), and replicas."""

    methods: str | None = None
    datasets: str | None = None
    seeds: int = QUICK_SEEDS


@dataclass(frozen=True)
class Study:
    """The declaration of an experiment.

    Arguments:
        name: names the folder of its runs and its report.
        question: what it asks, one sentence for the head of the report.
        datasets: by the names under which runs are kept, functions from split ids to data sets.
        network: builds the network for a data set.
        methods: what is compared; the cross-entropy network first.
        prior: over the weights.
        likelihood: of the targets; the usual one for the task unless given.
        seeds: replicas; replica r has seed r.
        draws: networks averaged in a prediction, where there is a choice.
        resplit: whether every seed draws its own split, or all share the first.
        look: what `--quick` takes of it.
        pose: what a piece of work becomes where its settings depend on the data set, for example
            those of a publication; the method keeps its name. None: it is left out.
        findings: makes a section of the report out of the runs and their arrays, and may keep them
            in a table beside the report, of whose file it is told the name.
        larger: data sets that `--all` adds, or that are asked for by name.
    """

    name: str
    question: str
    datasets: Mapping[str, Callable[[Sequence[int]], Dataset]]
    network: Callable[[Dataset], nn.Module]
    methods: Sequence[Method] = CORE
    prior: Prior = Normal(1.0)
    likelihood: Likelihood | None = None
    seeds: int = 20
    draws: int = 100
    resplit: bool = True
    look: Look = Look()
    pose: Callable[[Batch], Batch | None] | None = None
    findings: Callable[[Sequence[Run], Lookup, Path], Section] | None = None
    larger: Mapping[str, Callable[[Sequence[int]], Dataset]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [method.name for method in self.methods]
        if not names or not self.datasets or len(set(names)) < len(names):
            raise InputError(
                "data sets, and methods of different names",
                f"data sets {list(self.datasets)} and methods {names}",
                "Tell variants of a method apart with Under(method, prior, suffix, note).",
            )
        if twice := sorted(self.datasets.keys() & self.larger.keys()):
            raise InputError(
                "a name for every data set", f"{listed(twice)} twice", "Rename the larger one."
            )

    def select(self, methods: str | None, datasets: str | None, seeds: int | None) -> Study:
        """Return the study with some of its methods and data sets (comma-separated names).

        A method that is not the study's own joins with its default settings.
        """
        own = {method.name: method for method in self.methods}
        known = {method.name: method for method in METHODS} | own
        chosen = own if methods is None else _pick(methods, known, "method")
        every = {**self.datasets, **self.larger}
        data = self.datasets if datasets is None else _pick(datasets, every, "data set")
        if seeds is not None and seeds < 1:
            raise InputError("at least one seed", f"{seeds} seeds", "Use --seeds 1 or more.")
        return replace(
            self,
            methods=tuple(chosen.values()),
            datasets=data,
            larger={},
            seeds=self.seeds if seeds is None else seeds,
        )

    def whole(self) -> Study:
        """Return the study of its larger data sets too."""
        return replace(self, datasets={**self.datasets, **self.larger}, larger={})

    def quick(self, seeds: int) -> Study:
        """Return a first look at the study, under a name of its own, so that the two do not mix."""
        return replace(self, name=f"{self.name}-quick", draws=QUICK_DRAWS, seeds=seeds)

    def batches(self, device: str = "cpu", **provenance: str) -> list[Batch]:
        """Return all the work: every method on every data set of its task, one replica per seed.

        Arguments:
            device: where to compute.
            provenance: what to keep with every run beside the question, such as the command.
        """
        seeds = tuple(range(self.seeds))
        batches = []
        for name, load in self.datasets.items():
            data = load(seeds if self.resplit else (0,))
            suited = [method for method in self.methods if _suits(method, data)]
            if not suited:
                raise InputError(
                    f"a method for {data.task}, as {name} asks",
                    ", ".join(method.name for method in self.methods),
                    "Add one, or leave the data set out (--datasets).",
                )
            with torch.random.fork_rng(devices=[]):
                network = self.network(data).to(device)
                for method in suited:
                    batch = Batch(
                        study=self.name,
                        dataset=name,
                        data=data,
                        network=network,
                        prior=self.prior,
                        likelihood=self.likelihood,
                        method=method,
                        seeds=seeds,
                        design="resplit" if self.resplit else "fixed",
                        draws=self.draws,
                        provenance={"question": self.question, **provenance},
                    )
                    posed = batch if self.pose is None else self.pose(batch)
                    batches += [] if posed is None else [posed]
        return batches

    def main(self) -> None:
        """Run the study from the command line of its script."""
        command_line(self)


def _suits(method: Method, data: Dataset) -> bool:
    """Is the method for the data set's task? Most are for any."""
    return data.task in getattr(method, "tasks", (data.task,))


def _pick(names: str, known: Mapping[str, T], what: str) -> dict[str, T]:
    return {name: choose(name, known, what) for name in names.replace(" ", "").split(",")}


def command_line(study: Study) -> None:
    """Run a study as the command line asks."""

    def run(
        quick: Annotated[
            bool, typer.Option("--quick", help="A first look: few seeds, few draws.")
        ] = False,
        methods: Annotated[str | None, typer.Option(help="Which of the methods below.")] = None,
        datasets: Annotated[str | None, typer.Option(help="Some of the data sets below.")] = None,
        larger: Annotated[
            bool, typer.Option("--all", help="The larger data sets too, where there are any.")
        ] = False,
        seeds: Annotated[int | None, typer.Option(help="How many replicas.")] = None,
        runs: Annotated[Path, typer.Option(help="Folder of finished runs.")] = Path("runs"),
        report: Annotated[Path | None, typer.Option(help="The report's file.")] = None,
        workers: Annotated[
            int | None, typer.Option(help="Processes; as many as there are cores if not said.")
        ] = None,
        device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1.")] = "cpu",
        fresh: Annotated[
            bool, typer.Option("--fresh/--resume", help="Do finished runs again, or skip them.")
        ] = False,
    ) -> None:
        console = Console()
        try:
            if larger and datasets:
                raise InputError(
                    "either --all, or the data sets by name",
                    f"--all and --datasets {datasets}",
                    "Without --all any of them may be named, the larger ones too.",
                )
            look, every = study.look, study.whole() if larger else study
            if quick:
                some = None if larger and study.larger else look.datasets
                chosen = every.select(methods or look.methods, datasets or some, seeds)
                chosen = chosen.quick(seeds or look.seeds)
            else:
                chosen = every.select(methods, datasets, seeds)
            failed = carry_out(
                chosen,
                store=Store(runs),
                report=report or Path("reports") / f"{chosen.name}.html",
                workers=_workers(device) if workers is None else workers,
                device=device,
                fresh=fresh,
                note=QUICK_NOTE if quick else "",
                console=console,
            )
        except InputError as error:
            Console(stderr=True).print(str(error), markup=False, highlight=False)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            console.print(f"Stopped. Finished runs are kept in {runs}; the same command goes on.")
            raise typer.Exit(130) from None
        if failed:
            raise typer.Exit(1)

    methods = ",".join(method.name for method in study.methods)
    more = f"; with --all {','.join(study.larger)}" if study.larger else ""
    names = (
        f"Methods: {methods}; others that bnn methods lists join on demand. "
        f"Data sets: {','.join(study.datasets)}{more}. Replicas: {study.seeds}."
    )
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command(help=study.question, epilog=names)(run)
    app()


def carry_out(
    study: Study,
    *,
    store: Store,
    report: Path,
    workers: int,
    device: str,
    fresh: bool,
    note: str,
    console: Console,
) -> bool:
    """Make the runs that are missing, print a table and write the report.

    Returns:
        Whether a method failed; that others did not is in the table and the report.
    """
    page.check_writable(report)
    store.check_writable()
    command = shlex.join(["python", *sys.argv])
    # Runs tell that their script has more to say, for a report that is made without the script.
    told = {"findings": "yes"} if study.findings else {}
    batches = study.batches(_device(device), command=command, note=note, **told)
    left = pending(batches, store, fresh=fresh)
    missing = sum(len(batch.seeds) for batch in left)
    total = sum(len(batch.seeds) for batch in batches)
    if missing < total:
        console.print(f"{total - missing} of {total} runs are finished already and are kept.")
    execute(left, store, workers=workers, console=console)
    keys = {key for batch in batches for key in batch.keys.values()}
    runs = [run for run in store.load(study.name) if run.key in keys]
    for data in study.datasets:
        names = [batch.method.name for batch in batches if batch.dataset == data]
        console.print(table([run for run in runs if run.dataset == data], names))
    damaged = store.problems(study.name)
    first, opened = [], dict[str, Arrays]()

    def arrays(run: Run) -> Arrays:
        """Return a run's arrays, read once for the findings and the rest of the page."""
        if run.key not in opened:
            opened[run.key] = store.light(run)
        return opened[run.key]

    if study.findings is not None:
        first = [study.findings(runs, arrays, report.with_suffix(".csv"))]
    html = page.render(study.name, study.question, runs, arrays, notes=damaged, first=first)
    page.write(report, html)
    console.print(f"Report: {report}", highlight=False)
    return any(run.status == "failed" for run in runs)


def _workers(device: str) -> int:
    """One process per core; a single one where all would share an accelerator."""
    return (os.cpu_count() or 1) if device == "cpu" else 1


def _device(name: str) -> str:
    try:
        known = torch.device(name).type in ("cpu", "cuda", "mps")
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            "a device that torch can use", repr(name), "Use --device cpu, or check the driver."
        ) from error
    if not known:
        raise InputError("a device that computes", repr(name), "Use --device cpu, cuda or mps.")
    return name
