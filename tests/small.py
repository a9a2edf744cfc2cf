"""Small problems and quick fits for the tests of the core."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bnn.data import Dataset, Provenance, Split, Task
from bnn.methods import MAP, Method
from bnn.methods.accuracy import Accuracy
from bnn.optimise import Training


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return standard Normal numbers from a generator of their own."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def table(
    x: Tensor, y: Tensor, classes: int = 0, replicas: int = 1, held_out: int = 0, seed: int = 0
) -> Dataset:
    """Return a data set that trains on all rows but the `held_out` ones, which validate.

    Every replica but the first orders the rows anew. The test row is one more, and of no interest.
    """
    rows = len(x)
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.arange(rows)]
    orders += [torch.randperm(rows, generator=generator) for _ in range(replicas - 1)]
    index = torch.stack(orders)
    split = Split(
        train=index[:, : rows - held_out],
        validation=index[:, rows - held_out :],
        calibration=index[:, :0],
        test=torch.full((replicas, 1), rows),
        ids=tuple(range(replicas)),
    )
    return Dataset(
        name="small",
        task="classification" if classes else "regression",
        x=torch.cat([x, x[:1]]),
        y=torch.cat([y, y[:1]]),
        split=split,
        provenance=Provenance("a test", "none", ""),
        classes=tuple("abcdefghij"[:classes]),
    )


def two_classes(
    rows: int = 60, features: int = 3, dtype: torch.dtype = torch.float64, **splits: int
) -> Dataset:
    """Return two overlapping classes."""
    x = normal(rows, features, seed=1)
    y = (x[:, 0] - x[:, 1] + normal(rows, seed=2) > 0).long()
    return table((3 + 2 * x).to(dtype), y, classes=2, **splits)


def real_targets(
    rows: int = 60,
    features: int = 3,
    noise: float = 0.5,
    dtype: torch.dtype = torch.float64,
    **splits: int,
) -> Dataset:
    """Return a noisy linear function, far from standardised."""
    x = normal(rows, features, seed=3)
    slopes = torch.linspace(-1, 2, features, dtype=torch.float64)
    y = 7 + 4 * (x @ slopes) + 4 * noise * normal(rows, seed=4)
    return table((3 + 2 * x).to(dtype), y.to(dtype), **splits)


def quick(method: Method, **training: object) -> Method:
    """Return the method made cheap, with another training (of its members, for an ensemble)."""
    small = {name: value for name, value in SMALL.items() if hasattr(method, name)}
    if hasattr(method, "member"):
        small["member"] = quick(method.member, **training)
    if hasattr(method, "training"):
        small["training"] = replace(Training(), **training)
    return replace(method, **small)


# Settings by which methods are made cheap, wherever a method has one of that name.
SMALL = {
    "members": 3,
    "start": MAP(Training(epochs=10, batch_size=10)),
    "steps": 60,
    "epochs": 8,
    "polishing": 0,
    "updates": 3,
    "chains": 2,
    "warmup": 8,
    "samples": 5,
    "thin": 1,
    "max_steps": 10,
    "max_depth": 2,
}


@dataclass(frozen=True)
class As:
    """A method in settings of its own, in place of its thorough ones."""

    method: Method

    @property
    def name(self) -> str:
        return self.method.name

    @property
    def accuracy(self) -> Accuracy:
        return self.method.accuracy

    def thorough(self) -> Method:
        return self.method


def serves(method: Method, task: Task) -> bool:
    """Is the method for such a task? Most are for both."""
    return task in getattr(method, "tasks", ("classification", "regression"))


def trained(method: Method) -> bool:
    """Is the method one that follows a gradient for some epochs, all replicas in one loop?"""
    return hasattr(method, "training") or (hasattr(method, "member") and trained(method.member))


def apart(a: Tensor, b: Tensor) -> float:
    """Return the largest difference."""
    return (a - b).abs().max().item()


def relative(a: Tensor, b: Tensor) -> float:
    """Return the largest difference, relative to the largest number of `b`."""
    return apart(a, b) / b.abs().max().item()
