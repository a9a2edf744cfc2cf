"""Published test scores of Bayesian networks on the UCI regression sets, with their sources.

Every row says where its figures were read: in a "file" of a repository, on the "page" of the paper,
or that they are from "memory", unchecked, for orientation only. It says what its errors are, which
publications often do not: standard errors over splits, or standard deviations, which are larger by
the root of their number. Figures are facts; nothing else of the sources is kept here.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

Log = Literal["log_likelihood", "moment_matched"]


@dataclass(frozen=True)
class Figure:
    """A mean over splits and its error, as printed."""

    mean: float
    error: float | None


@dataclass(frozen=True)
class Row:
    """What one publication reports of one method, 20 splits of each set.

    Arguments:
        label: author and year.
        source: where it was read.
        read: in a file, on a page, or from memory.
        spread: what its errors are.
        protocol: what matters of how it was made.
        decimals: that are known.
        score: which log-likelihood it is: of the predictive, or of a Normal with its moments.
        log_likelihood: test nats per point, original units, by set.
        rmse: original units, by set.
    """

    label: str
    source: str
    read: Literal["file", "page", "memory"]
    spread: Literal["standard error", "standard deviation"]
    protocol: str
    decimals: int
    score: Log
    log_likelihood: Mapping[str, Figure]
    rmse: Mapping[str, Figure]

    def standard_error(self, figure: Figure, splits: int = 20) -> float | None:
        """Return the standard error of a figure, the rounding of its mean included.

        sqrt(se^2 + 10^(-2 decimals) / 12): a rounded number is uniform about the printed one.
        """
        if figure.error is None:
            return None
        over = math.sqrt(splits) if self.spread == "standard deviation" else 1.0
        return math.hypot(figure.error / over, 10.0**-self.decimals / math.sqrt(12))


# By the name of the method that each is compared with.
REGRESSION: Mapping[str, Row] = {
    "mc_dropout_2016": Row(
        label="Gal & Ghahramani 2016",
        source=(
            "https://github.com/yaringal/DropoutUncertaintyExps, commit a6259f1, files "
            "net/results of every split; the same to two decimals in Table 1 of "
            "arXiv:1506.02142v6"
        ),
        read="file",
        spread="standard error",
        protocol=(
            "1x50 ReLU, 400 epochs (40, times 10 in the code), batch 32, Adam 1e-3; rate, "
            "precision and weight decay chosen once per set on all splits, test rows among them, "
            "as its authors say"
        ),
        decimals=4,
        score="log_likelihood",
        log_likelihood={
            "boston": Figure(-2.46, 0.0554),
            "concrete": Figure(-3.0389, 0.0203),
            "energy": Figure(-1.9853, 0.0198),
            "kin8nm": Figure(0.9509, 0.0057),
            "naval": Figure(3.8046, 0.0111),
            "power": Figure(-2.7952, 0.0104),
            "wine": Figure(-0.9334, 0.0142),
            "yacht": Figure(-1.5541, 0.0269),
        },
        rmse={
            "boston": Figure(2.9735, 0.1899),
            "concrete": Figure(5.2299, 0.118),
            "energy": Figure(1.6634, 0.0433),
            "kin8nm": Figure(0.0965, 0.0007),
            "naval": Figure(0.0055, 0.0001),
            "power": Figure(4.0221, 0.0411),
            "wine": Figure(0.6202, 0.0087),
            "yacht": Figure(1.1092, 0.085),
        },
    ),
    "mc_dropout_2016_long": Row(
        label="Gal & Ghahramani 2016, ten times the epochs",
        source=(
            "https://github.com/yaringal/DropoutUncertaintyExps, commit a6259f1, files "
            "net/results_10x_epochs of every split"
        ),
        read="file",
        spread="standard error",
        protocol="as of 2016, but 4000 epochs and batch 128",
        decimals=4,
        score="log_likelihood",
        log_likelihood={
            "boston": Figure(-2.3893, 0.0451),
            "concrete": Figure(-2.9403, 0.0225),
            "energy": Figure(-1.7174, 0.0163),
            "kin8nm": Figure(0.9726, 0.0054),
            "naval": Figure(3.9182, 0.0063),
            "power": Figure(-2.7866, 0.0086),
            "wine": Figure(-0.9211, 0.014),
            "yacht": Figure(-1.3753, 0.0144),
        },
        rmse={
            "boston": Figure(2.7981, 0.1874),
            "concrete": Figure(4.8147, 0.1433),
            "energy": Figure(1.0865, 0.0463),
            "kin8nm": Figure(0.0946, 0.0006),
            "naval": Figure(0.0047, 0.0),
            "power": Figure(3.998, 0.0373),
            "wine": Figure(0.6128, 0.0091),
            "yacht": Figure(0.7243, 0.0556),
        },
    ),
    "ensemble_2017": Row(
        label="Lakshminarayanan et al. 2017",
        source="Table 1 of https://arxiv.org/abs/1612.01474",
        read="page",
        spread="standard deviation",
        protocol=(
            "1x50 ReLU, mean and variance, 5 networks, 40 epochs, batch 100; one Normal of the "
            "mixture's moments is scored. The paper trains on adversarial rows too, and does not "
            "say that its errors are standard deviations, as their size shows"
        ),
        decimals=2,
        score="moment_matched",
        log_likelihood={
            "boston": Figure(-2.41, 0.25),
            "concrete": Figure(-3.06, 0.18),
            "energy": Figure(-1.38, 0.22),
            "kin8nm": Figure(1.2, 0.02),
            "naval": Figure(5.63, 0.05),
            "power": Figure(-2.79, 0.04),
            "wine": Figure(-0.94, 0.12),
            "yacht": Figure(-1.18, 0.21),
        },
        rmse={
            "boston": Figure(3.28, 1.0),
            "concrete": Figure(6.03, 0.58),
            "energy": Figure(2.09, 0.29),
            "kin8nm": Figure(0.09, 0),
            "naval": Figure(0, 0),
            "power": Figure(4.11, 0.17),
            "wine": Figure(0.64, 0.04),
            "yacht": Figure(1.58, 0.48),
        },
    ),
    "mle_input_noise": Row(
        label="Izmailov et al. 2019, SGD",
        source="https://github.com/wjmaddox/drbayes, 435_supplement.pdf, Tables 2-4",
        read="file",
        spread="standard deviation",
        protocol="1x50 ReLU, mean and variance; settings tuned per set; random splits of its own",
        decimals=3,
        score="moment_matched",
        log_likelihood={
            "boston": Figure(-2.752, 0.132),
            "concrete": Figure(-3.178, 0.198),
            "energy": Figure(-1.736, 1.613),
            "naval": Figure(6.567, 0.185),
            "yacht": Figure(-0.418, 0.426),
        },
        rmse={
            "boston": Figure(3.504, 0.975),
            "concrete": Figure(5.194, 0.446),
            "energy": Figure(1.602, 0.275),
            "naval": Figure(0.001, 0),
            "yacht": Figure(0.973, 0.374),
        },
    ),
    "swag": Row(
        label="Izmailov et al. 2019, SWAG",
        source="https://github.com/wjmaddox/drbayes, 435_supplement.pdf, Tables 2-4",
        read="file",
        spread="standard deviation",
        protocol="1x50 ReLU, mean and variance; settings tuned per set; random splits of its own",
        decimals=3,
        score="moment_matched",
        log_likelihood={
            "boston": Figure(-2.761, 0.132),
            "concrete": Figure(-3.013, 0.086),
            "energy": Figure(-1.679, 1.488),
            "naval": Figure(6.708, 0.105),
            "yacht": Figure(-0.404, 0.418),
        },
        rmse={
            "boston": Figure(3.517, 0.981),
            "concrete": Figure(5.233, 0.417),
            "energy": Figure(1.594, 0.273),
            "naval": Figure(0.001, 0),
            "yacht": Figure(0.973, 0.375),
        },
    ),
    "hmc": Row(
        label="Bui et al. 2016",
        source="Table of https://arxiv.org/abs/1602.04133, from memory",
        read="memory",
        spread="standard error",
        protocol="1x50 ReLU, HMC; not checked against the paper",
        decimals=2,
        score="log_likelihood",
        log_likelihood={
            "boston": Figure(-2.27, 0.03),
            "concrete": Figure(-2.72, 0.02),
            "energy": Figure(-0.93, 0.01),
            "kin8nm": Figure(1.35, 0),
            "naval": Figure(7.31, 0),
            "power": Figure(-2.7, 0),
            "wine": Figure(-0.91, 0.02),
            "yacht": Figure(-1.62, 0.01),
        },
        rmse={
            "boston": Figure(2.76, None),
            "concrete": Figure(4.12, None),
            "energy": Figure(0.48, None),
            "kin8nm": Figure(0.06, None),
            "naval": Figure(0, None),
            "power": Figure(3.73, None),
            "wine": Figure(0.63, None),
            "yacht": Figure(0.56, None),
        },
    ),
    "low_rank": Row(
        label="Mishkin et al. 2018, SLANG",
        source="Table of https://arxiv.org/abs/1811.04504, from memory",
        read="memory",
        spread="standard error",
        protocol="1x50 ReLU, low-rank natural gradients; not checked against the paper",
        decimals=2,
        score="log_likelihood",
        log_likelihood={
            "boston": Figure(-2.58, 0.05),
            "concrete": Figure(-3.13, 0.03),
            "energy": Figure(-1.12, 0.01),
            "kin8nm": Figure(1.06, 0),
            "naval": Figure(4.76, 0),
            "power": Figure(-2.84, 0.01),
            "wine": Figure(-0.97, 0.01),
            "yacht": Figure(-1.88, 0.01),
        },
        rmse={
            "boston": Figure(3.21, None),
            "concrete": Figure(5.58, None),
            "energy": Figure(0.64, None),
            "kin8nm": Figure(0.08, None),
            "naval": Figure(0, None),
            "power": Figure(4.16, None),
            "wine": Figure(0.65, None),
            "yacht": Figure(1.08, None),
        },
    ),
    "mean_field": Row(
        label="Mishkin et al. 2018, Bayes by Backprop",
        source="Table of https://arxiv.org/abs/1811.04504, from memory",
        read="memory",
        spread="standard error",
        protocol="1x50 ReLU, mean field; not checked against the paper",
        decimals=2,
        score="log_likelihood",
        log_likelihood={
            "boston": Figure(-2.66, 0.06),
            "concrete": Figure(-3.25, 0.02),
            "energy": Figure(-1.45, 0.1),
            "kin8nm": Figure(1.07, 0),
            "naval": Figure(4.61, 0.01),
            "power": Figure(-2.86, 0.01),
            "wine": Figure(-0.97, 0.01),
            "yacht": Figure(-1.56, 0.02),
        },
        rmse={
            "boston": Figure(3.43, None),
            "concrete": Figure(6.16, None),
            "energy": Figure(0.97, None),
            "kin8nm": Figure(0.08, None),
            "naval": Figure(0, None),
            "power": Figure(4.21, None),
            "wine": Figure(0.64, None),
            "yacht": Figure(1.13, None),
        },
    ),
}


# Negative log-likelihood per test point of Immer, Korzepa and Bauer 2021, from memory.
# https://arxiv.org/abs/2008.08400
CLASSIFICATION: Mapping[str, Mapping[str, float]] = {
    "map_validated": {
        "australian": 0.31,
        "breast_cancer": 0.11,
        "ionosphere": 0.35,
        "digits": 0.094,
        "satellite": 0.23,
    },
    "mean_field_validated": {
        "australian": 0.34,
        "breast_cancer": 0.11,
        "ionosphere": 0.41,
        "digits": 0.219,
        "satellite": 0.307,
    },
    "laplace_validated": {
        "australian": 0.32,
        "breast_cancer": 0.10,
        "ionosphere": 0.29,
        "digits": 0.25,
        "satellite": 0.241,
    },
}


def splits() -> dict[str, dict[str, list[float]]]:
    """Return the published log-likelihoods of the splits 0 to 19, by method and set.

    They stand in the files that the rows of the same names were read in.
    """
    text = files("bnn.report").joinpath("published_splits.csv").read_text(encoding="utf-8")
    found: dict[str, dict[str, list[float]]] = {}
    for line in csv.DictReader(text.splitlines()):
        sets = found.setdefault(line["method"], {})
        sets.setdefault(line["dataset"], []).append(float(line["log_likelihood"]))
    return found
