"""Kinds: every score that a report can print, what it is called and how it is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bnn.errors import choose


@dataclass(frozen=True)
class ScoreKind:
    """What a score is called and how it is read."""

    name: str  # in runs and tables
    label: str  # in a report
    unit: str  # "y" stands for the target's own unit; empty for a pure number
    better: Literal["lower", "higher"] | None  # None where neither direction is a merit
    proper: bool  # is the truth the best thing to say?
    meaning: str  # one sentence for a reader who meets it first
    target: float | None = None  # what a calibrated model shows, where that is a fixed number


NLL = ScoreKind(
    "nll", "Negative log-likelihood", "nats", "lower", True,
    "Surprise at the truth, per point: minus the log of the probability (density) it was given.",
)  # fmt: skip

CLASSIFICATION = (
    NLL,
    ScoreKind("nll_bits", "Negative log-likelihood", "bits", "lower", True,
        "The same in bits: one bit is one fair coin toss of surprise."),
    ScoreKind("accuracy", "Accuracy", "", "higher", False,
        "How often the most probable class is the true one."),
    ScoreKind("brier", "Brier score", "", "lower", True,
        "Squared distance between predicted probabilities and truth, from 0 to 2."),
    ScoreKind("ece", "Calibration error (15 bins)", "", None, False,
        "Mean gap between confidence and accuracy; biased upwards, to be read beside its null."),
    ScoreKind("ece_null", "Calibration error, if calibrated", "", None, False,
        "What a perfectly calibrated model with these predictions would show on average."),
    ScoreKind("ece_null_95", "Calibration error, if calibrated, 95 %", "", None, False,
        "What a perfectly calibrated model would exceed in one of twenty test sets."),
    ScoreKind("ece_debiased", "Squared calibration error, debiased", "", None, False,
        "Squared gap without the bias: around zero, on either side, when calibrated."),
    ScoreKind("entropy", "Entropy", "nats", None, False,
        "How unsure the predictions are in all."),
    ScoreKind("expected_entropy", "Expected entropy", "nats", None, False,
        "The part of the entropy that knowing the weights would not remove."),
    ScoreKind("mutual_information", "Mutual information", "nats", None, False,
        "The part of the entropy that is doubt about the weights, as the draws show it."),
    ScoreKind("mutual_information_corrected", "Mutual information, corrected", "nats", None, False,
        "The same, corrected for the number of draws, so that methods can be compared."),
    ScoreKind("auroc_entropy", "AUROC by entropy", "", "higher", False,
        "How often a strange input has a higher entropy than a test row."),
    ScoreKind("auroc_expected_entropy", "AUROC by expected entropy", "", "higher", False,
        "How often a strange input has a higher expected entropy than a test row."),
    ScoreKind("auroc_mutual_information", "AUROC by mutual information", "", "higher", False,
        "How often a strange input has a higher mutual information than a test row."),
)  # fmt: skip

REGRESSION = (
    ScoreKind("rmse", "Root mean squared error", "y", "lower", False,
        "Typical distance between the predictive mean and the truth."),
    NLL,
    ScoreKind("crps", "CRPS", "y", "lower", True,
        "Distance between the predictive distribution and the truth, in the target's unit."),
    ScoreKind("coverage_50", "Coverage of 50 % intervals", "", None, False,
        "How often the truth lies in the central interval.", 0.5),
    ScoreKind("coverage_90", "Coverage of 90 % intervals", "", None, False,
        "How often the truth lies in the central interval.", 0.9),
    ScoreKind("coverage_95", "Coverage of 95 % intervals", "", None, False,
        "How often the truth lies in the central interval.", 0.95),
    ScoreKind("noise_sd", "Noise (sd)", "y", None, False,
        "Root mean predictive variance that knowing the weights would not remove."),
    ScoreKind("weight_sd", "Weight uncertainty (sd)", "y", None, False,
        "Root mean predictive variance that is doubt about the weights."),
)  # fmt: skip

SCORES = {kind.name: kind for kind in (*CLASSIFICATION, *REGRESSION)}


def kind_of(name: str) -> ScoreKind:
    """Return what `name` or `name@condition` is.

    Raises:
        InputError: if there is no such score.
    """
    return choose(name.partition("@")[0], SCORES, "score")
