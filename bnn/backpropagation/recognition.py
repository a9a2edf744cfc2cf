"""Which networks are known here: perceptrons, and the last layer of one."""

from __future__ import annotations

from bnn.backpropagation.activations import ACTIVATIONS
from bnn.backpropagation.heads import HEADS, kind
from bnn.likelihoods import Normal
from bnn.networks import MLP, Functional, Network, Partial
from bnn.networks.mlp import ACTIVATIONS as NAMED
from bnn.problem import Problem


def perceptron(network: Network) -> bool:
    """Is the network a perceptron that computes as ours do, with an activation known here?"""
    mlp = network.network
    return (
        type(network) is Functional
        and isinstance(mlp, MLP)
        and type(mlp).batched is MLP.batched
        and len(network.layout.shapes) == 2 * len(mlp.layers)  # no parameters of its own
        and mlp.activation in ACTIVATIONS
        and mlp._activate is NAMED[mlp.activation]  # not another one under that name
    )


def last_layer(network: Network) -> bool:
    """Is the network the last layer of a perceptron, on hidden units that stay as they are?"""
    if type(network) is not Partial or not perceptron(network.whole):
        return False
    return list(network.layout.shapes) == list(network.whole.layout.shapes)[-2:]


def recognised(problem: Problem) -> bool:
    """Is the network a perceptron, or the last layer of one, under a likelihood known here?"""
    known = type(problem.likelihood) in (*HEADS, Normal) and kind(problem.likelihood) in HEADS
    return known and (perceptron(problem.network) or last_layer(problem.network))
