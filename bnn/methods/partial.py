"""Partial inference: a posterior over some of the weights, a point estimate of all others.

    c* from (v*, c*) = argmax p(v, c | D)           all weights, by MAP
    p(v | c*, D)  ~  p(v) p(D | v, c*)              inferred: the chosen weights v alone

A method with the field `last_layer` begins its fit with `problem = partial(problem, seeds,
self.last_layer, progress)`, and is otherwise the same; one that has found the mode itself goes on
from it, by `conditional`. What the point estimate took is kept in `problem.network.seconds`, and
counted with the cost of the fit.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from bnn.errors import InputError, listed
from bnn.layout import Layout
from bnn.methods.maximum_posterior import MAP
from bnn.networks import Partial
from bnn.optimise import Fit, Progress, silent
from bnn.priors import Prior, scale_within
from bnn.problem import Problem

# False: all weights are inferred; True: those of the last layer; else a predicate over their names.
Which = bool | Callable[[str], bool]


def partial(
    problem: Problem, seeds: Sequence[int], which: Which, progress: Progress = silent
) -> Problem:
    """Return the problem of inferring some of the weights, with the others fixed at the MAP.

    Arguments:
        problem: with one replica per seed.
        seeds: one per replica; they fix the point estimate.
        which: False for all weights (the problem itself is returned), True for the last layer, or
            a predicate over the names of parameters, `lambda name: name.startswith("head.")`.
        progress: told how far the point estimate is.

    Raises:
        InputError: where no parameter is chosen, or where it cannot be told which layer is last.
    """
    if inferred(problem, which) == problem.layout:
        return problem
    return conditional(problem, which, MAP().fit(problem, seeds, progress).fit)


def conditional(problem: Problem, which: Which, fit: Fit) -> Problem:
    """Return the problem of inferring some of the weights, with the others where a fit left them.

    Arguments:
        problem: with one replica per seed.
        which: as of `partial`.
        fit: of all weights of the problem; what it took is counted with the cost.
    """
    # What has diverged stays lost: constants of NaN make the loss of the chosen weights NaN too.
    lost = torch.tensor(fit.diverged, device=fit.parameters.device)[:, None]
    fixed = fit.parameters[:, : problem.network.layout.size].masked_fill(lost, torch.nan)
    seconds = problem.network.seconds + fit.seconds
    network = Partial(problem.network, fixed, _chosen(problem, which), seconds)
    return replace(problem, network=network, prior=_prior(problem.prior, network.layout))


def inferred(problem: Problem, which: Which) -> Layout:
    """Return what there would be a posterior over; nothing is trained."""
    if which is False:
        return problem.layout
    fixed = set(problem.network.layout.shapes) - _chosen(problem, which)
    return Layout({name: s for name, s in problem.layout.shapes.items() if name not in fixed})


def _chosen(problem: Problem, which: Which) -> frozenset[str]:
    names = list(problem.network.layout.shapes)
    if which is True:
        return _last_layer(problem)
    if not callable(which):
        raise InputError(
            "True, False or a predicate over the names of parameters",
            repr(which),
            'For a layer called head write lambda name: name.startswith("head.").',
        )
    chosen = frozenset(name for name in names if which(name))
    if not chosen:
        raise InputError(
            f"a predicate that chooses some parameter, {listed(names)}",
            "one that chooses none",
            "Test for a name that is there.",
        )
    return chosen


def _last_layer(problem: Problem) -> frozenset[str]:
    """Return the parameters of the module that is registered last, which must give the outputs."""
    names = list(problem.network.layout.shapes)
    layer = names[-1].rpartition(".")[0]
    if not _gives_the_outputs(problem, layer):
        raise InputError(
            "a network whose outputs are those of the module registered last, its last layer",
            f"{type(problem.network.network).__name__}, where {layer!r} gives others",
            "Choose the layer by name: last_layer=lambda name: name.startswith('head.').",
        )
    return frozenset(name for name in names if name.rpartition(".")[0] == layer)


def _gives_the_outputs(problem: Problem, layer: str) -> bool:
    network: nn.Module = copy.deepcopy(problem.network.network).eval()
    found: list[Tensor] = []
    network.get_submodule(layer).register_forward_hook(lambda *call: found.append(call[2]))
    with torch.no_grad():
        outputs = network(problem.take([0]).batch(problem.train.take([0]))[0][0, :1])
    return bool(found) and torch.equal(found[-1], outputs)


def _prior(prior: Prior, layout: Layout) -> Prior:
    """Return the prior over the chosen parameters alone."""
    scale = getattr(prior, "scale", None)
    if not isinstance(scale, Mapping):
        return prior
    return replace(prior, scale=scale_within(scale, layout))  # type: ignore[type-var]
