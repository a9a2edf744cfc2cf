"""Statistics: from runs to claims, on one data set (`paired`) and over several."""

from bnn.statistics.paired import (
    Design,
    Difference,
    Summary,
    holm,
    paired_difference,
    summary,
)

__all__ = ["Design", "Difference", "Summary", "holm", "paired_difference", "summary"]
