"""Ranks over data sets: by hand, against the tables of the literature, and against scipy."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from bnn.errors import InputError
from bnn.statistics import critical_difference, ranks, signed_ranks

# On four data sets: ranks 1 1 1 1, then 2.5 2 2 3, then 2.5 3 3 2.
SCORES = {"b": [2.0, 5.0, 0.3, 9.0], "a": [1.0, 4.0, 0.2, 7.0], "c": [2.0, 6.0, 0.4, 8.0]}


def test_mean_ranks_by_hand() -> None:
    found = ranks(SCORES)
    assert found.mean == {"a": 1.0, "b": 2.375, "c": 2.625}
    assert list(found.mean) == ["a", "b", "c"]
    assert found.datasets == 4


def test_friedman_by_hand() -> None:
    """chi^2 = 12 N / (k (k + 1)) sum (R - (k + 1) / 2)^2, divided for the tie by 1 - 6 / 96."""
    chi2 = 12 * 4 / 12 * (1 + 0.375**2 + 0.625**2) / (1 - 6 / (4 * 24))
    assert ranks(SCORES).p_value == pytest.approx(stats.chi2.sf(chi2, 2), rel=1e-12)
    alike = ranks({name: [1.0, 2.0, 3.0] for name in "abc"})
    assert (alike.p_value, alike.mean["a"]) == (1.0, 2.0)
    assert alike.groups == [("a", "b", "c")]
    assert set(alike.pairs.values()) == {1.0}


@pytest.mark.parametrize(
    ("methods", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (8, 3.031), (10, 3.164)]
)
def test_the_critical_difference_is_that_of_demsars_table(methods: int, q: float) -> None:
    expected = q * math.sqrt(methods * (methods + 1) / (6 * 14))
    assert critical_difference(methods, 14) == pytest.approx(expected, rel=3e-4)


def test_the_critical_difference_at_ninety_percent() -> None:
    """Demsar's example: four methods on 14 data sets, 1.25 and 1.12 at 0.10."""
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)
    assert critical_difference(4, 14, level=0.9) == pytest.approx(1.12, abs=0.005)


def test_equal_methods_are_rarely_told_apart() -> None:
    """Five equal methods on 20 data sets; 0.05 within three and a half errors of 1,000 worlds."""
    order = stats.rankdata(np.random.default_rng(0).random((1000, 5, 20)), axis=1).mean(2)
    apart = np.ptp(order, axis=1) > critical_difference(5, 20)
    assert apart.mean() == pytest.approx(0.05, abs=3.5 * math.sqrt(0.05 * 0.95 / 1000))


def test_groups_are_the_largest_sets_within_the_critical_difference() -> None:
    rng = np.random.default_rng(1)
    scores = {name: place + rng.normal(size=12) for place, name in enumerate("abcdef")}
    found = ranks(scores)
    assert found.groups
    names = list(found.mean)
    for group in found.groups:
        first, last = names.index(group[0]), names.index(group[-1])
        assert group == tuple(names[first : last + 1])
        assert found.mean[group[-1]] - found.mean[group[0]] < found.critical
        for wider in ((first - 1, last), (first, last + 1)):
            if wider[0] >= 0 and wider[1] < len(names):
                gap = found.mean[names[wider[1]]] - found.mean[names[wider[0]]]
                assert gap >= found.critical
    together = {pair for group in found.groups for pair in product(group, group)}
    for a, b in product(names, names):
        near = abs(found.mean[a] - found.mean[b]) < found.critical
        assert ((a, b) in together) == (near and (a != b or any(a in g for g in found.groups)))


def test_no_unit_of_a_score_disturbs_ranks() -> None:
    stretched = {name: [math.exp(v) for v in row] for name, row in SCORES.items()}
    assert ranks(stretched).mean == ranks(SCORES).mean


def test_the_company_may_turn_the_order_of_two_mean_ranks() -> None:
    """The trap that the pairwise tests are for: they know of no third method."""
    a, b = [1.0, 1.0, 1.0, 9.0, 9.0], [2.0, 2.0, 2.0, 1.0, 1.0]
    third, fourth = [7.0] * 5, [8.0] * 5
    plain = ranks({"a": a, "b": b, "c": [20.0] * 5})
    crowded = ranks({"a": a, "b": b, "c": third, "d": fourth})
    assert plain.mean["a"] < plain.mean["b"]
    assert crowded.mean["a"] > crowded.mean["b"]
    assert signed_ranks(np.subtract(a, b)) > 0.5


def test_signed_ranks_are_those_of_every_choice_of_signs() -> None:
    sizes = np.array([0.5, 1.0, 1.0, 2.0, 3.0, 0.0])
    gaps = sizes * [-1, 1, 1, 1, 1, 1]
    order = stats.rankdata(sizes[:-1])  # 1, 2.5, 2.5, 4, 5
    sums = [np.dot(signs, order) for signs in product((0, 1), repeat=5)]
    expected = 2 * np.mean([s <= 1 for s in sums])  # the negative one has rank 1
    assert signed_ranks(gaps) == pytest.approx(expected, rel=1e-12)
    assert signed_ranks(np.zeros(4)) == 1.0
    assert signed_ranks(np.ones(5)) == pytest.approx(2 / 32)


def test_signed_ranks_are_those_of_scipy_without_ties() -> None:
    rng = np.random.default_rng(2)
    for n in (3, 6, 11, 20):
        gaps = rng.normal(0.3, 1, n)
        expected = stats.wilcoxon(gaps, method="exact").pvalue
        assert signed_ranks(gaps) == pytest.approx(expected, rel=1e-12)


def test_pairs_are_adjusted_for_their_number() -> None:
    rng = np.random.default_rng(3)
    scores = {"a": rng.normal(size=12), "b": 1 + rng.normal(size=12), "c": 5 + rng.normal(size=12)}
    found = ranks(scores)
    raw = {(x, y): signed_ranks(scores[x] - scores[y]) for x, y in found.pairs}
    assert set(raw) == {("a", "b"), ("a", "c"), ("b", "c")}
    smallest = min(raw, key=lambda pair: raw[pair])
    assert found.pairs[smallest] == pytest.approx(3 * raw[smallest])
    assert all(raw[pair] <= found.pairs[pair] <= 1 for pair in raw)


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ({"a": [1.0] * 4, "b": [2.0] * 4}, "at least 3 methods"),
        ({name: [1.0, 2.0] for name in "abc"}, "at least 3 methods"),
        ({"a": [1.0] * 4, "b": [2.0] * 4, "c": [1.0] * 3}, "same data sets"),
        ({}, "at least 3 methods"),
        ({"a": [1.0] * 3, "b": [2.0] * 3, "c": [1.0, math.nan, 1.0]}, "1 that are not, of 9"),
    ],
)
def test_what_has_no_ranks_is_refused(scores: dict[str, list[float]], words: str) -> None:
    with pytest.raises(InputError, match=words):
        ranks(scores)
