"""The items of the benchmark, a file per family, and the suite's own side of each."""

from items import variational

FAMILIES = (variational,)
ITEMS = tuple(item for family in FAMILIES for item in family.ITEMS)
WORK = {item.family: family.ours for family in FAMILIES for item in family.ITEMS}
