"""Check: what is refused before it becomes a wrong number."""

from __future__ import annotations

import torch
from torch import Tensor

from bnn.errors import InputError
from bnn.predictive import CategoricalMixture, Predictive


def check(predictive: Predictive, y: Tensor | None, test: Predictive, condition: str) -> None:
    """Check the predictions and targets of one condition, `test` being those for the test rows.

    Raises:
        InputError: on another family, other replicas or draws than for the test rows; on
            predictions that are not finite; on targets of another shape or out of range.
    """
    if type(predictive) is not type(test) or _shape(predictive)[:2] != _shape(test)[:2]:
        raise InputError(
            f"predictions for {condition!r} from the draws that predict the test rows",
            f"replicas, draws and points {_shape(predictive)}, and {_shape(test)} for the test",
            "Predict both from one posterior.",
        )
    _check_finite(predictive, condition)
    if y is not None:
        _check_targets(predictive, y, condition)


def _shape(predictive: Predictive) -> tuple[int, ...]:
    if isinstance(predictive, CategoricalMixture):
        return tuple(predictive.draw_log_probs.shape[:3])
    return tuple(predictive.loc.shape)


def _check_finite(predictive: Predictive, condition: str) -> None:
    if isinstance(predictive, CategoricalMixture):  # log 0 = -inf is a prediction, NaN is none
        log_probs = predictive.draw_log_probs
        bad = (log_probs.isnan() | log_probs.isposinf()).any(-1)
    else:
        bad = ~(predictive.loc.isfinite() & predictive.scale.isfinite() & (predictive.scale > 0))
    if bad.any():
        replicas = bad.flatten(1).any(1).nonzero().flatten().tolist()
        raise InputError(
            f"finite predictions for {condition!r}",
            f"NaN or infinite ones, or a scale that is not positive, in replicas {replicas}",
            "Leave out replicas that diverged, with predictive.take.",
        )


def _check_targets(predictive: Predictive, y: Tensor, condition: str) -> None:
    replicas, _, points = _shape(predictive)
    if points == 0 or y.shape[:2] != (replicas, points):
        raise InputError(
            f"targets [{replicas}, {points}, ...] for {condition!r}, one at least",
            f"shape {tuple(y.shape)}",
            "Give one target per replica and point.",
        )
    if not isinstance(predictive, CategoricalMixture):
        sound = y.ndim == 2 and bool(torch.isfinite(y).all())
    elif y.is_floating_point():
        classes = predictive.draw_log_probs.shape[-1]
        sound = y.shape[2:] == (classes,) and bool(
            (y >= 0).all() and ((y.sum(-1) - 1).abs() < 1e-4).all()
        )
    else:
        classes = predictive.draw_log_probs.shape[-1]
        sound = y.ndim == 2 and bool((y >= 0).all() and (y < classes).all())
    if not sound:
        raise InputError(
            f"finite targets, class numbers or label distributions for {condition!r}",
            f"others, of shape {tuple(y.shape)} and type {y.dtype}",
            "Number the classes from zero; impute or drop rows without a target.",
        )
