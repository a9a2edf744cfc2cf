"""How the truth ranks among draws, and whether it ranks as it should."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bnn.check.row import Row
from bnn.check.uniformity import TESTS, p_values

FALSE_ALARMS = 1e-3  # probability that exact posteriors fail any test at all


@dataclass(frozen=True)
class Calibration:
    """How the truth ranks among draws.

    Arguments:
        names: of the quantities.
        counts: how many simulations had each rank, `[quantities, draws + 1]`; NaN where a quantity
            was not finite.
    """

    names: tuple[str, ...]
    counts: np.ndarray

    @staticmethod
    def of(names: tuple[str, ...], truth: Tensor, draws: Tensor) -> Calibration:
        """Count ranks.

        Arguments:
            names: of the quantities.
            truth: `[simulations, quantities]`.
            draws: independent ones, `[simulations, draws, quantities]`.
        """
        ranks = (draws < truth[:, None]).sum(1)
        possible = torch.arange(draws.shape[1] + 1)
        counts = (ranks[..., None] == possible).sum(0).double()
        lost = ~(truth.isfinite().all(0) & draws.isfinite().all(0).all(0))
        return Calibration(names, counts.masked_fill(lost[:, None], math.nan).numpy())

    @property
    def p_values(self) -> np.ndarray:
        """Of each test, `[quantities, tests]`, in the order of `TESTS`."""
        return p_values(self.counts)

    def rows(self, method: str, false_alarms: float = FALSE_ALARMS) -> list[Row]:
        """Return a row per quantity and test: the p-value must not be below the line.

        Arguments:
            method: its name.
            false_alarms: probability that exact posteriors fail any of the rows.
        """
        line = false_alarms / self.p_values.size
        return [
            Row(method, f"calibration: {test} of {name}, p-value", line, p, 0.0, ">=")
            for name, row in zip(self.names, self.p_values.tolist(), strict=True)
            for test, p in zip(TESTS, row, strict=True)
        ]

    def caught(self, false_alarms: float = FALSE_ALARMS) -> set[str]:
        """Return the names of the quantities that are not calibrated."""
        p = self.p_values
        return {
            name
            for name, row in zip(self.names, p, strict=True)
            if not (row >= false_alarms / p.size).all()
        }

    def power(
        self, quantity: str, size: int, subsets: int = 1000, false_alarms: float = FALSE_ALARMS
    ) -> float:
        """Return the probability that so many simulations show a quantity not to be calibrated.

        It is the share of subsets of these simulations that fail a test. Subsets of that size are
        what other runs of that size would be, so the estimate is unbiased; samples drawn with
        replacement would vary too much, and fail too often.

        Arguments:
            quantity: its name.
            size: simulations of each subset; many fewer than there are, for a precise answer.
            subsets: how many.
            false_alarms: as of `rows`.
        """
        counts = self.counts[self.names.index(quantity)].astype(int)
        found = np.random.default_rng(0).multivariate_hypergeometric(counts, size, subsets)
        failed = ~(p_values(found) >= false_alarms / self.p_values.size).all(1)
        return float(failed.mean())
