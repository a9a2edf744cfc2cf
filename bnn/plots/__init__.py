"""Figures: each a function that takes axes and arrays, usable in a notebook."""

from bnn.plots.bands import bands
from bnn.plots.cost import cost
from bnn.plots.curves import curves
from bnn.plots.decision import doubt, probability
from bnn.plots.differences import differences
from bnn.plots.entropy import entropy
from bnn.plots.ranks import ranks
from bnn.plots.reliability import reliability
from bnn.plots.style import Style, style_of
from bnn.plots.svg import svg

__all__ = [
    "Style",
    "bands",
    "cost",
    "curves",
    "differences",
    "doubt",
    "entropy",
    "probability",
    "ranks",
    "reliability",
    "style_of",
    "svg",
]
