"""Many methods over several data sets: their ranks, which no unit of any score disturbs.

On each data set the best method has rank 1; equal scores share the mean of their ranks. The mean
ranks of two methods that do not differ are rarely further apart than the critical difference

    CD = q / sqrt(2) sqrt(k (k + 1) / (6 N)),

with q the quantile of the studentised range of k Normal numbers (Nemenyi), for k methods on N data
sets. Mean ranks depend on which other methods take part, and may even order two methods the other
way in other company; so each pair is tested by itself too, by the signed ranks of its differences
(Wilcoxon), and all pairs are adjusted for their number (Holm).

Reference: Demsar (2006), https://jmlr.org/papers/v7/demsar06a.html;
    Benavoli, Corani and Mangili (2016), https://jmlr.org/papers/v17/benavoli16a.html
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import stats

from bnn.errors import InputError
from bnn.statistics.paired import holm

FEWEST = 3  # methods, and data sets


@dataclass(frozen=True)
class Ranks:
    """Methods in order, and which of them can be told apart.

    Arguments:
        mean: mean rank by method, the best first.
        critical: the mean ranks of two methods must differ by as much (Nemenyi).
        level: one minus how often any two of several equal methods are told apart.
        p_value: of all methods being equal (Friedman); cautious where data sets are few.
        pairs: p-values of two methods being equal (Wilcoxon), adjusted for all pairs (Holm).
        datasets: how many there were.
    """

    mean: Mapping[str, float]
    critical: float
    level: float
    p_value: float
    pairs: Mapping[tuple[str, str], float]
    datasets: int

    @property
    def groups(self) -> list[tuple[str, ...]]:
        """The largest sets of neighbours whose mean ranks lie within the critical difference."""
        names, found = list(self.mean), list[tuple[str, ...]]()
        for place, first in enumerate(names):
            last = sum(self.mean[name] - self.mean[first] < self.critical for name in names)
            if last - place > 1 and not (found and found[-1][-1] == names[last - 1]):
                found.append(tuple(names[place:last]))
        return found


def ranks(scores: Mapping[str, Sequence[float]], level: float = 0.95) -> Ranks:
    """Return how methods rank over data sets.

    Arguments:
        scores: of each method, one per data set in the same order; lower is better.
        level: of the critical difference.

    Raises:
        InputError: on fewer than three methods or data sets, and on scores that are not finite.
    """
    table = _table(scores)
    methods, datasets = table.shape
    mean = stats.rankdata(table, axis=0).mean(1)
    order = np.argsort(mean, kind="stable")
    names, rows = list(scores), dict(zip(scores, table, strict=True))
    pairs = list(combinations((names[i] for i in order), 2))
    adjusted = holm([signed_ranks(rows[a] - rows[b]) for a, b in pairs])
    return Ranks(
        mean={names[i]: float(mean[i]) for i in order},
        critical=critical_difference(methods, datasets, level),
        level=level,
        p_value=1.0 if (table == table[0]).all() else float(stats.friedmanchisquare(*table).pvalue),
        pairs=dict(zip(pairs, adjusted, strict=True)),
        datasets=datasets,
    )


def critical_difference(methods: int, datasets: int, level: float = 0.95) -> float:
    """Return how far the mean ranks of two of several methods that are equal may lie apart."""
    q = float(stats.studentized_range.ppf(level, methods, math.inf))
    return q / math.sqrt(2) * math.sqrt(methods * (methods + 1) / (6 * datasets))


def signed_ranks(gaps: np.ndarray) -> float:
    """Return the two-sided p-value of differences being symmetric about zero, which is exact.

    Given the sizes, all signs are equally probable: the distribution of the sum of the ranks of the
    positive ones is counted, rank by rank, also where sizes are equal. Zeros are left out.

    Reference: Wilcoxon (1945), https://doi.org/10.2307/3001968
    """
    gaps = gaps[gaps != 0]
    doubled = np.rint(2 * stats.rankdata(np.abs(gaps))).astype(int)  # halves become whole
    chances = np.ones(1)
    for rank in doubled:
        chances = (np.pad(chances, (0, rank)) + np.pad(chances, (rank, 0))) / 2
    least = min(doubled[gaps > 0].sum(), doubled[gaps < 0].sum())
    return float(min(1.0, 2 * chances[: least + 1].sum()))


def _table(scores: Mapping[str, Sequence[float]]) -> np.ndarray:
    """Return the scores, `[methods, data sets]`."""
    sizes = {len(row) for row in scores.values()}
    if len(scores) < FEWEST or len(sizes) != 1 or min(sizes) < FEWEST:
        raise InputError(
            f"scores of at least {FEWEST} methods on the same data sets, at least {FEWEST}",
            f"{len(scores)} methods, and {sorted(sizes)} data sets",
            "Leave out methods without a score, or compare two with generalise().",
        )
    table = np.array(list(scores.values()), dtype=float)
    if not np.isfinite(table).all():
        raise InputError(
            "finite scores",
            f"{int((~np.isfinite(table)).sum())} that are not, of {table.size}",
            "Leave out methods that diverged.",
        )
    return table
