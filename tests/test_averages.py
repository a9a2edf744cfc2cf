"""Averages over draws: the fast pass gives what the definitions give, in any layout and chunks."""

from __future__ import annotations

import pytest
import torch
from small import apart, normal

from bnn import averages as module
from bnn.averages import averages
from bnn.metrics.entropy import entropy
from bnn.predictive import CategoricalMixture, log_mean_exp


def drawn(width: float = 3.0) -> torch.Tensor:
    """Log-probabilities `[2, 7, 23, 4]`, each row contiguous."""
    return (width * normal(2, 7, 23, 4, seed=1)).log_softmax(-1)


@pytest.mark.parametrize("width", [0.01, 3.0, 100.0, 5000.0])
def test_averages_are_those_of_the_definitions(width: float) -> None:
    log_probs = drawn(width)
    found = averages(log_probs)
    assert apart(found.log_probs, log_mean_exp(log_probs, 1)) < 1e-13 * max(width, 1)
    assert apart(found.entropies, entropy(log_probs)) < 1e-13


def test_rows_next_to_each_other_or_classes_is_all_the_same() -> None:
    by_class = drawn().mT.contiguous().mT
    assert not by_class.is_contiguous()
    for found, expected in zip(averages(by_class), averages(drawn()), strict=True):
        assert apart(found, expected) < 1e-14


def test_gradients_are_those_of_the_definitions() -> None:
    logits, direction = drawn(), normal(2, 23, 4, seed=3)
    gradients = []
    for way in (lambda u: averages(u).log_probs, lambda u: log_mean_exp(u.log_softmax(-1), 1)):
        leaf = logits.clone().requires_grad_()
        (way(leaf) * direction).sum().backward()
        gradients.append(leaf.grad)
    assert apart(*gradients) < 1e-14
    for found, expected in zip(averages(leaf), averages(logits), strict=True):
        assert apart(found.detach(), expected) < 1e-13


@pytest.mark.parametrize("at_once", [1, 50, 400, 10**9])
@pytest.mark.parametrize("width", [3.0, 5000.0])
def test_chunks_change_nothing(at_once: int, width: float, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = averages(drawn(width))
    monkeypatch.setattr(module, "NUMBERS_AT_ONCE", at_once)
    found = averages(drawn(width))
    assert apart(found.log_probs, expected.log_probs) < 1e-13 * width
    assert apart(found.entropies, expected.entropies) < 1e-14


def test_logits_of_a_network_are_normalised_in_float64() -> None:
    logits = normal(2, 7, 23, 4, seed=2).float()
    mixture, expected = CategoricalMixture(logits), logits.double().log_softmax(-1)
    assert mixture.draw_log_probs.dtype == torch.float64
    assert apart(mixture.draw_log_probs, expected) < 1e-14
    assert apart(mixture.log_probs, log_mean_exp(expected, 1)) < 1e-14
    y = logits.argmin(-1)[:, 0]
    picked = expected.gather(-1, y[:, None, :, None].expand(-1, 7, -1, 1))[..., 0]
    assert apart(mixture.draw_log_prob(y), picked) < 1e-14


def test_no_more_numbers_are_held_at_once_than_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    held, entropy_of = list[int](), module._entropy

    def noted(p: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        held.append(p.numel())
        return entropy_of(p, *others)

    monkeypatch.setattr(module, "NUMBERS_AT_ONCE", 200)
    monkeypatch.setattr(module, "_entropy", noted)
    averages(drawn())
    assert max(held) <= 200 < sum(held) == drawn().numel()


def test_a_probability_of_zero_stays_zero_and_one_below_all_numbers_is_kept() -> None:
    never, hardly = -torch.inf, -2000.0
    log_probs = torch.tensor([[0.0, never, hardly], [0.0, never, never]]).double()[None, :, None]
    found = averages(log_probs)
    assert found.log_probs[0, 0, 0] == 0
    assert found.log_probs[0, 0, 1] == -torch.inf
    assert found.log_probs[0, 0, 2].item() == pytest.approx(hardly - torch.tensor(2.0).log().item())
    assert (found.entropies == 0).all()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_number_that_is_none_is_not_hidden_by_other_draws(bad: float) -> None:
    logits = drawn()
    logits[1, 3, 5, 2] = bad
    found = averages(logits).log_probs
    assert (~found.isfinite()).nonzero().tolist() == [[1, 5, c] for c in range(4)]


def test_a_single_draw_is_itself_to_the_last_digit() -> None:
    mixture = CategoricalMixture(drawn()[:, :1])
    assert torch.equal(mixture.log_probs, mixture.draw_log_probs[:, 0])
