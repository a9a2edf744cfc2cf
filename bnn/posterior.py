"""A posterior: what a method believes of the weights, as something networks can be drawn from.

    w_1, ..., w_S ~ q(w | D),    outputs f(x, w_1), ..., f(x, w_S)

Methods differ in the family q alone. Drawing, running the networks and averaging is written here
and in `bnn.predictive`, once for all of them. Draws are fixed by the replica's seed and do not
depend on the inputs, so a row is predicted alike alone and in a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Protocol

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn.functional import pad

from bnn.backpropagation import Forward, perceptron
from bnn.data.arrays import as_inputs
from bnn.errors import InputError
from bnn.forecast import Forecast, check
from bnn.optimise import Fit
from bnn.predictive import Predictive
from bnn.problem import Problem
from bnn.seeds import Streams
from bnn.threads import threads_for

ROWS_AT_ONCE = 2**17  # rows x draws x replicas in one go, for those who run networks themselves
UNITS_AT_ONCE = 2**19  # units of a layer x rows x draws x replicas, computed in one go: more of
# them do not stay in a processor's cache, and take twice as long
ROW_MULTIPLE = 16  # rows are filled up to a multiple of a processor's vector: 506 x 50 units take
# a quarter longer than 512 x 50
WEIGHTS_AT_ONCE = 2**18  # weights x draws x replicas drawn in one go: 1 MiB in float32
FEWER = "Predict fewer points at a time, or with fewer draws."

Masks = dict[str, Tensor]
Run = Callable[[Tensor, Masks], Tensor]  # weights and masks -> outputs of networks on some rows


class Family(Protocol):
    """A set or a distribution of networks, per replica."""

    @property
    def atoms(self) -> int | None:
        """How many networks there are; None where they are drawn at random without end."""

    def draw(self, streams: Streams, draws: int) -> tuple[Tensor, Masks]:
        """Return the next `draws` networks: the same ones, drawn at once or a few at a time.

        Returns:
            flat weights `[replicas, draws, parameters]`, and masks on units (usually none).
        """

    def take(self, replicas: Sequence[int]) -> Family:
        """Return the family of some of the replicas."""


@dataclass(frozen=True)
class Atoms:
    """A finite set of equally likely networks: one for a point estimate, M for an ensemble.

    Arguments:
        weights: flat, `[replicas, atoms, parameters]`.
    """

    weights: Tensor

    @property
    def atoms(self) -> int:
        """How many networks there are."""
        return self.weights.shape[1]

    def draw(self, streams: Streams, draws: int) -> tuple[Tensor, Masks]:
        """Return all of them: a set needs no sampling."""
        return self.weights, {}

    def take(self, replicas: Sequence[int]) -> Atoms:
        """Return the set of some of the replicas."""
        return Atoms(self.weights[replicas])


@dataclass(frozen=True)
class Chains:
    """Samples of Markov chains, all equally likely.

    Arguments:
        weights: flat, `[replicas, chains, samples, parameters]`.
    """

    weights: Tensor

    @property
    def atoms(self) -> int:
        """How many samples there are, of all chains together."""
        return self.weights.shape[1] * self.weights.shape[2]

    def draw(self, streams: Streams, draws: int) -> tuple[Tensor, Masks]:
        """Return all of them, chain after chain."""
        return self.weights.flatten(1, 2), {}

    def take(self, replicas: Sequence[int]) -> Chains:
        """Return the chains of some of the replicas."""
        return Chains(self.weights[replicas])


@dataclass(frozen=True)
class Affine:
    """An affine map of each output of a classifier: f_k becomes gain_k f_k + shift_k.

    Arguments:
        gain: `[replicas, width]`, or `[replicas, 1]` where one number serves all outputs.
        shift: `[replicas, width]`, or `[replicas, 1]`; None for zero.
    """

    gain: Tensor
    shift: Tensor | None = None

    @staticmethod
    def temperature(temperature: Tensor) -> Affine:
        """Return the division by a temperature `[replicas]`."""
        return Affine(1 / temperature[:, None])

    def __call__(self, outputs: Tensor) -> Tensor:
        """Return the outputs `[replicas, draws, points, width]`, mapped."""
        scaled = outputs * self.gain[:, None, None]
        return scaled if self.shift is None else scaled + self.shift[:, None, None]

    def after(self, first: Affine | None) -> Affine:
        """Return the map that does another one first, and then this."""
        if first is None:
            return self
        shift = self.shift
        if first.shift is not None:
            shift = self.gain * first.shift + (0.0 if shift is None else shift)
        return Affine(self.gain * first.gain, shift)

    def take(self, replicas: Sequence[int]) -> Affine:
        """Return the map of some of the replicas."""
        return Affine(self.gain[replicas], None if self.shift is None else self.shift[replicas])


@dataclass(frozen=True)
class Posterior:
    """What a method's fit returns.

    Arguments:
        problem: what was fitted, one replica per seed.
        family: the distribution over networks.
        seeds: one per replica; they fix the draws.
        fit: how the fitting went.
        scaling: what becomes of a classifier's outputs, of every draw alike; None: they stay.
        caveats: sentences that a reader must know with every number that this posterior feeds.
    """

    problem: Problem
    family: Family
    seeds: tuple[int, ...]
    fit: Fit
    scaling: Affine | None = None
    caveats: tuple[str, ...] = ()

    @property
    def temperature(self) -> Tensor | None:
        """What all outputs are divided by, `[replicas]`; None where that is not what is done."""
        if self.scaling is None or self.scaling.shift is not None or self.scaling.gain.shape[1] > 1:
            return None
        return 1 / self.scaling.gain[:, 0]

    def draws(self, wanted: int) -> int:
        """Return how many networks a prediction with `wanted` draws averages."""
        return wanted if self.family.atoms is None else self.family.atoms

    def weights(self, draws: int = 100) -> dict[str, Tensor]:
        """Return named weights, `[replicas, draws, *shape]`, of the first networks drawn.

        Networks that differ in their masks alone, as of MC dropout, share one set of weights: it
        is returned once, `[replicas, 1, *shape]`, unmasked. Their spread is seen in `outputs`.
        """
        weights, masks = self.family.draw(self._streams(draws), draws)
        return self.problem.layout.views(weights[:, :1] if masks else weights)

    def outputs(self, x: Tensor, draws: int = 100) -> tuple[Tensor, dict[str, Tensor]]:
        """Run the drawn networks, their outputs scaled as the posterior says.

        Arguments:
            x: inputs in original units, `[replicas or 1, points, *features]`.
            draws: how many networks, where there is a choice.

        Returns:
            outputs `[replicas, draws, points, width]`, and the likelihood's own parameters by name,
            `[replicas, draws]`.

        Raises:
            InputError: on inputs that are not finite, also once they are standardised; on more
                outputs than there is memory for.
        """
        z = self.problem.standardise(x)
        if not torch.isfinite(z).all():
            raise InputError(
                f"finite inputs, also once they are standardised, as {z.dtype}",
                "NaN, infinite or far too large values",
                "Impute or drop those rows, or see that their units are those of training.",
            )
        streams = self._streams(draws)
        # Rows are the last axis in memory, as they come, which the averages over draws gain by.
        shape = len(self.seeds), self.draws(draws), self.problem.network.outputs, z.shape[1]
        numbers = 2 * shape[1] * shape[2] * shape[3]  # kept, and averaged
        check(Forecast(numbers * z.element_size(), FEWER), self.problem)
        outputs, latents, start = z.new_empty(shape), list[dict[str, Tensor]](), 0
        kept: dict[int, Run] = {}
        for weights, masks in self._blocks(streams, shape[1], self._together(z.shape[1])[1]):
            part = outputs[:, start : start + weights.shape[1]]
            with threads_for(self.problem.layout.size):
                self._run(weights, z, masks, part, kept)
            if self.scaling is not None:
                part.copy_(self.scaling(part.mT).mT)
            latents.append(self.problem.latents(weights))
            start += weights.shape[1]
        return outputs.mT, {
            name: torch.cat([some[name] for some in latents], 1) for name in latents[0]
        }

    def _run(
        self, weights: Tensor, z: Tensor, masks: Masks, outputs: Tensor, kept: dict[int, Run]
    ) -> None:
        """Write down the outputs of networks on standardised rows, a few at a time.

        Arguments:
            outputs: the place for them, `[replicas, draws, outputs, points]`.
            kept: what ran the last rows, for where the next networks run on the same.
        """
        some, more = self._together(z.shape[1])
        written = perceptron(self.problem.network) and "input" not in masks
        for start in range(0, z.shape[1], some):
            at = slice(start, start + some)
            if start not in kept:
                kept.clear()
                kept[start] = (
                    _Perceptrons(self.problem, z[:, at]) if written else self._generic(z[:, at])
                )
            for draw in range(0, weights.shape[1], more):
                part = slice(draw, draw + more)
                # One mask per draw serves all points, so that a draw is one function.
                units = {site: mask[:, part, None] for site, mask in masks.items()}
                outputs[:, part, :, at] = kept[start](weights[:, part], units)

    def _together(self, points: int) -> tuple[int, int]:
        """Return how many rows, and how many networks, are computed in one go."""
        network = self.problem.network
        width = max([network.outputs, *(shape.numel() for shape in network.mask_shapes.values())])
        rows = UNITS_AT_ONCE // (len(self.seeds) * width)
        return max(ROW_MULTIPLE, rows // ROW_MULTIPLE * ROW_MULTIPLE), max(1, rows // points)

    def _generic(self, z: Tensor) -> Run:
        """Return what runs networks on some rows, `[replicas, draws, outputs, points]`."""

        @torch.no_grad()
        def run(weights: Tensor, units: Masks) -> Tensor:
            return self.problem.outputs(weights, z, units).mT

        return run

    def take(self, replicas: Sequence[int]) -> Posterior:
        """Return the posterior of some of the replicas."""
        seeds = tuple(self.seeds[r] for r in replicas)
        fit = replace(
            self.fit,
            parameters=self.fit.parameters[replicas],
            curves=tuple(self.fit.curves[r] for r in replicas),
            diverged=tuple(self.fit.diverged[r] for r in replicas),
            diagnostics=tuple(self.fit.diagnostics[r] for r in replicas if self.fit.diagnostics),
        )
        scaling = None if self.scaling is None else self.scaling.take(replicas)
        problem, family = self.problem.take(replicas), self.family.take(replicas)
        return Posterior(problem, family, seeds, fit, scaling, self.caveats)

    def _blocks(
        self, streams: Streams, draws: int, together: int = 1
    ) -> Iterator[tuple[Tensor, Masks]]:
        """Yield all networks, weights and masks, as many at a time as memory is kept for.

        Arguments:
            together: how many are computed in one go, of which a block has a multiple, or fewer.
        """
        size = max(1, WEIGHTS_AT_ONCE // (len(self.seeds) * self.problem.layout.size))
        size -= size % together if size > together else 0
        if self.family.atoms is not None:
            size = draws  # they are there already
        for start in range(0, draws, size):
            yield self.family.draw(streams, min(size, draws - start))

    def _streams(self, draws: int) -> Streams:
        if not isinstance(draws, Integral) or draws < 1:
            raise InputError("a whole number of draws, at least one draw", repr(draws), "Try 100.")
        like = self.problem.like
        return Streams(self.seeds, "draws", like.device, like.dtype)


class _Perceptrons:
    """Runs perceptrons on some rows, in buffers that serve one chunk of draws after the other."""

    def __init__(self, problem: Problem, z: Tensor) -> None:
        self.network, self.points = problem.network, z.shape[1]
        self.z = pad(z.flatten(2), (0, 0, 0, -self.points % ROW_MULTIPLE))
        self.forward: Forward | None = None

    @torch.inference_mode()
    def __call__(self, weights: Tensor, units: Masks) -> Tensor:
        """Return `[replicas, draws, outputs, points]`, to be overwritten by the next call."""
        if self.forward is None or self.forward.weights.shape != weights.shape:
            self.forward = Forward(self.network, self.z.shape[1], weights.clone())
            self.forward.see(self.z)
        self.forward.weights.copy_(weights)
        outputs = self.forward.outputs(units)[..., : self.points]
        return outputs.unflatten(0, weights.shape[:2])


def predict(posterior: Posterior, x: ArrayLike | Tensor, draws: int = 100) -> Predictive:
    """Return the posterior predictive distribution p(y | x, D) = 1/S sum_s p(y | x, w_s).

    Arguments:
        posterior: what a method's fit returned.
        x: inputs in original units, `[points, *features]` for all replicas, or
            `[replicas, points, *features]`: a tensor, a NumPy array, a data frame or lists.
        draws: S, where the posterior is not a finite set.

    Raises:
        InputError: on inputs that are not real numbers, of another shape than the training rows',
            not finite (also once standardised), or without rows.
    """
    rows = x if isinstance(x, Tensor) and not x.is_complex() else as_inputs("x", x)
    if rows.ndim == posterior.problem.inputs.mean.ndim:
        rows = rows[None]
    if rows.ndim != posterior.problem.inputs.mean.ndim + 1:
        features = tuple(posterior.problem.inputs.mean.shape[1:])
        raise InputError(
            f"inputs of shape [points, *{features}]", f"{tuple(rows.shape)}", "Reshape them."
        )
    if rows.shape[1] == 0:
        raise InputError("at least one row of inputs", "none", "Bring rows to predict.")
    outputs, latents = posterior.outputs(rows, draws)
    return posterior.problem.predictive(outputs, latents)
