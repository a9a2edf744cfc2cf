"""Whether chains agree, and how many independent samples they are worth: ArviZ says it."""

from __future__ import annotations

import warnings

import numpy as np

ROWS = 100  # whose predictions are looked at


def worst(values: np.ndarray) -> dict[str, float]:
    """Return the worst rank-normalised R-hat and effective sample size, in bulk and tails.

    Arguments:
        values: `[chains, samples, quantities]`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it announces its next version
        import arviz
        import xarray

        names = ("chain", "draw", "quantity")
        data = xarray.Dataset({"q": (names, np.asarray(values, dtype=np.float64))})
        rhat = arviz.rhat(data, method="rank")["q"]
        ess = [arviz.ess(data, method=method)["q"] for method in ("bulk", "tail")]
    return {
        "chains": values.shape[0],
        "rhat": float(np.max(rhat)),
        "ess": float(min(np.min(part) for part in ess)),
    }


def quantities(log_likelihood: np.ndarray, log_prior: np.ndarray) -> np.ndarray:
    """Return what must agree between chains: some predictions, log-likelihood and log-prior.

    Arguments:
        log_likelihood: of each row, `[chains, samples, rows]`.
        log_prior: of the weights, `[chains, samples]`.
    """
    total = log_likelihood.sum(-1, keepdims=True)
    return np.concatenate([log_likelihood[..., :ROWS], total, log_prior[..., None]], axis=-1)
