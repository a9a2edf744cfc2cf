"""What makes a data set usable, checked once where it is made."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from bnn.data.split import Split
from bnn.errors import InputError

OWN_ROWS = ("train", "unseen", "grid")  # conditions whose rows are not the test rows, disturbed


def check_table(x: Tensor, y: Tensor) -> None:
    """Refuse inputs that are no table of finite numbers, or not one per target."""
    if x.ndim < 2 or 0 in x.shape[1:] or not x.is_floating_point():
        raise InputError(
            "inputs as real numbers of shape [rows, features]",
            f"shape {tuple(x.shape)} of type {x.dtype}",
            "A single feature is a table of one column: x[:, None].",
        )
    if len(x) == 0 or len(x) != len(y):
        raise InputError(
            "as many inputs as targets, and at least one",
            f"{len(x)} inputs and {len(y)} targets",
            "Check how the table was read.",
        )
    _check_finite("inputs", x)
    _check_finite("targets", y)


def _check_finite(what: str, values: Tensor) -> None:
    bad = ~torch.isfinite(values.flatten(1) if values.ndim > 1 else values[:, None])
    if bad.any():
        row = int(bad.any(1).nonzero()[0])
        raise InputError(
            f"finite {what}",
            f"{int(bad.sum())} NaN or infinite values, the first in row {row}",
            "Impute or drop those rows.",
        )


def check_inputs(what: str, table: Tensor, shape: tuple[int, ...]) -> None:
    """Refuse inputs of another shape than expected, or not finite."""
    if table.shape != shape or 0 in shape:
        raise InputError(
            f"{what} of shape {shape}", f"shape {tuple(table.shape)}", "They must match x."
        )
    _check_finite(what, table)


def check_conditions(names: Iterable[str]) -> None:
    """Refuse conditions that are called as other rows are, whose predictions they would replace."""
    taken = sorted({"test", *OWN_ROWS} & set(names))
    if taken:
        raise InputError(
            "shifts of other names than 'train', 'test', 'unseen' and 'grid'",
            ", ".join(map(repr, taken)),
            "These are the names of other rows: call the shift by what it does.",
        )


def check_targets(y: Tensor) -> None:
    """Refuse targets that are not one real number per row."""
    if y.ndim != 1 or not y.is_floating_point():
        raise InputError(
            "one real target per row",
            f"targets of shape {tuple(y.shape)} and type {y.dtype}",
            "Pick one column, as floats.",
        )


def check_classes(y: Tensor, classes: tuple[str, ...]) -> None:
    """Refuse labels that are neither class numbers, nor distributions over classes, nor counts."""
    if len(set(classes)) < max(2, len(classes)):
        raise InputError(
            "at least two classes, of different names",
            f"{list(classes)}",
            "With one class there is nothing to predict.",
        )
    if y.ndim == 2 and y.is_floating_point():
        mass = y.sum(1)
        counts = bool((y == y.round()).all()) and bool((mass > 0).all())
        sound = counts or bool(((mass - 1).abs() <= 1e-4).all())
        if y.shape[1] != len(classes) or (y < 0).any() or not sound:
            raise InputError(
                f"label distributions over {len(classes)} classes, or counts of labels",
                "rows that are negative, do not sum to one, or have another length",
                "Divide each row by its sum.",
            )
    elif y.ndim != 1 or y.dtype != torch.int64 or y.min() < 0 or y.max() >= len(classes):
        raise InputError(
            f"class numbers 0 to {len(classes) - 1} as int64, one per row",
            f"values {y.unique()[:20].tolist()} of shape {tuple(y.shape)} and type {y.dtype}",
            "Number the classes from zero.",
        )


def check_split(split: Split, y: Tensor, classes: tuple[str, ...]) -> None:
    """Refuse a split of another table, and one that trains without some class."""
    index = torch.cat([split.train, split.validation, split.calibration, split.test], dim=1)
    if index.min() < 0 or index.max() >= len(y):
        raise InputError(
            f"a split of {len(y)} rows",
            f"row numbers from {index.min()} to {index.max()}",
            "Draw the split from this table.",
        )
    if y.dtype == torch.int64:
        for number, rows in zip(split.ids, split.train, strict=True):
            missing = set(range(len(classes))) - set(y[rows].unique().tolist())
            if missing:
                raise InputError(
                    f"every class among the training rows of split {number}",
                    f"no row of class {classes[min(missing)]!r}",
                    "Leave that class out, or split so that each class is trained on.",
                )
