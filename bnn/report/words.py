"""Numbers and claims in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from bnn.plots.style import visible
from bnn.statistics import Difference

DASH = "–"  # where a number does not exist
LONGEST = 80  # characters of a name; the whole of it stands in the footer


def number(value: float, digits: int = 3) -> str:
    """Return a number with some significant digits, as people write it."""
    if math.isnan(value):
        return DASH
    if math.isinf(value):
        return "∞" if value > 0 else "\N{MINUS SIGN}∞"
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:.{decimals}f}" if decimals <= 7 and abs(value) < 1e7 else f"{value:.2e}"
    return text.replace("-", "\N{MINUS SIGN}")


def decimals_of(error: float | None) -> int | None:
    """Return how many decimals a number deserves: two significant digits of its error."""
    if error is None or not math.isfinite(error) or error <= 0:
        return None
    return min(max(0, 1 - math.floor(math.log10(error))), 7)


def rounded(value: float, decimals: int | None) -> str:
    """Return a number with so many decimals, or three significant digits."""
    if decimals is None or not math.isfinite(value):
        return number(value)
    return f"{value:.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def with_error(value: float, error: float | None) -> str:
    """Return 'value ± error', both to two digits of the error; the value alone without one."""
    decimals = decimals_of(error)
    if decimals is None or error is None or not math.isfinite(value):
        return number(value)
    return f"{rounded(value, decimals)} ± {rounded(error, decimals)}"


def interval(low: float, high: float) -> str:
    """Return 'low to high', to two digits of the width."""
    decimals = decimals_of((high - low) / 2)
    return f"{rounded(low, decimals)} to {rounded(high, decimals)}"


def probability(p: float) -> str:
    """Return a p-value; below 0.001 its size says nothing more."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def chance(p: float) -> str:
    """Return a probability to two decimals; one that was drawn is known no better."""
    return "< 0.01" if p < 0.01 else "> 0.99" if p > 0.99 else f"{p:.2f}"


def multiple(ratio: float) -> str:
    """Return a ratio as '5.0 ×'."""
    return f"{number(ratio, 2)} ×"


def count(n: int, noun: str) -> str:
    """Return '1 replica' or '3 replicas'."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def listed(names: Iterable[str]) -> str:
    """Return 'a', 'a and b', 'a, b and c'."""
    *most, last = list(names)
    return f"{', '.join(most)} and {last}" if most else last


def short(name: str) -> str:
    """Return a name as a page can carry it."""
    name = visible(name)
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"


def phrase(label: str) -> str:
    """Return a label as it stands within a sentence; names keep their capitals."""
    proper = label[:2].isupper() or label.startswith("Brier")
    return label if proper else label[:1].lower() + label[1:]


def ranges(values: Iterable[int]) -> str:
    """Return whole numbers as ranges: '0–4, 7'."""
    parts: list[list[int]] = []
    for value in sorted(set(values)):
        if parts and value == parts[-1][1] + 1:
            parts[-1][1] = value
        else:
            parts.append([value, value])
    return ", ".join(str(a) if a == b else f"{a}–{b}" for a, b in parts)


def verdict(difference: Difference, better: str | None) -> str:
    """Return whether a method is better or worse than the baseline, or that it is undecided.

    A claim needs a Holm-adjusted p-value below one minus the level of the interval.
    """
    p = difference.p_value if difference.holm_p is None else difference.holm_p
    if p >= 1 - difference.level or difference.estimate == 0 or better is None:
        return "undecided"
    return "better" if (difference.estimate < 0) == (better == "lower") else "worse"


def design_sentence(found: Sequence[Difference]) -> str:
    """Return which design the intervals are for, and what they mean."""
    if not found:
        return ""
    if all(d.replicas == 1 for d in found):
        return (
            "One replica: the interval covers the sampling of test rows only, for this split and"
            " seed. It says nothing about other seeds."
        )
    if found[0].design == "resplit":
        return (
            "Design: re-drawn splits, Nadeau–Bengio. Splits of one table share rows, so the"
            " corrected interval counts; the naive one, which takes replicas for independent, is"
            " shown for comparison and is too narrow."
        )
    return (
        "Design: for this split. All replicas share one split and differ in their seeds; the"
        " interval covers seeds and test rows together (two-way bootstrap), but no other split."
        " The naive one covers seeds only."
    )
