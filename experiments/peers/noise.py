"""Numbers in place of random ones, so that another library computes its loss at a given draw."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import numpy as np
import torch
from torch import Size, Tensor


@contextmanager
def given_noise(eps: np.ndarray) -> Iterator[None]:
    """Let torch's standard Normal numbers be given ones, flat, in the order of drawing.

    It covers `Tensor.normal_`, `torch.randn` and `Normal.rsample`.
    """
    rest = torch.from_numpy(np.array(eps))

    def take(shape: Size) -> Tensor:
        nonlocal rest
        first, rest = rest[: shape.numel()], rest[shape.numel() :]
        return first.view(shape).clone()

    with (
        mock.patch("torch.distributions.normal._standard_normal", lambda shape, **_: take(shape)),
        mock.patch.object(Tensor, "normal_", lambda self, *_, **__: self.copy_(take(self.shape))),
        mock.patch("torch.randn", lambda size, **_: take(Size(size))),
    ):
        yield
    assert not len(rest), "as many numbers must be drawn as there are weights"
