"""What a problem asks of a network: to be a function of its weights, many of them at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from torch import Size, Tensor, nn

from bnn.layout import Layout


class Network(Protocol):
    """outputs = f(weights, x, masks), for all replicas and draws: a module's, or made of one."""

    @property
    def network(self) -> nn.Module:
        """The module that it came from."""

    @property
    def layout(self) -> Layout:
        """Names and shapes of the weights, in the order of the flat vector."""

    @property
    def outputs(self) -> int:
        """How many numbers there are per row."""

    @property
    def like(self) -> Tensor:
        """A tensor of the network's dtype and device."""

    @property
    def mask_shapes(self) -> Mapping[str, Size]:
        """Where units may be masked, and how many there are."""

    @property
    def dropout_rates(self) -> Mapping[str, float]:
        """The rates of the module's own dropout layers, by name."""

    @property
    def seconds(self) -> float:
        """What it took to fit that which the network holds fixed, wall clock of all replicas."""

    def __call__(
        self, weights: Mapping[str, Tensor], x: Tensor, masks: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Return `[replicas, draws, points, outputs]`; arguments as of `MLP.batched`."""

    def initial(self, seeds: Sequence[int]) -> Tensor:
        """Return each replica's starting weights, `[replicas, parameters]`."""

    def take(self, replicas: Sequence[int]) -> Network:
        """Return the network of some of the replicas."""
