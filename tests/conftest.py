"""What every test may rely on, and what none may leave behind."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pooch
import pyro
import pytest
import torch
from served import Server

from bnn.data import images, uci
from bnn.data.files import File


@pytest.fixture(autouse=True)
def _nothing_global_survives() -> Iterator[None]:
    """One thread; afterwards Pyro's store is empty and every global switch is as it was."""
    torch.set_num_threads(1)
    before = switches()
    yield
    left, after = list(pyro.get_param_store().keys()), switches()
    pyro.clear_param_store()
    torch.set_default_dtype(torch.float32)
    assert not left, f"left in Pyro's parameter store: {left}"
    assert after == before


@pytest.fixture
def untouched() -> Iterator[None]:
    """Fail if the test draws from the global generator of torch, or seeds it."""
    before = torch.get_rng_state()
    yield
    assert torch.equal(torch.get_rng_state(), before)


def switches() -> dict[str, object]:
    """Return the global switches that a fit could leave turned."""
    return {
        "default dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "validation of distributions": pyro.distributions.is_validation_enabled(),
        "validation of inference": pyro.infer.is_validation_enabled(),
        "validation of effects": pyro.poutine.is_validation_enabled(),
        "fast attention": torch.backends.mha.get_fastpath_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Serve the folder tmp_path / "served"; BNN_DATA names no folder meanwhile."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("BNN_DATA", raising=False)
    monkeypatch.setattr(pooch.get_logger(), "level", logging.ERROR)
    (tmp_path / "served").mkdir()
    running = Server(tmp_path / "served")
    yield running
    running.stop()


@pytest.fixture(scope="session")
def real_images() -> None:
    """Skip the test where the real image files are not at hand."""
    _at_hand("images", (*images.MNIST, *images.FASHION, images.HUMAN))


@pytest.fixture(scope="session")
def real_uci() -> Path:
    """Return the folder of the real UCI files, or skip the test where they are not at hand."""
    tables = (*uci.REGRESSION.values(), *uci.CLASSIFICATION.values())
    return _at_hand("UCI tables", [file for table in tables for file in table.files])


def _at_hand(what: str, files: Iterable[File]) -> Path:
    folder = os.environ.get("BNN_DATA")
    absent = [f.name for f in files if not folder or not Path(folder, f.name).is_file()]
    if absent:
        pytest.skip(f"real {what}: BNN_DATA names no folder with {absent[0]}")
    return Path(str(folder))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name cases with bytes alike in every process; what is packed there may hold the time."""
    return argname if isinstance(val, bytes) else None
