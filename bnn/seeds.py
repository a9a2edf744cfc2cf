"""The one door to randomness.

Every replica owns its random numbers: a stream is made from the replica's seed and the purpose it
serves, and from nothing else. So replica r of R draws what a single run with its seed draws, and no
purpose disturbs another. The global generators of torch are left as they were found.
"""

from __future__ import annotations

import copy
import hashlib
import math
import operator
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

import torch
from torch import Tensor

from bnn.errors import InputError

LEVELS = 2**16  # that a number of 16 bits has
AHEAD = 2**13  # numbers per replica that a stream draws at a time, where draws are small


def as_seeds(seeds: Iterable[int]) -> tuple[int, ...]:
    """Return seeds, or ids of splits, as plain numbers.

    Arguments:
        seeds: one per replica: a list, a range, an array, a tensor or a generator.

    Raises:
        InputError: on a single number, and on numbers that are not whole.
    """
    given = repr(seeds)
    try:
        seeds = tuple(seeds)
    except TypeError:
        raise InputError(
            "a whole number for each replica", given, "Write range(20) for twenty of them."
        ) from None
    try:
        return tuple(operator.index(seed) for seed in seeds)
    except TypeError:
        raise InputError(
            "a whole number for each replica", f"{list(seeds)}", "Count them from zero: range(20)."
        ) from None


def _mix(seed: int, purpose: str) -> int:
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1  # torch takes non-negative 63-bit seeds


def derived(seed: int, purpose: str) -> int:
    """Return a new seed that follows from a seed and a purpose, for example an ensemble member."""
    return _mix(seed, purpose) % 2**32


@contextmanager
def seeded(seed: int, purpose: str) -> Iterator[None]:
    """Seed torch's global CPU generator inside the block and restore it afterwards."""
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would also seed every accelerator's, and not restore it.
        torch.default_generator.manual_seed(_mix(seed, purpose))
        yield


class _Ahead:
    """Draws made ahead.

    Arguments:
        block: `[replicas, draws, size]`.
        used: how many of them have been given out.
    """

    def __init__(self, block: Tensor, used: int = 0) -> None:
        self.block, self.used = block, used

    @cached_property
    def each(self) -> Sequence[Tensor]:
        """The draws one by one, `[replicas, size]`."""
        return self.block.unbind(1)


class Streams:
    """Independent streams of random numbers, one per replica.

    Arguments:
        seeds: one per replica.
        purpose: what the numbers are for; equal seeds with other purposes give other numbers.
        device, dtype: where the numbers live and their precision.
    """

    def __init__(
        self, seeds: Sequence[int], purpose: str, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.device, self.dtype = device, dtype
        self.drawn = 0  # how many draws were taken so far
        self._generators = [torch.Generator(device) for _ in seeds]
        for generator, seed in zip(self._generators, seeds, strict=True):
            generator.manual_seed(_mix(seed, purpose))
        self._ahead: dict[tuple[str, int], _Ahead] = {}  # by kind and size of a draw

    def take(self, replicas: Sequence[int]) -> Streams:
        """Return the streams of some of the replicas; they go on from where they are."""
        some = copy.copy(self)
        some._generators = [self._generators[r] for r in replicas]
        rows = list(replicas)
        some._ahead = {what: _Ahead(a.block[rows], a.used) for what, a in self._ahead.items()}
        return some

    def _fill(self, draws: int, shape: Sequence[int], kind: str) -> Tensor:
        size = math.prod(shape)
        self.drawn += draws
        many = AHEAD // max(size, 1)
        if many < 2 or draws == 0:
            return self._new(kind, draws, size).view(len(self._generators), draws, *shape)
        # Small draws are made many at a time: a call per replica takes as long as 1,000 numbers.
        # How many depends on their size alone, so that a draw is the same alone or among others.
        ahead, parts, missing = self._ahead.get((kind, size)), list[Tensor](), draws
        while missing:
            if ahead is None or ahead.used == ahead.block.shape[1]:
                calls = max(1, missing // many)
                ahead = _Ahead(self._new(kind, calls, many * size).view(-1, calls * many, size))
                self._ahead[kind, size] = ahead
            taken = min(missing, ahead.block.shape[1] - ahead.used)
            parts.append(ahead.block.narrow(1, ahead.used, taken))
            missing, ahead.used = missing - taken, ahead.used + taken
        drawn = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        return drawn if len(shape) == 1 else drawn.view(-1, draws, *shape)

    def _new(self, kind: str, calls: int, size: int) -> Tensor:
        """Return new numbers `[replicas, calls, size]`, by so many calls of each generator."""
        whole = kind == "levels"
        columns, dtype = (-(-size // 4), torch.int64) if whole else (size, self.dtype)
        shape = len(self._generators), calls, columns
        out = torch.empty(shape, device=self.device, dtype=dtype)
        for row, generator in zip(out, self._generators, strict=True):
            for part in row:
                if kind == "normal":
                    part.normal_(generator=generator)
                elif kind == "uniform":
                    part.uniform_(generator=generator)
                else:
                    part.random_(-(2**63), None, generator=generator)  # all bits
        return out.view(torch.int16)[..., :size].contiguous() if whole else out

    def normal(self, draws: int, *shape: int) -> Tensor:
        """Return standard Normal numbers, `[replicas, draws, *shape]`."""
        return self._fill(draws, shape, "normal")

    def normal_each(self, draws: int, size: int) -> Sequence[Tensor]:
        """Return `normal(draws, size)` draw by draw, each `[replicas, size]`: quick, for loops."""
        ahead = self._ahead.get(("normal", size))
        if ahead is None or ahead.used + draws > ahead.block.shape[1]:
            return self.normal(draws, size).unbind(1)
        self.drawn += draws
        start, ahead.used = ahead.used, ahead.used + draws
        return ahead.each[start : ahead.used]

    def uniform(self, draws: int, *shape: int) -> Tensor:
        """Return numbers uniform on [0, 1), `[replicas, draws, *shape]`."""
        return self._fill(draws, shape, "uniform")

    def levels(self, draws: int, *shape: int) -> Tensor:
        """Return whole numbers uniform on [-2^15, 2^15), int16, `[replicas, draws, *shape]`."""
        return self._fill(draws, shape, "levels")

    def permutations(self, points: int) -> Tensor:
        """Return one random order of `points` things per replica, `[replicas, points]`."""
        orders = torch.empty(len(self._generators), points, dtype=torch.long, device=self.device)
        for order, generator in zip(orders, self._generators, strict=True):
            torch.randperm(points, generator=generator, out=order)
        return orders
