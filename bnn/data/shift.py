"""Disturbances of images: what a picture looks like when the world is a little off.

Both take and return flat images `[rows, pixels]` and change nothing else.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from bnn.errors import InputError


def rotate(x: Tensor, degrees: float, side: int) -> Tensor:
    """Rotate square images counter-clockwise about their centre.

    Pixels between pixels are interpolated linearly, so no value leaves the range of the image;
    what turns in from outside is zero.

    Arguments:
        x: images, `[rows, side * side]`, row by row from the top left.
        degrees: the angle.
        side: pixels along an edge.

    Raises:
        InputError: if the images are not squares of that side.
    """
    if x.ndim != 2 or x.shape[1] != side * side:
        raise InputError(
            f"images of {side} x {side} pixels, [rows, {side * side}]",
            f"shape {tuple(x.shape)}",
            "Flatten the images, or correct the side.",
        )
    images = x.double().numpy().reshape(-1, side, side)
    turned = ndimage.rotate(images, degrees, axes=(1, 2), reshape=False, order=1)
    return torch.from_numpy(turned).reshape(x.shape).to(x.dtype)


def noise(x: Tensor, scale: float, seed: int, low: float, high: float) -> Tensor:
    """Add Normal noise to every pixel: clip(x + scale * e, low, high), e ~ N(0, 1).

    The same seed gives the same e at every scale, so that strengths can be compared.

    Arguments:
        x: images, `[rows, pixels]`.
        scale: standard deviation of the noise, pixel units.
        seed: fixes e.
        low, high: the range of a pixel.
    """
    # RandomState, because its stream is frozen: the same seed gives the same noise in any version.
    e = torch.from_numpy(np.random.RandomState(seed).standard_normal(tuple(x.shape)))
    return (x + scale * e).clamp(low, high).to(x.dtype)
