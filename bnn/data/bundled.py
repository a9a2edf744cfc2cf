"""Real data that comes with scikit-learn: nothing is downloaded.

Each function takes split ids and returns the data set with one random split per id, stratified for
classification.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.utils import Bunch

from bnn.data import shift
from bnn.data.dataset import Dataset, Provenance, fingerprint
from bnn.data.split import random_splits

UCI_LICENCE = "CC BY 4.0 (UCI Machine Learning Repository)"
SIDE = 8  # pixels along the edge of a digit
INK = 16.0  # the darkest a pixel of a digit can be
TRAINED = 8  # the digits 0 to 7 are classes; 8 and 9 are held out
ROTATIONS = (15, 30, 45)  # degrees
NOISES = (2, 4, 8)  # standard deviations, pixel units
NOISE_SEED = 0


def digits(splits: Iterable[int]) -> Dataset:
    """Return handwritten digits, 8 x 8 pixels with values 0 to 16, flat: `[rows, 64]`.

    Classes: the digits 0 to 7, 1,443 rows. Unseen: the digits 8 and 9, 354 rows; pixel by pixel
    most of them are nearest to a 1, a 3 or a 5, so that noticing them is not trivial. Shifted:
    "rotation 15", "rotation 30", "rotation 45" (degrees) and "noise 2", "noise 4", "noise 8"
    (standard deviation in pixel units, clipped to 0 to 16). All pixels share one mean and scale.

    Reference: Alpaydin and Kaynak 1998, https://doi.org/10.24432/C50P49
    """
    bunch = load_digits()
    pixels = torch.tensor(bunch.data, dtype=torch.float32)
    labels = torch.tensor(bunch.target)
    known = labels < TRAINED
    x, y = pixels[known], labels[known]
    rotated = {f"rotation {degrees}": shift.rotate(x, degrees, SIDE) for degrees in ROTATIONS}
    noisy = {f"noise {sd}": shift.noise(x, sd, NOISE_SEED, 0.0, INK) for sd in NOISES}
    source = "Alpaydin and Kaynak 1998, UCI test set, https://doi.org/10.24432/C50P49"
    return Dataset(
        name="digits",
        task="classification",
        x=x,
        y=y,
        split=random_splits(y, splits, stratify=True),
        provenance=Provenance(f"{source}, via scikit-learn", UCI_LICENCE, fingerprint(x, y)),
        classes=tuple(str(digit) for digit in range(TRAINED)),
        shifted={**rotated, **noisy},
        unseen=pixels[~known],
        scale_inputs="global",
    )


def breast_cancer(splits: Iterable[int]) -> Dataset:
    """Return 569 breast masses, 30 measurements of cell nuclei each: malignant or benign?

    Reference: Wolberg, Mangasarian, Street and Street 1993, https://doi.org/10.24432/C5DW2B
    """
    return _classification(
        "breast_cancer",
        load_breast_cancer(),
        splits,
        "Wolberg et al. 1993, UCI, https://doi.org/10.24432/C5DW2B",
    )


def wine(splits: Iterable[int]) -> Dataset:
    """Return 178 Italian wines, 13 chemical measurements each: which of three cultivars?

    Reference: Aeberhard and Forina 1992, https://doi.org/10.24432/C5PC7J
    """
    return _classification(
        "wine",
        load_wine(),
        splits,
        "Aeberhard and Forina 1992, UCI, https://doi.org/10.24432/C5PC7J",
    )


def diabetes(splits: Iterable[int]) -> Dataset:
    """Return 442 patients, 10 measurements each: how far is the disease after a year?

    Inputs in raw units (years, kg/m^2, mm Hg, ...); the target is a score from 25 to 346.

    Reference: Efron, Hastie, Johnstone and Tibshirani 2004,
    https://doi.org/10.1214/009053604000000067
    """
    bunch = load_diabetes(scaled=False)
    x = torch.tensor(bunch.data, dtype=torch.float32)
    y = torch.tensor(bunch.target, dtype=torch.float32)
    return Dataset(
        name="diabetes",
        task="regression",
        x=x,
        y=y,
        split=random_splits(y, splits, stratify=False),
        provenance=Provenance(
            "Efron et al. 2004, https://doi.org/10.1214/009053604000000067, via scikit-learn",
            "none stated by its authors; scikit-learn, which carries it, is BSD-3-Clause",
            fingerprint(x, y),
        ),
    )


def _classification(name: str, bunch: Bunch, splits: Iterable[int], source: str) -> Dataset:
    x = torch.tensor(bunch.data, dtype=torch.float32)
    y = torch.tensor(bunch.target)
    return Dataset(
        name=name,
        task="classification",
        x=x,
        y=y,
        split=random_splits(y, splits, stratify=True),
        provenance=Provenance(f"{source}, via scikit-learn", UCI_LICENCE, fingerprint(x, y)),
        classes=tuple(str(label) for label in bunch.target_names),
    )
