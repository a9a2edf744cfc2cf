"""What goes into the layers of a network, and how its outputs depend on what comes out of them.

A layer's output is shifted by a number of its own, zero; the derivative of the network's outputs in
that number is that in the layer's output. So a forward and a backward pass over the activations is
all that there is to do, and no derivative in a weight is formed.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial

import torch
from torch import Size, Tensor, nn
from torch.func import functional_call, jacrev, vmap

from bnn.curvature.information import fisher_root
from bnn.curvature.rows import chunks, own, sound
from bnn.networks import Network, Partial
from bnn.networks.functional import ordinary_attention
from bnn.problem import Problem

Named = dict[str, Tensor]


class Layers:
    """The linear and convolutional layers of a problem's network, as seen on its training rows.

    Layers with weights that are used more than once are not among them: no single pair of matrices
    describes those.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._module = copy.deepcopy(problem.network.network).eval()
        self.shapes = self._outputs()
        self.layers = {name: self._module.get_submodule(name) for name in self.shapes}
        self._shifts: Named = {}
        self._seen: Named = {}
        for name, layer in self.layers.items():
            layer.register_forward_hook(partial(self._shifted, name))

    def factors(self, weights: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Return, by layer, the sum over rows of outer products of slopes, and the mean of inputs'.

        Arguments:
            weights: flat, of the network and the likelihood, `[replicas, parameters]`.

        Returns:
            `[replicas, outputs, outputs]` and `[replicas, inputs, inputs]`; the last input is the
            bias's, a one.
        """
        problem = self.problem
        named = _everything(problem.network, problem.network.layout.views(own(problem, weights)))
        shifts = {name: weights.new_zeros(shape) for name, shape in self.shapes.items()}
        by_row = vmap(jacrev(self._run, has_aux=True), in_dims=(None, None, 0))
        slopes_of = vmap(by_row, in_dims=(None, 0, 0))
        outer: Named = {}
        inner: Named = {}
        for x, y in chunks(problem, self._numbers()) if self.layers else ():
            with ordinary_attention():
                slopes, (seen, outputs) = slopes_of(shifts, named, x)
            root = fisher_root(problem, weights, outputs, y)
            for name, layer in self.layers.items():
                given = self._inputs(name, seen[name])
                slope = torch.einsum("rnik,rnkto->rnito", root, _slopes(layer, slopes[name]))
                slope, share = slope.flatten(1, 3), x.shape[1] / problem.points / given.shape[1]
                outer[name] = outer.get(name, 0) + slope.mT @ slope
                inner[name] = inner.get(name, 0) + given.mT @ given * share
        return {name: (sound(outer[name]), sound(inner[name])) for name in self.layers}

    def parameters(self, name: str) -> list[str]:
        """Return the weights' and the biases' names of a layer, as far as they are inferred."""
        names = (f"{name}.weight", f"{name}.bias")
        return [name for name in names if name in self.problem.network.layout.shapes]

    def _outputs(self) -> dict[str, Size]:
        """Return the shapes of the layers' outputs for one row."""
        calls: dict[str, list[Size]] = {}
        for name, layer in self._module.named_modules():
            if isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1):
                layer.register_forward_hook(partial(_note, calls, name))
        first = self.problem.take([0])
        with torch.no_grad(), ordinary_attention():
            self._module(first.batch(first.train)[0][0, :1])
        for layer in self._module.modules():
            layer._forward_hooks.clear()
        tied = _tied(self._module)
        return {
            name: shapes[0]
            for name, shapes in calls.items()
            if len(shapes) == 1 and self.parameters(name) and not tied & set(self.parameters(name))
        }

    def _shifted(self, name: str, layer: nn.Module, given: tuple[Tensor], out: Tensor) -> Tensor:
        self._seen[name] = given[0]
        return out + self._shifts[name]

    def _run(self, shifts: Named, named: Named, row: Tensor) -> tuple[Tensor, tuple[Named, Tensor]]:
        """Return the outputs of a row; and what the layers have seen, and the outputs, besides."""
        self._shifts, self._seen = shifts, {}
        found = functional_call(self._module, named, (row[None],))[0]
        return found, (self._seen, found)

    def _numbers(self) -> int:
        """Return how many numbers a row needs."""
        slopes = self.problem.network.outputs * sum(map(Size.numel, self.shapes.values()))
        return slopes + sum(
            shape.numel() // shape[1 if isinstance(layer, nn.Conv2d) else -1] * _fan_in(layer)
            for shape, layer in zip(self.shapes.values(), self.layers.values(), strict=True)
        )

    def _inputs(self, name: str, seen: Tensor) -> Tensor:
        """Return what a layer's parameters are multiplied by, `[replicas, rows x places, inputs]`.

        Arguments:
            seen: `[replicas, rows, 1, ...]`.
        """
        layer, given = self.layers[name], seen.flatten(0, 2).double()
        if isinstance(layer, nn.Conv2d):
            mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
            given = nn.functional.pad(given, layer._reversed_padding_repeated_twice, mode)
            given = nn.functional.unfold(
                given, layer.kernel_size, layer.dilation, padding=0, stride=layer.stride
            ).mT
        given = given.reshape(len(seen), -1, given.shape[-1])
        one = torch.ones_like(given[..., :1])
        columns = {f"{name}.weight": given, f"{name}.bias": one}
        return torch.cat([columns[part] for part in self.parameters(name)], dim=-1)


def _note(
    calls: dict[str, list[Size]], name: str, layer: nn.Module, given: object, out: Tensor
) -> None:
    calls.setdefault(name, []).append(out.shape)


def _fan_in(layer: nn.Module) -> int:
    return sum(part[0].numel() for part in layer.parameters(recurse=False))


def _slopes(layer: nn.Module, slopes: Tensor) -> Tensor:
    """Return `[replicas, rows, network outputs, places, layer outputs]`, float64.

    Arguments:
        slopes: `[replicas, rows, network outputs, 1, ...]`.
    """
    slopes = slopes.squeeze(3).double()
    if isinstance(layer, nn.Conv2d):
        return slopes.flatten(4).mT
    return slopes.reshape(*slopes.shape[:3], -1, slopes.shape[-1])


def _tied(module: nn.Module) -> set[str]:
    """Return the names of parameters that have another name too."""
    names: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return {name for same in names.values() if len(same) > 1 for name in same}


def _everything(network: Network, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return all parameters of the module, `[replicas, *shape]`."""
    if isinstance(network, Partial):
        fixed = network.whole.layout.views(network.fixed)
        return _everything(network.whole, {**fixed, **weights})
    return dict(weights)
