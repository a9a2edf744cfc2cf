"""How the suite says no: what was expected, what was found, and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


class InputError(ValueError):
    """Input that cannot be used, told in one line.

    Arguments:
        expected: what would have been right, for example "at least one seed".
        found: what was there instead, for example "0 seeds".
        remedy: what to do about it, a short sentence.
    """

    def __init__(self, expected: str, found: str, remedy: str) -> None:
        self.parts = (expected, found, remedy)
        super().__init__(f"Expected {expected}; found {found}. {remedy}")

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str, str]]:
        """Travel between processes by the three parts."""
        return type(self), self.parts


def choose(name: str, options: Mapping[str, T], what: str) -> T:
    """Return `options[name]`, or say which names there are and which one was probably meant."""
    if name in options:
        return options[name]
    raise InputError(
        f"the name of a {what}, one of {listed(options)}", repr(name), did_you_mean(name, options)
    )


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """Return a sentence that proposes the nearest of the known names."""
    near = difflib.get_close_matches(name, list(options), n=1)
    return f"Did you mean {near[0]!r}?" if near else "Check the spelling."


def listed(names: Iterable[str]) -> str:
    """Return names as a reader expects them: 'a', 'b', 'c'."""
    return ", ".join(repr(name) for name in names)
