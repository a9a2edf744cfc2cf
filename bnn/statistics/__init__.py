"""Statistics: from runs to claims, on one data set (`paired`) and over several."""

from bnn.statistics.hierarchical import Generalisation, Regions, generalise
from bnn.statistics.paired import Design, Difference, Summary, holm, paired_difference, summary
from bnn.statistics.ranks import Ranks, critical_difference, ranks, signed_ranks

__all__ = [
    "Design",
    "Difference",
    "Generalisation",
    "Ranks",
    "Regions",
    "Summary",
    "critical_difference",
    "generalise",
    "holm",
    "paired_difference",
    "ranks",
    "signed_ranks",
    "summary",
]
