"""Splits that the literature agreed on. They follow from rules, so that no index file is needed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor

from bnn.data.split import Split, as_ids
from bnn.errors import InputError

STANDARD = 20  # splits of each regression set
SEEDS = (711, 1, 75, 359, 17, 420, 129, 666, 69, 36)  # of the splits of a classification set


def standard_splits(rows: int, ids: Iterable[int]) -> Split:
    """Return some of the 20 splits that regression benchmarks share: 90 % train, 10 % test.

    NumPy's legacy generator, seeded once with 1, draws a permutation pi_s of the N rows for each
    split s = 0, ..., 19 in turn:

        train = pi_s[1, ..., round(0.9 N)],  test = the rest.

    Arguments:
        rows: N, how many rows the table has.
        ids: numbers of the splits, 0 to 19.

    Raises:
        InputError: on other ids, or on equal ones.

    Reference: Hernández-Lobato and Adams 2015, https://arxiv.org/abs/1502.05336
    """
    ids = _known(ids, STANDARD, "standard splits")
    random = np.random.RandomState(1)
    orders = np.stack([random.permutation(rows) for _ in range(max(ids) + 1)])[list(ids)]
    return _split(*np.split(orders, [round(0.9 * rows)], axis=1), ids=ids)


def gap_splits(x: Tensor, features: Iterable[int]) -> Split:
    """Return a split for each feature: the rows in the middle third of its values are the test.

    With the N rows in the order of x_d (equal values in the order of the table), those from
    floor(N / 3) to floor(2 N / 3) test; the outer two thirds train, in an order drawn with seed d.
    A feature of few values has the same ones inside and outside: it leaves no gap.

    Arguments:
        x: inputs, `[rows, features]`.
        features: d, numbers of the features; they are the ids of the splits.

    Raises:
        InputError: on features that the table has not, or that are constant; on equal ones.

    Reference: Foong, Li, Hernández-Lobato and Turner 2019, https://arxiv.org/abs/1906.11537
    """
    ids = as_ids(features)
    varying = [d for d in range(x.shape[1]) if (x[:, d] != x[0, d]).any()]
    if not set(ids) <= set(varying):
        raise InputError(
            f"numbers of features that vary, which are {varying}",
            f"{sorted(set(ids) - set(varying))}",
            "Name these only: the middle of a constant feature is no gap.",
        )
    start, stop = len(x) // 3, 2 * len(x) // 3
    orders = np.stack([np.argsort(x[:, d].numpy(), kind="stable") for d in ids])
    outer = np.concatenate([orders[:, :start], orders[:, stop:]], axis=1)
    mixed = [np.random.RandomState(d).permutation(row) for d, row in zip(ids, outer, strict=True)]
    return _split(np.stack(mixed), orders[:, start:stop], ids=ids)


def stratified_splits(labels: Tensor, ids: Iterable[int]) -> Split:
    """Return some of ten splits of a classification set: 70 % train, 15 % validate, 15 % test.

    Class frequencies are kept. Split s is drawn by scikit-learn with the s-th published seed: first
    the training rows, then, from the same seed, the test rows out of the rest.

    Arguments:
        labels: class numbers, `[rows]`.
        ids: numbers of the splits, 0 to 9.

    Raises:
        InputError: on other ids, or on equal ones.

    Reference: Immer, Korzepa and Bauer 2021, https://arxiv.org/abs/2008.08400
    """
    ids = _known(ids, len(SEEDS), "published splits")
    y, sets = labels.numpy(), []
    for number in ids:
        seed = SEEDS[number]
        train, rest = train_test_split(
            np.arange(len(y)), train_size=0.7, random_state=seed, stratify=y
        )
        test, validation = train_test_split(
            rest, train_size=0.5, random_state=seed, stratify=y[rest]
        )
        sets.append((train, test, validation))
    return _split(*(np.stack(rows) for rows in zip(*sets, strict=True)), ids=ids)


def hold_out(split: Split, share: float) -> Split:
    """Let the last of each split's training rows, in the order of the split, validate.

    Of N training rows the first floor((1 - share) N) still train.

    Arguments:
        split: rows that validate already are joined by these.
        share: of the training rows, at least 0 and less than 1; 0 leaves the split as it is.

    Raises:
        InputError: on a share out of range, or one that leaves no row to train on.
    """
    if not 0 <= share < 1:
        raise InputError(
            "a share of the training rows that validates, at least 0 and less than 1",
            f"{share}",
            "The custom is 0.2.",
        )
    kept = int((1 - share) * split.train.shape[1])
    validation = torch.cat([split.train[:, kept:], split.validation], dim=1)
    return replace(split, train=split.train[:, :kept], validation=validation)


def _known(ids: Iterable[int], count: int, what: str) -> tuple[int, ...]:
    ids = as_ids(ids)
    if max(ids) >= count:
        raise InputError(
            f"numbers of the {what}, 0 to {count - 1}", f"{list(ids)}", "There are no others."
        )
    return ids


def _split(
    train: np.ndarray,
    test: np.ndarray,
    validation: np.ndarray | None = None,
    *,
    ids: tuple[int, ...],
) -> Split:
    none = train[:, :0]
    sets = (train, none if validation is None else validation, none, test)
    parts = [torch.from_numpy(np.ascontiguousarray(rows)) for rows in sets]
    return Split(parts[0], parts[1], parts[2], parts[3], ids)
