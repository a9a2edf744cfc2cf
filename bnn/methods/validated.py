"""Validated settings: each replica chooses among candidates on training rows that it keeps back.

    c* = argmax_c  1/M sum_m log p(y_m | x_m, D', c)

D' is the first part of the training rows and the M rows are the last of them; the chosen candidate
is then fitted to all training rows. Or the M rows are the problem's own validation rows, and D' all
that train. A replica chooses by its own rows, and no test row has a part in it. All replicas of a
candidate are fitted at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bnn import forecast
from bnn.data import Rows
from bnn.errors import InputError
from bnn.forecast import Forecast
from bnn.methods.members import members_of, spread, unwrapped
from bnn.methods.mixture import Mixed, mixed, rows_of
from bnn.methods.under import Under
from bnn.optimise import Fit, Progress, silent
from bnn.posterior import Posterior
from bnn.problem import Problem
from bnn.seeds import as_seeds

if TYPE_CHECKING:
    from bnn.methods import Method


@dataclass(frozen=True)
class Validated:
    """A method whose settings, and whose prior, each replica chooses by validation.

    Raises:
        InputError: on candidates that are not one method in several settings, with equally many
            members; on a share out of range; in `fit`, where it leaves no rows on one of the sides.
    """

    candidates: tuple[Method, ...]  # one method, each time in other settings or `Under` a prior
    share: float | None = 0.2  # of the training rows, the last ones, on which to choose; None: the
    # problem's validation rows
    draws: int = 100  # networks averaged in a choice, where there is a number to choose

    def __post_init__(self) -> None:
        kinds = {_kind(candidate) for candidate in self.candidates}
        if len(kinds) != 1 or (self.share is not None and not 0 < self.share < 1):
            raise InputError(
                "candidates of one method, and a share between 0 and 1, or None",
                f"{', '.join(sorted(kinds)) or 'none'}, and share={self.share}",
                "Compare different methods as such; 0.2 is the custom.",
            )
        sizes = dict.fromkeys(str(members_of(candidate)) for candidate in self.candidates)
        if len(sizes) != 1:  # replicas that chose differently make one posterior
            raise InputError(
                "candidates of equally many members",
                f"{', '.join(sizes)} members",
                "Compare ensembles of different sizes as methods of their own.",
            )

    @property
    def name(self) -> str:
        """A short identifier."""
        return f"{_bare(self.candidates[0]).name}_validated"

    @property
    def label(self) -> str:
        """What a reader sees."""
        return f"{_bare(self.candidates[0]).label}, validated"

    @property
    def reference(self) -> str:
        """Of the method."""
        return self.candidates[0].reference

    @property
    def version(self) -> int:
        """Of the candidates, and of the choice: the sum rises with any."""
        return sum(candidate.version for candidate in self.candidates) + 1

    def forecast(self, problem: Problem) -> Forecast:
        """Return what one replica takes: as the largest of the candidates, which come in turn."""
        each = [forecast.forecast(candidate, problem) for candidate in self.candidates]
        flops = (len(each) + 1) * max(one.flops for one in each)
        return replace(max(each, key=lambda one: one.bytes), flops=flops)

    def fit(self, problem: Problem, seeds: Sequence[int], progress: Progress = silent) -> Posterior:
        """Fit every candidate to a part of the rows, and each replica's best one to all."""
        seeds = as_seeds(seeds)
        problem = problem.for_seeds(seeds)
        part, kept = _hold_out(problem, self.share)
        fits, scores = len(self.candidates) + (self.share is not None), []
        tried = []
        for i, candidate in enumerate(self.candidates):
            tried.append(candidate.fit(part, seeds, _within(progress, i, fits)))
            scores.append(_log_likelihood(tried[-1], kept, self.draws))
            if i and len(seeds) > 1:  # replicas may choose differently: know early if they cannot
                both = [tried[0].take([0]), tried[-1].take([1])]
                joined(both, (0, 1), seeds[:2], problem.take([0, 1]))
        found = torch.stack(scores)
        best = found.argmax(0).tolist()
        parts, order = [], list[int]()
        for i, candidate in enumerate(self.candidates):
            some = [r for r, chosen in enumerate(best) if chosen == i]
            order += some
            if some and self.share is None:
                parts.append(tried[i].take(some))
            elif some:
                own, told = tuple(seeds[r] for r in some), _within(progress, fits - 1, fits)
                parts.append(candidate.fit(problem.take(some), own, told))
        diagnostics = [
            {"candidate": float(i), "validation_log_likelihood": float(found[i, r])}
            for r, i in enumerate(best)
        ]
        whole = joined(parts, [order.index(r) for r in range(len(seeds))], seeds, problem)
        spent = sum(one.fit.seconds + one.problem.network.seconds for one in tried)
        # What the network's constants took is counted with the cost where that is stated.
        spent += -whole.problem.network.seconds if self.share is None else whole.fit.seconds
        return replace(whole, fit=replace(whole.fit, seconds=spent, diagnostics=tuple(diagnostics)))


def _bare(method: Method) -> Method:
    return _bare(method.method) if isinstance(method, Under) else method


def _kind(method: Method) -> str:
    """Return what a method is and what it is made of, whatever the prior: 'Mixture of Laplace'."""
    found = (one for one in unwrapped(method) if not isinstance(one, Under))
    return " of ".join(type(one).__name__ for one in found)


def _within(progress: Progress, step: int, steps: int) -> Progress:
    return lambda share: progress((step + share) / steps)


def _hold_out(problem: Problem, share: float | None) -> tuple[Problem, Rows]:
    """Return the problem of the rows that train a candidate, and the rows to choose on.

    Standardisation stays that of all training rows, so that priors and noise mean the same.
    """
    if share is None:
        if not problem.validation.points:
            raise InputError(
                "validation rows to choose on", "none", "Keep some, or choose by a share."
            )
        return problem, problem.validation
    train, first = problem.train, int((1 - share) * problem.points)
    if not 0 < first < problem.points:
        raise InputError(
            "training rows on both sides of the choice",
            f"{first} of {problem.points} to fit",
            "Bring more rows.",
        )
    left = replace(train, index=train.index[:, :first])
    return replace(problem, train=left), replace(train, index=train.index[:, first:])


def _log_likelihood(posterior: Posterior, rows: Rows, draws: int) -> Tensor:
    """Return the mean log-likelihood of some rows `[replicas]`; -inf where there is none."""
    outputs, latents = posterior.outputs(rows.x, draws)
    found = []
    for r, diverged in enumerate(posterior.fit.diverged):  # one that is not finite may be refused
        one = posterior.problem.take([r])
        try:
            own = {name: value[[r]] for name, value in latents.items()}
            score = one.predictive(outputs[[r]], own).log_prob(rows.y[[r]]).mean()
        except ValueError:
            score = outputs.new_tensor(-torch.inf)
        found.append(score.double().nan_to_num(nan=-torch.inf) if not diverged else -torch.inf)
    return torch.tensor([float(value) for value in found])


def joined(
    parts: Sequence[Posterior], order: Sequence[int], seeds: tuple[int, ...], problem: Problem
) -> Posterior:
    """Return the posterior of all replicas from those of some of them.

    Arguments:
        parts: of one method in different settings.
        order: for each replica, where it stands in the parts, one after another.
        seeds: of all replicas.
        problem: of all replicas.
    """
    like = [problem.like.new_empty(len(part.seeds)) for part in parts]
    mixtures = [part for part in parts if isinstance(part, Mixed)]
    if mixtures and len(mixtures) == len(parts):
        size = mixtures[0].members
        whole, starts = spread(problem, seeds, size)
        each = joined([m.each for m in mixtures], rows_of(order, size), tuple(starts), whole)
        scaling = _joined([mixture.scaling for mixture in mixtures], like, order)
        return replace(mixed(problem, seeds, each), scaling=scaling)
    family, network, scaling = (
        _joined([value(part) for part in parts], like, order)
        for value in (
            lambda part: part.family,
            lambda part: part.problem.network,
            lambda part: part.scaling,
        )
    )
    every = [(part.fit, r) for part in parts for r in range(len(part.seeds))]
    fit = Fit(
        parameters=torch.cat([part.fit.parameters for part in parts])[list(order)],
        curves=tuple(every[i][0].curves[every[i][1]] for i in order),
        diverged=tuple(every[i][0].diverged[every[i][1]] for i in order),
        seconds=sum(part.fit.seconds for part in parts),
    )
    caveats = tuple(dict.fromkeys(text for part in parts for text in part.caveats))
    whole = replace(problem, network=network)
    return Posterior(whole, family, seeds, fit, scaling, caveats)


def _joined(parts: Sequence[Any], like: Sequence[Tensor], order: Sequence[int]) -> Any:
    """Return a value for all replicas from those for some: tensors have one row per replica.

    Numbers that differ become a tensor `[replicas]`, like one for each part; seconds are added.
    """
    first = parts[0]
    if not all(type(part) is type(first) for part in parts):
        raise _unlike(parts)
    if isinstance(first, Tensor):
        return _stacked(parts, order)
    if type(first) is tuple and all(len(part) == len(first) for part in parts):
        return tuple(_joined(some, like, order) for some in zip(*parts, strict=True))
    if is_dataclass(first) and not isinstance(first, type):
        own = {f.name: [getattr(part, f.name) for part in parts] for f in fields(first)}
        took = {"seconds": sum(own.pop("seconds"))} if "seconds" in own else {}
        return replace(first, **{n: _joined(some, like, order) for n, some in own.items()}, **took)
    if isinstance(first, Mapping) and all(part.keys() == first.keys() for part in parts):
        return {n: _joined([part[n] for part in parts], like, order) for n in first}
    if all(part is first or part == first for part in parts):
        return first
    if isinstance(first, float):
        pairs = zip(like, parts, strict=True)
        return torch.cat([torch.full_like(own, value) for own, value in pairs])[list(order)]
    raise _unlike(parts)


def _stacked(parts: Sequence[Tensor], order: Sequence[int]) -> Tensor:
    """Return the rows of tensors; whole numbers are places, which all replicas share."""
    first = parts[0]
    if first.dtype == torch.long and all(torch.equal(part, first) for part in parts):
        return first
    if first.dtype == torch.long or any(part.shape[1:] != first.shape[1:] for part in parts):
        raise _unlike(parts)
    return torch.cat(list(parts))[list(order)]


def _unlike(parts: Sequence[Any]) -> InputError:
    """Return what to say of candidates whose replicas cannot stand beside one another."""

    def told(value: Any) -> str:
        if isinstance(value, Tensor):
            return f"numbers of shape {list(value.shape[1:])}"
        return type(value).__name__ if is_dataclass(value) else repr(value)

    return InputError(
        "candidates whose posteriors are of one kind",
        " and ".join(dict.fromkeys(told(part) for part in parts)),
        "Let them differ in numbers that set no size; compare others as methods of their own.",
    )
