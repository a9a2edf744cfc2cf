"""A module as a function of its weights, for all replicas and draws at once.

Any `torch.nn.Module` will do; it runs under `torch.func.vmap`. A network that brings a batched form
of its own (`Batched`) is run through that, which is faster.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from bnn.errors import InputError
from bnn.layout import Layout
from bnn.networks.batched import Batched
from bnn.networks.channels import bears_channels_last, channels_last
from bnn.networks.checks import apart, check_rows, check_supported, said
from bnn.networks.masks import with_masks
from bnn.seeds import seeded


class Functional:
    """A network seen as outputs = f(weights, x, masks).

    The network runs as in evaluation, so a dropout layer is the identity unless masks are given
    for it, which `MCDropout` alone does: a network with `nn.Dropout` layers is trained without
    dropout by all other methods.

    Arguments:
        network: any module that maps `[points, *features]` to `[points, outputs]`, row by row.
        examples: standardised rows, `[points, *features]`, to learn the shapes from; with two
            different ones, it is checked that rows do not depend on each other.

    Raises:
        InputError: on batch normalisation and whatever else makes rows of a batch depend on each
            other, on frozen parameters, on dropout whose masks cannot be inputs, on a forward that
            vmap cannot batch, on a batched form that differs from forward, and on inputs that the
            network does not take.
    """

    seconds: ClassVar[float] = 0.0  # nothing is fixed

    def __init__(self, network: nn.Module, examples: Tensor) -> None:
        check_supported(network)
        self.network = network
        self.layout = Layout.of(network)
        self.dropout_rates = {
            name: module.p
            for name, module in network.named_modules(remove_duplicate=False)
            if isinstance(module, nn.modules.dropout._DropoutNd)
        }
        self._module, self.mask_shapes, self.outputs = with_masks(
            network, examples[:1], self.dropout_rates
        )
        self._bears_channels_last = bears_channels_last(self._module, examples)
        self._check_batched(examples)
        check_rows(self._module, examples, type(network).__name__)

    @property
    def like(self) -> Tensor:
        """A tensor of the network's dtype and device."""
        return next(self.network.parameters())

    def __call__(
        self, weights: Mapping[str, Tensor], x: Tensor, masks: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Return `[replicas, draws, points, outputs]`; arguments as of `MLP.batched`."""
        masks = masks or {}
        if isinstance(self.network, Batched):
            return self.network.batched(weights, x, masks)
        return (self._in_turn if self._convolves else self._together)(weights, x, masks)

    def _together(
        self, weights: Mapping[str, Tensor], x: Tensor, masks: Mapping[str, Tensor]
    ) -> Tensor:
        """Run all networks at once."""
        named = {f"{site}.mask": mask for site, mask in masks.items()}

        def single(weights: dict[str, Tensor], masks: dict[str, Tensor], x: Tensor) -> Tensor:
            return functional_call(self._module, {**weights, **masks}, (x,))

        over_draws = vmap(single, in_dims=(0, 0, None))
        with ordinary_attention():
            return vmap(over_draws)(dict(weights), named, x)

    def _in_turn(
        self, weights: Mapping[str, Tensor], x: Tensor, masks: Mapping[str, Tensor]
    ) -> Tensor:
        """Run one network after the other: their convolutions take half as long again together."""
        named = {**weights, **{f"{site}.mask": mask for site, mask in masks.items()}}
        each = {name: part.flatten(0, 1).unbind() for name, part in named.items()}
        shape = next(iter(weights.values())).shape[:2]
        # For gradients by autograd alone: forward mode calls `view`, and prediction gains nothing.
        if self._bears_channels_last and any(part.requires_grad for part in weights.values()):
            x = channels_last(x)
        rows = [own for own in x.unbind() for _ in range(shape[1])]
        parts = zip(*each.values(), strict=True)
        with ordinary_attention():
            outputs = [
                functional_call(self._module, dict(zip(each, own, strict=True)), (seen,))
                for own, seen in zip(parts, rows, strict=True)
            ]
        return torch.stack(outputs).unflatten(0, shape)

    @property
    def _convolves(self) -> bool:
        return any(isinstance(part, nn.modules.conv._ConvNd) for part in self._module.modules())

    def _check_batched(self, examples: Tensor) -> None:
        """Refuse a forward that vmap cannot batch, and a batched form that is not forward's."""
        weights = {name: p.detach()[None, None] for name, p in self._module.named_parameters()}
        name = type(self.network).__name__
        with torch.no_grad():
            try:
                run = self if isinstance(self.network, Batched) else self._together
                found = run(weights, examples[None], {})[0, 0]
            except Exception as error:  # a user's forward may raise anything
                raise InputError(
                    "a network that torch.func.vmap can run, all replicas at once",
                    f"{name}, which says {said(error)}",
                    "In forward, leave out .item(), .numpy(), branches on values, random numbers "
                    "(nn.Dropout is fine) and recurrent layers.",
                ) from error
            gap = apart(found, self._module(examples))
        if gap:
            raise InputError(
                "a network whose batched form gives what its forward gives",
                f"{name}, in which they differ by {gap:.1e}",
                "Override batched together with forward, or derive from nn.Module.",
            )

    def initial(self, seeds: Sequence[int]) -> Tensor:
        """Return each replica's starting weights, `[replicas, parameters]`.

        They are what the network's own `reset_parameters` draws under the replica's seed, so all
        methods start a seed from the same place.
        """
        return torch.stack([self._start(seed) for seed in seeds])

    def take(self, replicas: Sequence[int]) -> Functional:
        """Return the network itself, which is the same for all replicas."""
        return self

    def double(self) -> Functional:
        """Return the same network in float64."""
        exact = copy.copy(self)
        exact.network, exact._module = (
            copy.deepcopy(module).double() for module in (self.network, self._module)
        )
        return exact

    def _start(self, seed: int) -> Tensor:
        with seeded(seed, "initial weights"):
            network = copy.deepcopy(self.network).to("cpu")
            _reset("network", network)
        flat = self.layout.flat({name: p.detach() for name, p in network.named_parameters()})
        return flat.to(self.like.device)


@contextmanager
def ordinary_attention() -> Iterator[None]:
    """Keep torch from its shortcuts for attention, which vmap cannot batch."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _reset(name: str, module: nn.Module) -> None:
    """Start a module afresh: its children first, then itself, as when it was built."""
    for child, part in module.named_children():
        _reset(f"{name}.{child}", part)
    for method in ("reset_parameters", "_reset_parameters"):
        reset: Callable[[], None] | None = getattr(module, method, None)
        if reset is not None:
            reset()
            return
    if any(True for _ in module.parameters(recurse=False)):
        raise InputError(
            "every module with parameters to know how to start afresh",
            f"{type(module).__name__} at {name!r} without reset_parameters()",
            "Give it a reset_parameters() method, or all seeds would start from the same weights.",
        )
