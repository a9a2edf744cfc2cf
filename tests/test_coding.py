"""Coding: tables of whole shares, and messages that come back as they were sent."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bnn.metrics.coding import PRECISION, code_length, decode, encode, table


def predictions(rows: int, classes: int, sharpness: float, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    logits = sharpness * torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    return logits.softmax(-1)


@given(st.integers(2, 12), st.sampled_from([0.0, 1.0, 10.0, 1000.0]), st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_a_table_is_whole_shares_that_sum_to_one(classes, sharpness, seed) -> None:
    probs = predictions(20, classes, sharpness, seed)
    shares = table(probs) * 2**PRECISION
    assert torch.equal(shares, shares.round())
    assert (shares >= 1).all()
    assert torch.equal(shares.sum(-1), torch.full((20,), 2.0**PRECISION, dtype=torch.float64))
    assert ((table(probs) - probs).abs() <= 2 * classes * 2.0**-PRECISION).all()


@given(st.integers(1, 300), st.sampled_from([0.0, 1.0, 10.0, 100.0]), st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_a_message_is_decoded_exactly_and_is_as_long_as_it_should_be(rows, sharpness, seed) -> None:
    pytest.importorskip("constriction")
    shares = table(predictions(rows, 5, sharpness, seed))
    labels = torch.randint(5, (rows,), generator=torch.Generator().manual_seed(seed))
    message = encode(labels, shares)
    assert torch.equal(decode(message, shares), labels)
    ideal = float(code_length(shares, labels))
    assert abs(32 * len(message) - ideal) <= 0.01 * ideal + 64


def test_code_length_by_hand() -> None:
    probs = torch.tensor([[0.5, 0.25, 0.25], [0.125, 0.875, 0.0]], dtype=torch.float64)
    assert code_length(probs, torch.tensor([1, 0])).item() == pytest.approx(2 + 3, abs=1e-12)
    assert code_length(probs, torch.tensor([0, 2])).item() == math.inf
