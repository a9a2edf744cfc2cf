"""Splits: which rows of a table train, validate, calibrate and test each replica."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor

from bnn.errors import InputError
from bnn.seeds import as_seeds


@dataclass(frozen=True)
class Split:
    """Which rows serve which purpose: index arrays `[replicas, points]` into one table.

    The four sets of a replica do not overlap. `ids` names each replica's split, so that results on
    the same split can be paired.

    Raises:
        InputError: on sets that overlap, on no rows to train or test on, on unlike replicas.
    """

    train: Tensor  # weights are fitted on these
    validation: Tensor  # early stopping and other choices of a method
    calibration: Tensor  # fitting of a temperature and the like
    test: Tensor  # scores, and nothing else
    ids: tuple[int, ...]

    def __post_init__(self) -> None:
        sets = (self.train, self.validation, self.calibration, self.test)
        if not self.ids or any(s.ndim != 2 or len(s) != len(self.ids) for s in sets):
            raise InputError(
                "one row of indices per split id in each of the four sets, and at least one id",
                f"{len(self.ids)} ids and index shapes {[tuple(s.shape) for s in sets]}",
                "Give index arrays of shape [replicas, points].",
            )
        if self.train.shape[1] == 0 or self.test.shape[1] == 0:
            raise InputError("rows to train and to test on", "none", "Check the split.")
        ordered = torch.cat(sets, dim=1).sort(dim=1).values
        for number, same in zip(self.ids, ordered.diff(dim=1) == 0, strict=True):
            if same.any():
                raise InputError(
                    f"split {number} to use each row once at most",
                    f"{int(same.sum())} rows used again",
                    "Test rows must not be trained on.",
                )

    def fingerprint(self, replica: int) -> str:
        """Return the SHA-256 of a replica's rows, set by set and in their order."""
        digest = hashlib.sha256()
        for rows in (self.train, self.validation, self.calibration, self.test):
            digest.update(f"{rows.shape[1]} ".encode())
            digest.update(rows[replica].numpy().astype("<i8").tobytes())
        return digest.hexdigest()

    def take(self, replicas: Sequence[int] | slice) -> Split:
        """Return the splits of some of the replicas."""
        return Split(
            train=self.train[replicas],
            validation=self.validation[replicas],
            calibration=self.calibration[replicas],
            test=self.test[replicas],
            ids=tuple(np.array(self.ids)[replicas].tolist()),
        )


def random_splits(
    labels: Tensor,
    ids: Iterable[int],
    *,
    stratify: bool,
    validation: float = 0.1,
    calibration: float = 0.1,
    test: float = 0.2,
    classes: Sequence[str] = (),
) -> Split:
    """Draw one split per id; a split depends on its own id only.

    Arguments:
        labels: targets of all rows, `[rows]`.
        ids: one number in [0, 2**32) per split, which seeds it.
        stratify: keep the class frequencies alike in all four sets.
        validation, calibration, test: their shares of all rows; the rest trains.
        classes: names of the classes for messages, in the order of their numbers.

    Raises:
        InputError: on ids out of range or equal, on too few rows, and, if stratified, on a class
            too rare to be in all four sets.
    """
    ids = as_ids(ids)
    rows = len(labels)
    shares = {"test": test, "calibration": calibration, "validation": validation}
    sizes = {name: round(share * rows) for name, share in shares.items()}
    if min(sizes.values()) < 1 or sum(sizes.values()) >= rows:
        raise InputError(
            "enough rows for a training, validation, calibration and test set",
            f"{rows} rows",
            "Bring more rows or change the shares.",
        )
    strata = labels.numpy() if stratify else np.zeros(rows)
    drawn = [_draw(strata, sizes, number, classes) for number in ids]
    return _split(drawn, ids)


def sized_splits(
    labels: Tensor,
    ids: Iterable[int],
    *,
    train: int,
    validation: int,
    calibration: int,
    test: int | Tensor,
    classes: Sequence[str] = (),
) -> Split:
    """Draw one stratified split per id with sets of given sizes; it depends on its own id only.

    The rows that validate, calibrate and test do not depend on how many train, and the fewer that
    train are among the more.

    Arguments:
        labels: class numbers of all rows, `[rows]`.
        ids: one number in [0, 2**32) per split, which seeds it.
        train, validation, calibration: rows of each split; the last two may be none.
        test: how many rows to draw, or which rows test every split, `[points]`.
        classes: names of the classes for messages, in the order of their numbers.

    Raises:
        InputError: on ids out of range or equal, on more rows than there are, on a class too rare
            to be in every set that is drawn by class.
    """
    ids = as_ids(ids)
    fixed = test.numpy() if isinstance(test, Tensor) else None
    pool = np.arange(len(labels)) if fixed is None else np.setdiff1d(np.arange(len(labels)), fixed)
    sizes = {"calibration": calibration, "validation": validation}
    if isinstance(test, int):
        sizes["test"] = test
    left = len(pool) - sum(sizes.values())
    if min(sizes.values()) < 0 or not 1 <= train <= left:
        raise InputError(
            f"from 1 to {left} training rows, which is what {sizes} leaves of {len(pool)}",
            f"{train}",
            "Ask for fewer rows.",
        )
    strata, drawn = labels.numpy()[pool], []
    wanted = {name: size for name, size in sizes.items() if size}
    for number in ids:
        sets = _draw(strata, wanted, number, classes)
        rest = np.random.RandomState(number).permutation(sets["train"])
        none = rest[:0]
        chosen = {name: pool[sets.get(name, none)] for name in ("validation", "calibration")}
        chosen["train"] = pool[rest[:train]]
        chosen["test"] = pool[sets.get("test", none)] if fixed is None else fixed
        drawn.append(chosen)
    return _split(drawn, ids)


def _split(drawn: Sequence[Mapping[str, np.ndarray]], ids: tuple[int, ...]) -> Split:
    index = {name: torch.from_numpy(np.stack([d[name] for d in drawn])) for name in drawn[0]}
    return Split(**index, ids=ids)


def as_ids(ids: Iterable[int]) -> tuple[int, ...]:
    """Return the ids of splits as plain numbers, or refuse them."""
    ids = as_seeds(ids)
    if not ids or min(ids) < 0 or max(ids) >= 2**32:
        raise InputError(
            "at least one split id, each from 0 to 2**32 - 1",
            f"{list(ids)}",
            "Number the splits from zero.",
        )
    if len(set(ids)) < len(ids):
        raise InputError(
            "splits that differ", f"{list(ids)}", "Equal ids draw equal rows: name each id once."
        )
    return ids


def _draw(
    strata: np.ndarray, sizes: Mapping[str, int], number: int, classes: Sequence[str]
) -> dict[str, np.ndarray]:
    values, counts = np.unique(strata, return_counts=True)
    rest, sets = np.arange(len(strata)), {}
    try:
        for name, size in sizes.items():
            rest, sets[name] = train_test_split(
                rest, test_size=size, random_state=number, stratify=strata[rest]
            )
        complete = all(len(np.unique(strata[s])) == len(values) for s in (*sets.values(), rest))
    except ValueError:  # a class has fewer rows than there are sets, or a set fewer than classes
        complete = False
    if not complete:
        rarest = values[counts.argmin()]
        raise InputError(
            f"rows of every class in each of the four sets of split {number}",
            f"only {counts.min()} of {len(strata)} rows of class "
            + repr(classes[int(rarest)] if classes else rarest.item()),
            "Merge rare classes or bring more rows; a target that is a quantity belongs in floats.",
        )
    return {**sets, "train": rest}
