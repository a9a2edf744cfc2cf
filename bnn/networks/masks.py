"""Masks in the place of dropout: inputs of a draw, whose shapes one row tells."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Size, Tensor, nn

from bnn.errors import InputError
from bnn.networks.batched import Batched
from bnn.networks.checks import said


class Mask(nn.Module):
    """Stands where a dropout layer stood: multiplies by a mask that is an input of the draw."""

    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` times the mask."""
        return x * self.mask


def with_masks(
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
            f"{type(network).__name__}, which says {said(error)}",
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
