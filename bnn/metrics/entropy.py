"""Entropy: how unsure a prediction is, and how much of that is doubt about the weights.

Shapes: replicas R, draws S, points N, classes C. Nats.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bnn.errors import InputError
from bnn.predictive import log_mean_exp


def entropy(log_probs: Tensor) -> Tensor:
    """Return the entropy of each prediction, from 0 to log C.

        H(p) = - sum_c p_c log p_c, with 0 log 0 = 0

    Arguments:
        log_probs: log p, `[..., C]`.

    Returns:
        Nats, `[...]`.

    Reference: Shannon (1948), https://doi.org/10.1002/j.1538-7305.1948.tb01338.x
    """
    finite = log_probs.clamp(min=torch.finfo(log_probs.dtype).min)  # 0 times -inf would be NaN
    return -torch.linalg.vecdot(log_probs.exp(), finite).clamp(max=0.0)


def expected_entropy(draw_log_probs: Tensor) -> Tensor:
    """Return the part of the entropy that knowing the weights would not remove.

        1/S sum_s H(p(y | x, w_s))

    Arguments:
        draw_log_probs: log p(class | x, w_s), `[R, S, N, C]`.

    Returns:
        Nats, `[R, N]`.

    Reference: Depeweg et al. (2018), https://proceedings.mlr.press/v80/depeweg18a.html
    """
    return entropy(draw_log_probs).mean(1)


def mutual_information(draw_log_probs: Tensor) -> Tensor:
    """Return the part of the entropy that is doubt about the weights.

        I(y; w | x, D) = H(1/S sum_s p(y | x, w_s)) - 1/S sum_s H(p(y | x, w_s))

    It is at least 0 (up to rounding), 0 for one draw, and with S draws on average about
    (1 - 1/S) of what infinitely many would show: see `corrected_mutual_information`.

    Arguments:
        draw_log_probs: log p(class | x, w_s), `[R, S, N, C]`.

    Returns:
        Nats, `[R, N]`.

    Reference: Houlsby et al. (2011), https://arxiv.org/abs/1112.5745
    """
    return entropy(log_mean_exp(draw_log_probs, dim=1)) - expected_entropy(draw_log_probs)


def corrected_mutual_information(raw: Tensor, draws: int) -> Tensor:
    """Return the mutual information, corrected to second order for the number of draws.

        S / (S - 1) I_S

    To second order in the spread of the draws, I_S is a sum over classes of their variance with
    divisor S, and the factor puts S - 1 in its place. Without it, 5 ensemble members and 100
    variational draws are not on the same scale. Corrected, the parts no longer add up to the total.

    Arguments:
        raw: `mutual_information`, `[R, N]`, nats.
        draws: S, at least 2.

    Returns:
        Nats, `[R, N]`.

    Raises:
        InputError: on one draw, which says nothing about the weights.

    Reference: Miller (1955), Note on the bias of information estimates; the same expansion.
    """
    if draws < 2:
        raise InputError(
            "at least two draws", f"{draws}", "One network has no spread; leave the score out."
        )
    return raw * (draws / (draws - 1))
