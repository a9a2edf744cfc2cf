"""Data that the model makes: weights from the prior, and targets from the likelihood."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from bnn.data import Rows
from bnn.errors import InputError
from bnn.likelihoods import SoftLabels
from bnn.problem import Problem
from bnn.seeds import as_seeds, seeded


@dataclass(frozen=True)
class Simulated:
    """Replicas of a problem with targets drawn from the model.

    Arguments:
        problem: one replica per simulation; inputs, and all scaling, are those of the original.
        weights: from which the targets were drawn, `[simulations, 1, parameters]`.
    """

    problem: Problem
    weights: Tensor

    @staticmethod
    def of(problem: Problem, seeds: Iterable[int]) -> Simulated:
        """Draw weights from the prior and targets from the model, one simulation per seed.

        Arguments:
            problem: with one replica, whose inputs are kept, those of validation and calibration
                too, and whose targets play no part.
            seeds: one per simulation.

        Raises:
            InputError: on several replicas; where prior or likelihood are no density to draw from.
        """
        _check_generative(problem)
        parts = (problem.train, problem.validation, problem.calibration)
        x = torch.cat([rows.x for rows in parts], dim=1)
        prior, z = problem.prior_distribution(), problem.standardise(x)
        drawn = [_draw(problem, prior, z, seed) for seed in as_seeds(seeds)]
        weights, y = (torch.cat(part) for part in zip(*drawn, strict=True))
        table = x[0].repeat(len(y), *[1] * (x.ndim - 2))
        index = torch.arange(len(table), device=x.device).view(y.shape)
        every = Rows(table, y.flatten().to(problem.train.labels), index)
        train, validation, calibration = (
            replace(every, index=some) for some in index.split([p.points for p in parts], dim=1)
        )
        many = problem.take([0] * len(y))
        made = replace(many, train=train, validation=validation, calibration=calibration)
        return Simulated(made, weights)


def _draw(
    problem: Problem, prior: TorchDistribution, x: Tensor, seed: int
) -> tuple[Tensor, Tensor]:
    """Return weights `[1, 1, parameters]`, and targets in original units, `[1, points]`.

    Arguments:
        x: standardised inputs, `[1, points, *features]`.
    """
    unit = problem.targets.scale.to(problem.like)[:, None, None]
    with seeded(seed, "simulation"), torch.no_grad():
        weights = prior.sample((1, 1))
        outputs = problem.outputs(weights, x)
        given = problem.likelihood.distribution(outputs, problem.latents(weights), unit)
        y = given.sample()[:, 0]
    if problem.likelihood.task == "regression":
        y = problem.targets.mean[:, None] + problem.targets.scale[:, None] * y
    return weights, y


def _check_generative(problem: Problem) -> None:
    if problem.replicas != 1:
        raise InputError(
            "a problem of one replica", f"{problem.replicas}", "Take one: problem.take([0])."
        )
    if not problem.prior.proper:
        raise InputError("a proper prior", "Flat", "There are no weights to draw from it.")
    if isinstance(problem.likelihood, SoftLabels):
        raise InputError(
            "a likelihood that is a density of the targets", "SoftLabels", "Use class numbers."
        )
