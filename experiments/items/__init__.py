"""The items of the benchmark, a file per family, and the suite's own side of each."""

from items import (
    deterministic,
    dropout,
    effective,
    prediction,
    sampling,
    scoring,
    suite,
    variational,
)

FAMILIES = (
    variational,
    deterministic,
    prediction,
    dropout,
    sampling,
    effective,
    scoring,
    suite,
)
ITEMS = tuple(item for family in FAMILIES for item in family.ITEMS)
WORK = {item.family: family.ours for family in FAMILIES for item in family.ITEMS}
GPU_ITEMS = variational.GPU_ITEMS
