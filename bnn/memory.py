"""Memory: how many bytes are free, as the system, its control groups or an accelerator tell it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

import torch

# Where version 2 and version 1 of control groups are, and what they call the limit, what is used,
# and the part of that which is files kept for later, and given back when it is needed.
GROUPS = {
    "": ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    "memory": (
        "/sys/fs/cgroup/memory",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
    ),
}


def available(device: torch.device) -> float:
    """Return the bytes that are free on a device; infinite where nobody tells."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    return min(_of_machine(), *_of_groups())


def _of_machine() -> float:
    """Return what can be had without swapping; where that is not told, all there is."""
    told = _table("/proc/meminfo").get("MemAvailable:")
    if told is not None:
        return 1024.0 * float(told)
    known = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" not in known:
        return math.inf
    return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def _of_groups() -> Iterator[float]:
    """Yield what each control group of this process leaves to it."""
    yield math.inf
    for line in _lines("/proc/self/cgroup"):
        _, kinds, path = line.split(":", 2)
        for kind in GROUPS.keys() & kinds.split(","):
            root, limit, used, kept = GROUPS[kind]
            own = Path(root, path.strip("/"))
            for folder in (own, *own.parents):
                if folder.is_relative_to(root):
                    files = _table(str(folder / "memory.stat")).get(kept, "0")
                    found = [*_lines(str(folder / limit)), *_lines(str(folder / used))]
                    if len(found) == 2 and found[0].isdigit():  # else "max", or no such group
                        yield float(found[0]) - float(found[1]) + float(files)


def _table(file: str) -> dict[str, str]:
    """Return the first two words of each line."""
    words = (line.split() for line in _lines(file))
    return {pair[0]: pair[1] for pair in words if len(pair) > 1}


def _lines(file: str) -> list[str]:
    """Return a file's lines; none where it cannot be read."""
    try:
        return Path(file).read_text().splitlines()
    except OSError:
        return []
