"""The page: one self-contained HTML file made from runs, which asks nothing of the network.

The content security policy names the hashes of the page's only style sheet and only script, so
nothing else can style or run, whatever the runs contain; every text goes through Jinja2's
autoescape. The same runs give the same bytes.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import NoReturn

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from bnn.errors import InputError
from bnn.plots.style import visible
from bnn.report import facts, figures, generality, sections, tables
from bnn.report.group import Lookup, groups
from bnn.report.headline import headline
from bnn.report.words import short
from bnn.run import Arrays, Run
from bnn.store import check_folder, write_whole


def render(
    title: str,
    question: str,
    runs: Sequence[Run],
    arrays: Lookup,
    *,
    baseline: str = "mle",
    notes: Sequence[str] = (),
    first: Sequence[sections.Section] = (),
    rope: float = generality.ROPE,
) -> str:
    """Return the report as HTML.

    Arguments:
        title: the study's name.
        question: what it asks, one sentence.
        runs: all of the study, in any order; those that did not finish are listed as such.
        arrays: finds the arrays of a run, as `Store.arrays` does; where it raises InputError, the
            run is shown without them and with a remark.
        baseline: the method that the others are compared with.
        notes: what else a reader must know first, beside what the runs' own provenance notes.
        first: sections of the study's own, before those of the data sets.
        rope: nats per row; over several data sets, a difference that small is practically none.
    """
    ordered = sorted(runs, key=lambda r: (r.dataset, r.design, r.method, r.split, r.seed, r.key))
    runs, found = _opened(ordered, arrays)
    parts = list(groups(runs, baseline, lambda run: found[run.key]))
    over = generality.overall(parts, rope)
    told = [str(run.provenance["note"]) for run in runs if run.provenance.get("note")]
    style, script = (own(name) for name in ("style.css", "script.js"))
    return template("report.html").render(
        title=short(title),
        question=question,
        headline=list(generality.sentences(over)) if over else headline(runs, parts),
        by_set=headline(runs, parts) if over else [],
        methods={m: part.labels[m] for part in parts for m in part.methods},
        sections=[
            *first,
            *([generality.section(over, "over")] if over else []),
            *(sections.section(group, f"data-{n}", parts) for n, group in enumerate(parts, 1)),
        ],
        unfinished=tables.unfinished(runs),
        remarks=tables.remarks(runs),
        notes=list(dict.fromkeys([*notes, *told])),
        limits=facts.limits(parts),
        facts=facts.facts(runs),
        sources=facts.sources(parts),
        policy=policy(style, script),
        style=style,
        script=script,
        key=figures.key,
    )


def _opened(runs: Sequence[Run], arrays: Lookup) -> tuple[list[Run], dict[str, Arrays]]:
    """Return the runs and their arrays by key; a run whose arrays are damaged says so."""
    told, found = list[Run](), dict[str, Arrays]()
    for run in runs:
        try:
            found[run.key] = arrays(run) if run.status == "finished" else {}
        except InputError as error:
            found[run.key] = {}
            run = replace(run, message="; ".join(filter(None, (run.message, f"Damaged: {error}"))))
        told.append(run)
    return told, found


def write(path: Path, html: str) -> None:
    """Write a page whole or not at all.

    Raises:
        InputError: if the file cannot be written.
    """
    content = html.encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content, replace=True)
    except OSError as error:
        _refuse(path, error)


def check_writable(path: Path) -> None:
    """Make sure before long work that the page can be written after it.

    Raises:
        InputError: if it cannot.
    """
    try:
        check_folder(path.parent)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    except OSError as error:
        _refuse(path, error)


def _refuse(path: Path, error: OSError) -> NoReturn:
    raise InputError(
        f"to write the report to {str(path)!r}",
        error.strerror or str(error),
        "Name another file with --report; the runs are unharmed.",
    ) from error


def template(name: str) -> Template:
    """Return a template of this package, in which every text is escaped and must exist."""
    environment = Environment(
        loader=PackageLoader("bnn", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        auto_reload=False,
    )
    return environment.get_template(name)


def _printable(found: object) -> object:
    """Return text without characters that cannot be shown; markup of our own stays as it is."""
    return found if isinstance(found, Markup) else visible(str(found))


def own(name: str) -> Markup:
    """Return a file of this package, the one kind of text that may be markup."""
    return Markup(files("bnn.report").joinpath(name).read_text(encoding="utf-8"))


def policy(style: str, script: str = "") -> str:
    """Return the content security policy: our style, our script if any, images within the page."""
    styles, scripts = (_hash(text) if text else "'none'" for text in (style, script))
    return (
        f"default-src 'none'; style-src {styles}; script-src {scripts}; img-src data:;"
        " base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
