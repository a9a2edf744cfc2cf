"""Calibration: do events that were forecast with probability p happen with frequency p?

The event is that the most probable class is the true one, and its forecast the confidence. An
estimate of a calibration error is never zero, not even for a perfect model, so each comes with what
a perfect model would show.

Shapes: replicas R, points N, classes C. `confidence` is max_c p_c, `correct` is 0 or 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.isotonic import isotonic_regression
from torch import Tensor

from bnn.errors import InputError
from bnn.seeds import Streams

BINS = 15
CHANCES_AT_ONCE = 2**17  # random numbers held at once: 1 MiB
KNOTS = 201  # where a reliability curve is evaluated: at quantiles of the confidences


def calibration_error(confidence: Tensor, correct: Tensor, bins: int = BINS) -> Tensor:
    """Return the expected calibration error (ECE) in bins of equal width.

        ECE = sum_b n_b / N |mean of correct - mean of confidence in bin b|, bins (a, b]

    It is biased upwards, most of all for calibrated models: read it beside `calibration_null`.

    Arguments:
        confidence, correct: `[..., N]`.
        bins: of equal width on [0, 1].

    Returns:
        `[...]`, from 0 to 1.

    Reference: Guo et al. (2017), https://proceedings.mlr.press/v70/guo17a.html
    """
    gaps = _binned(_bin(confidence, bins), correct - confidence, bins)
    return gaps.abs().sum(-1) / confidence.shape[-1]


def calibration_null(
    probs: Tensor, seeds: Sequence[int], bins: int = BINS, simulations: int = 200
) -> Tensor:
    """Return the calibration errors that a perfect model with these predictions would show.

    Labels are drawn from the predictions themselves. The most probable class is then correct with
    probability max_c p_c, so that is all that needs drawing. Each replica draws from its own seed:
    a replica's null does not depend on its company, and those of other seeds are independent.

    Arguments:
        probs: predictions for the very rows that are scored, `[R, N, C]`.
        seeds: one per replica; they fix the labels.
        bins: as in `calibration_error`.
        simulations: how many times all labels are drawn.

    Returns:
        One `calibration_error` per simulation and replica, `[simulations, R]`.

    Raises:
        InputError: if there is not one seed per replica.

    Reference: Bröcker and Smith (2007), https://doi.org/10.1175/WAF993.1;
        Vaicenavicius et al. (2019), https://proceedings.mlr.press/v89/vaicenavicius19a.html
    """
    if len(seeds) != len(probs):
        raise InputError(
            "one seed per replica", f"{len(seeds)} for {len(probs)}", "Give those of the fit."
        )
    confidence = probs.amax(-1)
    streams = Streams(seeds, "calibration null", confidence.device, confidence.dtype)
    inside = torch.nn.functional.one_hot(_bin(confidence, bins), bins).to(confidence)
    expected = confidence[:, None] @ inside
    errors = []
    for some in torch.arange(simulations).split(max(1, CHANCES_AT_ONCE // confidence.numel())):
        chance = streams.uniform(len(some), confidence.shape[-1])
        drawn = (chance < confidence[:, None]).to(confidence)
        errors.append((drawn @ inside - expected).abs().sum(-1) / confidence.shape[-1])
    return torch.cat(errors, 1).mT


def squared_calibration_error_debiased(
    confidence: Tensor, correct: Tensor, bins: int = BINS
) -> tuple[Tensor, Tensor]:
    """Return the squared calibration error in bins of equal mass, without bias, and its error.

    With d_i = correct_i - confidence_i, the mean product over pairs of different points of a bin
    estimates the squared gap of the bin without bias,

        sum_b n_b / N U_b,   U_b = sum_{i != j} d_i d_j / (n_b (n_b - 1)),

    and may be negative: around zero it is what a calibrated model shows. Kumar et al. subtract the
    variance of the labels, which is the same when the confidences within a bin are equal; where
    they are not, subtracting the variance of d keeps calibrated models at zero exactly.

    With m, v the mean and variance of d in a bin and D = m^2 + v, the variance of U_b is

        (4 (n - 2) m^2 v + 2 D^2) / (n (n - 1)),  n = n_b,

    where m^2 is estimated by U_b, v by the sample variance and D^2 by the mean of d_i^2 d_j^2 over
    pairs. The sum of the first terms is kept from falling below 0, which makes the error up to 15 %
    too large for calibrated models.

    Arguments:
        confidence, correct: `[..., N]`, N at least 2.
        bins: each holds as many points as the others (give or take one), and at least two.

    Returns:
        Estimate and standard error over points, both `[...]`.

    Raises:
        InputError: on fewer than two points.

    Reference: Kumar, Liang, Ma (2019), https://arxiv.org/abs/1909.10155
    """
    points = confidence.shape[-1]
    if points < 2:
        raise InputError("at least two points", f"{points}", "Score more test rows.")
    bins = min(bins, points // 2)
    order = confidence.argsort(dim=-1, stable=True)
    gap = (correct - confidence).gather(-1, order)
    place = (torch.arange(points) * bins // points).expand_as(gap)
    size = _binned(place, torch.ones_like(gap), bins)
    pairs = size * (size - 1)
    total, squares = _binned(place, gap, bins), _binned(place, gap.square(), bins)
    product = (total.square() - squares) / pairs
    variance = (squares - total.square() / size) / (size - 1)
    second = (squares.square() - _binned(place, gap**4, bins)) / pairs
    share = size / points
    shifted = (share**2 * 4 * (size - 2) * product * variance / pairs).sum(-1).clamp(min=0)
    around_zero = (share**2 * 2 * second / pairs).sum(-1).clamp(min=0)
    return (share * product).sum(-1), (shifted + around_zero).sqrt()


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram: what came true, against what was forecast.

    Arguments:
        confidence: forecasts in increasing order, `[knots]`.
        frequency: the isotonic estimate of how often they came true, `[knots]`.
        low, high: where this curve would lie if the model were calibrated, `[knots]`.
        level: with this probability, at each knot.
    """

    confidence: np.ndarray
    frequency: np.ndarray
    low: np.ndarray
    high: np.ndarray
    level: float


def reliability(
    confidence: Tensor,
    correct: Tensor,
    level: float = 0.9,
    simulations: int = 200,
    seed: int = 0,
) -> Reliability:
    """Return the CORP reliability diagram with its consistency band.

    The curve is the isotonic (pool adjacent violators) regression of `correct` on `confidence`;
    no bins are chosen. The band holds the curves of outcomes drawn with the forecast probabilities.

    Arguments:
        confidence, correct: of any equal shape; all points are pooled.
        level: of the band, at each confidence.
        simulations: how many times all outcomes are drawn.
        seed: fixes the outcomes.

    Reference: Dimitriadis, Gneiting, Jordan (2021), https://doi.org/10.1073/pnas.2016191118
    """
    forecast, place, count = _tied(confidence)
    hits = np.bincount(place, correct.flatten().numpy())
    knots = np.unique(np.linspace(0, len(forecast) - 1, KNOTS).round().astype(int))
    draws = np.random.default_rng(seed).binomial(
        count, forecast.clip(0, 1), (simulations, len(count))
    )
    curves = [_isotonic(drawn / count, count)[knots] for drawn in draws]
    low, high = np.quantile(curves, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return Reliability(forecast[knots], _isotonic(hits / count, count)[knots], low, high, level)


@dataclass(frozen=True)
class BrierDecomposition:
    """score = miscalibration - discrimination + uncertainty, all three at least 0."""

    miscalibration: float  # what recalibration by an isotonic map would remove
    discrimination: float  # what the recalibrated forecast gains over the base rate
    uncertainty: float  # the score of the base rate

    @property
    def score(self) -> float:
        """The mean squared difference of forecast and outcome."""
        return self.miscalibration - self.discrimination + self.uncertainty


def brier_decomposition(confidence: Tensor, correct: Tensor) -> BrierDecomposition:
    """Split the mean squared error of a forecast event into what it got right and wrong (CORP).

        S = mean (c - y)^2, S_iso = mean (iso(c) - y)^2, S_base = mean (mean(y) - y)^2
        MCB = S - S_iso,  DSC = S_base - S_iso,  UNC = S_base,  S = MCB - DSC + UNC exactly.

    For a single event (binary, or "the top class is correct"): not the Brier score of all classes.

    Arguments:
        confidence: forecast probability of the event, of any shape; all points are pooled.
        correct: whether it happened, 0 or 1.

    Reference: Dimitriadis, Gneiting, Jordan (2021), https://doi.org/10.1073/pnas.2016191118
    """
    forecast, happened = confidence.flatten().numpy(), correct.flatten().numpy()
    _, place, count = _tied(confidence)
    recalibrated = _isotonic(np.bincount(place, happened) / count, count)[place]
    score = np.mean((forecast - happened) ** 2)
    isotonic = np.mean((recalibrated - happened) ** 2)
    base = np.mean((happened.mean() - happened) ** 2)
    return BrierDecomposition(float(score - isotonic), float(base - isotonic), float(base))


def _bin(confidence: Tensor, bins: int) -> Tensor:
    """Return the number of the bin (a, b] that each confidence is in."""
    edges = torch.linspace(0, 1, bins + 1, dtype=confidence.dtype)[1:-1]
    return torch.bucketize(confidence.contiguous(), edges)


def _binned(place: Tensor, values: Tensor, bins: int) -> Tensor:
    """Return the sum of the values in each bin: `[..., N]` to `[..., bins]`."""
    empty = values.new_zeros(*values.shape[:-1], bins)
    return empty.scatter_add(-1, place, values)


def _tied(confidence: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the distinct forecasts in increasing order, each point's place, and the counts."""
    return np.unique(confidence.flatten().numpy(), return_inverse=True, return_counts=True)


def _isotonic(frequency: np.ndarray, count: np.ndarray) -> np.ndarray:
    return isotonic_regression(frequency, sample_weight=count, y_min=0, y_max=1)
