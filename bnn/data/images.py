"""Images of 28 x 28 pixels: MNIST, Fashion-MNIST, and Fashion-MNIST as people label it.

They are not bundled. They come from the folder that the environment variable BNN_DATA names, laid
out as

    mnist/{train,t10k}-{images-idx3,labels-idx1}-ubyte.gz
    fashion-mnist/{train,t10k}-{images-idx3,labels-idx1}-ubyte.gz
    fashion-mnist-h/fmh_counts_first5000.npz

or else are downloaded once. Pixels are 0 (background) to 255, flat: `[rows, 784]`, row by row from
the top left. All pixels share one mean and scale.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bnn.data.dataset import Dataset, Provenance, fingerprint
from bnn.data.files import File, content
from bnn.data.split import sized_splits
from bnn.errors import choose

COUNTED = 5_000  # of the Fashion-MNIST test images, those whose human labels are used here
COUNTED_TEST = 1_000  # of these, the rows that score
IDX = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
GARMENTS = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip


def _unzipped(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes())


def _counts(path: Path) -> bytes:
    """Return the counts of the first rows, from the table as published or as an archive."""
    if path.suffix == ".npz":
        with np.load(path) as archive:
            counts = archive["counts"]
    else:
        counts = np.loadtxt(path, delimiter=",", dtype=np.int16, max_rows=COUNTED)
    return np.ascontiguousarray(counts, dtype="<i2").tobytes()


def _idx_files(folder: str, url: str, checksums: Sequence[str]) -> tuple[File, ...]:
    """Return images and labels of the training set, then of the test set."""
    return tuple(
        File(f"{folder}/{name}", f"{url}/{name}", _unzipped, sha256)
        for name, sha256 in zip(IDX, checksums, strict=True)
    )


MNIST = _idx_files(
    "mnist",
    "https://storage.googleapis.com/cvdf-datasets/mnist",
    (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
)

FASHION = _idx_files(
    "fashion-mnist",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
    (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
)

HUMAN = File(
    "fashion-mnist-h/fmh_counts_first5000.npz",
    "https://raw.githubusercontent.com/takashiishida/irreducible/"
    "4bc347d387c103c355d2ebff0b3983e73f4a9bc2/data/fmh_counts.csv",
    _counts,
    "69e1b1cf724b219deb031296fc7f5ff4f466aec374e2bfaffb075f183903a8ea",
)


def mnist(
    splits: Iterable[int],
    *,
    points: int = 50_000,
    validation: int = 5_000,
    calibration: int = 5_000,
) -> Dataset:
    """Return 70,000 handwritten digits.

    The 10,000 official test rows test every split; the other sets are drawn from the 60,000
    official training rows, with their class frequencies.

    Arguments:
        splits: one number per replica, which seeds its split.
        points: training rows of each split; fewer are a subset of more.
        validation, calibration: rows of each split.

    Raises:
        InputError: if the files are neither at hand nor to be had, or are not the right ones; on
            more rows than there are.

    Reference: LeCun, Bottou, Bengio and Haffner 1998, https://doi.org/10.1109/5.726791
    """
    x, y, test = _table(MNIST)
    source = "LeCun, Cortes and Burges 1998, http://yann.lecun.com/exdb/mnist"
    return Dataset(
        name="mnist",
        task="classification",
        x=x,
        y=y,
        split=sized_splits(
            y, splits, train=points, validation=validation, calibration=calibration, test=test
        ),
        provenance=Provenance(source, "CC BY-SA 3.0, as commonly stated", fingerprint(x, y)),
        classes=tuple("0123456789"),
        scale_inputs="global",
    )


def fashion_mnist(
    splits: Iterable[int],
    *,
    points: int = 50_000,
    validation: int = 5_000,
    calibration: int = 5_000,
) -> Dataset:
    """Return 70,000 pictures of garments, ten kinds; all else as of `mnist`.

    Reference: Xiao, Rasul and Vollgraf 2017, https://arxiv.org/abs/1708.07747
    """
    x, y, test = _table(FASHION)
    source = "Xiao, Rasul and Vollgraf 2017, https://github.com/zalandoresearch/fashion-mnist"
    return Dataset(
        name="fashion_mnist",
        task="classification",
        x=x,
        y=y,
        split=sized_splits(
            y, splits, train=points, validation=validation, calibration=calibration, test=test
        ),
        provenance=Provenance(source, "MIT (Zalando SE)", fingerprint(x, y)),
        classes=GARMENTS,
        scale_inputs="global",
    )


def fashion_mnist_human(
    splits: Iterable[int],
    labels: Literal["soft", "hard"] = "soft",
    *,
    points: int = 3_200,
    validation: int = 400,
    calibration: int = 400,
) -> Dataset:
    """Return the first 5,000 test images of Fashion-MNIST, each labelled by 53 to 78 people.

    With c_nk the number of people who called image n a k,

        q_nk = c_nk / sum_j c_nj  (soft),    y_n = the one official label  (hard).

    Rows and splits are the same for both, so that a network trained on the one can be scored on
    the other. 1,000 rows of each split test; class frequencies are kept.

    Arguments:
        splits: one number per replica, which seeds its split.
        labels: "soft", distributions `[rows, 10]`, or "hard", class numbers `[rows]`.
        points: training rows of each split; fewer are a subset of more.
        validation, calibration: rows of each split.

    Raises:
        InputError: as `mnist`.

    Reference: Ishida, Yamane, Charoenphakdee, Niu and Sugiyama 2023,
    https://arxiv.org/abs/2202.00395
    """
    choose(labels, {"soft": None, "hard": None}, "kind of labels")
    x, official = (part[:COUNTED] for part in _rows(*FASHION[2:]))
    counts = np.frombuffer(content(HUMAN), "<i2").reshape(COUNTED, -1).astype(np.float64)
    y = torch.from_numpy(counts / counts.sum(1, keepdims=True)) if labels == "soft" else official
    source = "Ishida et al. 2023, https://github.com/takashiishida/irreducible"
    return Dataset(
        name="fashion_mnist_human" if labels == "soft" else "fashion_mnist_human_hard",
        task="classification",
        x=x,
        y=y,
        split=sized_splits(
            official,
            splits,
            train=points,
            validation=validation,
            calibration=calibration,
            test=COUNTED_TEST,
            classes=GARMENTS,
        ),
        provenance=Provenance(
            f"counts of human labels: {source}; images: Fashion-MNIST, Xiao et al. 2017",
            "counts GPL-3.0, images MIT (Zalando SE)",
            fingerprint(x, y),
        ),
        classes=GARMENTS,
        scale_inputs="global",
    )


def _table(files: Sequence[File]) -> tuple[Tensor, Tensor, Tensor]:
    """Return inputs and labels, training rows first, and the numbers of the test rows."""
    train, test = _rows(*files[:2]), _rows(*files[2:])
    x, y = torch.cat([train[0], test[0]]), torch.cat([train[1], test[1]])
    return x, y, torch.arange(len(train[1]), len(y))


def _rows(images: File, labels: File) -> tuple[Tensor, Tensor]:
    x, y = _idx(content(images)).flatten(1), _idx(content(labels))
    return x.to(torch.float32), y.to(torch.int64)


def _idx(numbers: bytes) -> Tensor:
    """Read an IDX file of bytes: 0, 0, type, axes, then the size of each axis, big endian."""
    axes = numbers[3]
    shape = np.frombuffer(numbers, ">i4", count=axes, offset=4)
    # A copy, because torch wants memory that may be written to.
    values = np.frombuffer(numbers, np.uint8, offset=4 + 4 * axes).reshape(shape).copy()
    return torch.from_numpy(values)
