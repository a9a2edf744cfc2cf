"""An article: prose, formulas, claims and pictures, in which every number was computed.

A section's body is a sequence of blocks: a paragraph (text, with formulas between dollars), a
`Formula` on a line of its own, a `Claim`, a `Table`, or a `Figure`. Claims and figures that follow
each other are shown together. Formulas are LaTeX here and MathML in the page, which is readable
without a script and without a network; the same article gives the same bytes.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import groupby
from xml.etree import ElementTree

from markupsafe import Markup, escape
from matplotlib.axes import Axes

from bnn.errors import InputError
from bnn.plots.style import visible
from bnn.report import page
from bnn.report.claims import Claim, exact, small, tally
from bnn.report.figures import Figure, drawing
from bnn.report.words import interval, number

SIGNS = {"=": "=", "≤": "<", "≥": ">"}  # a finding that is just equal decides nothing
PACKAGES = ("torch", "pyro-ppl", "numpy", "scipy", "scikit-learn")


@dataclass(frozen=True)
class Formula:
    """A formula on a line of its own, as LaTeX."""

    latex: str


@dataclass(frozen=True)
class Table:
    """A small table of words.

    Arguments:
        caption: what it shows.
        header: names of the columns; the first is that of the rows.
        rows: as many words each.
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


Block = str | Formula | Claim | Table | Figure


@dataclass(frozen=True)
class Section:
    """A part of an article.

    Arguments:
        title: what is claimed, in a few words.
        body: blocks, in the order of reading.
        not_run: why its numbers are missing, if they are.
    """

    title: str
    body: tuple[Block, ...]
    not_run: str = ""

    @property
    def claims(self) -> list[Claim]:
        """What it claims."""
        return [block for block in self.body if isinstance(block, Claim)]

    @property
    def failed(self) -> bool:
        """Is there an identity that does not hold?"""
        return any(claim.failed for claim in self.claims)

    @property
    def outcomes(self) -> list[str]:
        """What became of its claims, in words."""
        return ["not run"] * bool(self.not_run) + tally(self.claims)


def render(
    title: str,
    introduction: Sequence[str],
    sections: Sequence[Section],
    *,
    command: str,
    note: str = "",
) -> str:
    """Return an article as one self-contained HTML page.

    Arguments:
        title: of the article.
        introduction: paragraphs.
        sections: in the order of reading.
        command: which makes the page again.
        note: what a reader must know first, such as that this was a quick look.

    Raises:
        InputError: on a formula that cannot be read, and where latex2mathml is not installed.
    """
    style = page.own("style.css") + page.own("article.css")
    return page.template("article.html").render(
        title=title,
        introduction=[prose(paragraph) for paragraph in introduction],
        summary="; ".join(tally([claim for section in sections for claim in section.claims])),
        failed=any(section.failed for section in sections),
        sections=[(n, s, list(_shown(s.body))) for n, s in enumerate(sections, 1)],
        note=note,
        facts=[
            ("Command", command),
            ("Python", platform.python_version()),
            *((name, version(name)) for name in PACKAGES),
        ],
        policy=page.policy(style),
        style=style,
        prose=prose,
    )


def picture(ax: Axes, title: str, description: str, caption: str = "") -> Figure:
    """Return axes as a figure.

    Arguments:
        ax: of any matplotlib figure.
        title: what it shows, in a few words.
        description: what a reader would see in it, for those who do not.
        caption: what to look at, printed below.
    """
    return Figure("", (drawing(ax, title, description),), caption)


def prose(text: str) -> Markup:
    """Return text, its formulas between dollars turned into MathML."""
    parts = text.split("$")
    if len(parts) % 2 == 0:
        raise InputError("dollars in pairs", repr(text), "Close the formula.")
    return Markup("").join(
        mathml(part) if place % 2 else escape(visible(part)) for place, part in enumerate(parts)
    )


def mathml(latex: str, display: str = "inline") -> Markup:
    """Return a formula as MathML.

    Arguments:
        latex: the formula.
        display: "inline", or "block" for a line of its own.

    Raises:
        InputError: on LaTeX that is none, and where latex2mathml is not installed.
    """
    try:
        from latex2mathml.converter import convert
    except ModuleNotFoundError as error:
        raise InputError(
            "the package latex2mathml, which writes the formulas",
            "none",
            'Run: pip install "bnn[theory]"',
        ) from error
    try:
        found = convert(latex, display=display)
        ElementTree.fromstring(found)  # the converter lets through what no page could show
    except Exception as error:  # it has a class of its own for each mistake
        raise InputError("a formula in LaTeX", repr(latex), "Correct it.") from error
    return Markup(found)


@dataclass(frozen=True)
class _Row:
    """A claim as it is printed: names and values of its numbers, in the order of reading."""

    claim: Claim
    numbers: tuple[tuple[str, str], ...]


def _shown(body: Sequence[Block]) -> Iterator[tuple[str, object]]:
    """Yield the kind of each block and what to print of it; neighbours of a kind are joined."""
    for kind, blocks in groupby(body, key=lambda block: type(block).__name__.lower()):
        if kind == "claim":
            yield kind, [_row(block) for block in blocks if isinstance(block, Claim)]
        elif kind == "figure":
            yield kind, list(blocks)
        else:
            for block in blocks:
                yield kind, mathml(block.latex, "block") if isinstance(block, Formula) else block


def _row(claim: Claim) -> _Row:
    unit = f" {claim.unit}" if claim.unit else ""
    if claim.kind == "finding":
        numbers = {"found": number(claim.found) + unit}
        if claim.interval:
            numbers["95 % interval"] = interval(*claim.interval)
        if claim.expected is not None:
            numbers["expected"] = f"{SIGNS[claim.relation]} {number(claim.expected)}"
        return _Row(claim, tuple(numbers.items()))
    assert claim.expected is not None
    sign = "" if claim.relation == "=" else f"{claim.relation} "
    numbers = {"expected": sign + exact(claim.expected) + unit, "found": exact(claim.found) + unit}
    if claim.relation == "=" and claim.expected != 0:
        numbers["off by"] = small(claim.apart)
    return _Row(claim, (*numbers.items(), ("tolerance", small(claim.tolerance))))
