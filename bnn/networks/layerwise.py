"""A network whose linear layers are perturbed row by row, in place of one draw of their weights.

    local:    W x + b + sqrt(S^2 x^2 + s^2) * noise          S, s: standard deviations of W, b
    flipout:  W x + b + (V (x * in) + v) * out               V, v: one draw of W's and b's offsets

with `noise` standard Normal, `in` and `out` random signs, of each row its own. The output of a
layer has, row by row, the distribution that independent symmetric weights give it; rows do not
share a draw, so an average over rows has less noise.

Sources: local reparameterisation, Kingma, Salimans, Welling 2015, https://arxiv.org/abs/1506.02557;
flipout, Wen et al. 2018, https://arxiv.org/abs/1803.04386.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from bnn.errors import InputError
from bnn.layout import Layout

Perturbation = Literal["local", "flipout"]


class Perturbed(nn.Module):
    """Stands where a linear layer stood; spreads and noise are inputs.

    Arguments:
        layer: what it stands for.
        kind: "local" or "flipout".
    """

    weight: Tensor
    weight_spread: Tensor
    bias: Tensor | None
    bias_spread: Tensor | None
    noise: Tensor

    def __init__(self, layer: nn.Linear, kind: Perturbation) -> None:
        super().__init__()
        self.kind = kind
        self.sizes = (
            [layer.out_features] if kind == "local" else [layer.in_features, layer.out_features]
        )
        for name in ("weight", "bias"):
            value = getattr(layer, name)
            self.register_buffer(name, None if value is None else value.detach())
            self.register_buffer(f"{name}_spread", None if value is None else value.detach())
        self.register_buffer("noise", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs for `x [points, inputs]`, with `noise [points, sum of sizes]`."""
        centre = nn.functional.linear(x, self.weight, self.bias)
        if self.kind == "local":
            bias = None if self.bias_spread is None else self.bias_spread**2
            variance = nn.functional.linear(x**2, self.weight_spread**2, bias)
            tiny = torch.finfo(x.dtype).tiny  # the root has no slope at zero
            return centre + variance.clamp(min=tiny).sqrt() * self.noise
        before, after = self.noise.split(self.sizes, dim=-1)
        return (
            centre + nn.functional.linear(x * before, self.weight_spread, self.bias_spread) * after
        )


class Layerwise:
    """A module as a function of its weights' means and spreads, and of noise for each row.

    Arguments:
        network: whose parameters are all in `nn.Linear` layers, each called once on vectors.
        example: one standardised row, `[1, *features]`.
        kind: how layers are perturbed.

    Raises:
        InputError: on a network with other layers.
    """

    def __init__(self, network: nn.Module, example: Tensor, kind: Perturbation) -> None:
        self.layout = Layout.of(network)
        self._module = copy.deepcopy(network).eval()
        self.sites = _sites(self._module, example, kind)
        self.sizes = []
        for site in self.sites:
            layer = Perturbed(self._module.get_submodule(site), kind)  # type: ignore[arg-type]
            self._module.set_submodule(site, layer)
            self.sizes.append(sum(layer.sizes))

    def __call__(self, means: Tensor, spreads: Tensor, noise: Tensor, x: Tensor) -> Tensor:
        """Return `[replicas, draws, points, outputs]`.

        Arguments:
            means: of the weights, flat, `[replicas, 1, parameters]`.
            spreads: standard deviations (local) or offsets (flipout), `[replicas, draws, ...]`.
            noise: `[replicas, draws, points, sum of sizes]`.
            x: `[replicas, points, *features]`.
        """
        means = means.expand_as(spreads)
        named = dict(self.layout.views(means))
        named |= {f"{name}_spread": part for name, part in self.layout.views(spreads).items()}
        parts = zip(self.sites, noise.split(self.sizes, dim=-1), strict=True)
        named |= {f"{site}.noise": part for site, part in parts}

        def single(named: dict[str, Tensor], x: Tensor) -> Any:
            return functional_call(self._module, named, (x,))

        return vmap(vmap(single, in_dims=(0, None)))(named, x)


def _sites(module: nn.Module, example: Tensor, kind: str) -> Sequence[str]:
    """Return the names of the linear layers, each of which is called once, on one vector a row."""
    calls: dict[str, list[int]] = {}
    for name, layer in module.named_modules():
        if any(True for _ in layer.parameters(recurse=False)):
            if type(layer) is not nn.Linear:
                raise _refusal(kind, f"{type(layer).__name__} at {name!r}")
            calls[name] = []
            layer.register_forward_pre_hook(
                lambda _, inputs, name=name: calls[name].append(inputs[0].ndim)
            )
    with torch.no_grad():
        module(example)
    for name, axes in calls.items():
        if axes != [2]:
            raise _refusal(kind, f"a Linear at {name!r} that is called otherwise")
    return list(calls)


def _refusal(kind: str, found: str) -> InputError:
    return InputError(
        f"a network of Linear layers, each called once on a vector per row, for estimator={kind!r}",
        found,
        "Use estimator='reparameterised', which serves every network.",
    )
