"""Networks: plain modules, the batched form that runs many of them at once, and what is made of it.

A problem's network is a function of its weights: `Functional` is a module's, `Partial` has only
some of its parameters as weights, `Tangent` is linear in them.
"""

from bnn.networks.batched import Batched
from bnn.networks.functional import Functional
from bnn.networks.mlp import MLP
from bnn.networks.network import Network
from bnn.networks.partial import Partial
from bnn.networks.tangent import Tangent

__all__ = ["MLP", "Batched", "Functional", "Network", "Partial", "Tangent"]
