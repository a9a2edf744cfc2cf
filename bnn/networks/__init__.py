"""Networks: plain modules, and the batched form that runs many of them at once."""

from bnn.networks.functional import Batched, Functional
from bnn.networks.mlp import MLP

__all__ = ["MLP", "Batched", "Functional"]
