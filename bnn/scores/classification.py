"""Classification: the scores of a predictive distribution over classes.

Shapes: replicas R, draws S, points N, classes C.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from bnn.metrics import calibration, likelihood
from bnn.metrics.decision import auroc
from bnn.metrics.entropy import corrected_mutual_information, entropy
from bnn.predictive import CategoricalMixture
from bnn.scores.estimates import Estimate, exactly, mean


@dataclass(frozen=True)
class Classified:
    """The predictions for some rows: all that their scores depend on.

    Arguments:
        mixture: whose components are the draws, or groups of draws already averaged.
        entropies: mean entropy of the draws in each component, `[R, components, N]`.
        draws: S, how many there are in all components together.
        y: labels `[R, N]` or label distributions `[R, N, C]`, if any.
    """

    mixture: CategoricalMixture
    entropies: Tensor
    draws: int
    y: Tensor | None

    @staticmethod
    def of(mixture: CategoricalMixture, y: Tensor | None) -> Classified:
        """Return the predictions with each draw its own component."""
        return Classified(mixture, mixture.draw_entropies, mixture.draws, y)

    @property
    def components(self) -> int:
        """How many draws or groups of draws there are."""
        return self.mixture.draws

    @cached_property
    def entropy(self) -> Tensor:
        """Entropy of the mixture, `[R, N]`."""
        return entropy(self.mixture.log_probs)

    @cached_property
    def expected_entropy(self) -> Tensor:
        """Mean entropy of the draws, `[R, N]`."""
        return self.entropies.mean(1)

    @cached_property
    def mutual_information(self) -> Tensor:
        """What is left: doubt about the weights, `[R, N]`."""
        return self.entropy - self.expected_entropy

    @cached_property
    def hit(self) -> Tensor:
        """1 where the most probable class is the label, else 0, `[R, N]`."""
        assert self.y is not None
        return likelihood.correct(self.mixture.log_probs, self.y)

    @property
    def pointwise(self) -> dict[str, Tensor]:
        """The proper scores of each point, `[R, N]`; none where there are no labels."""
        if self.y is None:
            return {}
        return {
            "nll": likelihood.cross_entropy(self.mixture.log_probs, self.y),
            "brier": likelihood.brier(self.mixture.probs, self.y),
        }

    def grouped(self, groups: Tensor) -> Classified:
        """Return the same predictions with groups of draws `[G, size]` as components."""
        runs = [slice(group[0], group[-1] + 1) for group in groups.tolist()]  # of neighbours
        parts = [self.mixture.subset(run).log_probs.mT for run in runs]
        return Classified(
            CategoricalMixture(torch.stack(parts, 1).mT),
            self.entropies[:, groups].mean(2),
            groups.numel(),
            self.y,
        )

    def subset(self, kept: list[int]) -> Classified:
        """Return the predictions of some of the components."""
        draws = self.draws * len(kept) // self.components
        return Classified(self.mixture.subset(kept), self.entropies[:, kept], draws, self.y)


def estimates(rows: Mapping[str, Classified], aligned: Collection[str] = ()) -> dict[str, Estimate]:
    """Return the scores of the rows "test", and `score@condition` of all others.

    Arguments:
        rows: predictions by condition.
        aligned: conditions whose rows are the test rows disturbed, in the same order.
    """
    test = rows["test"]
    found = _agreement(test) | _calibration(test) | _doubt(test)
    for condition, other in rows.items():
        if condition == "test":
            continue
        more = _agreement(other) | _separation(other, test, condition in aligned)
        if other.y is not None:
            more["entropy"] = mean(other.entropy)
        found |= {f"{name}@{condition}": estimate for name, estimate in more.items()}
    return found


def null(test: Classified, seeds: Sequence[int]) -> dict[str, Estimate]:
    """Return the calibration error that the test rows would show if the model were calibrated."""
    if not _numbered(test):
        return {}
    errors = calibration.calibration_null(test.mixture.probs, seeds)
    return {
        "ece_null": exactly(errors.mean(0)),
        "ece_null_95": exactly(errors.quantile(0.95, dim=0)),
    }


def _agreement(rows: Classified) -> dict[str, Estimate]:
    if rows.y is None:
        return {}
    scores = rows.pointwise
    return {
        "nll": mean(scores["nll"]),
        "nll_bits": mean(likelihood.bits(scores["nll"])),
        "accuracy": mean(rows.hit),
        "brier": mean(scores["brier"]),
    }


def _calibration(rows: Classified) -> dict[str, Estimate]:
    if rows.y is None or not _numbered(rows):
        return {}
    confidence = rows.mixture.probs.amax(-1)
    found = {"ece": exactly(calibration.calibration_error(confidence, rows.hit))}
    if confidence.shape[-1] > 1:
        debiased = calibration.squared_calibration_error_debiased(confidence, rows.hit)
        found["ece_debiased"] = Estimate(*debiased)
    return found


def _doubt(rows: Classified) -> dict[str, Estimate]:
    found = {"entropy": mean(rows.entropy), "expected_entropy": mean(rows.expected_entropy)}
    if rows.draws > 1:
        information = rows.mutual_information
        corrected = corrected_mutual_information(information, rows.draws)
        found |= {
            "mutual_information": mean(information),
            "mutual_information_corrected": mean(corrected),
        }
    return found


def _separation(other: Classified, test: Classified, aligned: bool) -> dict[str, Estimate]:
    """Return the areas by entropy and its two parts; for one draw the first part is all of it."""
    sides = {
        "auroc_entropy": (other.entropy, test.entropy),
        "auroc_expected_entropy": (other.expected_entropy, test.expected_entropy),
    }
    if test.draws > 1:
        sides["auroc_mutual_information"] = (other.mutual_information, test.mutual_information)
    return {name: Estimate(*auroc(*pair, aligned)) for name, pair in sides.items()}


def _numbered(rows: Classified) -> bool:
    """Are the labels class numbers? A label distribution is neither hit nor missed."""
    return rows.y is not None and not rows.y.is_floating_point()
