"""NUTS: Hamiltonian Monte Carlo whose every trajectory goes on until it turns back.

    w_1, w_2, ... ~ p(w | D),    by Pyro's own kernel on the Pyro program `problem.model`

The trajectory doubles until its ends approach each other, and the next sample is drawn from along
it. Chains run one after the other, each replica's by themselves, under a forked generator: this is
the slow reference, on which nothing but the Pyro program is shared with `HMC`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import pyro.infer.mcmc
import torch
from pyro.infer.mcmc.api import MCMC
from torch import Tensor

from bnn.errors import InputError
from bnn.forecast import Forecast, check, of_chains
from bnn.methods.accuracy import Accuracy
from bnn.methods.hmc import check_chains, check_proper, potential_of, starts
from bnn.methods.partial import Which, inferred, partial
from bnn.optimise import Curve, Fit, Progress, silent
from bnn.posterior import Chains, Posterior
from bnn.problem import Problem
from bnn.seeds import as_seeds, seeded
from bnn.threads import threads_for


@dataclass(frozen=True)
class NUTS:
    """The No-U-Turn sampler of Pyro, chain by chain."""

    chains: int = 4  # one after the other, for each replica
    warmup: int = 500  # iterations that adapt the step and the mass matrix
    samples: int = 500  # of each chain
    acceptance: float = 0.8  # mean acceptance probability to adapt the step to
    max_depth: int = 10  # doublings of a trajectory, at most
    dense: bool = False  # a full mass matrix instead of a diagonal one
    last_layer: Which = False  # infer the last layer alone, or what a predicate over names chooses

    name: ClassVar[str] = "nuts"
    label: ClassVar[str] = "NUTS"
    reference: ClassVar[str] = "Hoffman & Gelman 2014, https://arxiv.org/abs/1111.4246"
    version: ClassVar[int] = 1
    accuracy: ClassVar[Accuracy] = Accuracy("posterior", None, 0.01)

    def __post_init__(self) -> None:
        check_chains(self.chains, self.warmup, self.samples, self.acceptance)
        if not isinstance(self.max_depth, int) or self.max_depth < 1:
            raise InputError("at least one doubling", repr(self.max_depth), "10 is usual.")

    def thorough(self) -> Self:
        """Return settings for a problem of a few weights, to small Monte-Carlo errors."""
        return replace(self, warmup=300, samples=1000, dense=True)

    def forecast(self, problem: Problem) -> Forecast:
        """Return what one replica takes: the samples of its chains."""
        size = inferred(problem, self.last_layer).size
        return of_chains(problem, self.chains, self.samples, size)

    def fit(self, problem: Problem, seeds: Sequence[int], progress: Progress = silent) -> Posterior:
        """Run all chains of all seeds, one by one."""
        seeds = as_seeds(seeds)
        problem = problem.for_seeds(seeds)
        check(self.forecast(problem), problem)
        problem = partial(problem, seeds, self.last_layer)
        check_proper(problem)
        if problem.like.device.type != "cpu":
            raise InputError(
                "a network on the CPU", f"one on {problem.like.device}", "Use HMC there."
            )
        began = time.perf_counter()
        start = starts(problem, seeds, self.chains)
        weights = start.new_empty(*start.shape[:2], self.samples, start.shape[2])
        divergences = [0] * len(seeds)
        total = len(seeds) * self.chains
        for r, seed in enumerate(seeds):
            replica = problem.take([r])
            for c in range(self.chains):
                done = r * self.chains + c

                def tell(share: float, done: int = done) -> None:
                    progress((done + share) / total)

                with seeded(seed, f"chain {c}"):
                    weights[r, c], diverged = self._chain(replica, start[r, c], tell)
                divergences[r] += diverged
        progress(1.0)
        seconds = time.perf_counter() - began
        fit = _fit(problem, weights, divergences, seconds)
        return Posterior(problem, Chains(weights), seeds, fit)

    def _chain(self, problem: Problem, start: Tensor, progress: Progress) -> tuple[Tensor, int]:
        """Return one chain's samples `[samples, parameters]`, and how many trajectories diverged.

        A chain whose start is not finite is lost: all of it is NaN.
        """
        with pyro.validation_enabled(False):
            if not potential_of(problem)(start[None, None]).isfinite().all():
                return start.new_full((self.samples, len(start)), torch.nan), 0
        diverged = 0

        def watch(kernel: pyro.infer.mcmc.NUTS, state: object, stage: str, i: int) -> None:
            nonlocal diverged
            if stage == "Sample":
                diverged = sum(t >= 0 for t in kernel.diagnostics()["divergences"])
            done = i + (self.warmup if stage == "Sample" else 0)
            progress((done + 1) / (self.warmup + self.samples))

        kernel = pyro.infer.mcmc.NUTS(
            problem.model,
            target_accept_prob=self.acceptance,
            max_tree_depth=self.max_depth,
            full_mass=self.dense,
        )
        mcmc = MCMC(
            kernel,
            num_samples=self.samples,
            warmup_steps=self.warmup,
            initial_params={"weights": start[None, None]},
            hook_fn=watch,
            disable_progbar=True,
        )
        with threads_for(problem.layout.size):
            mcmc.run()
        return mcmc.get_samples()["weights"][:, 0, 0], diverged


def _fit(problem: Problem, weights: Tensor, divergences: Sequence[int], seconds: float) -> Fit:
    """Return the account of the chains; the curve is their mean of -log p(w, D) per row."""
    potential = potential_of(problem)
    with torch.no_grad(), pyro.validation_enabled(False):
        course = torch.stack([potential(w).mean(1) for w in weights.unbind(2)], dim=1)
    lost = [not finite for finite in course.isfinite().all(1).tolist()]
    curves = tuple(
        Curve((1,), (u[0],)) if gone else Curve(tuple(range(1, len(u) + 1)), tuple(u))
        for u, gone in zip((course / problem.points).tolist(), lost, strict=True)
    )
    told = tuple({"divergences": float(count)} for count in divergences)
    return Fit(weights, curves, tuple(lost), seconds, told)
