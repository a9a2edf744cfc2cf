"""How the figures look: one colour, dash and marker per method, the same in every figure.

Colours are those of Okabe and Ito, which colour-blind readers can tell apart; the dash and the
marker say the same a second time. Black stands for the baseline, and for axes and words; on a web
page it becomes the colour of the text, so that figures are legible on a dark page too.

Reference: Okabe and Ito (2008), https://jfly.uni-koeln.de/color/
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#000000"
BLUE, VERMILLION, GREEN = "#0072B2", "#D55E00", "#009E73"
PURPLE, ORANGE, SKY = "#CC79A7", "#C08400", "#2B9FD0"  # the last two darkened, to show on white

SOLID, DASHED, DOTTED = (0, ()), (0, (5, 2)), (0, (1, 1.5))
DASH_DOT, LONG, DOT_DOT = (0, (5, 1.5, 1, 1.5)), (0, (9, 2)), (0, (5, 1.5, 1, 1.5, 1, 1.5))

Dash = tuple[int, tuple[float, ...]]


@dataclass(frozen=True)
class Style:
    """What a method looks like: `ax.plot(x, y, **style.line)`."""

    colour: str
    dash: Dash
    marker: str

    @property
    def line(self) -> dict[str, Any]:
        """Keywords of a line."""
        return {"color": self.colour, "linestyle": self.dash, "linewidth": 1.5}

    @property
    def point(self) -> dict[str, Any]:
        """Keywords of a marker."""
        return {"color": self.colour, "marker": self.marker, "markersize": 5}


# Kin share a colour; within a colour, dash and marker tell them apart.
STYLES = {
    "mle": Style(INK, SOLID, "o"),
    "map": Style(BLUE, DASHED, "s"),
    "label_smoothing": Style(BLUE, DOTTED, "p"),
    "mc_dropout": Style(GREEN, DASH_DOT, "^"),
    "concrete_dropout": Style(GREEN, DASHED, "<"),
    "ensemble": Style(VERMILLION, LONG, "D"),
    "anchored_ensemble": Style(VERMILLION, DASHED, "d"),
    "mean_field": Style(PURPLE, DOTTED, "v"),
    "low_rank": Style(PURPLE, DASHED, "8"),
    "full_rank": Style(PURPLE, SOLID, "H"),
    "flow": Style(PURPLE, DASH_DOT, "P"),
    "hypernet": Style(PURPLE, LONG, "X"),
    "ivon": Style(PURPLE, DOT_DOT, "h"),
    "laplace": Style(SKY, LONG, "*"),
    "swag": Style(ORANGE, DASHED, ">"),
    "multi_swag": Style(ORANGE, LONG, "P"),
    "sgld": Style(ORANGE, DOTTED, "p"),
    "sghmc": Style(ORANGE, DASH_DOT, "X"),
    "cyclical_sgmcmc": Style(ORANGE, DOT_DOT, "h"),
    "hmc": Style(BLUE, SOLID, "*"),
    "nuts": Style(BLUE, LONG, "P"),
}


def style_of(method: str) -> Style:
    """Return the style of a method; a name not known here gets one that its letters determine.

    A variant, such as mean_field_fan_in, has the colour of its method.
    """
    if method in STYLES:
        return STYLES[method]
    kin = [style.colour for name, style in STYLES.items() if method.startswith(f"{name}_")]
    number = zlib.crc32(method.encode(errors="replace"))
    colours, dashes, markers = (ORANGE, SKY, BLUE, GREEN), (DASHED, DOTTED, LONG), "Pp*h<>X"
    colour = kin[0] if kin else colours[number % 4]
    return Style(colour, dashes[number // 4 % 3], markers[number // 12 % 7])


# Control characters, the ones that reverse the direction of text, and halves of pairs: no reader
# can see them, XML forbids most of them, and a name that carries one is a mistake or an attack.
UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def visible(text: str) -> str:
    """Return text with a mark in place of each character that cannot be shown."""
    return UNSEEN.sub("\N{REPLACEMENT CHARACTER}", text)


def plain(text: str, length: int = 28) -> str:
    """Return text as a figure can carry it: visible, short, and not read as mathematics."""
    words = " ".join(visible(text).split())
    short = words if len(words) <= length else words[: length - 1] + "…"
    return short.replace("$", r"\$")


def new_axes(width: float = 3.4, height: float = 2.6) -> Axes:
    """Return the axes of a new figure that pyplot does not know of, sizes in inches."""
    return Figure(figsize=(width, height), layout="constrained").subplots()


def tidy(ax: Axes, x: str = "", y: str = "", title: str = "") -> Axes:
    """Name the axes and take away what carries no information."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set(linewidth=0.6, alpha=0.6)
    ax.tick_params(labelsize=8, width=0.6, length=3)
    ax.set_xlabel(x, fontsize=8.5)
    ax.set_ylabel(y, fontsize=8.5)
    if title:
        ax.set_title(plain(title), fontsize=9, loc="left", fontweight="bold")
    return ax


def legend(ax: Axes, **where: Any) -> None:
    """Show the legend without a box, if there is anything to name."""
    if not ax.get_legend_handles_labels()[0]:
        return
    ax.legend(frameon=False, fontsize=8, handlelength=2.6, borderaxespad=0.2, **where)
