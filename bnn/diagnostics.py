"""Have the chains converged, and how many independent draws are they worth?

The rank-normalised split R-hat compares the spread between chains with that within them, and the
effective sample size (ESS) is the number of independent draws of equal error, in the bulk and in
the tails (Vehtari et al. 2021, https://doi.org/10.1214/20-BA1221). Weights of a network can be
permuted, so they need not agree: what is looked at is what they are for, predictions, and the
log-likelihood and the log-prior. The worst of all counts. This is the only module that uses ArviZ.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor
from xarray import Dataset

from bnn.posterior import ROWS_AT_ONCE, Chains, Posterior
from bnn.predictive import CategoricalMixture, Predictive
from bnn.problem import Problem

PREDICTIONS = 300  # test rows whose predictions are looked at, at most, evenly spaced
RHAT, CHAINS, ESS = 1.01, 4, 1000  # the gate: at most, at least, at least
FEWEST = 4  # samples of a chain, without which nothing can be said


def diagnose(posterior: Posterior, test: Predictive, y: Tensor) -> list[dict[str, float]]:
    """Return the worst diagnostics of each replica's chains; empty for what is no chain.

    Arguments:
        posterior: whose chains they are.
        test: its predictive on the test rows.
        y: their targets, `[replicas, points]` or, as label distributions, with one more axis.
    """
    family, told = posterior.family, posterior.fit.diagnostics
    if not isinstance(family, Chains):
        return [dict(told[r]) if told else {} for r in range(len(posterior.seeds))]
    shape = family.weights.shape[1:3]
    predicted = predictions(test, y)
    log_likelihood, log_prior = _log_densities(posterior.problem, family.weights.flatten(1, 2))
    found = []
    for r in range(len(posterior.seeds)):
        each = torch.cat([predicted[r], log_likelihood[r, :, None], log_prior[r, :, None]], dim=1)
        worst = worst_of(each.unflatten(0, shape).cpu().numpy())
        found.append({**worst, **(told[r] if told else {})})
    return found


def predictions(test: Predictive, y: Tensor) -> Tensor:
    """Return what each draw predicts of some test rows, `[replicas, draws, rows]`.

    It is the log-probability of the true class, or the mean of a real target.
    """
    rows = torch.linspace(0, y.shape[1] - 1, min(PREDICTIONS, y.shape[1])).round().long()
    if not isinstance(test, CategoricalMixture):
        return test.loc[:, :, rows]
    classes = (y if y.ndim == 2 else y.argmax(-1))[:, rows]
    few = CategoricalMixture(test.logits[:, :, rows])
    return few.draw_log_prob(classes.to(test.logits.device))


def worst_of(values: np.ndarray) -> dict[str, float]:
    """Return the worst R-hat and ESS over quantities, `[chains, samples, quantities]`.

    A quantity that is the same in all samples of all chains tells nothing and is left out.
    """
    chains, samples, _ = values.shape
    count = {"chains": float(chains), "samples": float(samples)}
    moving = values[..., np.ptp(values, axis=(0, 1)) > 0]
    if samples < FEWEST or not moving.shape[2] or not np.isfinite(values).all():
        return {**count, "rhat": math.nan, "ess_bulk": math.nan, "ess_tail": math.nan}
    data = Dataset({"q": (("chain", "draw", "quantity"), moving.astype(np.float64))})
    rhat, bulk, tail = _by_arviz(data)
    # A chain that never moves has no R-hat of its own: it is as bad as can be.
    rhat = np.nan_to_num(rhat, nan=np.inf) if chains > 1 else rhat
    bulk, tail = (np.nan_to_num(part, nan=0.0) for part in (bulk, tail))
    return {
        **count,
        "rhat": float(rhat.max()),
        "ess_bulk": float(bulk.min()),
        "ess_tail": float(tail.min()),
    }


def caveats_of(found: Mapping[str, float]) -> tuple[str, ...]:
    """Return what must be said with every number that these chains feed; nothing if all is well.

    Arguments:
        found: what `diagnose` returned of one replica.
    """
    missed = list(_missed(found)) if "rhat" in found else []
    if not missed:
        return ()
    return (f"The chains are not shown to have converged: {', '.join(missed)}.",)


def _missed(found: Mapping[str, float]) -> Iterator[str]:
    """Yield which parts of the gate are missed; what is unknown is not met."""
    rhat, ess = found["rhat"], min(found["ess_bulk"], found["ess_tail"])
    if not found["chains"] >= CHAINS:
        yield f"{found['chains']:.0f} of at least {CHAINS} chains"
    if math.isnan(rhat):
        yield "R-hat and ESS unknown"
        return
    if not rhat <= RHAT:
        yield f"worst R-hat {rhat:.3f}, above {RHAT}"
    if not ess >= ESS:
        yield f"worst ESS {ess:.0f}, below {ESS}"


def _by_arviz(data: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it announces its next version; ties divide by zero
        import arviz  # here, because it takes seconds, and only chains need it

        rhat = arviz.rhat(data, method="rank")
        bulk, tail = (arviz.ess(data, method=method) for method in ("bulk", "tail"))
    return tuple(np.asarray(part["q"].values) for part in (rhat, bulk, tail))  # type: ignore


def _log_densities(problem: Problem, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return log p(D | w) and log p(w) of weights, `[replicas, draws]` each."""
    x, y = problem.batch(problem.train)
    size = max(1, ROWS_AT_ONCE // (problem.replicas * problem.points))
    with torch.no_grad():
        parts = [
            problem.log_likelihood(w, problem.outputs(w, x), y).sum(-1)
            for w in weights.split(size, dim=1)
        ]
        return torch.cat(parts, dim=1).cpu(), problem.log_prior(weights).cpu()
