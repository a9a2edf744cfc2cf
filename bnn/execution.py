"""Execution: batches become runs in the store, here or in worker processes; finished work is kept.

Small networks run fastest on one thread, so a worker uses one, and the replicas of a method are
dealt out over the workers. A replica's numbers do not depend, but for rounding, on which others it
is trained with.
"""

from __future__ import annotations

import math
import multiprocessing
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console

from bnn.bars import Bars
from bnn.batch import Batch
from bnn.errors import InputError
from bnn.forecast import NEGLIGIBLE, check, forecast
from bnn.memory import available
from bnn.optimise import Progress
from bnn.store import Store
from bnn.threads import one_thread

Update = Callable[[int, float], None]  # told a shard's number and its finished share

REPLICAS_AT_ONCE = 100  # more in one computation gain nothing
WEIGHTS_AT_ONCE = 2**26  # so that a batch of large networks fits into memory: 256 MiB a copy
REPLICAS_WORTH_SHARING = 4  # fewer are not worth a second process


def pending(batches: Sequence[Batch], store: Store, *, fresh: bool) -> list[Batch]:
    """Return what is still to be done: the seeds whose runs are not in the store.

    Failed runs are tried again, and with `fresh` everything is. What is there stays until its
    replacement is made.
    """
    studies = {batch.study for batch in batches}
    done = {run.key for name in studies for run in store.load(name) if run.status != "failed"}
    left = []
    for batch in batches:
        again = tuple(s for s in batch.seeds if fresh or batch.keys[s] not in done)
        if again:
            left.append(batch.take(again))
    return left


def execute(batches: Sequence[Batch], store: Store, *, workers: int, console: Console) -> None:
    """Make the runs of all batches and save each batch's as soon as it is finished.

    Raises:
        InputError: if a method cannot serve a problem as posed; what is finished is kept. Before
            anything is trained, if a replica of any method takes more memory than is free.
    """
    if workers < 1:
        raise InputError("at least one worker", str(workers), "Leave --workers away.")
    workers = _affordable(batches, workers)
    shards = [shard for batch in batches for shard in _shards(batch, workers)]
    workers = min(workers, len(shards))
    names = [f"{s.data.name} · {s.method.label} × {len(s.seeds)}" for s in shards]
    with Bars(names, console) as bars:
        if workers <= 1:
            with one_thread():
                for i, shard in enumerate(shards):
                    _work(shard, store, partial(bars.update, i))
        else:
            _share_out(shards, store, workers, bars.update)


def _work(batch: Batch, store: Store, tell: Progress) -> None:
    for run, arrays in batch.runs(tell):
        store.discard(run.study, run.key)
        store.save(run, arrays)
    tell(1.0)


def _affordable(batches: Sequence[Batch], workers: int) -> int:
    """Return how many workers may fit a replica of any method at once, if one may."""
    for batch in batches:
        told, device = forecast(batch.method, batch.problem), batch.problem.like.device
        check(told, batch.problem.take([0]))
        if told.bytes > NEGLIGIBLE:
            workers = max(1, min(workers, int(available(device) / told.bytes)))
    return workers


def _shards(batch: Batch, workers: int) -> Iterator[Batch]:
    count = min(workers, max(1, len(batch.seeds) // REPLICAS_WORTH_SHARING))
    told, free = forecast(batch.method, batch.problem), available(batch.problem.like.device)
    most = (WEIGHTS_AT_ONCE // batch.problem.layout.size, free / workers / told.bytes)
    at_once = max(1, int(min(REPLICAS_AT_ONCE, *most)))
    count = max(count, math.ceil(len(batch.seeds) / at_once))
    for part in np.array_split(np.array(batch.seeds), count):
        yield batch.take(tuple(part.tolist()))


def _share_out(shards: Sequence[Batch], store: Store, workers: int, update: Update) -> None:
    """Let worker processes do the shards, and watch how far each has come."""
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(workers, mp_context=context) as pool,
    ):
        board = Path(folder) / "progress"
        shares = np.memmap(board, dtype=np.float32, mode="w+", shape=len(shards))
        with _children_ignore_interrupts():
            jobs = [
                pool.submit(_worker, shard, store, board, i, len(shards))
                for i, shard in enumerate(shards)
            ]
        try:
            open_jobs: set[Future[None]] = set(jobs)
            while open_jobs:
                closed, open_jobs = wait(open_jobs, timeout=0.2)
                for i, share in enumerate(shares):
                    update(i, float(share))
                for job in closed:
                    job.result()
        except BrokenProcessPool as error:
            raise InputError(
                "all workers to live", "one that died", "Use fewer --workers; nothing is lost."
            ) from error
        except KeyboardInterrupt:
            for child in multiprocessing.active_children():
                child.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _children_ignore_interrupts() -> Iterator[None]:
    """Let processes started inside the block leave Ctrl-C to this one, which then ends them."""
    if threading.current_thread() is not threading.main_thread():  # may not set handlers
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _worker(batch: Batch, store: Store, board: Path, i: int, count: int) -> None:
    shares = np.memmap(board, dtype=np.float32, mode="r+", shape=count)
    with one_thread():
        _work(batch, store, partial(shares.__setitem__, i))
