import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bnn.errors import InputError
from bnn.statistics import holm, paired_difference, summary


def tensor(values):
    return torch.as_tensor(values, dtype=torch.float64)


def against_zero(gaps, design, train_points=100, **options):
    gaps = tensor(gaps)
    return paired_difference(gaps, torch.zeros_like(gaps), design, train_points, **options)


# Summary


def test_summary_by_hand():
    assert summary([1.0, 2.0, 6.0]).mean == 3.0
    assert summary([1.0, 2.0, 6.0]).sd == pytest.approx(math.sqrt(7))
    assert summary([1.0, 2.0, 6.0]).n == 3
    assert summary([4.0]).sd is None


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf]])
def test_summary_refuses_what_has_no_mean(values):
    with pytest.raises(InputError, match="finite"):
        summary(values)


# Re-drawn splits


def test_corrected_interval_by_hand():
    # Mean differences 1 and 3: s^2 = 2; 2 test rows for 4 training rows: (1/2 + 1/2) 2 = 2.
    found = against_zero([[0.0, 2.0], [3.0, 3.0]], "resplit", train_points=4)
    reach = stats.t.ppf(0.975, 1)
    assert found.estimate == pytest.approx(2.0)
    assert found.high - 2 == pytest.approx(reach * math.sqrt(2))
    assert 2 - found.low == pytest.approx(reach * math.sqrt(2))
    assert found.p_value == pytest.approx(2 * stats.t.sf(2 / math.sqrt(2), 1))
    assert found.naive_high - 2 == pytest.approx(reach)  # s^2 / R = 1
    assert (found.replicas, found.points, found.scope) == (2, 2, "over re-drawn splits")
    assert (found.error, found.freedom) == (pytest.approx(math.sqrt(2)), 1.0)


def test_naive_interval_equals_scipys_paired_t_test():
    g = torch.Generator().manual_seed(0)
    a, b = (torch.randn(7, 30, generator=g, dtype=torch.float64) for _ in range(2))
    for design in ("resplit", "fixed"):
        found = paired_difference(a, b, design, 100)
        theirs = stats.ttest_rel(a.mean(1), b.mean(1)).confidence_interval(0.95)
        assert found.naive_low == pytest.approx(theirs.low, abs=1e-12)
        assert found.naive_high == pytest.approx(theirs.high, abs=1e-12)


def test_interval_and_p_value_agree():
    g = torch.Generator().manual_seed(1)
    for _ in range(200):
        shift = 0.3 * torch.randn(1, generator=g, dtype=torch.float64)
        gaps = shift + torch.randn(5, 20, generator=g, dtype=torch.float64)
        for design in ("resplit", "fixed"):
            found = against_zero(gaps, design, train_points=80)
            assert (found.p_value < 0.05) == (found.low > 0 or found.high < 0)


def overlapping_splits(worlds, splits, rows, test, seed):
    """Squared errors of two equally good models on re-drawn splits of one data set per world.

    The target is the sum of two inputs; one model sees the first, the other the second.
    """
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(worlds, 2, rows))
    y = x.sum(1) + rng.normal(size=(worlds, rows))
    order = rng.random((worlds, splits, rows)).argsort(-1)
    truth = np.take_along_axis(y[:, None], order, -1)
    losses = []
    for model in range(2):
        seen = np.take_along_axis(x[:, None, model], order, -1)
        x_train, y_train = seen[..., test:], truth[..., test:]
        slope = (x_train * y_train).sum(-1) / (x_train**2).sum(-1)
        losses.append((truth[..., :test] - slope[..., None] * seen[..., :test]) ** 2)
    return losses


@pytest.mark.parametrize("splits", [10, 30])
def test_corrected_interval_keeps_its_promise_on_overlapping_splits(splits):
    a, b = overlapping_splits(worlds=1000, splits=splits, rows=120, test=24, seed=2)
    found = [
        paired_difference(tensor(one), tensor(two), "resplit", 96)
        for one, two in zip(a, b, strict=True)
    ]
    wrong = np.mean([d.low > 0 or d.high < 0 for d in found])
    naively_wrong = np.mean([d.naive_low > 0 or d.naive_high < 0 for d in found])
    assert wrong <= 0.07
    assert naively_wrong > {10: 0.15, 30: 0.3}[splits]


def test_agreeing_replicas_are_no_certainty():
    # One row of 36 gained in each of three splits: the same mean three times, in 0/1 scores.
    gaps = np.zeros((3, 36))
    gaps[0, 4] = gaps[1, 17] = gaps[2, 30] = 1.0
    found = against_zero(gaps, "resplit", train_points=144)
    within = gaps[0].var(ddof=1) / 36
    reach = stats.t.ppf(0.975, 2) * math.sqrt((1 / 3 + 36 / 144) * within)
    assert found.high - found.estimate == pytest.approx(reach)
    assert found.low < 0 < found.high
    assert found.p_value > 0.05


# One split


def bootstrapped(gaps, resamples, seed):
    """Resample seeds and points with multinomial weights, deviations scaled as documented."""
    rng = np.random.default_rng(seed)
    replicas, points = gaps.shape
    mean, rows, columns = gaps.mean(), gaps.mean(1, keepdims=True), gaps.mean(0, keepdims=True)
    rest = gaps - rows - columns + mean
    scaled = (
        mean
        + math.sqrt(replicas / (replicas - 1)) * (rows - mean)
        + math.sqrt(points / (points - 1)) * (columns - mean)
        + rest
    )
    seeds = rng.multinomial(replicas, np.full(replicas, 1 / replicas), resamples) / replicas
    tests = rng.multinomial(points, np.full(points, 1 / points), resamples) / points
    return ((seeds @ scaled) * tests).sum(1)


def test_two_way_error_is_that_of_the_bootstrap():
    rng = np.random.default_rng(3)
    gaps = 0.3 * rng.normal(size=(6, 1)) + rng.normal(size=(1, 40)) + 1.5 * rng.normal(size=(6, 40))
    found = against_zero(gaps, "fixed")
    seeds = gaps.mean(1).var(ddof=1) / 6
    tests = gaps.mean(0).var(ddof=1) / 40
    freedom = (seeds + tests) ** 2 / (seeds**2 / 5 + tests**2 / 39)
    error = (found.high - found.estimate) / stats.t.ppf(0.975, freedom)
    assert error == pytest.approx(bootstrapped(gaps, 40_000, seed=4).std(), rel=0.015)
    assert found.scope == "for this split"


@pytest.mark.parametrize(
    ("replicas", "seed_sd", "point_sd", "rest_sd"),
    [(3, 0.1, 1.0, 1.0), (3, 0.3, 0.5, 1.0), (10, 0.1, 1.0, 1.0), (20, 0.02, 1.0, 3.0)],
)
def test_two_way_interval_covers_the_truth(replicas, seed_sd, point_sd, rest_sd):
    rng = np.random.default_rng(5)
    covered, worlds, points = 0, 500, 100
    for _ in range(worlds):
        gaps = (
            seed_sd * rng.normal(size=(replicas, 1))
            + point_sd * rng.normal(size=(1, points))
            + rest_sd * rng.normal(size=(replicas, points))
        )
        found = against_zero(gaps, "fixed")
        covered += found.low <= 0 <= found.high
    assert 0.93 <= covered / worlds <= 0.998  # conservative where the rest dominates


def test_seeds_alone_would_claim_too_much():
    rng = np.random.default_rng(6)
    naive, two_way = 0, 0
    for _ in range(300):
        gaps = rng.normal(size=(1, 80)) + 0.2 * rng.normal(size=(8, 80))
        found = against_zero(gaps, "fixed")
        naive += found.naive_low > 0 or found.naive_high < 0
        two_way += found.low > 0 or found.high < 0
    assert two_way / 300 <= 0.07
    assert naive / 300 > 0.5


# One replica


@pytest.mark.parametrize("design", ["resplit", "fixed"])
def test_one_replica_is_a_paired_t_test_over_points(design):
    g = torch.Generator().manual_seed(7)
    a, b = (torch.randn(1, 50, generator=g, dtype=torch.float64) for _ in range(2))
    found = paired_difference(a, b, design, 100, level=0.9)
    theirs = stats.ttest_rel(a[0], b[0])
    assert found.p_value == pytest.approx(theirs.pvalue, abs=1e-12)
    assert found.low == pytest.approx(theirs.confidence_interval(0.9).low, abs=1e-12)
    assert found.naive_low is None
    assert found.scope == "for this split and seed"
    assert found.level == 0.9


# No variation


@pytest.mark.parametrize("design", ["resplit", "fixed"])
@pytest.mark.parametrize("replicas", [1, 4])
def test_a_method_does_not_differ_from_itself(design, replicas):
    scores = torch.rand(replicas, 9, generator=torch.Generator().manual_seed(8))
    found = paired_difference(scores, scores, design, 100)
    assert (found.estimate, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize("design", ["resplit", "fixed"])
@pytest.mark.parametrize("replicas", [1, 4])
def test_a_constant_difference_is_a_difference(design, replicas):
    found = against_zero(np.full((replicas, 9), 0.1), design)
    assert found.estimate == pytest.approx(0.1)
    assert found.low == pytest.approx(0.1)
    assert found.high == pytest.approx(0.1)
    assert found.p_value < 1e-9


def test_a_single_point_per_replica():
    for design in ("resplit", "fixed"):
        found = against_zero([[1.0], [2.0], [4.0]], design)
        assert math.isfinite(found.low)
        assert found.low < found.estimate < found.high


# Many methods


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_holm_lies_between_raw_and_bonferroni(p_values):
    adjusted = holm(p_values)
    for raw, value in zip(p_values, adjusted, strict=True):
        assert raw <= value <= min(1.0, len(p_values) * raw) + 1e-15
    in_order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.array(adjusted)[in_order]) >= 0).all()
    smallest = min(p_values)
    assert min(adjusted) == min(1.0, len(p_values) * smallest)


def test_holm_keeps_false_claims_rare():
    p = np.random.default_rng(9).random((4000, 6))
    assert np.mean([min(holm(row)) < 0.05 for row in p]) == pytest.approx(0.05, abs=0.01)


# Refusals


def test_what_cannot_be_paired_is_refused():
    ones = torch.ones(3, 5)
    with pytest.raises(InputError, match="the replicas that both methods finished"):
        paired_difference(ones, ones[:2], "resplit", 10)
    with pytest.raises(InputError, match="0 training rows"):
        paired_difference(ones, ones, "resplit", 0)
    with pytest.raises(InputError, match="replicas, points"):
        paired_difference(ones[:1, :1], ones[:1, :1], "fixed", 10)
    for bad in (math.nan, math.inf):
        broken = ones.clone()
        broken[1, 2] = bad
        with pytest.raises(InputError, match="1 that are not, of 15"):
            paired_difference(broken, ones, "fixed", 10)
        with pytest.raises(InputError, match="1 that are not, of 15"):
            paired_difference(ones, broken, "fixed", 10)
    for bad in ([1.2], [-0.1], [math.nan]):
        with pytest.raises(InputError, match="p-values from 0 to 1"):
            holm(bad)


def test_wins_and_losses_count_replicas() -> None:
    a = torch.tensor([[0.0, 1.0], [2.0, 0.0], [1.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    b = torch.tensor([[1.0, 1.0], [1.0, 0.0], [1.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    found = paired_difference(a, b, "resplit", train_points=10)
    assert (found.wins, found.losses, found.replicas) == (2, 1, 4)
