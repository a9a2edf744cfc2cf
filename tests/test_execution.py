"""Execution: shards that fit into memory, refusals before any fit, and threads."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from rich.console import Console
from rich.progress import TimeRemainingColumn
from small import quick, real_targets

from bnn import bars as bars_module
from bnn import execution, forecast
from bnn.bars import Bars, progress_bar
from bnn.batch import Batch
from bnn.errors import InputError
from bnn.execution import _affordable, _shards, execute
from bnn.methods import HMC, MLE, NUTS, FullRank, MeanField, Method
from bnn.networks import MLP
from bnn.optimise import Training
from bnn.posterior import predict
from bnn.priors import Normal
from bnn.problem import Problem
from bnn.store import Store
from bnn.threads import SMALL, threads_for

GIB = 2**30


def batch(method: Method, hidden: int = 5, seeds: int = 6) -> Batch:
    return Batch(
        study="small",
        dataset="small",
        data=real_targets(40, 3, dtype=torch.float32),
        network=MLP(3, [hidden], 1),
        prior=Normal(1.0),
        likelihood=None,
        method=method,
        seeds=tuple(range(seeds)),
        design="fixed",
        draws=10,
    )


def free(monkeypatch: pytest.MonkeyPatch, bytes: float) -> None:
    for module in (execution, forecast):
        monkeypatch.setattr(module, "available", lambda device: bytes)


def test_as_many_replicas_are_fitted_at_once_as_memory_serves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = batch(FullRank(), hidden=600)
    one = forecast.forecast(whole.method, whole.problem).bytes
    for replicas, workers, sizes in ((6.5, 1, [6]), (2.5, 1, [2, 2, 2]), (2.5, 2, [1] * 6)):
        free(monkeypatch, replicas * one)
        assert [len(shard.seeds) for shard in _shards(whole, workers)] == sizes


def test_workers_are_no_more_than_memory_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    large, small = batch(FullRank(), hidden=600), batch(MLE())
    one = forecast.forecast(large.method, large.problem).bytes
    assert one > forecast.NEGLIGIBLE
    free(monkeypatch, 2.5 * one)
    assert _affordable([small, large], 8) == 2
    assert _affordable([small], 8) == 8


def test_a_study_is_refused_before_its_first_fit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    free(monkeypatch, GIB / 2)
    store = Store(tmp_path)
    batches = [batch(MLE(Training(epochs=1))), batch(FullRank(), hidden=2000)]
    with pytest.raises(InputError, match="Use LowRank"):
        execute(batches, store, workers=1, console=Console(file=io.StringIO()))
    assert store.load("small") == []


def test_a_bar_tells_what_is_left() -> None:
    bar = progress_bar(Console(file=io.StringIO()))
    assert any(isinstance(column, TimeRemainingColumn) for column in bar.columns)
    now = [0.0]
    bar.get_time = lambda: now[0]
    task = bar.add_task("a fit", total=1.0)
    for now[0], share in ((100.0, 0.1), (400.0, 0.4)):  # epochs of minutes
        bar.update(task, completed=share)
    assert bar.tasks[0].time_remaining == 600


def test_lines_are_of_what_is_under_way_and_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bars_module, "LINES", 2)
    bars = Bars(["one", "two", "three"], Console(file=io.StringIO()))

    def lines() -> dict[str, float]:
        return {t.description: t.completed for t in bars._bar.tasks if t.visible}

    assert lines() == {"All 3": 0.0}
    bars.update(1, 0.5)
    assert lines() == {"two": 0.5, "All 3": 0.5}
    bars.update(0, 0.25)
    bars.update(1, 1.0)
    assert lines() == {"one": 0.25, "All 3": 1.25}
    waiting = [task.description for task in bars._bar.tasks if not task.started]
    assert waiting == ["three"]  # its time has not begun
    few = Bars(["one", "two"], Console(file=io.StringIO()))
    few.update(0, 1.0)  # what is done stays where there is room
    assert [task.description for task in few._bar.tasks if task.visible] == ["one", "All 2"]
    alone = Bars(["one"], Console(file=io.StringIO()))
    alone.update(0, 1.0)
    assert [task.description for task in alone._bar.tasks if task.visible] == ["one"]


# Threads.


@pytest.fixture
def two_threads() -> Iterator[None]:
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


def seen(monkeypatch: pytest.MonkeyPatch, work: Callable[[], object]) -> set[int]:
    """Return with how many threads a network is run while something is done."""
    found: set[int] = set()
    run = Problem.outputs

    def outputs(self: Problem, *arguments: object) -> torch.Tensor:
        found.add(torch.get_num_threads())
        return run(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Problem, "outputs", outputs)
        work()
    return found


@pytest.mark.usefixtures("two_threads")
def test_a_network_is_small_or_has_the_threads_that_torch_is_set_to() -> None:
    with threads_for(SMALL - 1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with threads_for(SMALL):
        assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_threads_are_given_back_when_a_fit_fails() -> None:
    with pytest.raises(ZeroDivisionError), threads_for(1):
        raise ZeroDivisionError
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("method", [MLE(), MeanField(), HMC(), NUTS()], ids=lambda m: m.name)
def test_steps_of_a_small_network_take_one_thread(
    method: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = Problem.of(real_targets(30, 2, held_out=5), MLP(2, [3], 1).double())
    told: set[int] = set()

    def progress(share: float) -> None:
        told.add(torch.get_num_threads())

    quick(method, epochs=2).fit(problem, [0], progress)
    assert 1 in told
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_predictions_of_a_small_network_take_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Softplus(), torch.nn.Linear(3, 1))
    problem = Problem.of(real_targets(30, 2), net.double())
    posterior = MLE(Training(epochs=1)).fit(problem, [0])
    x = problem.train.table
    assert seen(monkeypatch, lambda: predict(posterior, x, 3)) == {1}
    assert torch.get_num_threads() == 2
