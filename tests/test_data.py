"""Data: tables, splits, scaling, shifts, toys, and how bad input is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.preprocessing import StandardScaler

from bnn.data import (
    DATASETS,
    Dataset,
    Provenance,
    Rows,
    Scaling,
    Split,
    digits,
    fingerprint,
    from_arrays,
    random_splits,
    sine,
    sine_mean,
    sine_noise,
    two_moons,
)
from bnn.data.shift import noise, rotate
from bnn.errors import InputError

SETS = ("train", "validation", "calibration", "test")


# Rows and data sets


def table(rows: int = 40, features: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(rows, features, generator=generator), torch.arange(rows) % 2


def small(**changes: object) -> Dataset:
    x, y = table()
    parts = {
        "name": "small",
        "task": "classification",
        "x": x,
        "y": y,
        "split": random_splits(y, [0, 1], stratify=True),
        "provenance": Provenance("here", "none", fingerprint(x, y)),
        "classes": ("even", "odd"),
    }
    return Dataset(**{**parts, **changes})


def test_rows_are_gathered_per_replica() -> None:
    rows = Rows(
        torch.tensor([[0.0], [10.0], [20.0], [30.0]]),
        torch.tensor([0, 1, 2, 3]),
        torch.tensor([[3, 0, 1], [2, 1, 0]]),
    )
    assert (rows.replicas, rows.points) == (2, 3)
    assert rows.x.tolist() == [[[30.0], [0.0], [10.0]], [[20.0], [10.0], [0.0]]]
    assert rows.y.tolist() == [[3, 0, 1], [2, 1, 0]]
    assert rows.at(torch.tensor([[2, 0], [1, 1]])).y.tolist() == [[1, 3], [1, 1]]
    assert rows.take([1, 0, 1]).y.tolist() == [[2, 1, 0], [3, 0, 1], [2, 1, 0]]
    assert rows.take(slice(1, 2)).y.tolist() == [[2, 1, 0]]
    elsewhere = rows.to("meta")
    assert {part.device.type for part in (elsewhere.x, elsewhere.y, elsewhere.index)} == {"meta"}


def test_dataset_hands_out_its_sets_and_replicas() -> None:
    data = small()
    assert data.replicas == 2
    assert torch.equal(data.train.x, data.x[data.split.train])
    assert torch.equal(data.calibration.y, data.y[data.split.calibration])
    second = data.take([1])
    assert second.split.ids == (1,)
    assert torch.equal(second.test.x[0], data.test.x[1])
    assert torch.equal(second.validation.x[0], data.validation.x[1])


def test_shifted_rows_keep_their_labels() -> None:
    data = small(shifted={"doubled": 2 * table()[0]})
    assert torch.equal(data.test_under("doubled").x, 2 * data.test.x)
    assert torch.equal(data.test_under("doubled").y, data.test.y)
    with pytest.raises(InputError, match="Did you mean 'doubled'"):
        data.test_under("double")


def test_label_distributions_are_labels() -> None:
    shares = torch.tensor([[0.25, 0.75], [1.0, 0.0]]).repeat(20, 1)
    data = small(y=shares, split=random_splits(shares, [0], stratify=False))
    assert data.train.y.shape == (1, 24, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": torch.zeros(40)}, r"shape \[rows, features\]; found shape \(40,\)"),
        ({"x": torch.zeros(40, 0)}, r"found shape \(40, 0\)"),
        ({"x": torch.zeros(40, 2, dtype=torch.int64)}, "real numbers.*int64"),
        ({"x": torch.zeros(39, 2)}, "39 inputs and 40 targets"),
        ({"x": torch.zeros(0, 2), "y": torch.zeros(0, dtype=torch.int64)}, "at least one"),
        (
            {"x": table()[0].index_fill(0, torch.tensor(7), torch.nan)},
            "finite inputs; found 2 NaN or infinite values, the first in row 7",
        ),
        (
            {"y": torch.ones(40).index_fill(0, torch.tensor(3), torch.inf)},
            "finite targets; found 1 NaN or infinite values, the first in row 3",
        ),
        ({"task": "regression"}, "one real target per row.*int64"),
        ({"task": "classificaton"}, "Did you mean 'classification'"),
        ({"scale_inputs": "features"}, "one of 'feature', 'global'; found 'features'"),
        ({"task": "regression", "y": torch.zeros(40, 1)}, r"one real target.*\(40, 1\)"),
        ({"classes": ("even",)}, "at least two classes.*nothing to predict"),
        ({"classes": ("even", "even")}, "of different names"),
        ({"classes": ("even", "odd", "prime")}, "split 0; found no row of class 'prime'"),
        ({"y": torch.arange(40) % 3}, r"class numbers 0 to 1.*values \[0, 1, 2\]"),
        ({"y": torch.arange(40) % 2 - 1}, r"class numbers 0 to 1.*values \[-1, 0\]"),
        ({"y": (torch.arange(40) % 2).int()}, "as int64.*int32"),
        ({"y": torch.arange(40.0) % 2}, "as int64.*float32"),
        ({"y": torch.full((40, 2), 0.4)}, "label distributions over 2 classes"),
        ({"y": torch.tensor([[1.5, -0.5]]).repeat(40, 1)}, "rows that are negative"),
        ({"y": torch.full((40, 4), 0.25)}, "another length"),
        ({"shifted": {"blur": torch.zeros(39, 2)}}, r"under 'blur' of shape \(40, 2\).*\(39, 2\)"),
        ({"shifted": {"blur": torch.full((40, 2), torch.nan)}}, "finite inputs under 'blur'"),
        ({"shifted": {"test": torch.zeros(40, 2)}}, "other names than 'train', 'test'"),
        ({"unseen": torch.zeros(5, 3)}, r"unseen inputs of shape \(5, 2\); found shape \(5, 3\)"),
        ({"unseen": torch.zeros(0, 2)}, "unseen inputs"),
        ({"unseen": torch.full((5, 2), torch.inf)}, "finite unseen inputs; found 10"),
        ({"grid": torch.zeros(5)}, r"grid inputs of shape \(5, 2\); found shape \(5,\)"),
        ({"grid": torch.full((5, 2), torch.nan)}, "finite grid inputs"),
        (
            {"split": random_splits(torch.zeros(50), [0], stratify=False)},
            "a split of 40 rows; found row numbers from 0 to 49",
        ),
    ],
)
def test_dataset_refuses(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        small(**changes)


def test_a_class_that_is_not_trained_on_is_named() -> None:
    x = torch.zeros(6, 1)
    index = [torch.tensor([part]) for part in ([0, 1], [2], [3], [4, 5])]
    with pytest.raises(InputError, match="split 3; found no row of class 'odd'"):
        small(x=x, y=torch.tensor([0, 0, 1, 1, 0, 1]), split=Split(*index, ids=(3,)))


def test_fingerprint_sees_values_and_shapes_not_precision() -> None:
    x, y = table()
    mark = fingerprint(x, y)
    assert fingerprint(x.double(), y) == mark
    assert fingerprint(x + torch.eye(40, 2) * 1e-3, y) != mark
    assert fingerprint(x, 1 - y) != mark
    assert fingerprint(x.reshape(20, 4), y) != mark


# Splits


@pytest.mark.parametrize("stratify", [True, False])
def test_a_split_uses_every_row_once(stratify: bool) -> None:
    split = random_splits(torch.arange(200) % 3, [0, 5, 11], stratify=stratify)
    assert [getattr(split, name).shape for name in SETS] == [(3, 120), (3, 20), (3, 20), (3, 40)]
    rows = torch.cat([getattr(split, name) for name in SETS], dim=1)
    assert torch.equal(rows.sort(dim=1).values, torch.arange(200).expand(3, -1))


@pytest.mark.parametrize("stratify", [True, False])
def test_a_split_depends_on_its_own_id_only(stratify: bool) -> None:
    labels = torch.arange(100) % 4
    alone = random_splits(labels, [7], stratify=stratify)
    among = random_splits(labels, [3, 7, 4], stratify=stratify)
    assert among.take([1]).ids == alone.ids == (7,)
    for name in SETS:
        assert torch.equal(getattr(among, name)[1], getattr(alone, name)[0])
        assert not torch.equal(getattr(among, name)[0], getattr(among, name)[1])


def test_stratified_sets_keep_the_class_frequencies() -> None:
    labels = torch.cat([torch.full((n,), c) for c, n in enumerate((300, 150, 50))])
    split = random_splits(labels, range(10), stratify=True)
    expected = {
        "train": [180, 90, 30],
        "validation": [30, 15, 5],
        "calibration": [30, 15, 5],
        "test": [60, 30, 10],
    }
    for name, counts in expected.items():
        for rows in getattr(split, name):
            assert labels[rows].bincount().tolist() == counts


def test_splits_without_strata_let_the_frequencies_vary() -> None:
    labels = torch.arange(500) % 2
    split = random_splits(labels, range(10), stratify=False)
    assert len({int(labels[rows].sum()) for rows in split.test}) > 1


@pytest.mark.parametrize(
    ("labels", "ids", "message"),
    [
        (torch.zeros(50), [], "at least one split id"),
        (torch.zeros(50), [0, -1], r"from 0 to 2\*\*32 - 1; found \[0, -1\]"),
        (torch.zeros(50), [2**32], "Number the splits from zero"),
        (torch.zeros(50), 20, "a whole number for each replica; found 20. Write range"),
        (torch.zeros(50), [0.5], r"a whole number for each replica; found \[0\.5\]"),
        (torch.zeros(50), "01", "a whole number for each replica"),
        (torch.zeros(50), [0, 1, 0], r"splits that differ; found \[0, 1, 0\]"),
        (torch.zeros(0), [0], "enough rows.*found 0 rows"),
        (torch.zeros(4), [0], "enough rows.*found 4 rows"),
        (torch.tensor([0] * 49 + [1]), [2], "split 2; found only 1 of 50 rows of class 'rare'"),
        (torch.tensor([0] * 97 + [1] * 3), [2], "found only 3 of 100 rows of class 'rare'"),
    ],
)
def test_random_splits_refuse(labels: torch.Tensor, ids: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        random_splits(labels, ids, stratify=True, classes=("common", "rare"))


@pytest.mark.parametrize("ids", [range(3), np.arange(3), torch.arange(3), iter(range(3))])
def test_split_ids_may_come_in_any_form(ids: Iterable[int]) -> None:
    split = random_splits(torch.zeros(50), ids, stratify=False)
    assert split.ids == (0, 1, 2)
    assert all(type(number) is int for number in split.ids)
    expected = random_splits(torch.zeros(50), [0, 1, 2], stratify=False)
    assert torch.equal(split.train, expected.train)


def test_a_rare_class_is_never_left_out_of_a_set() -> None:
    """Whatever the counts, a split either has each class in each set or is refused."""
    outcomes = set()
    for count in range(2, 16):
        labels = torch.tensor([0] * 60 + [1] * count)
        for number in range(20):
            try:
                split = random_splits(labels, [number], stratify=True)
            except InputError:
                outcomes.add("refused")
                continue
            outcomes.add("drawn")
            assert all(len(labels[getattr(split, name)].unique()) == 2 for name in SETS)
    assert outcomes == {"refused", "drawn"}


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (([[0, 1]], [[2]], [[3]], [[1, 4]]), "split 9 to use each row once at most"),
        (([[0, 0]], [[2]], [[3]], [[4]]), "found 1 rows used again"),
        (([[]], [[2]], [[3]], [[4]]), "rows to train and to test on"),
        (([[0]], [[2]], [[3]], [[]]), "rows to train and to test on"),
        (([0], [2], [3], [4]), "one row of indices per split id"),
        (([[0], [1]], [[2]], [[3]], [[4]]), r"1 ids and index shapes \[\(2, 1\)"),
    ],
)
def test_split_refuses(sets: tuple[list, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Split(*(torch.tensor(part, dtype=torch.int64) for part in sets), ids=(9,))


def test_a_split_may_do_without_validation_rows() -> None:
    empty = torch.empty(1, 0, dtype=torch.int64)
    split = Split(torch.tensor([[0, 1]]), empty, empty, torch.tensor([[2]]), ids=(0,))
    assert small(split=split).validation.x.shape == (1, 0, 2)


# Scaling


def test_scaling_by_hand() -> None:
    rows = torch.tensor([[[1.0, 10.0], [3.0, 30.0]], [[0.0, 5.0], [4.0, 5.0]]])
    scaling = Scaling.of(rows)
    assert scaling.mean.tolist() == [[2.0, 20.0], [2.0, 5.0]]
    assert scaling.scale.tolist() == [[1.0, 10.0], [2.0, 1.0]]  # a constant column keeps its unit
    assert scaling.standardise(rows).tolist() == [
        [[-1.0, -1.0], [1.0, 1.0]],
        [[-1.0, 0.0], [1.0, 0.0]],
    ]


def test_global_scaling_by_hand() -> None:
    scaling = Scaling.of(torch.tensor([[[1.0, 1.0], [5.0, 9.0]]]), over="global")
    assert scaling.mean.tolist() == [[4.0, 4.0]]
    assert scaling.scale[0].tolist() == pytest.approx([np.sqrt((9 + 9 + 1 + 25) / 4)] * 2)


def test_targets_have_one_mean_and_scale_per_replica() -> None:
    scaling = Scaling.of(torch.tensor([[1.0, 3.0], [10.0, 10.0]]))
    assert scaling.mean.tolist() == [2.0, 10.0]
    assert scaling.scale.tolist() == [1.0, 1.0]
    assert scaling.standardise(torch.tensor([[5.0, 1.0]])).tolist() == [[3.0, -1.0], [-5.0, -9.0]]


def test_scaling_agrees_with_scikit_learn_on_real_rows() -> None:
    data = DATASETS["diabetes"]([0, 1])
    train, test = data.train.x.double(), data.test.x.double()
    ours = Scaling.of(train).standardise(test)
    for replica in range(2):
        theirs = StandardScaler().fit(train[replica].numpy()).transform(test[replica].numpy())
        np.testing.assert_allclose(ours[replica].numpy(), theirs, rtol=0, atol=1e-12)


def test_scaling_of_the_training_rows_ignores_all_others() -> None:
    data = DATASETS["wine"]([0])
    others = torch.ones(len(data.x), dtype=torch.bool)
    others[data.split.train[0]] = False
    moved = replace(data, x=torch.where(others[:, None], 1e3 + data.x, data.x))
    before, after = (Scaling.of(d.train.x) for d in (data, moved))
    assert torch.equal(before.mean, after.mean)
    assert torch.equal(before.scale, after.scale)
    assert not torch.equal(Scaling.of(data.test.x).mean, Scaling.of(moved.test.x).mean)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.0, 0.1, -3e7])
def test_a_constant_column_keeps_its_unit(value: float, dtype: torch.dtype) -> None:
    scaling = Scaling.of(torch.full((1, 1797, 1), value, dtype=dtype))
    assert scaling.scale.item() == 1.0
    far = scaling.standardise(torch.full((1, 1, 1), value + 16, dtype=dtype))
    assert far.item() == pytest.approx(16.0, rel=1e-5)


def test_small_and_far_columns_keep_their_scale() -> None:
    small_ = torch.tensor([[[1e-6], [3e-6]]])
    assert Scaling.of(small_).scale.item() == pytest.approx(1e-6, rel=1e-5)
    years = torch.tensor([[[2000.0], [2001.0], [2002.0], [2003.0]]])
    assert Scaling.of(years).scale.item() == pytest.approx(np.sqrt(1.25), rel=1e-6)


def test_scaling_is_computed_in_double_precision() -> None:
    random = np.random.default_rng(0)
    rows = torch.tensor(random.normal(1000, 1, (1, 50_000, 1)), dtype=torch.float32)
    exact = rows.double().numpy()
    scaling = Scaling.of(rows)
    assert scaling.mean.dtype == torch.float32
    assert scaling.mean.item() == pytest.approx(exact.mean(), rel=1e-7)
    assert scaling.scale.item() == pytest.approx(exact.std(), rel=1e-7)


def test_scaling_serves_images_replicas_and_devices() -> None:
    rows = torch.arange(2 * 3 * 4.0).reshape(2, 3, 2, 2)
    scaling = Scaling.of(rows, over="global")
    assert scaling.mean.shape == (2, 2, 2)
    assert scaling.replicas == 2
    assert scaling.take([1, 1]).mean.tolist() == [scaling.mean[1].tolist()] * 2
    assert scaling.take(slice(0, 1)).scale.shape == (1, 2, 2)
    assert scaling.to("cpu", torch.float64).standardise(rows.double()).dtype == torch.float64
    shared = scaling.standardise(rows[:1])
    assert torch.equal(shared[0], scaling.take([0]).standardise(rows[:1])[0])
    assert torch.equal(shared[1], scaling.take([1]).standardise(rows[:1])[0])


def test_scalings_of_some_replicas_join() -> None:
    rows = 5 + 2 * torch.randn(3, 40, 4, generator=torch.Generator().manual_seed(0))
    joined = Scaling.joined([Scaling.of(rows[r : r + 1]) for r in range(3)])
    assert torch.equal(joined.mean, Scaling.of(rows).mean)
    assert torch.equal(joined.scale, Scaling.of(rows).scale)


def test_the_identity_changes_nothing() -> None:
    rows = torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Scaling.identity(3, (2,)).standardise(rows), rows)
    assert torch.equal(Scaling.identity(3).standardise(rows[..., 0]), rows[..., 0])


def test_a_misspelt_scope_is_answered_with_a_proposal() -> None:
    with pytest.raises(InputError, match="Did you mean 'global'"):
        Scaling.of(torch.ones(1, 2, 3), "globel")


def test_scaling_refuses() -> None:
    with pytest.raises(InputError, match="at least one point"):
        Scaling.of(torch.zeros(2, 0, 3))
    scaling = Scaling.of(torch.zeros(2, 4, 3))
    for wrong in (torch.zeros(2, 4, 5), torch.zeros(3, 4, 3), torch.zeros(2, 3)):
        with pytest.raises(InputError, match=r"\[2 or 1, points, \*\(3,\)\]"):
            scaling.standardise(wrong)


# Shifts


def pictures() -> torch.Tensor:
    random = np.random.default_rng(1)
    return torch.tensor(random.uniform(0, 16, (5, 64)), dtype=torch.float32)


def test_rotation_by_nothing_is_the_identity() -> None:
    assert torch.equal(rotate(pictures(), 0, 8), pictures())


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_rotation_by_quarters_is_counter_clockwise(turns: int) -> None:
    expected = np.rot90(pictures().numpy().reshape(5, 8, 8), turns, axes=(1, 2)).reshape(5, 64)
    np.testing.assert_allclose(rotate(pictures(), 90 * turns, 8).numpy(), expected, atol=1e-5)


def test_rotation_by_half_a_quarter_by_hand() -> None:
    """The middle stays; a corner lies sqrt(2) out, where 2 - sqrt(2) of the edge is left."""
    cross = torch.tensor([[0.0, 0, 0, 0, 0], [0, 0, 8, 0, 0], [0, 8, 4, 8, 0]])
    image = torch.cat([cross, cross[:2].flip(0)]).reshape(1, 25)
    turned = rotate(image, 45, 5).reshape(5, 5)
    assert turned[2, 2].item() == pytest.approx(4.0, abs=1e-5)
    # The pixel (1, 1) shows the place (2, 2 - sqrt 2): between 0 at distance 2 and 8 at 1.
    corners = turned[[1, 1, 3, 3], [1, 3, 1, 3]]
    np.testing.assert_allclose(corners.numpy(), 8 * (2 - np.sqrt(2)), atol=1e-5)


def test_rotation_stays_in_range_and_leaves_its_input_alone() -> None:
    before = pictures()
    turned = rotate(before, 30, 8)
    assert torch.equal(before, pictures())
    assert turned.dtype == torch.float32
    assert turned.min() >= 0
    assert turned.max() <= before.max()
    assert turned[:, 0].eq(0).all()  # a corner shows what was outside


def test_rotation_refuses_images_of_another_shape() -> None:
    with pytest.raises(InputError, match=r"8 x 8 pixels, \[rows, 64\]; found shape \(5, 60\)"):
        rotate(torch.zeros(5, 60), 30, 8)


def test_noise_is_normal_with_the_stated_scale() -> None:
    x = torch.zeros(400, 64, dtype=torch.float64)
    e = noise(x, 3.0, 0, -100, 100)
    assert stats.kstest(e.flatten().numpy() / 3, "norm").pvalue > 0.01
    assert torch.equal(e, noise(x, 3.0, 0, -100, 100))
    assert not torch.equal(e, noise(x, 3.0, 1, -100, 100))
    torch.testing.assert_close(noise(x, 6.0, 0, -100, 100), 2 * e)  # the same e at every scale


def test_noise_is_clipped_and_keeps_the_type() -> None:
    noisy = noise(pictures(), 1e6, 0, 0.0, 16.0)
    assert set(noisy.unique().tolist()) == {0.0, 16.0}
    assert noisy.dtype == torch.float32
    assert torch.equal(noise(pictures(), 0.0, 0, 0.0, 16.0), pictures())


# The data sets that come along

PINNED = {
    "digits": "172db0c0d85254e0b98896d8b756897ac26cfbb40f6969ee8cd04b3dcd741a7a",
    "breast_cancer": "21779b1b5109f484e03276580d748882767d70c71bf4a37006faa327ee4b0eeb",
    "wine": "4fd7542739d139c4435e1efd1cdfece32e2b3f93b60088519d891c09feab0d7b",
    "diabetes": "e815be9cc3b5791ffefd7b0e9182c1cce845258e56398745f8eddb3183283798",
    "two_moons": "8276d4bf9de0c411ed6acbf7eb025f5a8d03950cf0dad9be4d99671a96665973",
    "sine": "9887e5a815b6eb806166fa84dd8155206a7da199f711447a088c6b80df8df4e1",
}
SHAPES = {
    "digits": (1443, 64),
    "breast_cancer": (569, 30),
    "wine": (178, 13),
    "diabetes": (442, 10),
    "two_moons": (500, 2),
    "sine": (400, 1),
}


def test_every_data_set_is_pinned() -> None:
    assert set(PINNED) == set(SHAPES) == set(DATASETS)


@pytest.mark.parametrize("name", DATASETS)
def test_tables_are_what_they_were(name: str) -> None:
    data = DATASETS[name]([0])
    assert data.name == name
    assert tuple(data.x.shape) == SHAPES[name]
    assert data.x.dtype == torch.float32
    assert data.provenance.sha256 == fingerprint(data.x, data.y) == PINNED[name]
    assert data.provenance.source
    assert data.provenance.licence


@pytest.mark.parametrize("name", DATASETS)
def test_a_data_set_gives_a_split_of_its_own_to_each_id(name: str) -> None:
    among, alone = DATASETS[name]([2, 7, 5]), DATASETS[name]([7])
    assert among.split.ids == (2, 7, 5)
    for part in SETS:
        assert torch.equal(getattr(among.split, part)[1], getattr(alone.split, part)[0])
    assert torch.equal(among.x, alone.x)
    with pytest.raises(InputError, match="at least one split id"):
        DATASETS[name]([])


@pytest.mark.parametrize("name", ["digits", "breast_cancer", "wine", "two_moons"])
def test_classes_are_stratified(name: str) -> None:
    data = DATASETS[name]([0, 1])
    share = data.y.bincount() / len(data.y)
    for part in SETS:
        rows = getattr(data, part)
        for labels in rows.y:
            apart = labels.bincount(minlength=len(share)) - share * rows.points
            assert apart.abs().max() < 2


def test_digits_hold_two_classes_out_and_disturb_the_rest() -> None:
    data = digits([0])
    assert data.classes == tuple("01234567")
    assert data.y.unique().tolist() == list(range(8))
    assert data.unseen is not None
    assert data.unseen.shape == (354, 64)
    assert data.scale_inputs == "global"
    names = [f"rotation {d}" for d in (15, 30, 45)] + [f"noise {s}" for s in (2, 4, 8)]
    assert list(data.shifted) == names
    for shifted in data.shifted.values():
        assert shifted.shape == data.x.shape
        assert shifted.min() >= 0
        assert shifted.max() <= 16
    strength = [(s - data.x).square().mean().item() for s in data.shifted.values()]
    assert strength[0] < strength[1] < strength[2]
    assert strength[3] < strength[4] < strength[5]
    assert torch.equal(data.shifted["noise 4"], digits([1]).shifted["noise 4"])


def test_digits_are_the_pictures_they_are_named_after() -> None:
    """The mean 0 has a hole in the middle; the mean 1 has ink there."""
    data = digits([0])
    middle = data.x.reshape(-1, 8, 8)[:, 3:5, 3:5].mean((1, 2))
    assert middle[data.y == 0].mean() < 2
    assert middle[data.y == 1].mean() > 10


def test_breast_cancer_counts_its_classes_right() -> None:
    data = DATASETS["breast_cancer"]([0])
    assert data.classes == ("malignant", "benign")
    assert data.y.bincount().tolist() == [212, 357]


def test_diabetes_is_in_raw_units() -> None:
    data = DATASETS["diabetes"]([0])
    assert data.x[:, 0].min() == 19  # years
    assert data.x[:, 0].max() == 79
    assert (data.y.min(), data.y.max()) == (25, 346)


# Toys


def test_two_moons_without_noise_are_half_circles() -> None:
    data = two_moons([0], points=200, noise=0.0)
    x, y = data.x[:, 0], data.x[:, 1]
    upper, lower = data.y == data.classes.index("upper"), data.y == data.classes.index("lower")
    torch.testing.assert_close((x**2 + y**2)[upper], torch.ones(100))
    torch.testing.assert_close(((x - 1) ** 2 + (y - 0.5) ** 2)[lower], torch.ones(100))
    assert y[upper].min() > -1e-6
    assert y[lower].max() < 0.5 + 1e-6


def test_two_moons_have_the_stated_noise() -> None:
    e = (two_moons([0], 20_000, 0.3).x - two_moons([0], 20_000, 0.0).x).double()
    assert stats.kstest(e.flatten().numpy() / 0.3, "norm").pvalue > 0.01


def test_two_moons_ring_is_far_and_inside_the_lattice() -> None:
    data = two_moons([0])
    assert data.unseen is not None
    assert data.grid is not None
    assert torch.cdist(data.unseen, data.x).min() > 1
    assert data.grid.shape == (3600, 2)
    lattice = data.grid.reshape(60, 60, 2)
    assert torch.equal(lattice[0, :, 0], lattice[1, :, 0])  # the first coordinate runs fastest
    assert torch.equal(lattice[:, 0, 1], lattice[:, 1, 1])
    for rows in (data.x, data.unseen):
        assert (rows.amin(0) > data.grid.amin(0)).all()
        assert (rows.amax(0) < data.grid.amax(0)).all()


def test_sine_functions_by_hand() -> None:
    assert sine_mean(np.array([0, np.pi / 4, np.pi / 2])) == pytest.approx([0, 1, 0], abs=1e-15)
    assert sine_noise(np.array([-50.0, 0, 50])) == pytest.approx([0.05, 0.175, 0.3])


@pytest.mark.parametrize("side", ["all", "left", "right"])
def test_sine_rows_follow_the_stated_mean_and_noise(side: str) -> None:
    data = sine([0], points=20_000)
    x, y = data.x[:, 0].double().numpy(), data.y.double().numpy()
    chosen = {"all": x < np.inf, "left": x < -2.5, "right": x > 2.5}[side]
    z = ((y - sine_mean(x)) / sine_noise(x))[chosen]
    assert stats.kstest(z, "norm").pvalue > 0.01
    assert z.std() == pytest.approx(1, abs=4 / np.sqrt(2 * len(z)))


def test_sine_inputs_are_uniform_around_the_gap() -> None:
    data = sine([0], points=20_000)
    x = data.x[:, 0].double().numpy()
    assert np.abs(x).min() >= 1
    assert np.abs(x).max() <= 4
    assert stats.kstest(np.abs(x), stats.uniform(1, 3).cdf).pvalue > 0.01
    assert stats.binomtest(int((x > 0).sum()), len(x)).pvalue > 0.01


def test_sine_gap_is_unseen_and_the_grid_goes_beyond() -> None:
    data = sine([0, 1])
    assert data.unseen is not None
    assert data.grid is not None
    assert data.unseen.shape == (100, 1)
    assert data.unseen.abs().max() < 1 <= data.train.x.abs().min()
    assert data.grid.shape == (300, 1)
    assert (data.grid.min(), data.grid.max()) == (-6, 6)


# Arrays in hand


def arrays(rows: int = 60) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.normal(size=(rows, 3)), np.arange(rows) % 3


@pytest.mark.parametrize(
    "form",
    [np.asarray, torch.from_numpy, pd.DataFrame, np.ndarray.tolist],
    ids=["numpy", "torch", "pandas", "lists"],
)
def test_inputs_of_any_form_give_the_same_table(form: Callable) -> None:
    x, y = arrays()
    data = from_arrays("mine", form(x), y)
    assert data.x.dtype == torch.float64
    assert np.array_equal(data.x.numpy(), x)
    assert data.provenance == Provenance(
        "given as arrays", "not stated", fingerprint(data.x, data.y)
    )


def test_arrays_are_copied_and_float32_is_kept() -> None:
    x, y = arrays()
    x = x.astype(np.float32)
    y = y.astype(np.float64)
    data = from_arrays("mine", x, y)
    first = data.x[0, 0].item()
    x[0, 0] = y[0] = 99
    assert data.x.dtype == torch.float32
    assert data.x[0, 0] == first
    assert data.y[0] == 0


@pytest.mark.parametrize(
    ("y", "names"),
    [
        (np.arange(60) % 3 + 4, ("4", "5", "6")),
        (np.arange(60, dtype=np.uint8) % 3, ("0", "1", "2")),
        (np.arange(60) % 2 == 1, ("False", "True")),
        (["dog", "cat", "eel"] * 20, ("cat", "dog", "eel")),
        (pd.Series(["dog", "cat"] * 30, index=range(100, 160)), ("cat", "dog")),
        (pd.Series([True, False] * 30, dtype="boolean"), ("False", "True")),
        (
            pd.Series(pd.Categorical(["low", "high"] * 30, ["low", "mid", "high"])),
            ("low", "high"),
        ),
        (torch.arange(60) % 2, ("0", "1")),
        (np.array([10, 9] * 30, dtype=object), ("9", "10")),
    ],
    ids=lambda value: str(value)[:20].replace("\n", " "),
)
def test_labels_become_classes_in_order(y: object, names: tuple[str, ...]) -> None:
    data = from_arrays("mine", arrays()[0], y)
    given = [str(value) for value in np.asarray(y)]
    assert data.task == "classification"
    assert data.classes == names
    assert [data.classes[number] for number in data.y.tolist()] == given


@pytest.mark.parametrize(
    ("y", "classes", "numbers"),
    [
        (["no", "yes"] * 30, ["yes", "no"], [1, 0]),
        ([0, 1] * 30, ["no", "yes"], [0, 1]),
        ([3, 8] * 30, [8, 3], [1, 0]),
    ],
)
def test_classes_name_labels_or_number_them(y: list, classes: list, numbers: list) -> None:
    data = from_arrays("mine", arrays()[0], y, classes=classes)
    assert data.classes == tuple(str(name) for name in classes)
    assert data.y[:2].tolist() == numbers


@pytest.mark.parametrize(
    "y", [np.linspace(0, 1, 60), pd.Series(np.linspace(0, 1, 60), dtype=object)], ids=["f8", "O"]
)
def test_floats_make_a_regression(y: object) -> None:
    data = from_arrays("mine", arrays()[0], y, splits=[1, 2])
    assert data.task == "regression"
    assert data.classes == ()
    assert data.y.tolist() == np.linspace(0, 1, 60).tolist()
    assert data.split.ids == (1, 2)


def test_the_task_may_be_stated() -> None:
    x, y = arrays()
    assert from_arrays("mine", x, y, task="regression").y.dtype == torch.float64
    assert from_arrays("mine", x, y * 1.0, task="classification").classes == ("0", "1", "2")


def test_columns_of_any_numeric_kind_are_read() -> None:
    frame = pd.DataFrame(
        {
            "int": range(60),
            "bool": [True, False] * 30,
            "object": np.array([1, 2.5] * 30, dtype=object),
            "text": ["1.5", "2"] * 30,
            "nullable": pd.array([1, 2] * 30, dtype="Int64"),
            "category": pd.Categorical([4, 2] * 30),
        }
    )
    data = from_arrays("mine", frame, arrays()[1])
    assert data.x[1].tolist() == [1, 0, 2.5, 2, 2, 2]


def test_images_and_unseen_inputs_pass_through() -> None:
    random = np.random.default_rng(0)
    images = random.normal(size=(60, 4, 4)).astype(np.float32)
    unseen = np.zeros((5, 4, 4))
    data = from_arrays("mine", images, arrays()[1], unseen=unseen, scale_inputs="global")
    assert data.train.x.shape == (1, 36, 4, 4)
    assert data.unseen is not None
    assert data.unseen.dtype == torch.float32
    assert data.scale_inputs == "global"


def with_value(value: object, kind: type = float) -> np.ndarray:
    x = arrays()[0].astype(kind)
    x[5, 1] = value
    return x


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (with_value(np.nan), arrays()[1], "finite inputs; found 1 .* first in row 5"),
        (with_value(-np.inf), arrays()[1], "finite inputs; found 1 .* first in row 5"),
        (with_value(None, object), arrays()[1], "finite inputs; found 1 .* first in row 5"),
        (with_value("red", object), arrays()[1], "numbers in column 1 of x; found 'red'.*dummies"),
        (
            pd.DataFrame({"age": range(60), "colour": ["red", "blue"] * 30}),
            arrays()[1],
            "numbers in column 'colour' of x; found 'red'",
        ),
        (
            pd.DataFrame({"day": pd.date_range("2020-01-01", periods=60)}),
            arrays()[1],
            "numbers in column 'day' of x; found Timestamp",
        ),
        (arrays()[0] * 1j, arrays()[1], "numbers in column 0 of x"),
        (pd.DataFrame({"a": pd.array([1, None] * 30, "Int64")}), arrays()[1], "30 NaN"),
        (np.zeros(60), arrays()[1], r"found shape \(60,\).*x\[:, None\]"),
        (np.array(["a"] * 60), arrays()[1], r"\[rows, features\]; found shape \(60,\)"),
        ([[1, 2], [3]], [0, 1], "x as a rectangular array"),
        (np.zeros((60, 0)), arrays()[1], r"found shape \(60, 0\)"),
        (np.zeros((0, 3)), np.zeros(0), "found 0 rows"),
        (np.zeros((59, 3)), arrays()[1], "59 inputs and 60 targets"),
        (arrays()[0], np.zeros((60, 1)), r"one target per row; found targets of shape \(60, 1\)"),
        (arrays()[0], 3, r"one target per row; found targets of shape \(\)"),
        (arrays()[0], np.full(60, np.nan), "finite targets; found 60"),
        (arrays()[0], np.full(60, np.inf), "finite targets; found 60"),
        (arrays()[0], ["a", None] * 30, "a label in every row; found 30 missing"),
        (arrays()[0], ["a"] * 60, r"at least two classes.*\['a'\]"),
        (arrays()[0], ["a"] * 57 + ["b"] * 3, "only 3 of 60 rows of class 'b'"),
        (arrays()[0], np.arange(60), "class '0'.*a quantity belongs in floats"),
    ],
)
def test_arrays_are_refused(x: object, y: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_arrays("mine", x, y)


@pytest.mark.parametrize(
    ("y", "options", "message"),
    [
        (["a", "b"] * 30, {"classes": ["a", "c"]}, r"\['a', 'c'\].*found 'b'"),
        ([1, 2] * 30, {"classes": ["no", "yes"]}, "numbers into them; found '1'"),
        (["a", "b"] * 30, {"classes": ["a", "b", "c"]}, "found no row of class 'c'"),
        ([0.5, 1] * 30, {"task": "classification"}, "not whole. Choose task='regression'"),
        ([np.nan, 1] * 30, {"task": "classification"}, "not whole"),
        (["a", "b"] * 30, {"task": "regression"}, "numbers in y; found 'a'"),
        ([0, 1] * 30, {"task": "regresion"}, "Did you mean 'regression'"),
        ([0, 1] * 30, {"splits": ()}, "at least one split id"),
        ([0, 1] * 30, {"splits": 20}, "a whole number for each replica"),
        ([0, 1] * 30, {"splits": [0.5]}, "a whole number for each replica"),
        ([0, 1] * 30, {"scale_inputs": "features"}, "Did you mean 'feature'"),
        ([0, 1] * 30, {"unseen": np.zeros((4, 2))}, r"unseen inputs of shape \(4, 3\)"),
    ],
)
def test_options_are_refused(y: list, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_arrays("mine", arrays()[0], y, **options)
