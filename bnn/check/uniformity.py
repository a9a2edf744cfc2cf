"""Are ranks uniform? Three tests of it.

    dispersion   sum of squared normal scores ~ chi-square(n)  (Cook, Gelman & Rubin 2006)
    shift        Kolmogorov and Smirnov, on the steps of the ranks
    uniformity   chi-square over bins of nearly equal width

`Calibration` sets all p-values against one line, Bonferroni over all quantities and tests.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

BINS = 20  # of the test for uniformity, at most
TESTS = ("dispersion", "shift", "uniformity")


def p_values(counts: np.ndarray) -> np.ndarray:
    """Return p-values of the hypothesis that ranks are uniform, `[..., tests]`.

    Arguments:
        counts: how often each rank was found, `[..., ranks]`.
    """
    return np.stack([_dispersion(counts), _shift(counts), _uniformity(counts)], axis=-1)


def _dispersion(counts: np.ndarray) -> np.ndarray:
    """Squared normal scores, of variance one by construction, against chi-square; both sides."""
    ranks = counts.shape[-1]
    scores = stats.norm.ppf((np.arange(ranks) + 0.5) / ranks) ** 2
    n, total = counts.sum(-1), counts @ scores / scores.mean()
    return np.minimum(1.0, 2 * np.minimum(stats.chi2.cdf(total, n), stats.chi2.sf(total, n)))


def _shift(counts: np.ndarray) -> np.ndarray:
    """Kolmogorov and Smirnov at the steps: conservative, as always where there are ties."""
    n, ranks = counts.sum(-1), counts.shape[-1]
    uniform = np.arange(1, ranks + 1) / ranks
    gap = np.abs(counts.cumsum(-1) / n[..., None] - uniform).max(-1)
    return stats.kstwo.sf(gap, n)


def _uniformity(counts: np.ndarray) -> np.ndarray:
    """Chi-square over bins that hold nearly as many ranks each."""
    ranks = counts.shape[-1]
    bins = min(BINS, ranks)
    first = np.arange(bins) * ranks // bins
    found = np.add.reduceat(counts, first, axis=-1)
    expected = counts.sum(-1, keepdims=True) * np.diff([*first, ranks]) / ranks
    return stats.chi2.sf(((found - expected) ** 2 / expected).sum(-1), bins - 1)
