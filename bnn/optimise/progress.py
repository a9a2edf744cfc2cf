"""Telling how far the work has come."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[float], None]  # told the finished share of the work, from 0 to 1


def silent(share: float) -> None:
    """Tell nobody."""
