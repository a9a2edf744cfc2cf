"""Data sets: tables, splits and where they come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bnn.data import uci
from bnn.data.arrays import from_arrays
from bnn.data.bundled import breast_cancer, diabetes, digits, wine
from bnn.data.dataset import Dataset, Provenance, Rows, Scope, Task, fingerprint
from bnn.data.images import fashion_mnist, fashion_mnist_human, mnist
from bnn.data.protocols import gap_splits, hold_out, standard_splits, stratified_splits
from bnn.data.scaling import Scaling
from bnn.data.split import Split, random_splits, sized_splits
from bnn.data.toy import sine, sine_mean, sine_noise, two_moons

# Those that come with the suite: listing them downloads nothing.
DATASETS: dict[str, Callable[[Sequence[int]], Dataset]] = {
    "digits": digits,
    "breast_cancer": breast_cancer,
    "wine": wine,
    "diabetes": diabetes,
    "two_moons": two_moons,
    "sine": sine,
}

__all__ = [
    "DATASETS",
    "Dataset",
    "Provenance",
    "Rows",
    "Scaling",
    "Scope",
    "Split",
    "Task",
    "breast_cancer",
    "diabetes",
    "digits",
    "fashion_mnist",
    "fashion_mnist_human",
    "fingerprint",
    "from_arrays",
    "gap_splits",
    "hold_out",
    "mnist",
    "random_splits",
    "sine",
    "sine_mean",
    "sine_noise",
    "sized_splits",
    "standard_splits",
    "stratified_splits",
    "two_moons",
    "uci",
    "wine",
]
