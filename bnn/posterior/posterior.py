"""The posterior of all replicas: their draws, run and scaled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from numbers import Integral

import torch
from torch import Tensor

from bnn.errors import InputError
from bnn.forecast import Forecast, check
from bnn.optimise import Fit
from bnn.posterior.affine import Affine
from bnn.posterior.family import Family, Masks
from bnn.posterior.running import Running
from bnn.problem import Problem
from bnn.seeds import Streams
from bnn.threads import threads_for

WEIGHTS_AT_ONCE = 2**18  # weights x draws x replicas drawn in one go: 1 MiB in float32
FEWER = "Predict fewer points at a time, or with fewer draws."


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
        run = Running(self.problem, z, len(self.seeds))
        for weights, masks in self._blocks(streams, shape[1], run.networks):
            part = outputs[:, start : start + weights.shape[1]]
            with threads_for(self.problem.layout.size):
                run(weights, masks, part)
            if self.scaling is not None:
                part.copy_(self.scaling(part.mT).mT)
            latents.append(self.problem.latents(weights))
            start += weights.shape[1]
        return outputs.mT, {
            name: torch.cat([some[name] for some in latents], 1) for name in latents[0]
        }

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
