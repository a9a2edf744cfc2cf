"""A data set: one table of rows, and for each replica a choice of rows for each purpose.

Shapes (the axis law): a table has `x [rows, *features]` and `y [rows]`, stored once however many
replicas there are. A split holds index arrays `[replicas, points]` into that table. What comes out
is always `x [replicas, points, *features]` and `y [replicas, points]`, in original units; the
`Problem` standardises, from its own training rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor

from bnn.errors import InputError, choose

Task = Literal["classification", "regression"]


@dataclass(frozen=True)
class Provenance:
    """Where a table comes from."""

    source: str  # who made it and where it is kept
    licence: str  # as stated by the source
    sha256: str  # of the table as loaded, see `fingerprint`


@dataclass(frozen=True)
class Rows:
    """Some rows of a table, chosen per replica.

    Arguments:
        table: inputs, `[rows, *features]`, original units.
        labels: targets, `[rows]` (or `[rows, classes]` for label distributions).
        index: which rows, `[replicas, points]`.
    """

    table: Tensor
    labels: Tensor
    index: Tensor

    @property
    def replicas(self) -> int:
        """How many replicas choose rows."""
        return self.index.shape[0]

    @property
    def points(self) -> int:
        """How many rows each replica has."""
        return self.index.shape[1]

    @property
    def x(self) -> Tensor:
        """Inputs, `[replicas, points, *features]`."""
        return self.table[self.index]

    @property
    def y(self) -> Tensor:
        """Targets, `[replicas, points]` (or `[replicas, points, classes]`)."""
        return self.labels[self.index]

    def at(self, columns: Tensor) -> Rows:
        """Return the points at `columns [replicas, batch]`, counted within each replica's rows."""
        return replace(self, index=self.index.gather(1, columns))

    def take(self, replicas: Sequence[int] | slice) -> Rows:
        """Return the rows of some of the replicas (a replica may be named more than once)."""
        return replace(self, index=self.index[replicas])

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Rows:
        """Return the same rows on a device, real numbers as `dtype`."""
        labels = self.labels.to(device, dtype if self.labels.is_floating_point() else None)
        return Rows(self.table.to(device, dtype), labels, self.index.to(device))


@dataclass(frozen=True)
class Split:
    """Which rows serve which purpose: index arrays `[replicas, points]` into one table.

    The four sets of a replica do not overlap. `ids` names each replica's split, so that results on
    the same split can be paired.
    """

    train: Tensor  # weights are fitted on these
    validation: Tensor  # early stopping and other choices of a method
    calibration: Tensor  # fitting of a temperature and the like
    test: Tensor  # scores, and nothing else
    ids: tuple[int, ...]

    def take(self, replicas: Sequence[int] | slice) -> Split:
        """Return the splits of some of the replicas."""
        return Split(
            train=self.train[replicas],
            validation=self.validation[replicas],
            calibration=self.calibration[replicas],
            test=self.test[replicas],
            ids=tuple(np.array(self.ids)[replicas].tolist()),
        )


@dataclass(frozen=True)
class Dataset:
    """A table, its splits, and inputs on which a model should be less sure.

    Arguments:
        name: a short identifier.
        task: "classification" or "regression".
        x: inputs, `[rows, *features]`, original units.
        y: class numbers `[rows]`, label distributions `[rows, classes]`, or real targets `[rows]`.
        split: which rows train, validate, calibrate and test each replica.
        provenance: source, licence and checksum.
        classes: the names of the classes, in the order of their numbers; empty for regression.
        shifted: row by row the same table after a disturbance, by the name of the disturbance.
        unseen: inputs from outside the classes of `y`, `[points, *features]`; they carry no label.
        scale_inputs: standardise each "feature" apart, or images by one "global" mean and scale
            (a pixel that is nearly constant would otherwise explode under a shift).

    Raises:
        InputError: on inputs or labels that are not finite, of unequal length or out of range, on
            fewer than two classes, on empty or overlapping sets.
    """

    name: str
    task: Task
    x: Tensor
    y: Tensor
    split: Split
    provenance: Provenance
    classes: tuple[str, ...] = ()
    shifted: Mapping[str, Tensor] = field(default_factory=dict)
    unseen: Tensor | None = None
    scale_inputs: Literal["feature", "global"] = "feature"

    def __post_init__(self) -> None:
        _check_table(self.x, self.y, self.task, self.classes)
        _check_split(self.split, len(self.x))
        for name, table in self.shifted.items():
            if table.shape != self.x.shape or not torch.isfinite(table).all():
                raise InputError(
                    f"the shifted table {name!r} to be finite and of shape {tuple(self.x.shape)}",
                    f"shape {tuple(table.shape)}",
                    "Shift every row of x, in its order.",
                )

    @property
    def replicas(self) -> int:
        """How many splits there are."""
        return len(self.split.ids)

    @property
    def train(self) -> Rows:
        """The rows that weights are fitted on."""
        return Rows(self.x, self.y, self.split.train)

    @property
    def validation(self) -> Rows:
        """The rows for early stopping and other choices of a method."""
        return Rows(self.x, self.y, self.split.validation)

    @property
    def calibration(self) -> Rows:
        """The rows for fitting a temperature and the like."""
        return Rows(self.x, self.y, self.split.calibration)

    @property
    def test(self) -> Rows:
        """The rows for scores, never shown to a method."""
        return Rows(self.x, self.y, self.split.test)

    def test_under(self, shift: str) -> Rows:
        """Return the test rows after one of the named disturbances."""
        return Rows(choose(shift, self.shifted, "shift"), self.y, self.split.test)

    def take(self, replicas: Sequence[int] | slice) -> Dataset:
        """Return the same data with some of the replicas' splits."""
        return replace(self, split=self.split.take(replicas))


def fingerprint(x: Tensor, y: Tensor) -> str:
    """Return the SHA-256 of a table: shapes, inputs and targets as float64, little endian."""
    digest = hashlib.sha256(f"{tuple(x.shape)} {tuple(y.shape)}".encode())
    for part in (x, y):
        digest.update(np.ascontiguousarray(part.numpy(), dtype="<f8").tobytes())
    return digest.hexdigest()


def random_splits(
    labels: Tensor,
    ids: Sequence[int],
    *,
    stratify: bool,
    validation: float = 0.1,
    calibration: float = 0.1,
    test: float = 0.2,
) -> Split:
    """Draw one split per id; a split depends on its own id only.

    Arguments:
        labels: targets of all rows, `[rows]`.
        ids: one number in [0, 2**32) per split, which seeds it.
        stratify: keep the class frequencies alike in all four sets.
        validation, calibration, test: their shares of all rows; the rest trains.
    """
    rows = len(labels)
    shares = {"test": test, "calibration": calibration, "validation": validation}
    sizes = {name: round(share * rows) for name, share in shares.items()}
    if min(sizes.values()) < 1 or sum(sizes.values()) >= rows:
        raise InputError(
            "enough rows for a training, validation, calibration and test set",
            f"{rows} rows",
            "Bring more rows or change the shares.",
        )
    chosen: dict[str, list[np.ndarray]] = {name: [] for name in (*sizes, "train")}
    for number in ids:
        rest = np.arange(rows)
        for name, size in sizes.items():
            strata = labels.numpy()[rest] if stratify else None
            try:
                rest, part = train_test_split(
                    rest, test_size=size, random_state=number, stratify=strata
                )
            except ValueError as error:
                raise InputError(
                    "several rows of each class for each of the four sets",
                    str(error),
                    "Merge rare classes, or split without stratifying.",
                ) from error
            chosen[name].append(part)
        chosen["train"].append(rest)
    index = {name: torch.from_numpy(np.stack(parts)) for name, parts in chosen.items()}
    return Split(**index, ids=tuple(ids))


def _check_table(x: Tensor, y: Tensor, task: Task, classes: tuple[str, ...]) -> None:
    if len(x) == 0 or len(x) != len(y):
        raise InputError(
            "as many inputs as targets, and at least one",
            f"{len(x)} inputs and {len(y)} targets",
            "Check how the table was read.",
        )
    for what, values in (("inputs", x), ("targets", y)):
        bad = int((~torch.isfinite(values)).sum())
        if bad:
            raise InputError(
                f"finite {what}", f"{bad} NaN or infinite values", "Impute or drop those rows."
            )
    if task == "regression":
        if y.ndim != 1:
            raise InputError(
                "one real target per row", f"targets of shape {tuple(y.shape)}", "Pick one column."
            )
        return
    if len(classes) < 2:
        raise InputError("at least two classes", f"{len(classes)}", "There is nothing to predict.")
    if y.ndim == 2:
        if y.shape[1] != len(classes) or (y < 0).any() or ((y.sum(1) - 1).abs() > 1e-4).any():
            raise InputError(
                f"label distributions over {len(classes)} classes",
                "rows that are negative, do not sum to one, or have another length",
                "Normalise the counts of each row.",
            )
    elif y.is_floating_point() or y.min() < 0 or y.max() >= len(classes):
        raise InputError(
            f"class numbers 0 to {len(classes) - 1} as integers",
            f"values from {y.min().item()} to {y.max().item()} of type {y.dtype}",
            "Number the classes from zero.",
        )


def _check_split(split: Split, rows: int) -> None:
    for replica, number in enumerate(split.ids):
        parts = [getattr(split, name)[replica] for name in ("train", "validation", "calibration")]
        chosen = torch.cat([*parts, split.test[replica]])
        if len(parts[0]) == 0 or len(split.test[replica]) == 0:
            raise InputError("rows to train and to test on", "none", "Check the split.")
        if chosen.min() < 0 or chosen.max() >= rows or len(chosen.unique()) < len(chosen):
            raise InputError(
                f"split {number} to use each of the {rows} rows once at most",
                "rows that are out of range or in two sets",
                "Test rows must not be trained on.",
            )
