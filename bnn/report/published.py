"""Published test scores of Bayesian networks on the UCI regression sets, with their sources.

Every row says where its figures were read: in a "file" of a repository, on the "page" of the paper,
or that they are from "memory", unchecked, for orientation only. It says what its errors are, which
publications often do not: standard errors over splits, or standard deviations, which are larger by
the root of their number. Figures are facts; nothing else of the sources is kept here.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
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
    log_likelihood: Mapping[str, Figure] = field(default_factory=dict)
    rmse: Mapping[str, Figure] = field(default_factory=dict)

    def standard_error(self, figure: Figure, splits: int = 20) -> float | None:
        """Return the standard error of a figure, the rounding of its mean included.

        sqrt(se^2 + 10^(-2 decimals) / 12): a rounded number is uniform about the printed one.
        """
        if figure.error is None:
            return None
        over = math.sqrt(splits) if self.spread == "standard deviation" else 1.0
        return math.hypot(figure.error / over, 10.0**-self.decimals / math.sqrt(12))


# By the name of the method that each is compared with; the figures are in published_means.csv.
SOURCES: Mapping[str, Row] = {
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
    ),
    "mle_input_noise": Row(
        label="Izmailov et al. 2019, SGD",
        source="https://github.com/wjmaddox/drbayes, 435_supplement.pdf, Tables 2-4",
        read="file",
        spread="standard deviation",
        protocol="1x50 ReLU, mean and variance; settings tuned per set; random splits of its own",
        decimals=3,
        score="moment_matched",
    ),
    "swag": Row(
        label="Izmailov et al. 2019, SWAG",
        source="https://github.com/wjmaddox/drbayes, 435_supplement.pdf, Tables 2-4",
        read="file",
        spread="standard deviation",
        protocol="1x50 ReLU, mean and variance; settings tuned per set; random splits of its own",
        decimals=3,
        score="moment_matched",
    ),
    "hmc": Row(
        label="Bui et al. 2016",
        source="Table of https://arxiv.org/abs/1602.04133, from memory",
        read="memory",
        spread="standard error",
        protocol="1x50 ReLU, HMC; not checked against the paper",
        decimals=2,
        score="log_likelihood",
    ),
    "low_rank": Row(
        label="Mishkin et al. 2018, SLANG",
        source="Table of https://arxiv.org/abs/1811.04504, from memory",
        read="memory",
        spread="standard error",
        protocol="1x50 ReLU, low-rank natural gradients; not checked against the paper",
        decimals=2,
        score="log_likelihood",
    ),
    "mean_field": Row(
        label="Mishkin et al. 2018, Bayes by Backprop",
        source="Table of https://arxiv.org/abs/1811.04504, from memory",
        read="memory",
        spread="standard error",
        protocol="1x50 ReLU, mean field; not checked against the paper",
        decimals=2,
        score="log_likelihood",
    ),
}


def _table(name: str) -> Iterator[dict[str, str]]:
    yield from csv.DictReader(
        files("bnn.report").joinpath(name).read_text(encoding="utf-8").splitlines()
    )


def _regression() -> dict[str, Row]:
    """Return the sources with their figures; an empty field is a figure that is not published."""
    lines = list(_table("published_means.csv"))

    def of(method: str, score: str) -> dict[str, Figure]:
        found = [line for line in lines if line["method"] == method and line[score]]
        return {line["dataset"]: _figure(line[score], line[f"{score}_error"]) for line in found}

    return {
        method: replace(row, log_likelihood=of(method, "log_likelihood"), rmse=of(method, "rmse"))
        for method, row in SOURCES.items()
    }


def _figure(mean: str, error: str) -> Figure:
    return Figure(float(mean), float(error) if error else None)


REGRESSION: Mapping[str, Row] = _regression()


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
    found: dict[str, dict[str, list[float]]] = {}
    for line in _table("published_splits.csv"):
        sets = found.setdefault(line["method"], {})
        sets.setdefault(line["dataset"], []).append(float(line["log_likelihood"]))
    return found
