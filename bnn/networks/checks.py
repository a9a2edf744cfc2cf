"""What a network may be: its rows apart from each other, and all of its parameters trained."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bnn.errors import InputError


def check_supported(network: nn.Module) -> None:
    """Refuse layers and parameters that a network may not have."""
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


def check_rows(module: nn.Module, examples: Tensor, name: str) -> None:
    """Refuse a network that sees the other rows of a batch."""
    with torch.no_grad():
        alone = torch.cat([module(row) for row in examples.split(1)])
        gap = apart(module(examples), alone)
    if gap:
        raise InputError(
            "a network whose rows do not depend on each other",
            f"{name}, which gives a row alone and among others outputs that differ by {gap:.1e}",
            "In forward, take no mean, maximum or softmax over the first axis, which is the rows.",
        )


def apart(found: Tensor, expected: Tensor) -> float:
    """Return how far outputs differ, relative to the largest; 0 where rounding explains it."""
    if found.shape != expected.shape:
        return math.inf
    gap = (found - expected).abs().max() / expected.abs().max().clamp(min=1)
    return gap.item() if gap > 10 * math.sqrt(torch.finfo(found.dtype).eps) else 0.0


def said(error: Exception) -> str:
    """Return what an error says, in one line."""
    return f"{type(error).__name__}: {error}".splitlines()[0].rstrip(".")
