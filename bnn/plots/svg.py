"""A figure as SVG to put into a page: the same bytes each time, and nothing a strict page forbids.

matplotlib's own SVG needs four changes. Ids must be unique over all figures of a page. The `style`
attributes and the style sheet, which a content security policy refuses, become presentation
attributes. Black becomes the colour of the surrounding text, so that a dark page works. And a title
and a description are added for readers who do not see the figure.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Iterator
from xml.etree import ElementTree

import matplotlib
from matplotlib.figure import Figure

from bnn.plots.style import INK, UNSEEN, visible

METHOD = "method:"  # a gid that starts so becomes the attribute data-method
REFERENCE = re.compile(r"(?<=url\(#)[\w.-]+|(?<=^#)[\w.-]+")  # not a colour within a style
NUMBER = re.compile(r"-?\d+\.\d{2,}")
POINTS_TO_PIXELS = 4 / 3


def svg(figure: Figure, title: str, description: str) -> str:
    """Return a figure as an inline SVG element.

    Arguments:
        figure: any matplotlib figure.
        title: what the figure shows, in a few words.
        description: what a reader would see in it, in a sentence.
    """
    title, description, raw = visible(title), visible(description), _draw(figure)
    prefix = "f" + hashlib.sha256(f"{title}\0{description}\0{raw}".encode()).hexdigest()[:8]
    root = ElementTree.fromstring(raw)
    for element in list(root):
        if element.tag.endswith("metadata"):
            root.remove(element)
    _drop_style_sheet(root)
    names = {name: f"{prefix}-{n}" for n, name in enumerate(sorted(_referenced(root)))}
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = dict(_attributes(element.attrib, names))
        element.text, element.tail = (element.text or "").strip(), None
    _simplify(root)
    for element in root.iter("g"):
        _hoist(element)
    _introduce(root, prefix, title, description)
    return ElementTree.tostring(root, encoding="unicode")


def _draw(figure: Figure) -> str:
    text = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with (
        matplotlib.rc_context({"svg.hashsalt": "bnn", "svg.fonttype": "none"}),
        warnings.catch_warnings(),
    ):
        # The reader's browser has the letters that this machine's fonts lack.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(text, format="svg", transparent=True, metadata=nothing)
    return UNSEEN.sub("\N{REPLACEMENT CHARACTER}", text.getvalue())


def _drop_style_sheet(root: ElementTree.Element) -> None:
    for parent in root.iter():
        for element in list(parent):
            if element.tag.endswith("}style"):
                parent.remove(element)


def _referenced(root: ElementTree.Element) -> set[str]:
    """Return the ids that something points to; the others only name matplotlib's objects."""
    values = (value for element in root.iter() for value in element.attrib.values())
    return {name for value in values for name in REFERENCE.findall(value)}


def _attributes(found: dict[str, str], names: dict[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in found.items():
        name = name.rpartition("}")[2]
        if name == "id":
            if value.startswith(METHOD):
                yield "data-method", value.removeprefix(METHOD)
            elif value in names:
                yield "id", names[value]
        elif name == "style":
            yield from _presentation(value, names)
        elif name in ("d", "x", "y"):
            yield name, _brief(value)
        elif name == "transform" and value.startswith("rotate(-0 "):
            continue  # by nothing
        elif name == "href" and value.startswith("data:"):
            yield name, "".join(value.split())
        else:
            yield name, _renamed(value, names)


def _presentation(style: str, names: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Return the declarations of a style attribute as attributes of their own."""
    for declaration in filter(None, (part.strip() for part in style.split(";"))):
        name, _, value = (part.strip() for part in declaration.partition(":"))
        if name in ("font-family", "image-rendering"):  # the page's letters, and smooth images
            continue
        yield name, "currentColor" if value == INK else _renamed(value, names)


def _simplify(root: ElementTree.Element) -> None:
    """Leave out groups that only group, and at each use of a marker what it says itself."""
    own = {element.get("id"): element.attrib for element in root.iter() if "id" in element.attrib}
    for element in root.iter():
        element[:] = [part for child in element for part in _unwrapped(child)]
        if element.tag == "use":
            for name in own.get(element.attrib["href"].removeprefix("#"), {}):
                element.attrib.pop(name, None)


def _unwrapped(element: ElementTree.Element) -> Iterator[ElementTree.Element]:
    """Yield an element, or in place of a group without attributes what is in it."""
    if element.tag != "g" or element.attrib:
        yield element
        return
    for child in element:
        yield from _unwrapped(child)


def _hoist(group: ElementTree.Element) -> None:
    """Give a group what all of its markers have in common."""
    if len(group) < 2 or any(child.tag != "use" for child in group):
        return
    first, *others = (child.attrib for child in group)
    for name, value in list(first.items()):
        placed = name in ("href", "x", "y")  # a group has no place to give to its markers
        if not placed and all(other.get(name) == value for other in others):
            group.attrib[name] = value
            for child in group:
                del child.attrib[name]


def _brief(path: str) -> str:
    """Return coordinates to a tenth of a point; after M, pairs of numbers are lines anyway."""
    short = NUMBER.sub(lambda found: f"{float(found[0]):.1f}", " ".join(path.split()))
    return short if "C" in short or "Q" in short else short.replace(" L ", " ")


def _renamed(value: str, names: dict[str, str]) -> str:
    return REFERENCE.sub(lambda found: names.get(found[0], found[0]), value)


def _introduce(root: ElementTree.Element, prefix: str, title: str, description: str) -> None:
    for place, (tag, text) in enumerate((("title", title), ("desc", description))):
        element = ElementTree.Element(tag, id=f"{prefix}-{tag}")
        element.text = text
        root.insert(place, element)
    size = {
        side: f"{float(root.attrib[side].removesuffix('pt')) * POINTS_TO_PIXELS:.0f}"
        for side in ("width", "height")
    }
    root.attrib = {
        "xmlns": "http://www.w3.org/2000/svg",
        "role": "img",
        "aria-labelledby": f"{prefix}-title {prefix}-desc",
        "viewBox": root.attrib["viewBox"],
        **size,
        "fill": "currentColor",
        "stroke-linejoin": "round",
        "stroke-linecap": "butt",
    }
