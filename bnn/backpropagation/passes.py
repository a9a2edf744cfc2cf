"""The forward and the backward pass of many perceptrons, in buffers that are made once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from bnn.backpropagation.activations import ACTIVATIONS
from bnn.backpropagation.heads import HEADS, kind
from bnn.backpropagation.places import First, Places
from bnn.data.batches import Batches
from bnn.networks import MLP, Network, Partial
from bnn.problem import Problem

# A product with fewer columns runs at half the speed: the first layer's gradient of a regression
# with 13 features takes 6.5 us per network with 14 columns, and 3.0 us with 16 of which 2 are zero.
LEAST_COLUMNS = 16

NO_MASKS: Mapping[str, Tensor] = {}


class Forward:
    """Outputs of many perceptrons, computed in buffers that are made once.

    Arguments:
        network: one that `perceptron` or `last_layer` accepts.
        rows: of a batch.
        weights: flat, `[replicas, draws, parameters]`, contiguous, or without the axis of draws;
            they are read here whenever outputs are asked for.
    """

    def __init__(self, network: Network, rows: int, weights: Tensor) -> None:
        mlp, replicas = network.network, len(weights)
        assert isinstance(mlp, MLP)
        self._network = network
        self.weights, self.draws = weights, 1 if weights.ndim == 2 else weights.shape[1]
        shapes = list(network.layout.shapes.values())[::2]  # of the matrices, [out, in]
        self._inputs, self._rows = shapes[0][1], rows
        self._activation, self._at = ACTIVATIONS[mlp.activation], Places.of(weights, network)
        self._x = weights.new_zeros(replicas, 0, max(self._inputs + 1, LEAST_COLUMNS))
        first = weights.new_zeros(replicas, self.draws * shapes[0][0], self._x.shape[-1])
        self._first = First.of(first, self.draws, self._inputs)
        units = [weights.new_empty(replicas * self.draws, width, rows) for width, _ in shapes]
        self._units, self._transposed = units, [hidden.mT for hidden in units[:-1]]
        self._first_units = units[0].view(replicas, -1, rows)
        upper = units[:-1], self._at.weights[1:], self._at.biases[1:], units[1:]
        self._upper = list(zip(*upper, strict=True))

    def see(self, x: Tensor) -> None:
        """Take in standardised inputs `[replicas, points, *features]`, batch after batch."""
        if x.shape[1] != self._x.shape[1] or x.shape[1] > self._rows:
            self._make_room(x.shape[1])
        self._x[..., : self._inputs].copy_(_hidden(self._network, x.flatten(2)))

    def _make_room(self, points: int) -> None:
        replicas, _, columns = self._x.shape
        self._x = self._x.new_zeros(replicas, points, columns)
        self._x[..., self._inputs] = 1
        self._seen = Batches(self._x, self._rows)
        self._batches = self._seen.parts
        self._batches_transposed = [batch.mT for batch in self._batches]
        self._features = [batch[..., : self._inputs].mT for batch in self._batches]

    def order(self, rows: Tensor) -> None:
        """Put the points in another order; see `Batches.order`."""
        self._seen.order(rows)

    def outputs(self, masks: Mapping[str, Tensor] = NO_MASKS, batch: int = 0) -> Tensor:
        """Return `[networks, outputs, rows]`, to be overwritten by the next call.

        Arguments:
            masks: factors on hidden units, and where there is one draw also on inputs, as of
                `MLP.batched`.
            batch: which of those seen.
        """
        return self._run(masks, batch)[0]

    def _run(self, masks: Mapping[str, Tensor], batch: int) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Return the outputs, and what the first layer and each other has read, transposed."""
        x = self._run_first(masks, batch)
        read = list(self._transposed) if masks else self._transposed
        for i, (units, weights, biases, above) in enumerate(self._upper):
            self._activation.apply(units)
            if masks and f"hidden.{i}" in masks:
                units = units * masks[f"hidden.{i}"].flatten(0, 1).mT
                read[i] = units.mT
            torch.baddbmm(biases, weights, units, out=above)
        return self._units[-1], x, read

    def _run_first(self, masks: Mapping[str, Tensor], batch: int) -> Tensor:
        at, first, x = self._at, self._first, self._batches[batch]
        if self.draws == 1:
            features = self._features[batch]
            if "input" in masks:
                x = x.clone()
                features = x[..., : self._inputs].mul_(masks["input"][:, 0]).mT
            torch.baddbmm(at.biases[0], at.weights[0], features, out=self._first_units)
            return x
        assert "input" not in masks, "draws share their inputs"
        # The first layers of a replica's draws make one matrix, because the draws share the inputs,
        # with the biases as a column of it (inputs have a 1 there).
        first.matrix.copy_(at.weights[0])
        first.bias.copy_(at.biases[0])
        torch.bmm(first.whole, self._batches_transposed[batch], out=self._first_units)
        return x


class Backpropagation:
    """Losses and gradients of all networks of a problem, on batches of equally many rows.

    The tensors that it returns are its own, and are overwritten by the next call; the gradient is
    always the same one, `gradient`, of the shape of the weights.

    Arguments:
        problem: one that `recognised` accepts.
        rows: of a batch.
        weights: as of `Forward`.
    """

    def __init__(self, problem: Problem, rows: int, weights: Tensor) -> None:
        self._forward = forward = Forward(problem.network, rows, weights)
        self._head = HEADS[kind(problem.likelihood)](problem, rows, forward.draws)
        self.gradient, self._rows = torch.zeros_like(weights), rows
        self._to = to = Places.of(self.gradient, problem.network)
        whole = torch.zeros_like(forward._first.whole)
        self._first = First.of(whole, forward.draws, forward._inputs)
        self._slopes = slopes = [torch.zeros_like(units) for units in forward._units]
        self._first_slopes = slopes[0].view_as(forward._first_units)
        self._shape = weights.shape[:-1]
        # Where matrices lie apart, products are made one by one, and take twice as long.
        together = [matrix.contiguous() for matrix in to.weights]
        above = slopes[1:], together[1:], to.weights[1:], to.biases[1:], forward._at.transposed[1:]
        below = slopes[:-1], forward._units[:-1]
        self._upper = [*enumerate(zip(*above, *below, strict=True))][::-1]

    def see(self, x: Tensor, y: Tensor) -> None:
        """Take in standardised rows `[replicas, points, ...]`, batch after batch."""
        self._forward.see(x)
        self._targets = Batches(y, self._rows)

    def order(self, rows: Tensor) -> None:
        """Put the points in another order; see `Batches.order`."""
        self._forward.order(rows)
        self._targets.order(rows)

    def __call__(
        self, masks: Mapping[str, Tensor] = NO_MASKS, batch: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Return the mean losses, `[replicas, draws]`, and their gradient.

        Arguments:
            masks: as of `Forward.outputs`.
            batch: which of those seen.
        """
        forward, to = self._forward, self._to
        outputs, x, read = forward._run(masks, batch)
        y, own = self._targets.parts[batch], forward._at.own
        losses = self._head(outputs, y, own, self._slopes[-1], to.own)
        for i, (slope, together, weights, biases, transposed, below, units) in self._upper:
            torch.sum(slope, 2, keepdim=True, out=biases)
            torch.bmm(slope, read[i], out=together)
            if together is not weights:
                weights.copy_(together)
            _product(transposed, slope, below)
            if masks and f"hidden.{i}" in masks:
                below.mul_(masks[f"hidden.{i}"].flatten(0, 1).mT)
            forward._activation.pull(units, below)
        torch.bmm(self._first_slopes, x, out=self._first.whole)
        to.weights[0].copy_(self._first.matrix)
        to.biases[0].copy_(self._first.bias)
        return losses.view(self._shape), self.gradient


def _hidden(network: Network, units: Tensor) -> Tensor:
    """Return what the first layer of weights reads of inputs, `[replicas, points, units]`."""
    if isinstance(network, Partial):
        assert isinstance(network.network, MLP)
        constants = list(network.whole.layout.views(network.fixed).values())
        units = units_read(network.network, constants, units)[-1]
    return units


def units_read(mlp: MLP, views: Sequence[Tensor], x: Tensor) -> list[Tensor]:
    """Return what each layer reads, `[replicas, points, units]`: the inputs, then hidden units.

    Arguments:
        mlp: whose activation is known here.
        views: weight, bias, weight, ... of all layers, `[replicas, ...]`.
        x: `[replicas, points, features]`.
    """
    activation, units = ACTIVATIONS[mlp.activation], [x]
    for weight, bias in zip(views[:-2:2], views[1:-2:2], strict=True):
        units.append(activation.apply(torch.baddbmm(bias[:, None], units[-1], weight.mT)))
    return units


def _product(a: Tensor, b: Tensor, out: Tensor) -> None:
    """Write down a b; of one column and one row, at a third of the time of `bmm`."""
    torch.mul(a, b, out=out) if a.shape[2] == 1 else torch.bmm(a, b, out=out)
