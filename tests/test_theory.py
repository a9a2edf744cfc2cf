"""The theory: identities for any numbers, and the two articles that show them."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import rel_entr
from torch import Tensor

from bnn.errors import InputError
from bnn.likelihoods import Bernoulli, Categorical, SoftLabels
from bnn.metrics.entropy import entropy
from bnn.metrics.likelihood import bits, brier, cross_entropy, distribution, divergence, smoothed
from bnn.report.article import render
from bnn.report.writing import Work

EXPERIMENTS = Path(__file__).parent.parent / "experiments"
UNIT = torch.ones(())
NONE = torch.zeros(1)

numbers = st.floats(-30, 30)
extreme = st.sampled_from([-1e4, -700.0, -1.0, 0.0, 1.0, 700.0, 1e4])
shares = st.floats(0, 1).map(lambda value: value if value > 1e-6 else 0.0)


def vectors(elements: st.SearchStrategy[float], size: int = 5) -> st.SearchStrategy[Tensor]:
    return arrays("f8", size, elements=elements).map(torch.from_numpy)


def normalised(weights: Tensor) -> Tensor:
    return weights / weights.sum()


labels = vectors(shares).filter(lambda w: float(w.sum()) > 1e-3).map(normalised)
predictions = vectors(numbers).map(lambda u: u.log_softmax(-1))


def log_softmax(logits: Tensor) -> Tensor:
    """The log-probabilities of logits `[classes]`, as the suite computes them."""
    return Categorical().predictive(logits[None, None, None], {}, NONE, NONE).log_probs[0, 0]


@given(labels, predictions)
@settings(deadline=None)
def test_cross_entropy_is_entropy_plus_divergence(p, log_q) -> None:
    parts = entropy(p.log()) + divergence(log_q, p)
    torch.testing.assert_close(cross_entropy(log_q, p), parts, rtol=1e-12, atol=1e-12)
    assert divergence(log_q, p) == pytest.approx(
        rel_entr(p.numpy(), log_q.exp().numpy()).sum(), abs=1e-9
    )


@given(labels, predictions)
@settings(deadline=None)
def test_the_label_itself_is_the_best_prediction_and_costs_its_entropy(p, log_q) -> None:
    best = cross_entropy(p.log(), p)
    assert best <= cross_entropy(log_q, p) + 1e-12
    torch.testing.assert_close(best, entropy(p.log()), rtol=1e-12, atol=1e-12)
    assert divergence(p.log(), p) == 0
    assert brier(p, p) == 0


@given(labels, predictions)
@settings(deadline=None)
def test_the_expected_brier_score_exceeds_that_of_the_truth_by_the_squared_distance(
    p, log_q
) -> None:
    def expected(prediction: Tensor) -> Tensor:
        return (p * brier(prediction.expand(5, -1), torch.arange(5))).sum()

    gap = expected(log_q.exp()) - expected(p)
    torch.testing.assert_close(gap, brier(log_q.exp(), p), rtol=0, atol=1e-12)


@given(vectors(numbers), st.floats(-1e3, 1e3))
@settings(deadline=None)
def test_softmax_is_a_distribution_and_does_not_see_a_shift(u, shift) -> None:
    p = log_softmax(u).exp()
    assert (p >= 0).all()
    assert abs(float(p.sum()) - 1) < 1e-12
    torch.testing.assert_close(log_softmax(u + shift).exp(), p, rtol=0, atol=1e-12)


@given(vectors(extreme), st.integers(0, 4))
@settings(deadline=None)
def test_extreme_logits_stay_finite(u, label) -> None:
    y = torch.tensor(label)
    loss = cross_entropy(log_softmax(u), y)
    assert torch.isfinite(loss)
    assert loss >= 0
    assert float(loss) == pytest.approx(float(u.max() - u[label]), abs=math.log(5) + 1e-9)
    logits = u.clone().requires_grad_()
    (-Categorical().distribution(logits, {}, UNIT).log_prob(y)).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_a_predicted_zero_is_infinite_where_the_label_has_mass_and_free_where_not() -> None:
    log_q = torch.tensor([0.0, 1.0], dtype=torch.float64).log()
    assert cross_entropy(log_q, torch.tensor(0)) == math.inf
    half = torch.tensor([0.5, 0.5], dtype=torch.float64)
    sure = torch.tensor([0.0, 1.0], dtype=torch.float64)
    assert cross_entropy(log_q, half) == divergence(log_q, half) == math.inf
    assert cross_entropy(log_q, sure) == divergence(log_q, sure) == 0


@given(numbers, numbers, st.integers(0, 1))
@settings(deadline=None)
def test_one_logistic_unit_is_a_softmax_in_the_difference_of_logits(u0, u1, label) -> None:
    logits, y = torch.tensor([u0, u1], dtype=torch.float64), torch.tensor(label)
    one = Bernoulli().predictive((logits[1] - logits[0])[None, None, None, None], {}, NONE, NONE)
    torch.testing.assert_close(one.log_probs[0, 0], log_softmax(logits), rtol=1e-12, atol=1e-12)
    two = Categorical().distribution(logits, {}, UNIT).log_prob(y)
    alone = Bernoulli().distribution((logits[1:] - logits[:1]), {}, UNIT).log_prob(y.double())
    torch.testing.assert_close(alone, two, rtol=1e-10, atol=1e-12)


@given(vectors(numbers), labels, st.integers(0, 4))
@settings(deadline=None)
def test_the_gradient_is_softmax_minus_label(u, soft, hard) -> None:
    for likelihood, label in ((SoftLabels(), soft), (Categorical(), torch.tensor(hard))):
        logits = u.clone().requires_grad_()
        (-likelihood.distribution(logits, {}, UNIT).log_prob(label)).backward()
        expected = u.softmax(-1) - distribution(label, 5)
        torch.testing.assert_close(logits.grad, expected, rtol=0, atol=1e-12)


@given(labels, st.floats(0, 1))
@settings(deadline=None)
def test_smoothed_labels_are_mixed_with_the_uniform_distribution(p, amount) -> None:
    found = smoothed(p, 5, amount)
    assert float(found.sum()) == pytest.approx(1, abs=1e-12)
    torch.testing.assert_close(found, torch.lerp(p, torch.full((5,), 0.2).double(), amount))


def test_smoothing_by_hand_and_out_of_range() -> None:
    found = smoothed(torch.tensor([2, 0]), 4, 0.1)
    expected = [[0.025, 0.025, 0.925, 0.025], [0.925, 0.025, 0.025, 0.025]]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))
    for amount in (-0.1, 1.1, math.nan):
        with pytest.raises(InputError, match="from 0 to 1"):
            smoothed(torch.tensor([0]), 2, amount)


def test_divergence_by_hand() -> None:
    p = torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64)
    q = torch.tensor([0.25, 0.5, 0.25], dtype=torch.float64)
    assert bits(divergence(q.log(), p)).item() == pytest.approx(0.5, abs=1e-12)
    assert bits(divergence(q.log(), torch.tensor(0))).item() == pytest.approx(2, abs=1e-12)


@pytest.mark.parametrize("name", ["cross_entropy", "known_posterior"])
def test_the_article_is_written_and_every_identity_holds(name, tmp_path) -> None:
    page = tmp_path / "page.html"
    command = [sys.executable, str(EXPERIMENTS / f"{name}.py"), "--quick", "--report", str(page)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=600, cwd=tmp_path, env=os.environ
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Warning" not in done.stderr
    html = page.read_text()
    assert 'class="holds"' in html
    assert 'class="fails"' not in html
    assert html.count("<h2") == {"cross_entropy": 11, "known_posterior": 5}[name]
    assert html.count("<svg") >= html.count("<section")


@pytest.fixture
def sections(monkeypatch):
    monkeypatch.syspath_prepend(str(EXPERIMENTS))


@pytest.mark.usefixtures("sections")
def test_a_false_number_in_a_section_fails(monkeypatch) -> None:
    from sections import worked_examples

    label, prediction, _, half_digit = worked_examples.EXAMPLES[0]
    wrong = ((label, prediction, 0.47975, half_digit), *worked_examples.EXAMPLES[1:])
    assert not worked_examples.section(Work(quick=True)).failed
    monkeypatch.setattr(worked_examples, "EXAMPLES", wrong)
    section = worked_examples.section(Work(quick=True))
    assert [claim.failed for claim in section.claims] == [True] + [False] * 5


@pytest.mark.usefixtures("sections")
def test_a_section_computed_twice_is_the_same_bytes() -> None:
    from sections import gradient, other_losses

    pages = [
        render("Twice", (), [module.section(Work(quick=True)) for module in modules], command="x")
        for modules in [(gradient, other_losses)] * 2
    ]
    assert pages[0] == pages[1]


@pytest.mark.usefixtures("sections")
def test_a_section_says_what_it_lacks(monkeypatch) -> None:
    from sections import code_length, soft_labels

    def absent(*_: object, **__: object) -> None:
        raise InputError("the data", "nothing", "Bring them.")

    monkeypatch.setattr(soft_labels, "fashion_mnist_human", absent)
    without_data = soft_labels.section(Work(quick=True))
    assert "found nothing. Bring them." in without_data.not_run
    assert [claim.verdict for claim in without_data.claims] == ["holds"] * 3
    monkeypatch.setattr(code_length, "find_spec", lambda name: None)
    without_coder = code_length.section(Work(quick=True))
    assert without_coder.not_run.endswith('pip install "bnn[theory]"')
    assert not without_coder.claims
