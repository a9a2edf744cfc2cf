import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score
from torch.nn import functional

from bnn.errors import InputError
from bnn.metrics import regression
from bnn.metrics.calibration import (
    brier_decomposition,
    calibration_error,
    calibration_null,
    reliability,
    squared_calibration_error_debiased,
)
from bnn.metrics.decision import auroc
from bnn.metrics.entropy import (
    corrected_mutual_information,
    entropy,
    expected_entropy,
    mutual_information,
)
from bnn.metrics.likelihood import bits, brier, correct, cross_entropy
from bnn.metrics.regression import coverage, crps_normal_mixture, spread, squared_error


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def random_log_probs(seed, *shape, width=2.0):
    g = torch.Generator().manual_seed(seed)
    return (width * torch.randn(*shape, generator=g, dtype=torch.float64)).log_softmax(-1)


def calibrated(seed, *shape):
    """Return confidences from Beta(4, 1) and outcomes that happen with these probabilities."""
    rng = np.random.default_rng(seed)
    confidence = rng.beta(4, 1, shape)
    return torch.from_numpy(confidence), torch.from_numpy((rng.random(shape) < confidence) * 1.0)


# Likelihood


@pytest.mark.parametrize(
    ("probs", "label", "nats"),
    [
        ((0.228, 0.619, 0.153), 1, 0.47965),
        ((0.001, 0.998, 0.001), 1, 0.0020020),
        ((0.333, 0.333, 0.334), 1, 1.0996128),
        ((0.1, 0.5, 0.1, 0.1, 0.2), 0, 2.302585),
    ],
)
def test_worked_cross_entropies(probs, label, nats):
    log_probs = tensor(probs).log()
    one_hot = functional.one_hot(torch.tensor(label), len(probs)).double()
    assert cross_entropy(log_probs, torch.tensor(label)).item() == pytest.approx(nats, abs=5e-6)
    assert cross_entropy(log_probs, one_hot).item() == pytest.approx(nats, abs=5e-6)


def test_cross_entropy_of_a_label_distribution_by_hand():
    found = cross_entropy(tensor([0.5, 0.25, 0.25]).log(), tensor([0.5, 0.5, 0.0])).item()
    assert found == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(4), abs=1e-12)


def test_cross_entropy_at_zero_probability():
    log_probs = tensor([0.0, 1.0]).log()
    assert cross_entropy(log_probs, torch.tensor(1)).item() == 0.0
    assert cross_entropy(log_probs, torch.tensor(0)).item() == math.inf
    assert cross_entropy(log_probs, tensor([0.0, 1.0])).item() == 0.0
    assert cross_entropy(log_probs, tensor([0.1, 0.9])).item() == math.inf


def test_cross_entropy_equals_torch_and_scikit_learn():
    log_probs = random_log_probs(0, 2, 50, 4)
    y = torch.randint(4, (2, 50), generator=torch.Generator().manual_seed(1))
    soft = random_log_probs(2, 2, 50, 4).exp()
    flat = log_probs.reshape(-1, 4)
    for labels, flat_labels in ((y, y.flatten()), (soft, soft.reshape(-1, 4))):
        theirs = functional.cross_entropy(flat, flat_labels, reduction="none")
        torch.testing.assert_close(
            cross_entropy(log_probs, labels).flatten(), theirs, rtol=0, atol=1e-12
        )
    ours = cross_entropy(log_probs, y).mean().item()
    assert ours == pytest.approx(
        log_loss(y.flatten(), flat.exp(), labels=list(range(4))), abs=1e-12
    )


def test_a_bit_is_a_coin_toss():
    assert bits(tensor(math.log(2))).item() == pytest.approx(1.0, abs=1e-15)


def test_brier_by_hand_and_against_scikit_learn():
    assert brier(tensor([0.7, 0.2, 0.1]), torch.tensor(0)).item() == pytest.approx(0.14)
    assert brier(tensor([0.0, 1.0]), torch.tensor(0)).item() == 2.0
    assert brier(tensor([0.3, 0.7]), tensor([0.3, 0.7])).item() == 0.0
    probs = random_log_probs(3, 40, 2).exp()
    y = torch.randint(2, (40,), generator=torch.Generator().manual_seed(4))
    theirs = brier_score_loss(y, probs[:, 1])  # of one event: half the sum over two classes
    assert brier(probs, y).mean().item() == pytest.approx(2 * theirs, abs=1e-12)


def test_correct_takes_the_most_probable_class():
    probs = tensor([[0.2, 0.5, 0.3], [0.4, 0.4, 0.2], [0.1, 0.2, 0.7]])
    assert correct(probs, torch.tensor([1, 1, 2])).tolist() == [1.0, 0.0, 1.0]
    soft = tensor([[0.1, 0.8, 0.1], [0.0, 0.6, 0.4], [0.3, 0.3, 0.4]])
    assert correct(probs, soft).tolist() == [1.0, 0.0, 1.0]


# Entropy


def test_entropy_by_hand_and_against_scipy():
    assert entropy(tensor([0.25] * 4).log()).item() == pytest.approx(math.log(4), abs=1e-15)
    assert entropy(tensor([0.0, 1.0, 0.0]).log()).item() == 0.0
    assert entropy(tensor([0.5, 0.25, 0.25]).log()).item() == pytest.approx(1.5 * math.log(2))
    log_probs = random_log_probs(5, 30, 6)
    np.testing.assert_allclose(entropy(log_probs), stats.entropy(log_probs.exp(), axis=-1))


def test_mutual_information_by_hand():
    opposed = tensor([[1.0, 0.0], [0.0, 1.0]]).log()[None, :, None]
    assert expected_entropy(opposed).item() == 0.0
    assert mutual_information(opposed).item() == pytest.approx(math.log(2), abs=1e-15)
    agreed = tensor([[0.3, 0.7], [0.3, 0.7]]).log()[None, :, None]
    assert mutual_information(agreed).item() == pytest.approx(0.0, abs=1e-15)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**31),
    st.integers(1, 12),
    st.integers(2, 9),
    st.sampled_from([1e-3, 1.0, 30.0, 1e4]),
)
def test_total_is_expected_entropy_and_mutual_information(seed, draws, classes, width):
    log_probs = random_log_probs(seed, 2, draws, 5, classes, width=width)
    mixture = (log_probs.logsumexp(1) - math.log(draws)).exp()
    information = mutual_information(log_probs)
    total = expected_entropy(log_probs) + information
    np.testing.assert_allclose(total, stats.entropy(mixture, axis=-1), atol=1e-9)
    assert information.min() > -1e-12
    assert information.max() < math.log(classes) + 1e-12


def test_correction_makes_few_draws_comparable_with_many():
    log_probs = random_log_probs(6, 1, 200_000, 1, 3, width=0.5)
    truth = mutual_information(log_probs).item()
    raw = mutual_information(log_probs.reshape(40_000, 5, 1, 3))
    assert raw.mean().item() == pytest.approx(0.8 * truth, rel=0.01)
    assert corrected_mutual_information(raw, 5).mean().item() == pytest.approx(truth, rel=0.01)


def test_one_draw_has_no_corrected_mutual_information():
    with pytest.raises(InputError, match="at least two draws"):
        corrected_mutual_information(tensor([[0.0]]), 1)


# Calibration


def test_calibration_error_by_hand():
    confidence = tensor([[0.55, 0.58, 0.9, 1.0]])
    outcome = tensor([[1.0, 0.0, 1.0, 1.0]])
    # Bins (.5, .6] and (.9, 1] and (.8, .9]: |1 - 1.13|, |1 - .9|, |1 - 1|, over 4 points.
    assert calibration_error(confidence, outcome, bins=10).item() == pytest.approx(0.23 / 4)


def test_calibration_error_includes_both_ends():
    assert calibration_error(tensor([0.0, 1.0]), tensor([1.0, 0.0])).item() == 1.0


@pytest.mark.parametrize(("points", "expected"), [(200, 0.067), (1000, 0.029), (5000, 0.013)])
def test_a_perfect_model_has_a_calibration_error(points, expected):
    found = calibration_error(*calibrated(7, 400, points)).mean().item()
    assert found == pytest.approx(expected, rel=0.04)


def test_null_is_what_a_perfect_model_shows():
    confidence, _ = calibrated(8, 1000)
    probs = torch.stack([confidence, 1 - confidence], -1)
    top = probs.amax(-1)
    null = calibration_null(probs[None], [3], simulations=1000)
    rng = np.random.default_rng(9)
    drawn = torch.from_numpy((rng.random((1000, 1000)) < top.numpy()) * 1.0)
    direct = calibration_error(top.expand(1000, -1), drawn)
    assert null.shape == (1000, 1)
    assert stats.ks_2samp(null[:, 0], direct).pvalue > 0.01


def test_p_values_of_calibrated_models_are_uniform():
    log_probs = random_log_probs(10, 600, 150, 4)
    g = torch.Generator().manual_seed(11)
    y = torch.multinomial(log_probs.exp().reshape(-1, 4), 1, generator=g).reshape(600, 150)
    found = calibration_error(log_probs.exp().amax(-1), correct(log_probs, y))
    null = calibration_null(log_probs.exp(), range(600), simulations=299)
    p = (1 + (null >= found).sum(0)) / 300
    assert stats.kstest(p, "uniform").pvalue > 0.05
    # Can the test fail?
    wrong = calibration_null((1.5 * log_probs).softmax(-1), range(600), simulations=299)
    p = (
        1
        + (
            wrong
            >= calibration_error((1.5 * log_probs).softmax(-1).amax(-1), correct(log_probs, y))
        ).sum(0)
    ) / 300
    assert stats.kstest(p, "uniform").pvalue < 1e-6


def test_a_replicas_null_does_not_depend_on_its_company():
    probs = random_log_probs(12, 3, 40, 5).exp()
    together = calibration_null(probs, [7, 8, 9], simulations=20)
    assert torch.equal(together[:, 1:2], calibration_null(probs[1:2], [8], simulations=20))


def test_nulls_of_replicas_are_independent():
    probs = random_log_probs(18, 1, 60, 3).exp().expand(3, -1, -1)
    null = calibration_null(probs, [1, 2, 2], simulations=1000)
    assert abs(np.corrcoef(null[:, 0], null[:, 1])[0, 1]) < 0.1  # 3 standard errors
    assert torch.equal(null[:, 1], null[:, 2])
    with pytest.raises(InputError, match="one seed per replica"):
        calibration_null(probs, [1])


def test_debiased_error_by_hand():
    confidence = tensor([0.9, 0.6, 0.8, 0.7])
    outcome = tensor([1.0, 0.0, 0.0, 1.0])
    # Bins {.6, .7} and {.8, .9}: the products of the two gaps -.6 x .3 and -.8 x .1, each half.
    value, _ = squared_calibration_error_debiased(confidence, outcome, bins=2)
    assert value.item() == pytest.approx((-0.18 - 0.08) / 2)


@pytest.mark.parametrize("points", [50, 200, 1000])
@pytest.mark.parametrize("offset", [0.0, 0.1])
def test_debiased_error_is_unbiased_and_knows_its_error(points, offset):
    rng = np.random.default_rng(points)
    confidence = rng.beta(4, 2, (6000, points)) * 0.9 + 0.1
    outcome = torch.from_numpy((rng.random(confidence.shape) < confidence - offset) * 1.0)
    value, error = squared_calibration_error_debiased(torch.from_numpy(confidence), outcome)
    z = (value.mean() - offset**2) / (value.std() / 6000**0.5)
    assert abs(z.item()) < 3
    ratio = error.square().mean().sqrt() / value.std()
    assert 0.94 < ratio.item() < 1.16  # conservative at zero, as its docstring says


def test_debiased_error_of_few_points():
    value, error = squared_calibration_error_debiased(tensor([0.6, 0.7]), tensor([1.0, 0.0]))
    assert value.item() == pytest.approx(0.4 * -0.7)
    assert error.isfinite()
    with pytest.raises(InputError, match="at least two points"):
        squared_calibration_error_debiased(tensor([0.6]), tensor([1.0]))


def test_brier_decomposition_by_hand():
    found = brier_decomposition(tensor([0.8, 0.2, 0.6, 0.4]), tensor([1.0, 0.0, 0.0, 1.0]))
    assert found.miscalibration == pytest.approx(0.075, abs=1e-12)
    assert found.discrimination == pytest.approx(0.125, abs=1e-12)
    assert found.uncertainty == pytest.approx(0.25, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40))
def test_brier_is_miscalibration_minus_discrimination_plus_uncertainty(pairs):
    confidence, happened = tensor([c for c, _ in pairs]), tensor([float(y) for _, y in pairs])
    found = brier_decomposition(confidence, happened)
    assert found.score == pytest.approx((confidence - happened).square().mean().item(), abs=1e-12)
    assert found.miscalibration > -1e-12
    assert found.discrimination > -1e-12


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=25))
def test_reliability_curve_is_the_min_max_isotonic_regression(pairs):
    confidence = tensor([c / 8 for c, _ in pairs])
    happened = tensor([float(y) for _, y in pairs])
    curve = reliability(confidence, happened, simulations=2)
    knots = sorted({c / 8 for c, _ in pairs})
    assert curve.confidence.tolist() == knots

    def share(low, high):
        return happened[(confidence >= low) & (confidence <= high)].mean().item()

    for k, found in enumerate(curve.frequency):
        above = knots[k:]
        expected = max(min(share(low, high) for high in above) for low in knots[: k + 1])
        assert found == pytest.approx(expected, abs=1e-12)


def band_coverage(level, sets=150):
    """Share of knots in the band, without and with its edges (frequencies are often tied)."""
    shares = []
    for seed in range(sets):
        curve = reliability(*calibrated(seed, 150), level, simulations=100, seed=seed)
        within = (curve.low < curve.frequency) & (curve.frequency < curve.high)
        at = (curve.low <= curve.frequency) & (curve.frequency <= curve.high)
        shares.append((within.mean(), at.mean()))
    return np.mean(shares, 0), np.std(shares, 0) / sets**0.5


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_consistency_band_covers_calibrated_curves_as_often_as_it_says(level):
    (without, with_edges), error = band_coverage(level)
    assert without - 3 * error[0] < level < with_edges + 3 * error[1]
    assert with_edges - without < 0.25  # or the line above would say nothing


def test_consistency_band_excludes_a_curve_that_falls():
    confidence, outcome = calibrated(12, 300)
    curve = reliability(confidence, 1 - outcome)
    assert np.mean((curve.low <= curve.frequency) & (curve.frequency <= curve.high)) < 0.1


def test_reliability_pools_replicas_and_is_repeatable():
    confidence, outcome = calibrated(13, 4, 500)
    curve = reliability(confidence, outcome)
    again = reliability(confidence.flatten(), outcome.flatten())
    assert len(curve.confidence) == 201
    for name in ("confidence", "frequency", "low", "high"):
        assert np.array_equal(getattr(curve, name), getattr(again, name))
    assert (np.diff(curve.frequency) >= 0).all()


# Decision


def test_auroc_by_hand():
    area, error = auroc(tensor([2.0, 3.0]), tensor([1.0, 2.0]))
    assert area.item() == pytest.approx(0.875)
    assert error.item() == pytest.approx(math.sqrt(0.03125))  # both variances are 1/32, over 2


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=30),
    st.lists(st.integers(0, 5), min_size=1, max_size=30),
)
def test_auroc_equals_scikit_learn_with_ties(positive, negative):
    area, _ = auroc(tensor(positive), tensor(negative))
    truth = [1] * len(positive) + [0] * len(negative)
    assert area.item() == pytest.approx(roc_auc_score(truth, positive + negative), abs=1e-12)


def test_delong_error_is_the_spread_of_the_area():
    g = torch.Generator().manual_seed(14)
    positive = 1 + 1.5 * torch.randn(4000, 50, generator=g, dtype=torch.float64)
    negative = torch.randn(4000, 80, generator=g, dtype=torch.float64)
    area, error = auroc(positive, negative)
    assert error.square().mean().sqrt().item() == pytest.approx(area.std().item(), rel=0.04)


def test_perfect_separation_is_no_proof_of_certainty():
    area, error = auroc(tensor([3.0, 4.0]), tensor([1.0, 2.0]))
    assert area.item() == 1.0
    assert error.isnan()
    assert auroc(tensor([3.0]), tensor([1.0, 5.0]))[1].isnan()


def test_auroc_of_aligned_rows_by_hand():
    area, error = auroc(tensor([2.0, 1.0, 6.0]), tensor([1.0, 3.0, 4.0]), aligned=True)
    # Negatives below each positive 1, 1/2, 3; positives above each negative 2 1/2, 1, 1.
    assert area.item() == pytest.approx(4.5 / 9)
    assert error.item() == pytest.approx(np.std([3.5, 1.5, 4.0], ddof=1) / 3 / math.sqrt(3))


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_error_of_aligned_rows_is_the_spread_of_the_area(correlation):
    g = torch.Generator().manual_seed(19)
    negative, own = (torch.randn(4000, 80, generator=g, dtype=torch.float64) for _ in range(2))
    positive = 0.5 + correlation * negative + (1 - correlation**2) ** 0.5 * own
    area, error = auroc(positive, negative, aligned=True)
    assert error.square().mean().sqrt().item() == pytest.approx(area.std().item(), rel=0.1)
    independent = auroc(positive, negative)[1].square().mean().sqrt().item()
    assert (independent > 1.8 * area.std().item()) == (correlation == 0.8)


def test_rows_that_nothing_has_happened_to_are_no_proof():
    rows = tensor([0.3, 0.1, 0.7, 0.2])
    area, error = auroc(rows, rows, aligned=True)
    assert area.item() == 0.5
    assert error.isnan()
    with pytest.raises(InputError, match="as many positives as negatives"):
        auroc(rows, rows[1:], aligned=True)


# Regression


def test_squared_error_and_coverage_by_hand():
    assert squared_error(tensor([1.0, 2.0]), tensor([3.0, 2.0])).tolist() == [4.0, 0.0]
    pit = tensor([0.0, 0.05, 0.051, 0.5, 0.949, 0.951, 1.0])
    assert coverage(pit, 0.9).tolist() == [0, 1, 1, 1, 1, 0, 0]


def test_crps_of_one_normal_is_the_closed_form():
    y, loc, scale = tensor([[1.3]]), tensor([[[0.4]]]), tensor([[[2.0]]])
    z = 0.45
    closed = 2 * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / math.sqrt(math.pi))
    assert crps_normal_mixture(y, loc, scale).item() == pytest.approx(closed, abs=1e-14)


def test_crps_equals_quadrature():
    g = torch.Generator().manual_seed(15)
    y = 2 * torch.randn(2, 4, generator=g, dtype=torch.float64)
    loc = torch.randn(2, 6, 4, generator=g, dtype=torch.float64)
    scale = torch.rand(2, 6, 4, generator=g, dtype=torch.float64) + 0.1
    found = crps_normal_mixture(y, loc, scale)
    for r in range(2):
        for n in range(4):
            parts, at = stats.norm(loc[r, :, n], scale[r, :, n]), y[r, n].item()
            below = integrate.quad(lambda t, p=parts: p.cdf(t).mean() ** 2, -12, at, limit=200)[0]
            above = integrate.quad(lambda t, p=parts: p.sf(t).mean() ** 2, at, 12, limit=200)[0]
            assert found[r, n].item() == pytest.approx(below + above, abs=1e-9)


def test_crps_tends_to_the_absolute_error():
    loc = torch.full((1, 3, 1), 2.0, dtype=torch.float64)
    found = crps_normal_mixture(tensor([[5.0]]), loc, torch.full_like(loc, 1e-9)).item()
    assert found == pytest.approx(3.0, abs=1e-8)


def test_crps_does_not_depend_on_how_the_work_is_cut(monkeypatch):
    g = torch.Generator().manual_seed(16)
    y = torch.randn(2, 9, generator=g, dtype=torch.float64)
    loc = torch.randn(2, 12, 9, generator=g, dtype=torch.float64)
    scale = torch.rand(2, 12, 9, generator=g, dtype=torch.float64) + 0.1
    whole, groups = crps_normal_mixture(y, loc, scale), spread(loc, scale, 4)
    monkeypatch.setattr(regression, "AT_ONCE", 50)
    torch.testing.assert_close(crps_normal_mixture(y, loc, scale), whole, rtol=0, atol=1e-14)
    torch.testing.assert_close(spread(loc, scale, 4), groups, rtol=0, atol=1e-14)


def test_one_noise_for_all_points_is_a_noise_for_each():
    g = torch.Generator().manual_seed(18)
    loc = torch.randn(2, 6, 5, generator=g, dtype=torch.float64)
    scale = torch.rand(2, 6, 1, generator=g, dtype=torch.float64) + 0.1
    each = torch.cat([scale.expand_as(loc), scale + 1], -1)  # the last column is another noise
    one = torch.cat([loc, torch.zeros(2, 6, 1)], -1)
    found = spread(loc, scale.expand_as(loc), 3)
    torch.testing.assert_close(found, spread(one, each, 3)[..., :5], rtol=0, atol=1e-14)


@pytest.mark.parametrize("wide", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("narrow", [1.0, 0.3])
def test_spread_by_steps_is_the_spread_by_pairs(wide, narrow):
    g = torch.Generator().manual_seed(19)
    loc = wide * torch.randn(2, 300, 5, generator=g, dtype=torch.float64)
    scale = narrow + torch.rand(2, 300, 5, generator=g, dtype=torch.float64)
    found = spread(loc, scale, 3)
    pairs = regression._spread_by_pairs(loc, scale.square(), 3)
    torch.testing.assert_close(found, pairs, rtol=0, atol=1e-12 * narrow)
    assert not torch.equal(found, pairs)  # it went the other way


@pytest.mark.parametrize("mean", [1e6, 1e18])
def test_spread_does_not_depend_on_how_far_away_the_draws_are(mean):
    loc = torch.full((1, 40, 2), mean, dtype=torch.float64)
    loc[..., 1] = 0.0
    found = spread(loc, torch.ones_like(loc), 2)
    torch.testing.assert_close(
        found, torch.full_like(found, 2 / math.sqrt(math.pi)), rtol=1e-12, atol=0
    )


def test_spread_goes_by_pairs_where_a_component_is_narrow_or_not_finite():
    g = torch.Generator().manual_seed(20)
    loc = torch.randn(1, 40, 3, generator=g, dtype=torch.float64)
    scale = torch.full_like(loc, 1e-3)
    pairs = regression._spread_by_pairs(loc - loc[:, :1], scale.square(), 2)
    assert torch.equal(spread(loc, scale, 2), pairs)
    loc[0, 0, 1] = math.nan
    assert spread(loc, scale + 1, 2).isnan().tolist()[0][0][0] == [False, True, False]


def test_spread_of_groups_makes_up_the_spread_of_their_mixture():
    g = torch.Generator().manual_seed(17)
    loc = torch.randn(1, 12, 3, generator=g, dtype=torch.float64)
    scale = torch.rand(1, 12, 3, generator=g, dtype=torch.float64) + 0.1
    groups = spread(loc, scale, 4)
    kept = [0, 2, 3]
    draws = [0, 1, 2, 6, 7, 8, 9, 10, 11]
    direct = spread(loc[:, draws], scale[:, draws], 1)[:, 0, 0]
    torch.testing.assert_close(groups[:, kept][:, :, kept].mean((1, 2)), direct, rtol=0, atol=1e-14)
    torch.testing.assert_close(groups, groups.transpose(1, 2))
