"""Laplace approximation: a Normal about the mode, as narrow as the loss is curved there.

    w* = argmax log p(D | w) + log p(w),    q(w) = Normal(w*, (G + T)^-1)

G is the generalised Gauss-Newton matrix (see `bnn.curvature`) and T the prior's precision. The
network is replaced by its tangent at w*, f(x, w*) + J(x)(w - w*), for which q is the posterior up
to the likelihood's own curvature (Immer, Korzepa, Bauer 2021, https://arxiv.org/abs/2008.08400); so
it is exact for linear models with Normal noise. "sampled" runs the curved network on draws of q,
which overestimates the spread. Where classes are well separated, the information in a row vanishes
at the mode, and q is far wider than the posterior (Kuss & Rasmussen 2005,
https://jmlr.org/papers/v6/kuss05a.html): predictions are then too unsure.

The evidence is log p(D) ~ log p(D, w*) + P/2 log 2 pi - 1/2 log det(G + T). A number of times in
the course of training, the prior's precisions t_k, one for each parameter tensor k, and the scale
of a learned noise are set to where it is stationary (MacKay 1992):

    gamma_k = P_k - t_k tr_k (G + T)^-1,    t_k = gamma_k / |w_k - mean|^2
    noise^2 = sum_n (y_n - f(x_n))^2 / (N - sum_k gamma_k)

or one precision serves all weights, t = sum_k gamma_k / sum_k |w_k - mean|^2. Training goes on from
there, so that w* is the mode under the prior that it is given.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import pyro
import torch
from torch import Tensor

from bnn.curvature import Curvature, Diagonal, Full, Gaussian, Kronecker, fisher_root
from bnn.errors import InputError, choose
from bnn.forecast import Forecast, check, of_training
from bnn.gradients import WriteOut, of_joint
from bnn.lbfgs import polish
from bnn.likelihoods import LearnedNoise, SoftLabels
from bnn.methods.accuracy import Accuracy
from bnn.methods.evidence import (
    by_tensor,
    log_noise,
    log_prior,
    penalised,
    precision,
    sizes,
    whitened,
    written_out,
)
from bnn.methods.maximum_likelihood import negative_log_likelihood
from bnn.methods.maximum_posterior import MAP, negative_log_joint
from bnn.methods.partial import Which, conditional, inferred
from bnn.networks import Tangent
from bnn.optimise import Adam, Fit, Loss, Progress, Training, Visit, silent, train
from bnn.posterior import Masks, Posterior
from bnn.priors import Normal
from bnn.problem import Problem
from bnn.seeds import Streams, as_seeds

FORMS: Mapping[str, type[Full] | type[Kronecker] | type[Diagonal]] = {
    "full": Full,
    "kronecker": Kronecker,
    "diagonal": Diagonal,
    "last_layer": Full,
}
# What a forecast counts by: numbers for each weight in training; matrices over all weights at once,
# or over the inputs and outputs of layers; and the operations of their eigenvectors per side cubed.
ROWS, MATRICES, FACTORS, EIGEN = 2, 3, 5, 6
REMEDY = 'Use structure="kronecker" or "last_layer", or fewer replicas at a time.'
UNTOUCHED = 1e-8  # by how little the data narrow a weight that they do not touch
LEAST = 1e-6  # effective weights that a parameter tensor has at the least, at the problem's prior


@dataclass(frozen=True)
class Laplace:
    """A Normal about the MAP, with the curvature of the loss.

    Kronecker is the default, because it serves networks of any size; "full" is the better one
    where its matrix, the square of the number of weights, is small.

    Raises:
        InputError: on unknown settings; in `fit`, on priors that are not Normal, on likelihoods
            whose curvature is not known, and where a full matrix would be too large.
    """

    structure: Literal["full", "kronecker", "diagonal", "last_layer"] = "kronecker"  # of G;
    # "last_layer" is short for "full" with last_layer=True
    predictive: Literal["linearised", "sampled"] = "linearised"  # what a draw of weights goes into
    evidence: bool = True  # whether the evidence sets the scales of prior and learned noise
    updates: int = 20  # of those scales, evenly over the training
    shared_scale: bool = False  # one for all weights; else one for each parameter tensor
    last_layer: Which = False  # True, or a predicate over names: the others stay at the MAP
    polish: float | None = None  # largest derivative of the loss, nats per row, that L-BFGS may
    # leave after the training; None: none is run
    training: Training = Training(epochs=200, steps=4000, decay=True)

    name: ClassVar[str] = "laplace"
    label: ClassVar[str] = "Laplace"
    reference: ClassVar[str] = "MacKay 1992, https://doi.org/10.1162/neco.1992.4.3.448"
    version: ClassVar[int] = 2
    accuracy: ClassVar[Accuracy] = Accuracy(linear="posterior", tolerance=1e-8, probability=0.08)

    def __post_init__(self) -> None:
        choose(self.structure, FORMS, "structure")
        choose(self.predictive, {"linearised": 0, "sampled": 0}, "predictive")
        if not isinstance(self.updates, int) or self.updates < 1:
            raise InputError(
                "a whole number of updates, at least one", repr(self.updates), "Try 20."
            )
        if self.polish is not None and not 0 < self.polish < math.inf:
            raise InputError(
                "a positive tolerance, or None", repr(self.polish), "1e-10 is thorough."
            )

    def thorough(self) -> Laplace:
        """Return the exact posterior of linear models with Normal noise: full, at the very mode."""
        training = Training(epochs=200, decay=True)
        return replace(self, structure="full", evidence=False, polish=1e-10, training=training)

    def forecast(self, problem: Problem) -> Forecast:
        """Return what one replica takes: the matrices of the curvature, and the work on them."""
        layout, training = inferred(problem, self._which), of_training(problem, ROWS).bytes
        times = 1 + self.updates * self.evidence
        if FORMS[self.structure] is Full:
            size, rows = layout.size, float(problem.points * problem.network.outputs)
            flops = times * (4 / 3 * size**3 + 2 * rows * size**2)
            return Forecast(training + MATRICES * 8 * size**2, REMEDY, flops)
        if FORMS[self.structure] is Diagonal:
            return Forecast(2 * training)  # and as much for a row's derivatives
        matrices = [s for s in layout.shapes.values() if len(s) > 1]
        sides = [side for s in matrices for side in (s[0], s[1:].numel() + 1)]
        square, cube = (float(sum(side**power for side in sides)) for power in (2, 3))
        return Forecast(max(training, FACTORS * 8 * square), flops=times * EIGEN * cube)

    def fit(self, problem: Problem, seeds: Sequence[int], progress: Progress = silent) -> Posterior:
        """Find the mode of each seed, all at once, and the curvature there."""
        seeds = as_seeds(seeds)
        problem = problem.for_seeds(seeds)
        _check(problem)
        check(self.forecast(problem), problem)
        problem, mode = self._part(problem, seeds, progress)
        with pyro.validation_enabled(False):  # it would raise where one replica is not finite
            fit, hyper = self._train(problem, seeds, mode, progress)
            began = time.perf_counter()
            family = self._family(problem, fit.parameters, hyper)
        lost = (~family.log_evidence.isfinite()).tolist()
        diverged = tuple(a or b for a, b in zip(fit.diverged, lost, strict=True))
        fit = replace(fit, diverged=diverged, seconds=fit.seconds + time.perf_counter() - began)
        if self.predictive == "linearised":
            at = fit.parameters[:, : problem.network.layout.size]
            problem = replace(problem, network=Tangent(problem.network, at))
        return Posterior(problem, family, seeds, fit, caveats=self._caveats(problem))

    @property
    def _which(self) -> Which:
        return self.last_layer or self.structure == "last_layer"

    def _part(
        self, problem: Problem, seeds: Sequence[int], progress: Progress
    ) -> tuple[Problem, Fit | None]:
        """Return the problem of inferring the chosen weights, and the fit of their mode.

        The mode of all weights, which fixes the others, is also that of the chosen ones given them.
        Where all are chosen it is still to be found.
        """
        own = inferred(problem, self._which)
        if own == problem.layout:
            return problem, None
        fit = MAP(self.training).fit(problem, seeds, progress).fit
        mode = own.flat(problem.layout.views(fit.parameters))
        part = conditional(problem, self._which, fit)
        return part, replace(fit, parameters=mode, seconds=0.0)  # the problem's network keeps them

    def _train(
        self, problem: Problem, seeds: Sequence[int], mode: Fit | None, progress: Progress
    ) -> tuple[Fit, Tensor]:
        """Return the fit of the flat weights, and the log precisions `[replicas, tensors]`.

        The precisions, relative to the problem's prior, are trained along as columns of their own,
        of which no loss has a derivative: they change at the updates alone.

        Arguments:
            mode: under the problem's prior, where it is known.
        """
        start = problem.initial(seeds) if mode is None else mode.parameters
        groups = len(problem.network.layout.shapes)
        hyper = start.new_zeros(len(start), groups)
        if not self.evidence:
            loss = negative_log_joint
            fit = mode or self._descend(problem, seeds, start, loss, of_joint, progress)
            return self._polished(problem, seeds, fit, loss), hyper
        batches = problem.points // self.training.batch_of(problem.points)
        steps = self.training.epochs_of(problem.points) * batches
        at = {round(steps * (i + 1) / (self.updates + 1)) for i in range(self.updates)}

        def visit(replicas: Sequence[int], done: int, state: Tensor) -> None:
            if done in at:
                self._update(problem.take(replicas), state[:, :-groups], state[:, -groups:])

        state = torch.cat([start, hyper], dim=1)
        fit = self._descend(problem, seeds, state, penalised, written_out, progress, visit)
        fit = self._polished(problem, seeds, fit, penalised)
        return replace(fit, parameters=fit.parameters[:, :-groups]), fit.parameters[:, -groups:]

    def _descend(
        self,
        problem: Problem,
        seeds: Sequence[int],
        start: Tensor,
        loss: Loss,
        write_out: WriteOut,
        progress: Progress,
        visit: Visit | None = None,
    ) -> Fit:
        """Train from the start; what is held out is judged without the prior."""

        def validate(problem: Problem, state: Tensor, x: Tensor, y: Tensor, n: Streams) -> Tensor:
            return negative_log_likelihood(problem, state[:, : problem.layout.size], x, y, n)

        return train(
            problem, seeds, self.training, start, loss, validate, progress, Adam, visit, write_out
        )

    def _polished(self, problem: Problem, seeds: Sequence[int], fit: Fit, loss: Loss) -> Fit:
        """Go on from a fit to the very mode, where that is wanted."""
        if self.polish is None:
            return fit
        start = fit.parameters
        began, none = time.perf_counter(), Streams(seeds, "none", start.device, start.dtype)
        x, y = problem.batch(problem.train)
        mode, _ = polish(lambda at: loss(problem, at, x, y, none), start, self.polish)
        seconds = fit.seconds + time.perf_counter() - began
        return replace(fit, parameters=mode, seconds=seconds)

    def _update(self, problem: Problem, weights: Tensor, hyper: Tensor) -> None:
        """Set the log precisions, and the noise where it is learned, to those of most evidence."""
        layout = problem.network.layout
        normal = self._curvature(problem, weights).posterior(precision(problem, hyper))
        shrink = precision(problem, hyper) * normal.variance
        effective = (sizes(layout, shrink.device) - by_tensor(layout, shrink)).clamp(min=0)
        # A weight that the data do not touch is at the prior's mean; Adam leaves it near there.
        square = whitened(problem, weights.double()).square()
        length = by_tensor(layout, torch.where(shrink < 1 - UNTOUCHED, square, 0.0))
        total = effective.sum(1)
        if self.shared_scale:
            effective, length = total[:, None], length.sum(1, keepdim=True)
        found = ((effective + LEAST) / (length + LEAST)).log().to(hyper)
        hyper.copy_(torch.where(found.isfinite(), found, hyper))
        noise = getattr(problem.likelihood, "noise", None)
        if isinstance(noise, LearnedNoise):
            found = log_noise(problem, weights, total, noise.floor).to(weights)
            weights[:, -1] = torch.where(found.isfinite(), found, weights[:, -1])

    def _family(self, problem: Problem, weights: Tensor, hyper: Tensor) -> LaplaceNormal:
        normal = self._curvature(problem, weights).posterior(precision(problem, hyper))
        x, y = problem.batch(problem.train)
        with torch.no_grad():
            given = -problem.points * problem.loss(weights[:, None], x, y)[:, 0]
        joint = given.double() + log_prior(problem, weights.double(), hyper.double())
        size = problem.network.layout.size
        evidence = joint + size / 2 * math.log(2 * math.pi) - normal.log_det / 2
        return LaplaceNormal(weights, normal, evidence, hyper)

    def _curvature(self, problem: Problem, weights: Tensor) -> Curvature:
        return FORMS[self.structure].of(problem, weights)

    def _caveats(self, problem: Problem) -> tuple[str, ...]:
        if not (self.evidence and isinstance(problem.likelihood, SoftLabels)):
            return ()
        return (
            "the prior's scales maximise a pseudo-evidence: soft labels have no normalised density",
        )


@dataclass(frozen=True)
class LaplaceNormal:
    """A Normal over the network's weights; the likelihood's own parameters are a point.

    Arguments:
        mean: flat, `[replicas, parameters]`.
        normal: the spread of the network's weights.
        log_evidence: the approximation of log p(D), given the noise, nats, `[replicas]`.
        hyper: log of the precisions over those of the problem's prior, `[replicas, tensors]`.
    """

    mean: Tensor
    normal: Gaussian
    log_evidence: Tensor
    hyper: Tensor

    atoms: ClassVar[None] = None

    @property
    def covariance(self) -> Tensor:
        """The covariance, `[replicas, parameters, parameters]`, with zeros where there is none."""
        size, own = self.mean.shape[1], self.normal.size
        unit = torch.eye(own, dtype=torch.float64, device=self.mean.device)
        # the columns of a root of the covariance
        half = self.normal.colour(unit.expand(len(self.mean), -1, -1))
        return torch.nn.functional.pad(half.mT @ half, (0, size - own, 0, size - own))

    def draw(self, streams: Streams, draws: int) -> tuple[Tensor, Masks]:
        """Draw weights."""
        size = self.normal.size
        steps = self.normal.colour(streams.normal(draws, size).double()).to(self.mean)
        mean = self.mean[:, None].expand(-1, draws, -1)
        return torch.cat([mean[..., :size] + steps, mean[..., size:]], dim=-1), {}

    def take(self, replicas: Sequence[int]) -> LaplaceNormal:
        """Return the family of some of the replicas."""
        rows = list(replicas)
        parts = (self.mean[rows], self.normal.take(rows), self.log_evidence[rows], self.hyper[rows])
        return LaplaceNormal(*parts)


def _check(problem: Problem) -> None:
    if not isinstance(problem.prior, Normal):
        raise InputError(
            "a Normal prior, which has a precision",
            type(problem.prior).__name__,
            "Choose bnn.priors.Normal, or another method.",
        )
    one = problem.take([0])
    _, y = one.batch(one.train)
    blank = problem.like.new_zeros(1, *y.shape[1:2], problem.network.outputs)
    fisher_root(one, problem.like.new_zeros(1, problem.layout.size), blank, y)  # or it is refused
