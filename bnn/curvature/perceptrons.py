"""The shares of G of a perceptron's rows, by backpropagation written out.

    D_L = V,    D_l = s'(a_l) * D_{l+1} W_{l+1},    V dJ/dW_l = D_l h_{l-1}',    V dJ/db_l = D_l

Autograd finds the same numbers, in two to three times the time: here each is written once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bnn.backpropagation import ACTIVATIONS, units_read
from bnn.curvature.information import fisher_root
from bnn.networks import MLP
from bnn.problem import Problem


def roots(problem: Problem, weights: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return V_n J_n in all parameters of a network that `perceptron` accepts.

    Arguments:
        weights: flat, of the network and the likelihood, `[replicas, parameters]`.
        x, y: standardised rows, `[replicas, rows, ...]`.

    Returns:
        `[replicas, rows, rank, parameters]`, float64.
    """
    network, mlp = problem.network, problem.network.network
    assert isinstance(mlp, MLP)
    activation = ACTIVATIONS[mlp.activation]
    views = list(network.layout.views(weights.detach()[:, : network.layout.size]).values())
    units = units_read(mlp, views, x.flatten(2))
    outputs = torch.baddbmm(views[-1][:, None], units[-1], views[-2].mT)
    slope = fisher_root(problem, weights, outputs, y)
    found = slope.new_empty(*slope.shape[:3], network.layout.size)
    places = found.split([view[0].numel() for view in views], -1)
    for i, weight in reversed(list(enumerate(views[::2]))):
        read = units[i].double()[:, :, None]
        by_weight = places[2 * i].unflatten(-1, weight.shape[1:])
        assert slope.shape[-1] == weight.shape[1]  # or the place would be resized in silence
        torch.mul(slope[..., None], read[..., None, :], out=by_weight)
        places[2 * i + 1].copy_(slope)
        if i:
            slope = (slope.flatten(1, 2) @ weight.double()).view(*slope.shape[:3], -1)
            slope = activation.pull(read.expand_as(slope), slope)
    return found
