"""The Fisher information of a target in a network's outputs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bnn.errors import InputError
from bnn.likelihoods import (
    Bernoulli,
    Categorical,
    InputNoise,
    Noise,
    Normal,
    SoftLabels,
    SoftplusNoise,
)
from bnn.problem import Problem


def fisher_root(problem: Problem, weights: Tensor, outputs: Tensor, y: Tensor) -> Tensor:
    """Return V with V'V = H, the Fisher information of a target in the network's outputs.

    Arguments:
        weights: flat, `[replicas, parameters]`, for the noise.
        outputs: `[replicas, points, width]`.
        y: `[replicas, points, ...]`; label distributions bring their weight.

    Returns:
        `[replicas, points, rank, width]`, float64.

    Raises:
        InputError: on a likelihood whose information is not known here.
    """
    likelihood, outputs = problem.likelihood, outputs.double()
    if isinstance(likelihood, Categorical | SoftLabels):
        p = outputs.softmax(-1)
        root = p.sqrt()[..., None] * (torch.eye(p.shape[-1]).to(p) - p[..., None, :])
        hard = isinstance(likelihood, Categorical)
        return root if hard else root * y.double().sum(-1).sqrt()[..., None, None]
    if isinstance(likelihood, Bernoulli):
        p = outputs.sigmoid()
        return (p * (1 - p)).sqrt()[..., None]
    if isinstance(likelihood, Normal):
        return _normal_root(problem, likelihood, weights, outputs)
    raise InputError(
        "a likelihood of known Fisher information: Categorical, Bernoulli, SoftLabels or Normal",
        type(likelihood).__name__,
        "Use a method that needs no curvature.",
    )


def _normal_root(problem: Problem, given: Normal, weights: Tensor, outputs: Tensor) -> Tensor:
    """The mean's information is 1 / v, that of an output that sets the variance (v' / v)^2 / 2."""
    unit = problem.targets.scale.double()[:, None, None]
    latents = {name: v.double() for name, v in problem.latents(weights[:, None]).items()}
    scale = given.noise.scale(outputs[:, None], latents, unit)[:, 0]
    mean = (1 / scale).expand(outputs.shape[:2])
    if given.noise.width == 1:
        return mean[..., None, None]
    rise = _rise(given.noise, outputs[..., 1])
    return torch.diag_embed(torch.stack([mean, rise / (math.sqrt(2) * scale**2)], dim=-1))


def _rise(noise: Noise, free: Tensor) -> Tensor:
    """Return dv/df of the variance in the second output."""
    if isinstance(noise, InputNoise):
        return 2 * (2 * free).exp()
    if isinstance(noise, SoftplusNoise):
        return free.sigmoid()
    raise InputError(
        "noise of known Fisher information: fixed, learned, InputNoise or SoftplusNoise",
        type(noise).__name__,
        "Use a method that needs no curvature.",
    )
