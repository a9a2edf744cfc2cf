"""Both passes of perceptrons whose layers are perturbed row by row (`bnn.networks.layerwise`).

    v_l = S_l h_{l-1}^2 + s_l,   a_l = W_l h_{l-1} + b_l + sqrt(v_l) e_l,   h_l = s(a_l)
    Q_l = D_l e_l / sqrt(v_l),   dW_l = D_l h_{l-1}',   dS_l = Q_l (h_{l-1}^2)' / 2
    D_{l-1} = s'(a_{l-1}) * (W_l' D_l + h_{l-1} * S_l' Q_l)

Here S and s are the variances of weights and biases, and e is standard Normal noise.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bnn.backpropagation.activations import ACTIVATIONS
from bnn.backpropagation.heads import HEADS, kind
from bnn.backpropagation.places import Places
from bnn.data.batches import Batches
from bnn.networks import MLP
from bnn.problem import Problem


class PerturbedBackpropagation:
    """Losses of all networks of a problem on batches of equally many rows, and their gradient.

    Arguments:
        problem: one that `recognised` accepts, and whose network `perceptron` does.
        rows: of a batch.
        means, variances: of the weights, flat, `[replicas, parameters]`; they are read here
            whenever losses are asked for.
    """

    def __init__(self, problem: Problem, rows: int, means: Tensor, variances: Tensor) -> None:
        network = problem.network
        assert isinstance(network.network, MLP)
        self._activation, self._rows = ACTIVATIONS[network.network.activation], rows
        self._head = HEADS[kind(problem.likelihood)](problem, rows, 1)
        self.by_means, self.by_variances = torch.zeros_like(means), torch.zeros_like(means)
        self._to = to = Places.of(self.by_means, network)
        at, spread, to_spread = (
            Places.of(flat, network) for flat in (means, variances, self.by_variances)
        )
        layers = (at.weights, at.biases, spread.weights, spread.biases)
        places = (to.weights, to.biases, to_spread.weights, to_spread.biases)
        self._forward = list(zip(*layers, strict=True))
        self._backward = list(zip(at.transposed, spread.transposed, *places, strict=True))[::-1]
        self.sizes = [bias.shape[1] for bias in at.biases]  # numbers of noise for each layer
        self._slope = means.new_zeros(len(means), self.sizes[-1], rows)
        self._tiny = torch.finfo(means.dtype).tiny  # the root has no slope at zero

    def see(self, x: Tensor, y: Tensor) -> None:
        """Take in standardised rows `[replicas, points, ...]`, batch after batch."""
        self._x, self._y = Batches(x.flatten(2), self._rows), Batches(y, self._rows)

    def order(self, rows: Tensor) -> None:
        """Put the points in another order; see `Batches.order`."""
        self._x.order(rows)
        self._y.order(rows)

    def __call__(self, noise: Tensor, own: Tensor, batch: int) -> Tensor:
        """Return the mean losses `[replicas]`, and write their derivatives down.

        Those by the means are in `by_means`, where the likelihood's own parameters have theirs too,
        and those by the variances in `by_variances`.

        Arguments:
            noise: standard Normal, `[replicas, rows, sum of sizes]`.
            own: the likelihood's parameters, `[replicas, how many]`.
            batch: which of those seen.
        """
        units, passed = self._x.parts[batch].mT, []
        each = zip(self._forward, noise.mT.split(self.sizes, 1), strict=True)
        for i, ((weights, biases, spreads, bias_spreads), own_noise) in enumerate(each):
            squares = units.square()
            root = torch.baddbmm(bias_spreads, spreads, squares).clamp_(min=self._tiny).sqrt_()
            above = torch.baddbmm(biases, weights, units).addcmul_(root, own_noise)
            passed.append((units, squares, own_noise / root))
            last = i + 1 == len(self._forward)
            units = above if last else self._activation.apply(above)
        slope = self._slope
        losses = self._head(units, self._y.parts[batch], own, slope, self._to.own)
        for (units, squares, ratio), layer in zip(passed[::-1], self._backward, strict=True):
            transposed, spreads_transposed, weights, biases, spreads, bias_spreads = layer
            spread = slope * ratio
            weights.copy_(slope @ units.mT)
            torch.sum(slope, 2, keepdim=True, out=biases)
            spreads.copy_((spread @ squares.mT).mul_(0.5))
            bias_spreads.copy_(spread.sum(2, keepdim=True).mul_(0.5))
            if units is not passed[0][0]:
                below = transposed @ slope
                slope = below.addcmul_(units, spreads_transposed @ spread)
                self._activation.pull(units, slope)
        return losses.flatten()
