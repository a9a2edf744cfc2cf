"""Images: files at hand or downloaded, checksums, official splits, labels by people."""

from __future__ import annotations

import gzip
import hashlib
import socket
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pooch
import pytest
import torch
from served import Server, put

from bnn.batch import Batch
from bnn.data import Dataset, fashion_mnist, fashion_mnist_human, fingerprint, images, mnist
from bnn.data.files import File, content
from bnn.errors import InputError
from bnn.methods import MLE
from bnn.priors import Normal

SETS = ("train", "validation", "calibration", "test")


# Files


NUMBERS = b"some numbers, many times over " * 100


def numbers(url: str, name: str = "folder/numbers.gz") -> File:
    return File(name, url, images._unzipped, hashlib.sha256(NUMBERS).hexdigest())


def test_a_file_is_downloaded_once(server: Server, tmp_path: Path) -> None:
    put(tmp_path / "served" / "numbers.gz", gzip.compress(NUMBERS))
    file = numbers(f"{server.url}/numbers.gz")
    for _ in range(3):
        assert content(file, tmp_path / "cache") == NUMBERS
    assert server.asked == ["/numbers.gz"]
    assert (tmp_path / "cache" / "folder" / "numbers.gz").is_file()


def test_a_folder_of_the_users_comes_first(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The packing may differ; the numbers may not."""
    put(tmp_path / "mine" / "folder" / "numbers.gz", gzip.compress(NUMBERS, 1))
    put(tmp_path / "served" / "numbers.gz", gzip.compress(NUMBERS, 9))
    file = numbers(f"{server.url}/numbers.gz")
    monkeypatch.setenv("BNN_DATA", str(tmp_path / "mine"))
    at_hand = content(file, tmp_path / "cache")
    assert server.asked == []
    monkeypatch.setenv("BNN_DATA", str(tmp_path / "elsewhere"))
    assert content(file, tmp_path / "cache") == at_hand == NUMBERS
    assert server.asked == ["/numbers.gz"]


def test_the_cache_is_the_users_own_unless_given(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / f"cache of {project}")
    put(tmp_path / "served" / "numbers.gz", gzip.compress(NUMBERS))
    content(numbers(f"{server.url}/numbers.gz"))
    assert (tmp_path / "cache of bnn" / "folder" / "numbers.gz").is_file()


def refusal(file: File, cache: Path) -> str:
    with pytest.raises(InputError) as caught:
        content(file, cache)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_what_cannot_be_had_says_how_to_provide_it(server: Server, tmp_path: Path) -> None:
    url = f"{server.url}/absent.gz"
    message = refusal(numbers(url), tmp_path)
    assert "'folder/numbers.gz' in the folder that BNN_DATA names" in message
    assert "404" in message
    assert f"curl -L --create-dirs -o '{tmp_path}/folder/absent.gz' {url}" in message


def test_a_refused_connection_is_told(server: Server, tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/numbers.gz"
        message = refusal(numbers(url), tmp_path)
    assert "ConnectionError" in message
    assert f"curl -L --create-dirs -o '{tmp_path}/folder/numbers.gz' {url}" in message


def test_an_unwritable_cache_is_told(server: Server, tmp_path: Path) -> None:
    put(tmp_path / "served" / "numbers.gz", gzip.compress(NUMBERS))
    blocked = put(tmp_path / "a file, no folder", b"")
    message = refusal(numbers(f"{server.url}/numbers.gz"), blocked)
    assert "BNN_DATA" in message
    assert "a file, no folder" in message


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (gzip.compress(NUMBERS)[:-20], "one that cannot be read (EOFError"),
        (b"<html>Not Found</html>", "one that cannot be read (BadGzipFile"),
        (gzip.compress(NUMBERS[:-1] + b"!"), "numbers whose checksum is "),
    ],
    ids=["torn", "alien", "changed"],
)
@pytest.mark.parametrize("where", ["mine", "served"])
def test_corrupted_files_are_refused(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    data: bytes,
    found: str,
) -> None:
    bad = put(tmp_path / where / ("folder/numbers.gz" if where == "mine" else "numbers.gz"), data)
    if where == "mine":
        monkeypatch.setenv("BNN_DATA", str(tmp_path / "mine"))
    file = numbers(f"{server.url}/numbers.gz")
    message = refusal(file, tmp_path / "cache")
    assert found in message
    assert file.sha256 in message
    assert "Delete that file; the next run downloads it again." in message
    kept = bad if where == "mine" else tmp_path / "cache" / "folder" / "numbers.gz"
    assert repr(str(kept)) in message
    kept.unlink()  # the remedy helps
    put(tmp_path / "served" / "numbers.gz", gzip.compress(NUMBERS))
    assert content(file, tmp_path / "cache") == NUMBERS


def test_counts_are_the_same_from_the_table_and_from_the_archive(tmp_path: Path) -> None:
    counts = np.random.default_rng(0).integers(0, 70, (images.COUNTED + 30, 10))
    np.savetxt(tmp_path / "counts.csv", counts, fmt="%d", delimiter=",")
    first = counts[: images.COUNTED].astype(np.int16)
    np.savez_compressed(tmp_path / "counts.npz", counts=first, test_index=np.arange(len(first)))
    table, archive = (images._counts(tmp_path / f"counts.{kind}") for kind in ("csv", "npz"))
    assert table == archive == first.tobytes()


# The sets, made small


def idx(values: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}i", *values.shape)
    return header + values.astype(np.uint8).tobytes()


@pytest.fixture
def small(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """Serve 300 training and 100 test images of 2 x 3 pixels in place of the real ones."""
    random = np.random.default_rng(1)
    arrays = {
        "train-images": random.integers(0, 256, (300, 2, 3)),
        "train-labels": np.arange(300) % 10,
        "t10k-images": random.integers(0, 256, (100, 2, 3)),
        "t10k-labels": np.arange(100) // 10,
    }
    files = []
    for name, array in arrays.items():
        put(tmp_path / "served" / f"{name}.gz", gzip.compress(idx(array)))
        file = File(f"small/{name}.gz", f"{server.url}/{name}.gz", images._unzipped, "")
        files.append(replace(file, sha256=hashlib.sha256(idx(array)).hexdigest()))
    counts = random.integers(0, 30, (100, 10)) + np.eye(10, dtype=int)[arrays["t10k-labels"]]
    np.savetxt(tmp_path / "served" / "counts.csv", counts, fmt="%d", delimiter=",")
    sha256 = hashlib.sha256(counts.astype("<i2").tobytes()).hexdigest()
    human = File("small/counts.npz", f"{server.url}/counts.csv", images._counts, sha256)
    for name, value in {
        "MNIST": tuple(files),
        "FASHION": tuple(files),
        "HUMAN": human,
        "COUNTED": 100,
        "COUNTED_TEST": 20,
    }.items():
        monkeypatch.setattr(images, name, value)
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache")
    return {**arrays, "counts": counts}


def test_images_are_read_in_order(small: dict[str, np.ndarray]) -> None:
    data = mnist([0, 4], points=100, validation=30, calibration=20)
    assert data.x.dtype == torch.float32
    assert data.scale_inputs == "global"
    expected = np.concatenate([small["train-images"], small["t10k-images"]]).reshape(400, 6)
    assert np.array_equal(data.x.numpy(), expected)
    labels = np.concatenate([small["train-labels"], small["t10k-labels"]])
    assert np.array_equal(data.y.numpy(), labels)
    assert data.provenance.sha256 == fingerprint(data.x, data.y)


def test_the_official_test_rows_test_every_split(small: dict[str, np.ndarray]) -> None:
    data = mnist([0, 4], points=100, validation=30, calibration=20)
    assert data.split.ids == (0, 4)
    assert torch.equal(data.split.test, torch.arange(300, 400).expand(2, -1))
    assert [getattr(data, part).points for part in SETS] == [100, 30, 20, 100]
    for part in SETS[:3]:
        rows = getattr(data.split, part)
        assert rows.max() < 300
        assert not torch.equal(rows[0], rows[1])
    for part in SETS[1:3]:  # class frequencies are kept
        counts = getattr(data, part).y[0].bincount(minlength=10)
        assert torch.equal(counts, torch.full((10,), getattr(data, part).points // 10))


def test_fewer_training_rows_are_among_more(small: dict[str, np.ndarray]) -> None:
    few, many = (mnist([3], points=n, validation=30, calibration=20) for n in (100, 250))
    assert torch.equal(few.split.train[0], many.split.train[0, :100])
    assert torch.equal(few.split.validation, many.split.validation)
    assert torch.equal(few.split.calibration, many.split.calibration)
    alone = mnist([1, 3], points=100, validation=30, calibration=20)
    assert torch.equal(alone.split.train[1], few.split.train[0])


def test_runs_on_other_rows_have_other_keys(small: dict[str, np.ndarray]) -> None:
    """Splits of one id and one table may still differ in how many rows train."""

    def keys(points: int) -> dict[int, str]:
        return Batch(
            study="sizes",
            dataset="small",
            data=mnist([0, 4], points=points, validation=30, calibration=20),
            network=torch.nn.Linear(6, 10),
            prior=Normal(1.0),
            likelihood=None,
            method=MLE(),
            seeds=(0, 1),
            design="resplit",
            draws=1,
        ).keys

    assert keys(100) == keys(100)
    assert not set(keys(100).values()) & set(keys(101).values())


def test_sets_may_be_empty_and_all_rows_may_train(small: dict[str, np.ndarray]) -> None:
    data = mnist([0], points=300, validation=0, calibration=0)
    assert torch.equal(data.split.train[0].sort().values, torch.arange(300))
    assert data.validation.points == data.calibration.points == 0


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((251, 30, 20), "from 1 to 250 training rows.*found 251"),
        ((0, 30, 20), "from 1 to 250 training rows.*found 0"),
        ((100, -1, 20), "training rows"),
        ((100, 200, 200), "from 1 to -100 training rows"),
        ((100, 5, 20), "rows of every class in each of the four sets"),
        ((5, 30, 20), "every class among the training rows of split 0"),
    ],
)
def test_impossible_sizes_are_refused(
    small: dict[str, np.ndarray], sizes: tuple[int, int, int], message: str
) -> None:
    points, validation, calibration = sizes
    with pytest.raises(InputError, match=message):
        mnist([0], points=points, validation=validation, calibration=calibration)
    with pytest.raises(InputError, match="at least one split id"):
        mnist([], points=100, validation=30, calibration=20)


def test_soft_and_hard_labels_share_rows_and_splits(small: dict[str, np.ndarray]) -> None:
    sizes = {"points": 60, "validation": 10, "calibration": 10}
    soft = fashion_mnist_human([0, 1], **sizes)
    hard = fashion_mnist_human([0, 1], "hard", **sizes)
    assert torch.equal(soft.x, hard.x)
    for part in SETS:
        assert torch.equal(getattr(soft.split, part), getattr(hard.split, part))
    assert np.array_equal(hard.y.numpy(), small["t10k-labels"])
    shares = small["counts"] / small["counts"].sum(1, keepdims=True)
    assert soft.y.dtype == torch.float64
    np.testing.assert_allclose(soft.y.numpy(), shares, rtol=0, atol=1e-16)
    assert [getattr(soft, part).points for part in SETS] == [60, 10, 10, 20]
    assert not torch.equal(soft.split.test[0], soft.split.test[1])
    assert soft.name != hard.name
    assert soft.provenance.sha256 != hard.provenance.sha256


def test_labels_are_soft_or_hard(small: dict[str, np.ndarray]) -> None:
    with pytest.raises(InputError, match="Did you mean 'soft'"):
        fashion_mnist_human([0], "sofd")


# The real sets


MNIST_TRAIN = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
MNIST_TEST = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.fixture(scope="module")
def digits(real_images: None) -> Dataset:
    return mnist([0, 1], points=2_000)


def test_mnist_is_mnist(digits: Dataset) -> None:
    """Known counts, first labels and moments; https://doi.org/10.1109/5.726791."""
    assert digits.x.shape == (70_000, 784)
    assert digits.y[:5].tolist() == [5, 0, 4, 1, 9]
    assert digits.y[60_000:60_005].tolist() == [7, 2, 1, 0, 4]
    assert digits.y[:60_000].bincount().tolist() == MNIST_TRAIN
    assert digits.y[60_000:].bincount().tolist() == MNIST_TEST
    train = digits.x[:60_000].double() / 255
    assert train.mean().item() == pytest.approx(0.1307, abs=5e-5)
    assert train.std().item() == pytest.approx(0.3081, abs=5e-5)
    assert (digits.x.min(), digits.x.max()) == (0, 255)
    assert digits.provenance.sha256 == (
        "9f4ca36881f1d89b3154aa7254e264d199dd426d9b8c6250d8b9ae259280b1be"
    )


def test_mnist_splits_keep_the_class_frequencies(digits: Dataset) -> None:
    assert [getattr(digits, part).points for part in SETS] == [2_000, 5_000, 5_000, 10_000]
    share = torch.tensor(MNIST_TRAIN) / 60_000
    for part in ("validation", "calibration"):
        for y in getattr(digits, part).y:
            assert (y.bincount() - 5_000 * share).abs().max() <= 1


def test_fashion_mnist_is_fashion_mnist(real_images: None) -> None:
    data = fashion_mnist([0], points=100)
    assert data.y[:60_000].bincount().tolist() == [6_000] * 10
    assert data.y[60_000:].bincount().tolist() == [1_000] * 10
    assert data.classes[data.y[0]] == "ankle boot"
    train = data.x[:60_000].double() / 255
    assert train.mean().item() == pytest.approx(0.2860, abs=5e-5)
    assert train.std().item() == pytest.approx(0.3530, abs=5e-5)
    assert data.provenance.sha256 == (
        "ad57d3f32af23803ce54465a0416b0f628dcee7d6b2849760b2eed2e44408b14"
    )


def test_people_mostly_agree_with_the_official_label(real_images: None) -> None:
    """The images and the counts are in the same order."""
    soft, hard = fashion_mnist_human([0]), fashion_mnist_human([0], "hard")
    assert soft.y.shape == (5_000, 10)
    assert (soft.y[0] * 72).round().tolist() == [0, 0, 0, 1, 1, 1, 1, 26, 0, 42]
    agree = (soft.y.argmax(1) == hard.y).double().mean().item()
    shuffled = (soft.y.argmax(1) == hard.y.roll(1)).double().mean().item()
    assert agree > 0.7
    assert shuffled < 0.2
    assert [getattr(soft, part).points for part in SETS] == [3_200, 400, 400, 1_000]
    assert soft.provenance.sha256 == (
        "10c1ec4f362c959148fa742925a3373908046540058295f182f0e5d7b719a272"
    )
    assert hard.provenance.sha256 == (
        "bb6685ada6bb96d87ff7d3f7229317dbc0a680098fab8c2ddb33fed7038a5b0c"
    )
