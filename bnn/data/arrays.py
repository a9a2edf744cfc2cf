"""Data sets from arrays and data frames in hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from bnn.data.dataset import Dataset, Provenance, Scope, Task, fingerprint
from bnn.data.split import random_splits
from bnn.errors import InputError, choose


def from_arrays(
    name: str,
    x: ArrayLike,
    y: ArrayLike,
    *,
    splits: Iterable[int] = (0,),
    task: Task | None = None,
    classes: Sequence[str] | None = None,
    unseen: ArrayLike | None = None,
    scale_inputs: Scope = "feature",
) -> Dataset:
    """Return a data set made of NumPy arrays, pandas objects, torch tensors or lists.

    Floats in `y` make a regression; integers, strings, booleans and categories a classification
    with the classes in sorted order (categories in their own). One random split is drawn per id:
    60 % of the rows train, 10 % validate, 10 % calibrate, 20 % test; class frequencies are kept.
    Shifted inputs and a fuller provenance are added by `dataclasses.replace`.

    Arguments:
        name: a short identifier.
        x: inputs, `[rows, *features]`, original units; float32 stays float32, else float64.
        y: targets or labels, `[rows]`.
        splits: one number in [0, 2**32) per replica, which seeds its split.
        task: "classification" or "regression", where the type of `y` does not tell.
        classes: names of the classes in the wanted order; `y` holds these names, or numbers into
            them.
        unseen: inputs from outside the training distribution, `[points, *features]`.
        scale_inputs: "feature" or "global", see `Dataset`.

    Raises:
        InputError: on columns that are not numbers, on missing or infinite values, on wrong or
            unequal shapes, on fewer than two classes, on a class too rare for every set.
    """
    inputs, column = as_inputs("x", x), _column(y)
    if task is None:
        task = "regression" if pd.api.types.is_float_dtype(column) else "classification"
    choose(task, {"classification": None, "regression": None}, "task")
    if task == "classification":
        targets, names = _labels(column, classes)
    else:
        targets, names = torch.tensor(_numbers("y", column)), tuple[str, ...]()
    return Dataset(
        name=name,
        task=task,
        x=inputs,
        y=targets,
        split=random_splits(targets, splits, stratify=task == "classification", classes=names),
        provenance=Provenance("given as arrays", "not stated", fingerprint(inputs, targets)),
        classes=names,
        unseen=None if unseen is None else as_inputs("unseen", unseen).to(inputs.dtype),
        scale_inputs=scale_inputs,
    )


def _array(what: str, values: ArrayLike) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
    try:
        return np.asarray(values)
    except ValueError as error:
        raise InputError(
            f"{what} as a rectangular array", str(error), "Give every row the same length."
        ) from error


def as_inputs(what: str, values: ArrayLike) -> Tensor:
    """Return inputs as a tensor of their own; float32 stays float32, all else becomes float64.

    Arguments:
        what: what they are called in messages.
        values: a NumPy array, a data frame, a tensor or lists.

    Raises:
        InputError: on what are not real numbers.
    """
    array = _array(what, values)
    if array.dtype.kind in "fiub":
        # A copy (as of y), so that the table does not change when the caller's array does.
        kept = np.float32 if array.dtype == np.float32 else np.float64
        return torch.from_numpy(array.astype(kept))
    if array.ndim != 2:
        raise InputError(
            f"{what} as numbers of shape [rows, features]",
            f"shape {array.shape} of type {array.dtype}",
            "Give a table of numbers.",
        )
    frame = pd.DataFrame(values if isinstance(values, pd.DataFrame) else array)
    table = np.empty(array.shape)
    for place, (name, column) in enumerate(frame.items()):
        table[:, place] = _numbers(f"column {name!r} of {what}", column.infer_objects())
    return torch.from_numpy(table)


def _numbers(what: str, column: pd.Series) -> np.ndarray:
    if column.dtype.kind in "fiub":
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    values = column.astype(object)
    numbers = pd.to_numeric(values, errors="coerce")
    alien = values[numbers.isna() & values.notna()]
    if column.dtype.kind in "mMc" or len(alien):
        raise InputError(
            f"numbers in {what}",
            f"{next(iter(alien), column.iloc[0])!r}",
            "Encode it as numbers, for example by pandas.get_dummies, or leave it out.",
        )
    return numbers.to_numpy(dtype=np.float64, na_value=np.nan)


def _column(y: ArrayLike) -> pd.Series:
    array = _array("y", y)
    if array.ndim != 1:
        raise InputError(
            "one target per row", f"targets of shape {array.shape}", "Pick one column of y."
        )
    column = pd.Series(y if isinstance(y, pd.Series) else array)
    return column.reset_index(drop=True).infer_objects()


def _labels(column: pd.Series, classes: Sequence[str] | None) -> tuple[Tensor, tuple[str, ...]]:
    """Return class numbers and the names of the classes in their order."""
    if pd.api.types.is_float_dtype(column):
        if not (column % 1 == 0).all():  # also false for NaN and infinite
            raise InputError(
                "class labels", "numbers that are not whole", "Choose task='regression'."
            )
        column = column.astype("int64")
    coded = pd.Categorical(column).remove_unused_categories()
    if (coded.codes < 0).any():
        raise InputError(
            "a label in every row", f"{(coded.codes < 0).sum()} missing", "Drop those rows."
        )
    found = [str(value) for value in coded.categories]
    names = tuple(str(name) for name in classes or found)
    if set(found) <= set(names):
        numbers = [names.index(label) for label in found]
    elif column.dtype.kind in "iu" and column.between(0, len(names) - 1).all():
        numbers = [int(value) for value in coded.categories]
    else:
        raise InputError(
            f"labels among the classes {list(names)}, or numbers into them",
            f"{min(set(found) - set(names))!r}",
            "Name every class that occurs.",
        )
    return torch.tensor(numbers)[torch.from_numpy(coded.codes.astype(np.int64))], names
