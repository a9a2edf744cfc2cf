"""The process of one side: reads a question a line, answers a line.

Run as `python -m peers.worker MODULE`; the module's WORK maps a family of items to a function of
settings and given arrays that returns a `Task`.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any

import numpy as np

from peers.task import Task


def main() -> None:
    """Answer until there are no more questions."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    side = Side(sys.argv[1])
    for line in sys.stdin:
        try:
            answer = side.answer(**json.loads(line))
        except Exception as error:  # whatever a peer raises makes its ratio void
            answer = {"error": said(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def said(error: Exception) -> str:
    """Return the first line of what an error says."""
    return f"{type(error).__name__}: {error}".splitlines()[0].rstrip(".")


class Side:
    """One side of the comparison, and the task that it is at."""

    def __init__(self, module: str) -> None:
        self.module = module
        self.task: Task | None = None

    def answer(self, do: str, **asked: Any) -> dict[str, Any]:
        """Return the answer to a question."""
        return {"prepare": self.prepare, "time": self.time}[do](**asked)

    def prepare(
        self, family: str, settings: dict[str, Any], given: str, make: bool
    ) -> dict[str, Any]:
        """Set the task up and return its value; the suite's side also writes the given arrays."""
        self.task = None
        work = importlib.import_module(self.module).WORK
        if family not in work:
            raise NotImplementedError("it does not do this")
        arrays = {} if make else dict(np.load(given))
        self.task = work[family](settings, arrays)
        if make:
            np.savez(given, **self.task.given)
        value = [None if number is None else float(number) for number in self.task.value()]
        if self.task.warm:
            self.task.seconds()
        return {"value": value}

    def time(self) -> dict[str, Any]:
        """Do the task once more."""
        assert self.task is not None
        found = self.task.seconds()
        return dict(found) if isinstance(found, dict) else {"seconds": found}


if __name__ == "__main__":
    main()
