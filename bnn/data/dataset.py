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
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from bnn.data.checks import (
    check_classes,
    check_conditions,
    check_inputs,
    check_split,
    check_table,
    check_targets,
)
from bnn.data.scaling import Scope
from bnn.data.split import Split
from bnn.errors import choose

Task = Literal["classification", "regression"]

ROWS_AT_ONCE = 4096  # whose float64 copies are held while a table is hashed


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

    def to(self, device: torch.device | str) -> Rows:
        """Return the same rows on a device."""
        return Rows(self.table.to(device), self.labels.to(device), self.index.to(device))


@dataclass(frozen=True)
class Dataset:
    """A table, its splits, and inputs on which a model should be less sure.

    Arguments:
        name: a short identifier.
        task: "classification" or "regression".
        x: inputs, `[rows, *features]`, original units.
        y: class numbers `[rows]`, label distributions or counts of labels `[rows, classes]`, or
            real targets `[rows]`.
        split: which rows train, validate, calibrate and test each replica.
        provenance: source, licence and checksum.
        classes: the names of the classes, in the order of their numbers; empty for regression.
        shifted: row by row the same table after a disturbance, by the name of the disturbance.
        unseen: inputs from outside the training distribution, such as held-out classes or a gap,
            `[points, *features]`; they carry no label.
        grid: inputs to draw a picture over, `[points, *features]`; low-dimensional toys have one.
        truth: the true mean of the target on the grid, `[points]`, where it is known.
        scale_inputs: standardise each "feature" apart, or images by one "global" mean and scale
            (a pixel that is nearly constant would otherwise explode under a shift).

    Raises:
        InputError: on inputs or labels that are not finite, of unequal length or out of range, on
            fewer than two classes, on a class that a training set lacks, on rows that a split
            names and the table has not, on shifted, unseen or grid inputs that do not fit `x`; on
            another task or scope than the two.
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
    grid: Tensor | None = None
    truth: Tensor | None = None
    scale_inputs: Scope = "feature"

    def __post_init__(self) -> None:
        choose(self.task, dict.fromkeys(get_args(Task)), "task")
        choose(self.scale_inputs, dict.fromkeys(get_args(Scope)), "scope of standardisation")
        check_table(self.x, self.y)
        if self.task == "regression":
            check_targets(self.y)
        else:
            check_classes(self.y, self.classes)
        check_split(self.split, self.y, self.classes)
        features = self.x.shape[1:]
        check_conditions(self.shifted)
        for name, table in self.shifted.items():
            check_inputs(f"inputs under {name!r}", table, (len(self.x), *features))
        for what, extra in (("unseen inputs", self.unseen), ("grid inputs", self.grid)):
            if extra is not None:
                check_inputs(what, extra, (len(extra), *features))
        if self.truth is not None:
            points = 0 if self.grid is None else len(self.grid)
            check_inputs("the truth on the grid", self.truth, (points,))

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
        for rows in part.split(ROWS_AT_ONCE):
            digest.update(np.ascontiguousarray(rows.numpy(), dtype="<f8").tobytes())
    return digest.hexdigest()
