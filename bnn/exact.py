"""The exact posterior of a few weights, on a grid: what every method can be measured against.

    p(w | D) = p(w) prod_n p(y_n | x_n, w) / Z,    p(y | x, D) = integral of p(y | x, w) p(w | D) dw

Both integrals become sums over a lattice of weights, sheared as the posterior is. For smooth
densities that vanish at its edge such sums are exact to many digits (trapezoidal rule); `edge` says
how much was cut off, and another number of steps shows the rest of the error. Inputs far from the
training rows need more steps, for there p(y | x, w) changes quickly with the weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bnn.errors import InputError
from bnn.predictive import CategoricalMixture
from bnn.problem import Problem

MOST = 2  # weights; a lattice over more would be too large
SWEEPS = 4  # times the lattice is fitted to where the mass was found


@dataclass(frozen=True)
class GridPosterior:
    """The posterior of one replica as point masses on a lattice.

    Arguments:
        problem: of one replica.
        weights: the lattice, `[nodes, parameters]`.
        log_mass: their log probabilities, which sum to one, `[nodes]`.
        edge: the mass on the border of the lattice.
    """

    problem: Problem
    weights: Tensor
    log_mass: Tensor
    edge: float

    @property
    def mean(self) -> Tensor:
        """E[w | D], `[parameters]`."""
        return self.log_mass.exp() @ self.weights

    @property
    def covariance(self) -> Tensor:
        """Cov[w | D], `[parameters, parameters]`."""
        centred = self.weights - self.mean
        return (centred * self.log_mass.exp()[:, None]).mT @ centred

    @property
    def sd(self) -> Tensor:
        """Standard deviation of each weight, `[parameters]`."""
        return self.covariance.diagonal().sqrt()

    def log_probs(self, x: Tensor) -> Tensor:
        """Return log p(class | x, D), the average over the posterior.

        Arguments:
            x: inputs in original units, `[points, *features]`.

        Returns:
            `[points, classes]`, nats.
        """
        z = self.problem.standardise(x[None])
        outputs = self.problem.outputs(self.weights[None], z)
        given = self.problem.predictive(outputs, self.problem.latents(self.weights[None]))
        if not isinstance(given, CategoricalMixture):
            raise InputError("a classification", "real targets", "Sum over the lattice yourself.")
        return (given.draw_log_probs[0] + self.log_mass[:, None, None]).logsumexp(0)


def grid_posterior(problem: Problem, steps: int = 201, reach: float = 12.0) -> GridPosterior:
    """Return the exact posterior of a problem with one or two weights.

    The lattice starts on the prior, and is then centred and scaled on the mass that it found.

    Arguments:
        problem: of one replica, in float64, with a proper prior.
        steps: nodes along each weight.
        reach: standard deviations of the posterior to either side.

    Raises:
        InputError: on more replicas or weights, on an improper prior.
    """
    size = problem.layout.size
    if problem.replicas != 1 or size > MOST or not problem.prior.proper:
        raise InputError(
            f"one replica of a problem of at most {MOST} weights, with a proper prior",
            f"{problem.replicas} replicas, {size} weights, prior {problem.prior}",
            "Use problem.take([0]) and MLP(1, [], 1), for example.",
        )
    prior = problem.prior_distribution()
    centre, root = prior.mean, prior.variance.sqrt().diag()
    for _ in range(SWEEPS):
        found = _lattice(problem, centre, root, steps, reach)
        centre, root = found.mean, torch.linalg.cholesky(found.covariance)
    return _lattice(problem, centre, root, steps, reach)


def _lattice(
    problem: Problem, centre: Tensor, root: Tensor, steps: int, reach: float
) -> GridPosterior:
    axis = torch.linspace(-reach, reach, steps, dtype=centre.dtype)
    unit = torch.cartesian_prod(*[axis] * len(centre)).view(-1, len(centre))
    weights = centre + unit @ root.mT
    log_mass = problem.log_joint(weights[None])[0].detach().log_softmax(0)
    border = (unit.abs() == reach).any(-1)
    return GridPosterior(problem, weights, log_mass, float(log_mass[border].exp().sum()))
