"""Classes whose inputs are Normal, so that the true probability of every class is known.

    p(y = k) = pi_k,    p(x | y = k) = prod_f Normal(x_f; mean_kf, scale_kf)
    p(y = k | x) = pi_k p(x | k) / sum_j pi_j p(x | j)

Every split id draws rows of its own, for training and for the test: replicas are independent
repetitions of the whole experiment, not re-drawn splits of one table.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bnn.data.dataset import Dataset, Provenance, fingerprint
from bnn.data.split import Split, as_ids
from bnn.errors import InputError


@dataclass(frozen=True)
class Gaussians:
    """Class-conditional Normal distributions with independent features.

    Arguments:
        means: `[classes, features]`, float64.
        scales: standard deviations, `[classes, features]`.
        weights: probability of each class, `[classes]`.
    """

    means: Tensor
    scales: Tensor
    weights: Tensor

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.weights)

    def log_joint(self, x: Tensor) -> Tensor:
        """Return log p(x, k) for `x [..., features]`: `[..., classes]`, nats."""
        z = (x[..., None, :].double() - self.means) / self.scales
        density = -(z.square() / 2 + self.scales.log() + math.log(2 * math.pi) / 2).sum(-1)
        return self.weights.log() + density

    def log_posterior(self, x: Tensor) -> Tensor:
        """Return the true log p(k | x), by Bayes' rule: `[..., classes]`, nats."""
        joint = self.log_joint(x)
        return joint - joint.logsumexp(-1, keepdim=True)

    def draw(self, points: int, seed: int) -> tuple[Tensor, Tensor]:
        """Draw rows.

        Returns:
            Inputs `[points, features]`, float32, and classes `[points]`.
        """
        # RandomState, because its stream is frozen: the rows are the same in any NumPy.
        random = np.random.RandomState(seed)
        y = torch.from_numpy(random.choice(self.classes, points, p=self.weights.numpy()))
        noise = torch.from_numpy(random.standard_normal((points, self.means.shape[1])))
        return (self.means[y] + self.scales[y] * noise).float(), y

    def conditional_entropy(self, nodes: int) -> float:
        """Return what no prediction can beat, the entropy of the class given the inputs.

            H(Y|X) = sum_k pi_k E_{x ~ p(x|k)} [-log p(k | x)], nats,

        each expectation by Gauss-Hermite quadrature, `nodes` per feature. Compare two numbers of
        nodes to see the error.
        """
        z, w = (torch.from_numpy(part) for part in np.polynomial.hermite_e.hermegauss(nodes))
        features = self.means.shape[1]
        lattice = torch.cartesian_prod(*[z] * features).view(-1, features)
        weight = torch.cartesian_prod(*[w / w.sum()] * features).view(-1, features).prod(-1)
        surprise = [
            -self.log_posterior(self.means[k] + self.scales[k] * lattice)[:, k] @ weight
            for k in range(self.classes)
        ]
        return float(self.weights @ torch.stack(surprise))


TWO = Gaussians(
    means=torch.tensor([[-1.0], [1.0]], dtype=torch.float64),
    scales=torch.tensor([[1.2], [0.6]], dtype=torch.float64),
    weights=torch.tensor([0.5, 0.5], dtype=torch.float64),
)

FOUR = Gaussians(  # the last feature says nothing about the class
    means=torch.tensor(
        [[1, 1, 1, 0], [1, -1, -1, 0], [-1, 1, -1, 0], [-1, -1, 1, 0]], dtype=torch.float64
    ),
    scales=torch.tensor(
        [[1.2, 1.2, 1.2, 1.0], [0.8, 1.2, 1.6, 1.0], [1.6, 0.8, 1.2, 1.0], [1.2, 1.6, 0.8, 1.0]],
        dtype=torch.float64,
    ),
    weights=torch.full((4,), 0.25, dtype=torch.float64),
)  # fmt: skip

TEST_POINTS = 1000


def two_gaussians(splits: Iterable[int], points: int = 200) -> Dataset:
    """Return two overlapping classes on a line, `TWO`: one wide, on the left, and one narrow.

    Far to the right the wide class is the likelier again, though hardly a row is ever drawn there.

    Arguments:
        splits: one number per replica, which seeds its rows.
        points: training rows; a quarter as many more validate, and as many calibrate.
    """
    return _dataset("two_gaussians", TWO, splits, points)


def four_gaussians(splits: Iterable[int], points: int = 200) -> Dataset:
    """Return four overlapping classes of four features, `FOUR`; arguments as above.

    The last feature is standard Normal in every class: it says nothing, however large it is.
    """
    return _dataset("four_gaussians", FOUR, splits, points)


def _dataset(name: str, truth: Gaussians, splits: Iterable[int], points: int) -> Dataset:
    if points < 4:
        raise InputError("at least 4 training rows", f"{points}", "A quarter as many validate.")
    ids = as_ids(splits)
    sizes = [points, points // 4, points // 4, TEST_POINTS]
    drawn = [truth.draw(sum(sizes), seed) for seed in ids]
    x, y = (torch.cat(part) for part in zip(*drawn, strict=True))
    index = torch.arange(len(y)).view(len(ids), -1)
    train, validation, calibration, test = index.split(sizes, dim=1)
    return Dataset(
        name=name,
        task="classification",
        x=x,
        y=y,
        split=Split(train, validation, calibration, test, ids=ids),
        provenance=Provenance(
            "Normal classes, drawn with the split ids as seeds", "none needed", fingerprint(x, y)
        ),
        classes=tuple("ABCD"[: truth.classes]),
    )
