"""Writing an article: its declaration, its command line, and the work that its sections do."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from bnn.errors import InputError
from bnn.methods import Method
from bnn.optimise import Progress as Share
from bnn.optimise import silent
from bnn.posterior import Posterior
from bnn.problem import Problem
from bnn.report import page
from bnn.report.article import Section, mathml, render

QUICK_NOTE = (
    "A quick look: few replicas and short training, too few for conclusions from the findings. The"
    " identities do not depend on it."
)


def unseen(label: str) -> Share:
    """Show no progress."""
    return silent


@dataclass(frozen=True)
class Work:
    """What a section may ask for.

    Arguments:
        quick: make do with few replicas and short training.
        watch: from what is being done to the function that is told the finished share of it.
    """

    quick: bool
    watch: Callable[[str], Share] = unseen

    def fit(self, method: Method, problem: Problem, seeds: Sequence[int]) -> Posterior:
        """Fit a method, and show how far it is."""
        return method.fit(problem, seeds, self.watch(method.label))


@dataclass(frozen=True)
class Article:
    """The declaration of an article.

    Arguments:
        name: of its file.
        title: of its page.
        introduction: paragraphs, with formulas between dollars.
        sections: what computes each section, in the order of reading.
    """

    name: str
    title: str
    introduction: tuple[str, ...]
    sections: tuple[Callable[[Work], Section], ...]

    def main(self) -> None:
        """Write the article as the command line of its script asks."""
        command_line(self)


def command_line(article: Article) -> None:
    """Compute all sections and write the page; exit with 1 if an identity fails."""

    def run(
        quick: Annotated[
            bool, typer.Option("--quick", help="A first look: few replicas, short training.")
        ] = False,
        report: Annotated[Path | None, typer.Option(help="The page's file.")] = None,
    ) -> None:
        console = Console()
        try:
            failed = write(
                article, quick, report or Path("reports") / f"{article.name}.html", console
            )
        except InputError as error:
            Console(stderr=True).print(str(error), markup=False, highlight=False)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            console.print("Stopped; nothing was written.")
            raise typer.Exit(130) from None
        if failed:
            raise typer.Exit(1)

    run.__doc__ = f"{article.title}: compute every claim, and write the page."
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(run)
    app()


def write(article: Article, quick: bool, path: Path, console: Console) -> bool:
    """Compute all sections and write the page.

    Returns:
        Whether an identity failed.
    """
    page.check_writable(path)
    mathml("w")  # is the package there? better asked now than after the work
    torch.set_num_threads(1)  # small networks are faster on one, and sums do not depend on how many
    sections = compute(article, quick, console)
    command = shlex.join(["python", *sys.argv])
    note = QUICK_NOTE if quick else ""
    page.write(
        path, render(article.title, article.introduction, sections, command=command, note=note)
    )
    console.print(f"Article: {path}", highlight=False)
    return any(section.failed for section in sections)


def compute(article: Article, quick: bool, console: Console) -> list[Section]:
    """Return the sections, and print what became of each while the work goes on."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(),
    )  # fmt: skip
    sections = []
    with Progress(*columns, console=console, transient=True) as progress:
        whole = progress.add_task("Sections", total=len(article.sections))
        part = progress.add_task("", total=1.0, visible=False)

        def watch(label: str) -> Share:
            progress.reset(part, description=label, visible=True)
            return lambda share: progress.update(part, completed=share)

        for number, section in enumerate(article.sections, 1):
            found = section(Work(quick, watch))
            sections.append(found)
            progress.update(part, visible=False)
            progress.advance(whole)
            style = "bold red" if found.failed else ""
            console.print(
                f"{number:2}. {found.title}: {'; '.join(found.outcomes)}", style=style, markup=False
            )
            for claim in found.claims:
                if claim.failed:
                    console.print(f"    fails: {claim.statement}", style=style, markup=False)
    return sections
