"""The posterior predictive distribution at rows of any form."""

from __future__ import annotations

from numpy.typing import ArrayLike
from torch import Tensor

from bnn.data.arrays import as_inputs
from bnn.errors import InputError
from bnn.posterior.posterior import Posterior
from bnn.predictive import Predictive


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
