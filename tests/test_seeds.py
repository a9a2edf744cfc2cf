"""Randomness: a stream depends on a seed and a purpose, and on nothing else."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

import numpy as np
import pytest
import torch
from scipy import stats

from bnn.errors import InputError
from bnn.seeds import Streams, as_seeds, derived, seeded

CPU = torch.device("cpu")


def streams(seeds: list[int], purpose: str = "test", dtype: torch.dtype = torch.float64) -> Streams:
    return Streams(seeds, purpose, CPU, dtype)


@pytest.mark.parametrize(
    "given",
    [[4, 0, 4], (4, 0, 4), np.array([4, 0, 4]), torch.tensor([4, 0, 4]), iter([4, 0, 4])],
)
def test_seeds_of_any_form_are_plain_numbers(given: Iterable[int]) -> None:
    found = as_seeds(given)
    assert found == (4, 0, 4)
    assert [type(seed) for seed in found] == [int] * 3
    assert as_seeds(found) == found


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (20, "found 20. Write range(20)"),
        (None, "found None. Write range(20)"),
        (np.array(3), "found array(3)"),
        (torch.tensor(3), "found tensor(3)"),
        ([0, 0.5], "found [0, 0.5]. Count them"),
        (np.array([0.0, 1.0]), "whole number"),
        (torch.tensor([0.5]), "whole number"),
        ("012", "found ['0', '1', '2']"),
        ([[0, 1]], "found [[0, 1]]"),
    ],
)
def test_seeds_that_are_none_are_refused(given: object, says: str) -> None:
    with pytest.raises(InputError, match=re.escape(says)):
        as_seeds(given)


@pytest.mark.parametrize("kind", ["normal", "uniform", "levels"])
@pytest.mark.parametrize("shape", [(3,), (17,), (5, 40)])  # torch fills 16 and more another way
def test_a_replica_draws_what_its_seed_draws_alone(kind: str, shape: tuple[int, ...]) -> None:
    together, alone = streams([4, 9, 2]), streams([9])
    for _ in range(3):  # the streams stay in step
        drawn = getattr(together, kind)(2, *shape)
        assert drawn.shape == (3, 2, *shape)
        assert torch.equal(drawn[1:2], getattr(alone, kind)(2, *shape))


@pytest.mark.parametrize("kind", ["normal", "uniform", "levels"])
def test_the_first_draws_do_not_depend_on_how_many_follow(kind: str) -> None:
    many, few, one = (getattr(streams([1, 2]), kind) for _ in range(3))
    drawn = many(7, 21)
    assert torch.equal(drawn[:, :3], few(3, 21))
    assert torch.equal(drawn, torch.cat([one(1, 21) for _ in range(7)], dim=1))


@pytest.mark.parametrize("size", [3, 400, 5000])  # of which many draws are made ahead, a few, none
def test_draws_one_by_one_are_those_drawn_together(size: int) -> None:
    single, together = streams([4, 9, 2]), streams([4, 9, 2])
    for draws in (1, 3, 2, 16, 1):
        each = single.normal_each(draws, size)
        assert len(each) == draws
        assert torch.equal(torch.stack(list(each), dim=1), together.normal(draws, size))
    rest = single.take([2, 0])
    assert torch.equal(rest.normal_each(1, size)[0], together.normal(1, size)[[2, 0], 0])


def test_purposes_and_seeds_give_other_numbers() -> None:
    drawn = torch.cat([streams([0, 1, 2], p).normal(1, 2)[:, 0] for p in ("a", "b")])
    assert len(drawn.unique(dim=0)) == 6


def test_seeds_near_each_other_are_not_alike() -> None:
    drawn = streams(list(range(200)), "near").normal(1, 1).flatten()
    assert stats.kstest(drawn.numpy(), "norm").pvalue > 0.01
    assert abs(stats.pearsonr(drawn[1:], drawn[:-1]).statistic) < 0.2


def test_numbers_are_standard_normal_and_uniform() -> None:
    drawn = streams([3])
    assert stats.kstest(drawn.normal(1, 4000).flatten().numpy(), "norm").pvalue > 0.01
    uniform = drawn.uniform(1, 4000).flatten()
    assert stats.kstest(uniform.numpy(), "uniform").pvalue > 0.01
    assert ((uniform >= 0) & (uniform < 1)).all()
    assert streams([3], dtype=torch.float32).normal(1, 2).dtype == torch.float32


def test_levels_are_uniform_on_all_numbers_of_16_bits_in_each_quarter_of_a_word() -> None:
    """Each of nine tests fails by chance once in 1,000 times."""
    levels = streams([3]).levels(1, 4_000_000)[0, 0]
    assert levels.dtype == torch.int16
    for quarter in levels.view(-1, 4).T.numpy():
        counts = np.bincount(quarter.astype(np.int64) + 2**15, minlength=2**16)
        assert len(counts) == 2**16
        assert stats.chisquare(counts).pvalue > 0.001
        assert stats.chisquare(counts.reshape(2, -1).sum(1)).pvalue > 0.001  # the sign
    pairs = levels.view(-1, 2).T.double()
    assert stats.pearsonr(*pairs.numpy()).pvalue > 0.001
    assert streams([3]).levels(2, 5).shape == (1, 2, 5)


def test_permutations_are_orders_of_all_points_one_per_replica() -> None:
    orders = streams([5, 6, 7]).permutations(50)
    assert torch.equal(orders.sort(dim=1).values, torch.arange(50).expand(3, -1))
    assert len(orders.unique(dim=0)) == 3
    assert torch.equal(orders[2:], streams([7]).permutations(50))


def test_seeding_ends_with_its_block_also_when_that_fails(untouched: None) -> None:
    def draw() -> torch.Tensor:
        with seeded(1, "start"):
            return torch.randn(5)

    assert torch.equal(draw(), draw())
    with pytest.raises(ZeroDivisionError), seeded(1, "start"):
        int(torch.randn(5)[0]) // 0


def test_seeding_leaves_accelerators_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(seed: int) -> None:
        raise AssertionError("an accelerator's generator was seeded")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", refuse)
    with seeded(1, "start"):
        pass


def test_a_derived_seed_is_pinned_to_its_hash() -> None:
    digest = hashlib.sha256(b"7/member 2").digest()
    expected = (int.from_bytes(digest[:8], "little") >> 1) % 2**32
    assert derived(7, "member 2") == expected == 2713793226
    made = {derived(seed, f"member {m}") for seed in range(50) for m in range(1, 20)}
    assert len(made) == 50 * 19
    assert all(0 <= seed < 2**32 for seed in made)
