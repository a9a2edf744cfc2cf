"""Forecasts: what a fit takes is told before it starts, and what cannot end well is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from allocation import peak
from small import real_targets, two_classes

from bnn import forecast, memory
from bnn.errors import InputError
from bnn.forecast import Forecast, check
from bnn.methods import (
    HMC,
    MAP,
    METHODS,
    MLE,
    NUTS,
    SGHMC,
    SGLD,
    SWAG,
    CyclicalSGMCMC,
    DeepEnsemble,
    FullRank,
    Laplace,
    LowRank,
    MeanField,
    Method,
    MultiSWAG,
    TemperatureScaled,
    Under,
)
from bnn.networks import MLP
from bnn.optimise import Training
from bnn.posterior import Atoms
from bnn.priors import Normal
from bnn.problem import Problem

SHORT = Training(epochs=3)
GIB = 2**30


def problem(inputs: int, hidden: int, rows: int = 8, dtype: torch.dtype = torch.float64) -> Problem:
    data = real_targets(rows, inputs, dtype=dtype)
    return Problem.of(data, MLP(inputs, [hidden], 1).to(dtype))


def free(monkeypatch: pytest.MonkeyPatch, bytes: float) -> None:
    """Let so much memory be free."""
    monkeypatch.setattr(forecast, "available", lambda device: bytes)


# What is forecast is what is allocated, to a factor of two, where the weights outnumber the units.

WIDE = [
    MLE(SHORT),
    MAP(SHORT),
    MeanField(training=SHORT),
    LowRank(training=SHORT),
    LowRank(rank=20, training=SHORT),
    DeepEnsemble(member=MLE(SHORT)),
    SWAG(start=MAP(SHORT), epochs=20, rank=10),
    MultiSWAG(member=SWAG(start=MAP(SHORT), epochs=6, rank=4)),
    Laplace("kronecker", training=SHORT, updates=1),
    Laplace("diagonal", training=SHORT, updates=1),
    HMC(chains=4, warmup=1, samples=50, thin=1, max_steps=2),
    SGLD(steps=40, chains=4, samples=20),
    SGHMC(steps=40, chains=4, samples=20),
    CyclicalSGMCMC(steps=100, chains=4, samples=4),
]
SQUARE = [FullRank(training=SHORT), Laplace("full", training=SHORT, updates=1)]
MANY_INPUTS = Laplace("kronecker", training=SHORT, updates=1)


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("method", WIDE, ids=lambda m: f"{m.name}_{getattr(m, 'structure', '')}")
def test_the_bytes_of_a_wide_network(method: Method, replicas: int) -> None:
    assert within_two(method, problem(100, 100), replicas)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("method", SQUARE, ids=lambda m: m.name)
def test_the_bytes_of_a_matrix_over_the_weights(
    method: Method, replicas: int, dtype: torch.dtype
) -> None:
    assert within_two(method, problem(3, 100, dtype=dtype), replicas)


@pytest.mark.parametrize("replicas", [1, 2])
def test_the_bytes_of_a_matrix_over_many_inputs(replicas: int) -> None:
    assert within_two(MANY_INPUTS, problem(500, 2), replicas)


def within_two(method: Method, posed: Problem, replicas: int) -> bool:
    """Are the bytes that are alive at the peak of a fit the forecast ones, to a factor of two?"""
    found = peak(lambda: method.fit(posed, range(replicas)))
    told = forecast.forecast(method, posed).bytes * replicas
    return told / 2 <= found <= told * 2


# Refusals: at once, and with a way out.


class Trained(Exception):
    """A fit has gone so far as to start from some weights."""


def million(method: Method) -> str:
    """Return what a method says to a network of a million weights, before any training."""
    with pytest.raises(InputError) as refusal:
        method.fit(problem(1000, 1000, dtype=torch.float32), [0])
    return str(refusal.value)


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where starting weights are asked for."""

    def initial(self: Problem, seeds: object) -> None:
        raise Trained

    monkeypatch.setattr(Problem, "initial", initial)


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize(
    ("method", "way_out"),
    [
        (FullRank(), "Use LowRank, or FullRank(last_layer=True)"),
        (Laplace("full"), 'Use structure="kronecker" or "last_layer"'),
        (LowRank(rank=2000), "Use a smaller rank"),
        (SWAG(rank=20_000), "Use a smaller rank"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_million_weights_are_refused_at_once(
    method: Method, way_out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    free(monkeypatch, 64 * GIB)
    assert way_out in million(method)


@pytest.mark.usefixtures("untrained")
def test_chains_with_more_samples_than_there_is_memory_for_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    free(monkeypatch, 0.4 * GIB)
    for method in (HMC(), NUTS(), SGLD(), SGHMC(), CyclicalSGMCMC()):
        assert "fewer samples" in million(method), method.name


@pytest.mark.usefixtures("untrained")
def test_a_last_layer_that_is_too_large_is_refused_before_the_others_are_trained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    free(monkeypatch, GIB)
    posed = problem(2, 20_000, dtype=torch.float32)
    with pytest.raises(
        InputError, match=r"free; found one of 1 replicas that takes about 17.9 GiB"
    ):
        FullRank(last_layer=True).fit(posed, [0])


def test_a_last_layer_takes_what_its_own_weights_do() -> None:
    posed = problem(100, 20)
    few = forecast.forecast(FullRank(last_layer=True), posed)
    assert few.bytes == 12 * 22 * 23 * 8  # 20 weights, a bias, the noise's scale; and a mean
    assert forecast.forecast(FullRank(), posed).bytes > 1000 * few.bytes


def test_what_fits_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 3 * GIB)
    small = Forecast(bytes=GIB)
    posed = problem(2, 3)
    check(small, posed.take([0] * 3))
    with pytest.raises(InputError, match=r"of 4 replicas that takes about 4.0 GiB"):
        check(small, posed.take([0] * 4))


def test_more_predictions_than_there_is_memory_for_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    posterior = MLE(SHORT).fit(problem(2, 3, dtype=torch.float32), [0])
    x = torch.zeros(2**20, 2)
    free(monkeypatch, GIB)
    with pytest.raises(InputError, match=r"about 1.0 GiB. Predict fewer points"):
        replace(posterior, family=Atoms(torch.zeros(1, 129, 13))).outputs(x[None])


def test_little_is_never_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 0)
    check(Forecast(bytes=2**28), problem(2, 3))
    with pytest.raises(InputError, match=r"0.0 GiB"):
        check(Forecast(bytes=2**28 + 1), problem(2, 3))


def test_matrices_that_take_more_than_a_day_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "speed", lambda device: 1e9)
    posed = problem(2, 3)
    day = Forecast(bytes=0, flops=24 * 3600 * 1e9, remedy="Try less.")
    check(day, posed)
    with pytest.raises(InputError, match=r"2 replicas .* take about 2 days. Try less."):
        check(day, posed.take([0, 0]))


def test_few_operations_are_not_measured_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def speed(device: torch.device) -> float:
        raise AssertionError

    monkeypatch.setattr(forecast, "speed", speed)
    check(Forecast(bytes=0, flops=1e11), problem(2, 3))
    with pytest.raises(AssertionError):
        check(Forecast(bytes=0, flops=1e13), problem(2, 3))


def test_a_speed_is_positive() -> None:
    assert 0 < forecast.speed(torch.device("cpu")) < 1e16


# Methods of methods take what these do.


def test_a_wrapper_takes_what_its_method_does() -> None:
    posed = Problem.of(two_classes(20), MLP(3, [5], 2).double())
    for method in (FullRank(), LowRank(), HMC(), MeanField()):
        own = forecast.forecast(method, posed)
        assert forecast.forecast(Under(method, Normal(2.0), "wide", "wide"), posed) == own
        assert forecast.forecast(TemperatureScaled(method), posed) == own


def test_members_add_up() -> None:
    posed = problem(4, 5)
    one, five = (forecast.forecast(method, posed) for method in (MLE(), DeepEnsemble(members=5)))
    assert five.bytes == 5 * one.bytes


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_every_method_is_forecast_and_none_is_refused_a_small_network(method: Method) -> None:
    posed = Problem.of(two_classes(20), MLP(3, [5], 2).double())
    told = forecast.forecast(method, posed)
    assert told.bytes >= posed.layout.size * 8
    check(told, posed)


# Memory, as the system tells it.


def test_memory_is_what_the_tightest_group_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = {
        "/proc/meminfo": "MemTotal: 9000 kB\nMemAvailable: 8000 kB\n",
        "/proc/self/cgroup": "4:cpu,memory:/a/b\n0::/c\n",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes": "100",
        "/sys/fs/cgroup/memory/a/memory.limit_in_bytes": "5000",
        "/sys/fs/cgroup/memory/a/memory.usage_in_bytes": "3000",
        "/sys/fs/cgroup/memory/a/memory.stat": "cache 7\ntotal_inactive_file 1000\n",
        "/sys/fs/cgroup/c/memory.max": "max",
        "/sys/fs/cgroup/c/memory.current": "100",
    }
    monkeypatch.setattr(memory, "_lines", lambda file: system.get(file, "").splitlines())
    cpu = torch.device("cpu")
    assert memory.available(cpu) == 5000 - 3000 + 1000
    system |= {"/sys/fs/cgroup/c/memory.max": "2000"}
    assert memory.available(cpu) == 2000 - 100
    system.pop("/proc/self/cgroup")
    assert memory.available(cpu) == 8000 * 1024


def test_memory_of_this_machine() -> None:
    assert 2**24 < memory.available(torch.device("cpu")) < 2**50
