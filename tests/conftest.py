"""What every test may rely on, and what none may leave behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pyro
import pytest
import torch

from bnn.data import images


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


@pytest.fixture(scope="session")
def real_images() -> None:
    """Skip the test where the real image files are not at hand."""
    folder = os.environ.get("BNN_DATA")
    wanted = [file.name for file in (*images.MNIST, *images.FASHION, images.HUMAN)]
    absent = [name for name in wanted if not folder or not Path(folder, name).is_file()]
    if absent:
        pytest.skip(f"real images: BNN_DATA names no folder with {absent[0]}")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name cases with bytes alike in every process; what is packed there may hold the time."""
    return argname if isinstance(val, bytes) else None
