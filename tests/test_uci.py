"""The UCI sets: rows, checksums, the splits of the literature, files at hand or downloaded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pooch
import pytest
import torch
from served import Server, put
from sklearn.preprocessing import StandardScaler
from typer.testing import CliRunner

from bnn.cli import app
from bnn.data import (
    Split,
    fingerprint,
    gap_splits,
    hold_out,
    standard_splits,
    stratified_splits,
    uci,
)
from bnn.data.files import File
from bnn.data.protocols import SEEDS
from bnn.errors import InputError
from bnn.networks import MLP
from bnn.problem import Problem

SETS = ("train", "validation", "calibration", "test")

# Rows, features; SHA-256 of the table, and of the published index arrays of all its splits.
REGRESSION = {
    "boston": (
        (506, 13),
        "d6777b370a15504c7720f7a14cd6da2146e8bff15b6b21dd181265cf5cbcff96",
        "3a0f9d6fd12975eb9ec1aad334038e1dd6ecae021b4f14037f307b282942fd29",
    ),
    "concrete": (
        (1030, 8),
        "5380dc3809a136caba1872d7054429cf61f11531b49fdc0c29af6ed07ba800fc",
        "53e07118dc99dae5a0c6777cb98187d1709d3a52f815116a31dab2aca8fd0d09",
    ),
    "energy": (
        (768, 8),
        "82e5f7080c671f1a9933fd354342953022506b05daf2fb1ef1474f85c50a1f55",
        "f31dbf17d6e9061396b9e6d151d41d73c99674ac73da7f107358c51f633b6bd3",
    ),
    "kin8nm": (
        (8192, 8),
        "2039b50d958911260d4b314d3889b1634fe80fad2641abb5359a3ebc2c79538e",
        "cc438ee541ed1c010a7a8ae6d5719ab0411d397421b7ee9c23262bbc44706eec",
    ),
    "naval": (
        (11934, 16),
        "5e36be85387e0a7617b35e57413875b9fd70ad25f6dd70c955d7e7310e4ff591",
        "c85d2a484c787dc1b58edda317810c238c6a03a6683ca31017565d1ed7f10978",
    ),
    "power": (
        (9568, 4),
        "d3d6c6f865c5493255cc8f29b42a8f778b389692779874d42b78585b73a4a7e1",
        "86afc4ab79af4eccfc740e8b1ac3557b96b2fb7cbfcaa62e10fe0fe3e9fb6522",
    ),
    "wine": (
        (1599, 11),
        "2716ed913d7917c2ae6d35997978e9cb84a47af81f894640af90123cd5511b1c",
        "2321a34fc862e7f7c721e5732d84278e97b93432d6ae2c61f9cde20dbacd5819",
    ),
    "yacht": (
        (308, 6),
        "c2e8f75fc12b811d76e426e4d82194a09ceae78def7865137f90ae772bb46ead",
        "28ca596560b98361cb8eb5e2696b48929ad65c748ce5ff1a4ca96c2d71b46635",
    ),
}

# Features; rows of each class; SHA-256 of the table.
CLASSIFICATION = {
    "australian": (
        14,
        [383, 307],
        "5fecfa52a397e7c8ff0e1cffae2851b461ac76a81927c6db1ae6060fcf905a11",
    ),
    "breast_cancer": (
        10,
        [444, 239],
        "655e144b02ac7c87067a8dcc981d2f0b373ba7d9c67855f63d9e95be13375f16",
    ),
    "ionosphere": (
        34,
        [126, 225],
        "a5175ccbc19994d59d110ef0c3b92dd3174a68e0f042816118b469f1a0236e51",
    ),
    "digits": (
        64,
        [178, 182, 177, 183, 181, 182, 181, 179, 174, 180],
        "0c07b41f06c37593fa4fed0b5c01de70668436ec1729120fb1524b6e404c8b0a",
    ),
    "satellite": (
        36,
        [1533, 703, 1358, 626, 707, 1508],
        "c48f5ec6a27de92e00e936dda0dc96c93aa849d8578e0d070e43332d0bc64519",
    ),
    "banana": (
        2,
        [2924, 2376],
        "29a257d8caba07493ec2f5286dde6af7099561a6e818bccfcb7bed083bdfb1ad",
    ),
}
DIGITS_SPLITS = "9d197fe0a5e7f17aed7f731166332be6f4eaaed1138cbdfd201bbe87791f4f04"


def sha256(*index: torch.Tensor) -> str:
    return hashlib.sha256(torch.cat(index, dim=1).numpy().astype("<i8").tobytes()).hexdigest()


# Splits


@pytest.mark.parametrize("name", REGRESSION)
def test_the_rule_draws_the_published_splits(name: str) -> None:
    """Row by row and in their order, for all of the 20; no file is needed to tell."""
    (rows, _), _, published = REGRESSION[name]
    split = standard_splits(rows, range(20))
    assert split.train.shape == (20, round(0.9 * rows))
    assert sha256(split.train, split.test) == published
    assert split.validation.shape == split.calibration.shape == (20, 0)


def test_the_rule_draws_the_published_splits_of_digits() -> None:
    data = uci.classification("digits", range(10))
    assert data.provenance.sha256 == CLASSIFICATION["digits"][2]
    split = data.split
    assert sha256(split.train, split.validation, split.test) == DIGITS_SPLITS


X = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "draw",
    [
        lambda ids: standard_splits(50, ids),
        lambda ids: hold_out(standard_splits(50, ids), 0.2),
        lambda ids: gap_splits(X, ids),
        lambda ids: stratified_splits(torch.arange(50) % 3, ids),
    ],
    ids=["standard", "held out", "gap", "stratified"],
)
def test_a_split_depends_on_its_own_id_only(draw: Callable[[list[int]], Split]) -> None:
    among = draw([3, 0, 2])
    assert among.ids == (3, 0, 2)
    for replica, number in enumerate(among.ids):
        alone = draw([number])
        for part in SETS:
            assert torch.equal(getattr(among, part)[replica], getattr(alone, part)[0])
    assert not torch.equal(among.train[0], among.train[1])
    with pytest.raises(InputError, match="at least one split id"):
        draw([])
    with pytest.raises(InputError, match="name each id once"):
        draw([1, 1])


def test_gap_splits_by_hand() -> None:
    """Seven rows: in the order of a feature the third and the fourth are the gap."""
    x = torch.tensor([[5.0, 0], [1, 1], [3, 0], [2, 1], [4, 0], [6, 1], [0, 0]])
    split = gap_splits(x, [0, 1])
    assert split.test.tolist() == [[3, 2], [4, 6]]  # of feature 1, equal values in row order
    assert [sorted(rows) for rows in split.train.tolist()] == [[0, 1, 4, 5, 6], [0, 1, 2, 3, 5]]
    assert split.validation.shape == split.calibration.shape == (2, 0)


def test_the_rows_around_a_gap_are_mixed() -> None:
    """So that the last of them, which may validate, come from both sides alike."""
    x = torch.randn(600, 4, generator=torch.Generator().manual_seed(0))
    split = hold_out(gap_splits(x, range(4)), 0.2)
    for d in range(4):
        gap = x[split.test[d], d]
        assert len(gap) == 200
        for part in (split.train, split.validation):
            below, above = x[part[d], d] < gap.min(), x[part[d], d] > gap.max()
            assert (below | above).all()
            # 4 standard deviations of a binomial around its mean; the seeds are fixed.
            assert abs(below.double().mean() - 0.5) < 4 * 0.5 / len(below) ** 0.5


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([0, 1], r"features that vary, which are \[0, 2\]; found \[1\]"),
        ([2, 3], r"which are \[0, 2\]; found \[3\]"),
        ([-1], "at least one split id, each from 0"),
    ],
)
def test_features_without_a_middle_are_refused(features: list[int], message: str) -> None:
    x = torch.tensor([[0.0, 7, 1], [1, 7, 0], [2, 7, 5], [3, 7, 2]])
    with pytest.raises(InputError, match=message):
        gap_splits(x, features)


@pytest.mark.parametrize("name", REGRESSION)
def test_the_last_training_rows_validate(name: str) -> None:
    whole = standard_splits(REGRESSION[name][0][0], [0, 5])
    split = hold_out(whole, 0.2)
    assert split.train.shape[1] == int(0.8 * whole.train.shape[1])  # as published
    assert torch.equal(torch.cat([split.train, split.validation], dim=1), whole.train)
    assert torch.equal(split.test, whole.test)
    twice = hold_out(split, 0.1)
    assert torch.equal(twice.validation[:, -split.validation.shape[1] :], split.validation)
    assert torch.equal(torch.cat([twice.train, twice.validation], dim=1), whole.train)
    nothing = hold_out(whole, 0)
    assert torch.equal(nothing.train, whole.train)
    assert nothing.validation.shape == (2, 0)


@pytest.mark.parametrize("share", [-0.1, 1, float("nan"), 0.999])
def test_shares_out_of_range_are_refused(share: float) -> None:
    with pytest.raises(InputError, match=r"rows to train and to test on|a share of the training"):
        hold_out(standard_splits(50, [0]), share)


def test_there_are_no_more_splits_than_were_published() -> None:
    with pytest.raises(InputError, match=r"standard splits, 0 to 19; found \[3, 20\]"):
        standard_splits(50, [3, 20])
    with pytest.raises(InputError, match=r"published splits, 0 to 9; found \[10\]"):
        uci.classification("digits", [10])


# Files


def archive(path: Path, x: np.ndarray, y: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, X=x, y=y, seeds=np.arange(3))
    return path


def test_a_table_is_the_same_from_text_and_archive(tmp_path: Path) -> None:
    """Columns by tabs and by blanks; a second target, which is left out."""
    x, y = np.array([[1.5, 2], [0.1, -4e-3]]), np.array([0.95, 0.951])
    text = put(tmp_path / "data.txt", b" 1.5\t2  0.95 7\r\n 1.0e-1 -.004   0.951\t8\n")
    packed = archive(tmp_path / "data.npz", x, y)
    numbers = np.array([[1.5, 2, 0.95], [0.1, -0.004, 0.951]], "<f8").tobytes()
    for path in (text, packed):
        assert uci._columns(path, slice(3), labels=False) == numbers


def test_labels_are_numbered_from_zero(tmp_path: Path) -> None:
    text = put(tmp_path / "data.csv", b"0.5,2\n1.5,1\n2.5,2\n")
    packed = archive(tmp_path / "data.npz", np.array([[0.5], [1.5], [2.5]]), np.array([1, 0, 1]))
    numbers = np.array([[0.5, 1], [1.5, 0], [2.5, 1]], "<f8").tobytes()
    for path in (text, packed):
        assert uci._columns(path, slice(None), labels=True) == numbers


def served(table: uci.Table, url: str) -> uci.Table:
    """Return a table whose files are downloaded from elsewhere."""
    files = [replace(f, url=f"{url}/{Path(str(f.url)).name}") for f in table.files]
    return replace(table, files=tuple(files))


@pytest.fixture
def small(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Serve tables of 40 rows and 2 features in place of "yacht" and "satellite"."""
    random = np.random.default_rng(0)
    x, quantity, kinds = random.normal(size=(40, 2)), random.normal(size=40), np.arange(40) % 3
    np.savetxt(tmp_path / "served" / "data.txt", np.column_stack([x, quantity]), fmt="%.17g")
    np.savetxt(tmp_path / "served" / "X.txt", x, fmt="%.17g")
    np.savetxt(tmp_path / "served" / "Y.txt", kinds + 1, fmt="%d")
    archive(tmp_path / "mine" / "uci" / "yacht" / "data.npz", x, quantity)
    archive(tmp_path / "mine" / "uci_class" / "satellite.npz", x, kinds)

    def swap(tables: dict[str, uci.Table], name: str, *parts: np.ndarray) -> None:
        files = []
        for file, part in zip(tables[name].files, parts, strict=True):
            columns = slice(part.shape[1]) if part.ndim == 2 else slice(-1, None)
            unpack = partial(uci._columns, columns=columns, labels=part.ndim == 1)
            digest = hashlib.sha256(np.array(part, "<f8", order="C").tobytes()).hexdigest()
            files.append(replace(file, unpack=unpack, sha256=digest))
        classes = tuple("abc") if tables[name].classes else ()
        table = replace(tables[name], rows=40, files=tuple(files), classes=classes)
        monkeypatch.setitem(tables, name, served(table, server.url))

    swap(uci.REGRESSION, "yacht", np.column_stack([x, quantity]))
    swap(uci.CLASSIFICATION, "satellite", x, kinds)
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache")
    return server


def test_rows_and_splits_are_the_same_from_either_place(
    small: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = (
        lambda: uci.regression("yacht", [0, 7], validation=0.2),
        lambda: uci.regression("yacht", [0, 1], "gap"),
        lambda: uci.classification("satellite", [0, 4]),
    )
    downloaded = [load() for load in loads]
    assert sorted(small.asked) == ["/X.txt", "/Y.txt", "/data.txt"]
    monkeypatch.setenv("BNN_DATA", str(tmp_path / "mine"))
    small.asked.clear()
    for load, other in zip(loads, downloaded, strict=True):
        data = load()
        assert torch.equal(data.x, other.x)
        assert torch.equal(data.y, other.y)
        assert data.provenance == other.provenance
        for replica in range(2):
            assert data.split.fingerprint(replica) == other.split.fingerprint(replica)
    assert small.asked == []
    assert [d.name for d in downloaded] == ["uci_yacht", "uci_yacht_gap", "uci_satellite"]
    assert [d.task for d in downloaded] == ["regression", "regression", "classification"]


def refusal(load: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        load()
    return str(caught.value)


def test_a_missing_file_says_how_to_provide_it(
    small: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "served" / "data.txt").unlink()
    message = refusal(lambda: uci.regression("yacht", [0]))
    assert "'uci/yacht/data.npz' in the folder that BNN_DATA names, or a download" in message
    assert f"curl -L --create-dirs -o '{tmp_path}/cache/uci/yacht/data.txt'" in message
    monkeypatch.setenv("BNN_DATA", str(tmp_path / "mine"))
    uci.regression("yacht", [0])


@pytest.mark.parametrize("name", ["australian", "breast_cancer"])
def test_a_file_without_a_download_names_the_folder(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    message = refusal(lambda: uci.classification(name, [0]))
    assert f"'uci_class/{name}.npz' in the folder that BNN_DATA names, as no download" in message
    assert "found BNN_DATA=''. Set BNN_DATA to a folder that holds it." in message
    bad = archive(tmp_path / "mine" / "uci_class" / f"{name}.npz", np.zeros((2, 1)), np.zeros(2))
    monkeypatch.setenv("BNN_DATA", str(tmp_path / "mine"))
    message = refusal(lambda: uci.classification(name, [0]))
    assert f"numbers whose checksum is {hashlib.sha256(bytes(32)).hexdigest()}" in message
    assert message.endswith(f"in {str(bad)!r}. Put the right one in its place.")


def test_names_are_checked() -> None:
    with pytest.raises(InputError, match="Did you mean 'boston'"):
        uci.regression("bostn", [0])
    with pytest.raises(InputError, match="Did you mean 'digits'"):
        uci.classification("digit", [0])
    with pytest.raises(InputError, match="Did you mean 'standard'"):
        uci.regression("boston", [0], "standrad")  # type: ignore[arg-type]


def test_every_set_states_where_it_comes_from() -> None:
    assert set(uci.REGRESSION) == set(REGRESSION)
    assert set(uci.CLASSIFICATION) == set(CLASSIFICATION)
    listed = CliRunner().invoke(app, ["datasets"]).output
    for name, table in (uci.REGRESSION | uci.CLASSIFICATION).items():
        assert "https://" in table.source
        assert table.licence
        assert f"uci_{name} " in listed
        assert table.source in listed
    files = [f for t in (uci.REGRESSION | uci.CLASSIFICATION).values() for f in t.files]
    assert all(isinstance(f, File) and len(f.sha256) == 64 for f in files)
    assert len({f.sha256 for f in files}) == len(files) == 14


# The real sets


@pytest.fixture
def offline(real_uci: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the real files; a download fails the test."""

    def refuse(*args: object, **options: object) -> None:
        pytest.fail(f"a download of {options.get('urls')}")

    monkeypatch.setattr(pooch, "create", refuse)
    return real_uci


@pytest.mark.parametrize("name", REGRESSION)
def test_regression_sets_are_the_published_ones(offline: Path, name: str) -> None:
    shape, table, _ = REGRESSION[name]
    data = uci.regression(name, range(20))
    assert tuple(data.x.shape) == shape
    assert data.x.dtype == data.y.dtype == torch.float64
    assert data.provenance.sha256 == fingerprint(data.x, data.y) == table
    with np.load(offline / "uci" / name / "data.npz") as published:
        assert np.array_equal(data.x.numpy(), published["X"])
        assert np.array_equal(data.y.numpy(), published["y"])
        assert np.array_equal(data.split.train.numpy(), published["train_idx"])
        assert np.array_equal(data.split.test.numpy(), published["test_idx"])


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_classification_sets_are_the_published_ones(offline: Path, name: str) -> None:
    features, counts, table = CLASSIFICATION[name]
    data = uci.classification(name, range(10))
    assert tuple(data.x.shape) == (sum(counts), features)
    assert data.y.bincount().tolist() == counts
    assert len(data.classes) == len(counts)
    assert data.provenance.sha256 == fingerprint(data.x, data.y) == table
    with np.load(offline / "uci_class" / f"{name}.npz") as published:
        assert np.array_equal(data.x.numpy(), published["X"])
        assert np.array_equal(data.y.numpy(), published["y"])
        assert tuple(published["seeds"]) == SEEDS
        for rows, part in (("train", "train"), ("validation", "valid"), ("test", "test")):
            index = np.stack([published[f"{part}_{seed}"] for seed in SEEDS])
            assert np.array_equal(getattr(data.split, rows).numpy(), index)


POWER = "daebd20c408dfc5c4979604f240e891be162c3a5d00d662380aa669044a1fb31"  # of the text


def test_the_text_as_published_gives_the_same_table(
    real_uci: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table of "power", written out again, is the published file byte for byte."""
    with np.load(real_uci / "uci" / "power" / "data.npz") as table:
        text = tmp_path / "served" / "data.txt"
        np.savetxt(text, np.column_stack([table["X"], table["y"]]), fmt="%g", delimiter="\t")
    assert hashlib.sha256(text.read_bytes()).hexdigest() == POWER
    monkeypatch.setitem(uci.REGRESSION, "power", served(uci.REGRESSION["power"], server.url))
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache")
    assert uci.regression("power", [0]).provenance.sha256 == REGRESSION["power"][1]
    assert server.asked == ["/data.txt"]


def test_constant_columns_and_small_targets_are_standardised(offline: Path) -> None:
    """The network's float32 costs the targets of "naval" no more than its own rounding."""
    data = uci.regression("naval", [0, 13])
    problem = Problem.of(data, MLP(16, [3], 1))
    x, y = problem.batch(problem.train)
    assert x.dtype == y.dtype == torch.float32
    for replica in range(2):
        rows = data.train.y[replica]
        exact = (rows - rows.mean()) / rows.std(correction=0)
        torch.testing.assert_close(y[replica].double(), exact, rtol=1e-7, atol=1e-7)
        inputs = StandardScaler().fit_transform(data.train.x[replica].numpy())
        varying = [d for d in range(16) if d not in (8, 11)]
        assert x[replica][:, [8, 11]].abs().max() < 1e-15  # the rounding of the mean
        np.testing.assert_allclose(
            x[replica][:, varying].numpy(), inputs[:, varying], rtol=1e-6, atol=1e-6
        )
    assert problem.inputs.scale[:, [8, 11]].eq(1).all()
    assert problem.standardise(data.test.x).abs().max() < 10


def test_gaps_of_a_real_set(offline: Path) -> None:
    """Rooms per house, and columns of "naval" that have no middle."""
    data = uci.regression("boston", range(13), "gap", validation=0.2)
    assert data.name == "uci_boston_gap"
    assert (data.train.points, data.validation.points, data.test.points) == (269, 68, 169)
    gap, outside = data.test.x[5, :, 5], data.train.x[5, :, 5]
    assert not ((outside > gap.min()) & (outside < gap.max())).any()
    with pytest.raises(InputError, match=r"found \[8, 11\]"):
        uci.regression("naval", range(16), "gap")
