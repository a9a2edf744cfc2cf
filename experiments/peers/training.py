"""Training a torch module by its own loss, as the libraries of Bayesian layers expect it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from peers.networks import BATCH, batches, rows_of
from peers.noise import given_noise
from peers.task import Task, each

Loss = Callable[[Tensor, Tensor], Tensor]  # of a batch, nats per row


def fitted(outputs: Tensor, y: Tensor, noise: float) -> Tensor:
    """Return the mean of -log p(y | outputs), nats per row."""
    if not y.is_floating_point():
        return cross_entropy(outputs, y)
    return -torch.distributions.Normal(outputs[:, 0], noise).log_prob(y).mean()


def by_layers(
    network: nn.Module, loss: Loss, given: Mapping[str, np.ndarray], closed: bool
) -> Task:
    """Return one step of Adam on a network of Bayesian layers.

    Arguments:
        network: the module, at the given means and scale.
        loss: -ELBO / N of a batch.
        given: rows and noise.
        closed: whether its KL is in closed form, and not estimated at the draw.
    """
    x, y = rows_of(given)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    rows = batches(x, y)

    def step() -> None:
        optimiser.zero_grad()
        loss(*next(rows)).backward()
        optimiser.step()

    def value() -> list[float | None]:
        with torch.no_grad(), given_noise(given["eps"]):
            found = float(loss(x[:BATCH], y[:BATCH]))
        return [found, None] if closed else [None, found]

    return Task(lambda: each(step), value)


def place(pairs: list[tuple[Tensor, Tensor]], loc: np.ndarray, scale: float) -> None:
    """Set means, and what softplus makes standard deviations of, in the order of a flat vector."""
    rest = torch.from_numpy(np.array(loc))
    with torch.no_grad():
        for mean, rho in pairs:
            mean.copy_(rest[: mean.numel()].view_as(mean))
            rho.fill_(float(np.log(np.expm1(scale))))
            rest = rest[mean.numel() :]
