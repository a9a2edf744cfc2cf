"""A module as a function of its weights, for all replicas and draws at once.

Any `torch.nn.Module` will do; it runs under `torch.func.vmap`. A network that brings a batched form
of its own (`Batched`) is run through that, which is faster.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Size, Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from bnn.errors import InputError
from bnn.layout import Layout
from bnn.seeds import seeded


@runtime_checkable
class Batched(Protocol):
    """A network with a batched form of its own; see `MLP.batched` for the shapes."""

    mask_shapes: Mapping[str, Size]

    def batched(
        self, weights: Mapping[str, Tensor], x: Tensor, masks: Mapping[str, Tensor]
    ) -> Tensor:
        """Return `[replicas, draws, points, outputs]`."""


class Mask(nn.Module):
    """Stands where a dropout layer stood: multiplies by a mask that is an input of the draw."""

    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` times the mask."""
        return x * self.mask


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
        _check_supported(network)
        self.network = network
        self.layout = Layout.of(network)
        self.dropout_rates = {
            name: module.p
            for name, module in network.named_modules(remove_duplicate=False)
            if isinstance(module, nn.modules.dropout._DropoutNd)
        }
        self._module, self.mask_shapes, self.outputs = _shapes(
            network, examples[:1], self.dropout_rates
        )
        self._bears_channels_last = _bears_channels_last(self._module, examples)
        self._check_batched(examples)
        _check_rows(self._module, examples, type(network).__name__)

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
            x = _channels_last(x)
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
                    f"{name}, which says {_said(error)}",
                    "In forward, leave out .item(), .numpy(), branches on values, random numbers "
                    "(nn.Dropout is fine) and recurrent layers.",
                ) from error
            gap = _apart(found, self._module(examples))
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


def _check_supported(network: nn.Module) -> None:
    for name, module in network.named_modules():
        if isinstance(module, nn.modules.batchnorm._NormBase):
            raise InputError(
                "a network whose rows do not depend on each other",
                f"{type(module).__name__} at {name!r}",
                "Use LayerNorm or GroupNorm instead.",
            )
        if isinstance(module, nn.AlphaDropout | nn.FeatureAlphaDropout):
            raise InputError(
                "dropout that multiplies units by zero or by a constant",
                f"{type(module).__name__} at {name!r}",
                "Use nn.Dropout instead.",
            )
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            raise InputError(
                "parameters that may all be trained",
                f"{name!r}, which is frozen",
                "Make what is constant a buffer (register_buffer).",
            )


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


def _check_rows(module: nn.Module, examples: Tensor, name: str) -> None:
    """Refuse a network that sees the other rows of a batch."""
    with torch.no_grad():
        alone = torch.cat([module(row) for row in examples.split(1)])
        gap = _apart(module(examples), alone)
    if gap:
        raise InputError(
            "a network whose rows do not depend on each other",
            f"{name}, which gives a row alone and among others outputs that differ by {gap:.1e}",
            "In forward, take no mean, maximum or softmax over the first axis, which is the rows.",
        )


def _bears_channels_last(module: nn.Module, examples: Tensor) -> bool:
    """May images lie in memory with channels last? A forward that calls `view` may forbid it."""
    if examples.ndim != 4:
        return False
    try:
        with torch.no_grad():
            module(_channels_last(examples))
    except RuntimeError:
        return False
    return True


def _channels_last(images: Tensor) -> Tensor:
    """Return images `[..., channels, height, width]` in memory where they train in less time."""
    # a copy, also of one channel: where nothing moves, torch would keep the strides as they were
    return images.movedim(-3, -1).clone(memory_format=torch.contiguous_format).movedim(-1, -3)


def _apart(found: Tensor, expected: Tensor) -> float:
    """Return how far outputs differ, relative to the largest; 0 where rounding explains it."""
    if found.shape != expected.shape:
        return math.inf
    gap = (found - expected).abs().max() / expected.abs().max().clamp(min=1)
    return gap.item() if gap > 10 * math.sqrt(torch.finfo(found.dtype).eps) else 0.0


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0].rstrip(".")


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


def _shapes(
    network: nn.Module, example: Tensor, dropout: Mapping[str, float]
) -> tuple[nn.Module, Mapping[str, Size], int]:
    """Return the network with masks for dropout, the masks' shapes, and the number of outputs."""
    module = copy.deepcopy(network).eval()
    shapes: dict[str, Size] = {}
    for site in dropout:
        mask = Mask()
        channels = isinstance(
            network.get_submodule(site), nn.Dropout1d | nn.Dropout2d | nn.Dropout3d
        )
        mask.register_forward_pre_hook(
            lambda _, inputs, site=site, channels=channels: _note(
                shapes, site, inputs[0].shape[1:], channels
            )
        )
        module.set_submodule(site, mask)
    try:
        with torch.no_grad():
            out = module(example)
    except InputError:
        raise
    except Exception as error:  # a user's forward may raise anything
        raise InputError(
            f"a network that takes rows of shape {tuple(example.shape[1:])}",
            f"{type(network).__name__}, which says {_said(error)}",
            "Match the network's inputs to the data's features.",
        ) from error
    if not isinstance(out, Tensor):
        raise InputError(
            "a network that returns one tensor, [points, outputs]",
            f"{type(network).__name__}, which returns a {type(out).__name__}",
            "Return the outputs alone.",
        )
    if out.ndim != 2 or len(out) != 1:
        raise InputError(
            "a network that maps [points, *features] to [points, outputs]",
            f"an output of shape {tuple(out.shape)} for one row",
            "Flatten the output to one vector per row.",
        )
    for child in module.modules():
        child._forward_pre_hooks.clear()
    return module, network.mask_shapes if isinstance(network, Batched) else shapes, out.shape[1]


def _note(shapes: dict[str, Size], site: str, units: Size, channels: bool) -> None:
    """Write down what a dropout layer leaves out: single units, or whole channels."""
    if site in shapes:
        raise InputError(
            "a dropout layer for each place that drops units, so that each has masks of its own",
            f"{site!r} called more than once for a row",
            "Give every call an nn.Dropout of its own.",
        )
    shapes[site] = Size([units[0], *(1 for _ in units[1:])]) if channels else units
