"""A network of which only some parameters are weights; the others are constants of each replica.

    f_partial(v, x) = f((v, c), x),    v the chosen parameters, c the fixed ones

So a method may infer the last layer alone, and know nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Size, Tensor, nn

from bnn.layout import Layout
from bnn.networks.functional import Functional
from bnn.networks.network import Network


@dataclass(frozen=True)
class Partial:
    """A network some of whose parameters are fixed.

    Arguments:
        whole: the network with all its parameters.
        fixed: values of all parameters, `[replicas, parameters of the whole]`; those of the chosen
            ones are where a fit starts.
        chosen: names of the parameters that remain weights.
        seconds: what it took to find the fixed values, wall clock of all replicas together.
    """

    whole: Network
    fixed: Tensor
    chosen: frozenset[str]
    seconds: float = 0.0

    @property
    def network(self) -> nn.Module:
        """The module that the whole came from."""
        return self.whole.network

    @property
    def layout(self) -> Layout:
        """The chosen parameters, in the order of the whole."""
        shapes = self.whole.layout.shapes
        return Layout({name: shape for name, shape in shapes.items() if name in self.chosen})

    @property
    def outputs(self) -> int:
        """How many numbers there are per row."""
        return self.whole.outputs

    @property
    def like(self) -> Tensor:
        """A tensor of the network's dtype and device."""
        return self.whole.like

    @property
    def mask_shapes(self) -> Mapping[str, Size]:
        """Where units may be masked, as in the whole."""
        return self.whole.mask_shapes

    @property
    def dropout_rates(self) -> Mapping[str, float]:
        """The rates of the module's own dropout layers."""
        return self.whole.dropout_rates

    def __call__(
        self, weights: Mapping[str, Tensor], x: Tensor, masks: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Return `[replicas, draws, points, outputs]`, weights being the chosen ones by name."""
        draws = next(iter(weights.values())).shape[1]
        constants = self.whole.layout.views(self.fixed[:, None].expand(-1, draws, -1))
        return self.whole({**constants, **weights}, x, masks)

    def initial(self, seeds: Sequence[int]) -> Tensor:
        """Return where the chosen parameters stand, `[replicas, parameters]`."""
        return self.layout.flat(self.whole.layout.views(self.fixed))

    def take(self, replicas: Sequence[int]) -> Partial:
        """Return the network of some of the replicas."""
        return replace(self, whole=self.whole.take(replicas), fixed=self.fixed[replicas])

    def double(self) -> Partial:
        """Return the same network in float64."""
        whole = self.whole
        whole = whole.double() if isinstance(whole, Functional | Partial) else whole
        return replace(self, whole=whole, fixed=self.fixed.double())
