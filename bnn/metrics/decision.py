"""Decision: can the unsure predictions be told from the sure ones?"""

from __future__ import annotations

import torch
from scipy.stats import rankdata
from torch import Tensor

from bnn.errors import InputError


def auroc(positive: Tensor, negative: Tensor, aligned: bool = False) -> tuple[Tensor, Tensor]:
    """Return the area under the ROC curve and its standard error (DeLong).

        A = P(positive > negative) + 1/2 P(positive = negative)

    over pairs. With V_i the share of negatives below positive i and W_j the share of positives
    above negative j (ties count half), Var A = Var(V) / P + Var(W) / M.

    If the two sides are the same N things before and after, V_i and W_i are not independent:
    Var A = Var(V + W) / N. They mostly are of opposite sign, so the error is the smaller.

    Arguments:
        positive: what should be larger, such as the entropy of unseen inputs, `[..., P]`.
        negative: what should be smaller, such as the entropy of test rows, `[..., M]`.
        aligned: whether positive i and negative i belong to one row (then P = M = N), such as a
            test row with noise and without.

    Returns:
        Area and standard error, `[...]`. The error is NaN where it cannot be estimated: with fewer
        than two on a side, where the two are separated without a single exception, and where
        no row stands out from the others, such as aligned rows that nothing has happened to.

    Raises:
        InputError: on aligned sides of unequal length.

    Reference: DeLong, DeLong, Clarke-Pearson (1988), https://doi.org/10.2307/2531595;
        Obuchowski (1997), on paired sides, https://doi.org/10.2307/2533958
    """
    positives, negatives = positive.shape[-1], negative.shape[-1]
    if aligned and positives != negatives:
        raise InputError(
            "as many positives as negatives, row by row",
            f"{positives} and {negatives}",
            "Leave out `aligned` for sides that are independent.",
        )
    rank = _ranks(torch.cat([positive, negative], -1))
    beats = rank[..., :positives] - _ranks(positive)  # negatives below each positive: M V
    loses = rank[..., positives:] - _ranks(negative)  # positives below each negative: P (1 - W)
    area = beats.mean(-1) / negatives
    if min(positives, negatives) < 2:
        return area, torch.full_like(area, torch.nan)
    if aligned:  # V + W = 1 + (beats - loses) / N
        error = (beats - loses).std(-1) / positives**1.5
    else:
        scale = positives * negatives
        error = (beats.var(-1) * positives + loses.var(-1) * negatives).sqrt() / scale
    return area, error.where((area > 0) & (area < 1) & (error > 0), torch.nan)


def _ranks(values: Tensor) -> Tensor:
    """Return ranks from 1 along the last axis; equal values share their mean rank."""
    return torch.from_numpy(rankdata(values.numpy(), axis=-1))
