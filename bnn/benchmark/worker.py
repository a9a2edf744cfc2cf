"""A process that works for one side of the comparison, and how it is asked."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

# One thread for everybody, whatever library it counts with, and no accelerator unless asked for.
ONE_THREAD = {
    **{f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")},
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "JAX_PLATFORMS": "cpu",
}
LIMIT = 1800.0  # seconds that one answer may take


class Refused(Exception):
    """A process does not do what it was asked, and says why."""


class Worker:
    """A process with one side's libraries; it is started by the first question.

    Arguments:
        module: the Python module that does the work: its WORK maps a family to a function of
            settings and arrays.
        folders: where modules are looked for, beside the usual places.
        limit: seconds that an answer may take.
    """

    def __init__(self, module: str, folders: Sequence[Path], limit: float = LIMIT) -> None:
        self.module, self.limit = module, limit
        paths = [*map(str, folders), os.environ.get("PYTHONPATH", "")]
        self._environment = {
            **os.environ,
            **ONE_THREAD,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        }
        self._process: subprocess.Popen[str] | None = None

    def ask(self, do: str, **given: Any) -> Mapping[str, Any]:
        """Return the answer to a question.

        Raises:
            Refused: if there is none, or if it is an error.
        """
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps({"do": do, **given}) + "\n")
            process.stdin.flush()
            ready, _, _ = select.select([process.stdout], [], [], self.limit)
            line = process.stdout.readline() if ready else None
        except OSError:
            line = ""
        if not line:
            self.stop()
            raise Refused(
                "the process ended" if line == "" else f"no answer within {self.limit:.0f} s"
            )
        answer = json.loads(line)
        if "error" in answer:
            raise Refused(answer["error"])
        return answer

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.stop()

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "peers.worker", self.module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env=self._environment,
            )
        return self._process
