"""Threads: a small network is computed on one, whatever torch is set to.

Its operations take microseconds, and a second thread would be waited for in each of them: where
that one has to share its core, fifty times as long as the work takes. More cores are put to use by
more processes (`bnn.execution`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

SMALL = 2**20  # weights; of fewer, one layer's work is not worth sharing


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread inside the block."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def threads_for(weights: int) -> AbstractContextManager[None]:
    """Let torch use one thread inside the block for a network of few weights, else as it is set."""
    return one_thread() if weights < SMALL and torch.get_num_threads() > 1 else nullcontext()
