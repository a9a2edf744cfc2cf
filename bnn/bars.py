"""Progress bars: a line for each piece of work that is under way, and one for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINES = 20  # of more pieces, only those under way are shown: all would not fit on a screen
REFRESHED = 4  # times a second: more often than that, many lines cost more than a small fit


class Bars:
    """Shows how far pieces of work have come, line by line; those that wait have none.

    Arguments:
        names: what the pieces are called; a single one has no line for all.
        console: where they are shown.
    """

    def __init__(self, names: Sequence[str], console: Console) -> None:
        self._bar, self._shares = progress_bar(console), [0.0] * len(names)
        self._parts = [
            self._bar.add_task(name, start=False, visible=False, total=1.0) for name in names
        ]
        several = len(names) > 1
        self._whole = self._bar.add_task(f"All {len(names)}", total=len(names), visible=several)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def update(self, i: int, share: float) -> None:
        """Show the finished share of piece i."""
        if share == self._shares[i]:
            return
        if not self._shares[i]:
            self._bar.start_task(self._parts[i])
        self._shares[i] = share
        shown = share < 1 or len(self._parts) <= LINES
        self._bar.update(self._parts[i], completed=share, visible=shown)
        self._bar.update(self._whole, completed=sum(self._shares))


def progress_bar(console: Console) -> Progress:
    """Return a bar with a line for each task."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("and"),
        TimeRemainingColumn(),
        TextColumn("to go"),
        console=console,
        speed_estimate_period=3600,  # seconds: epochs may be minutes apart
        refresh_per_second=REFRESHED,
    )
