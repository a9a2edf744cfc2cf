"""A network replaced by its tangent at given weights: linear in the weights, curved in the inputs.

    f_tangent(w, x) = f(w*, x) + J(x) (w - w*),    J = df / dw at w*

The product with J is taken in forward mode, along each draw, so that J itself is never formed and a
draw of weights is still one function of x. Under the tangent, the Laplace approximation is exact.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Size, Tensor, nn
from torch.func import jvp, vmap

from bnn.layout import Layout
from bnn.networks.network import Network


@dataclass(frozen=True)
class Tangent:
    """A network's first-order expansion in its weights.

    Arguments:
        curved: the network itself.
        at: the weights w* that it is expanded about, `[replicas, parameters]`.
    """

    curved: Network
    at: Tensor

    @property
    def network(self) -> nn.Module:
        """The module that the network came from."""
        return self.curved.network

    @property
    def layout(self) -> Layout:
        """The parameters of the network."""
        return self.curved.layout

    @property
    def outputs(self) -> int:
        """How many numbers there are per row."""
        return self.curved.outputs

    @property
    def like(self) -> Tensor:
        """A tensor of the network's dtype and device."""
        return self.curved.like

    @property
    def mask_shapes(self) -> Mapping[str, Size]:
        """Where units may be masked."""
        return self.curved.mask_shapes

    @property
    def dropout_rates(self) -> Mapping[str, float]:
        """The rates of the module's own dropout layers."""
        return self.curved.dropout_rates

    @property
    def seconds(self) -> float:
        """What it took to fit that which the network holds fixed."""
        return self.curved.seconds

    def __call__(
        self, weights: Mapping[str, Tensor], x: Tensor, masks: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Return `[replicas, draws, points, outputs]`; arguments as of the network."""
        centre = self.layout.views(self.at[:, None])
        steps = {name: weights[name] - value for name, value in centre.items()}

        def along(step: dict[str, Tensor], masks: dict[str, Tensor]) -> Tensor:
            found = jvp(lambda w: self.curved(w, x, _alone(masks)), (centre,), (step,))
            return found[0] + found[1]

        # The axis of draws is mapped over and stands in its place again, of length one, inside.
        one = {name: step.unsqueeze(2) for name, step in steps.items()}
        with warnings.catch_warnings():  # of torch, about its own rules when they are first loaded
            warnings.filterwarnings("ignore", message="`torch.jit.script`")
            return vmap(along, in_dims=(1, 1), out_dims=1)(one, dict(masks or {})).squeeze(2)

    def initial(self, seeds: Sequence[int]) -> Tensor:
        """Return the weights that it is expanded about, `[replicas, parameters]`."""
        return self.at

    def take(self, replicas: Sequence[int]) -> Tangent:
        """Return the network of some of the replicas."""
        return replace(self, curved=self.curved.take(replicas), at=self.at[replicas])


def _alone(masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the masks of a single draw, `[replicas, 1, ...]`."""
    return {site: mask.unsqueeze(1) for site, mask in masks.items()}
