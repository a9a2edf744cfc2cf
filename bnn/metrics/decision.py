"""Decision: can the unsure predictions be told from the sure ones?"""

from __future__ import annotations

import torch
from scipy.stats import rankdata
from torch import Tensor


def auroc(positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
    """Return the area under the ROC curve and its standard error (DeLong).

        A = P(positive > negative) + 1/2 P(positive = negative)

    over pairs. With V_i the share of negatives below positive i and W_j the share of positives
    above negative j (ties count half), Var A = Var(V) / P + Var(W) / M.

    Arguments:
        positive: what should be larger, such as the entropy of unseen inputs, `[..., P]`.
        negative: what should be smaller, such as the entropy of test rows, `[..., M]`.

    Returns:
        Area and standard error, `[...]`. The error is NaN where it cannot be estimated: with fewer
        than two on a side, and where the two are separated without a single exception.

    Reference: DeLong, DeLong, Clarke-Pearson (1988), https://doi.org/10.2307/2531595
    """
    positives, negatives = positive.shape[-1], negative.shape[-1]
    rank = _ranks(torch.cat([positive, negative], -1))
    above = (rank[..., :positives] - _ranks(positive)) / negatives
    below = 1 - (rank[..., positives:] - _ranks(negative)) / positives
    area = above.mean(-1)
    if min(positives, negatives) < 2:
        return area, torch.full_like(area, torch.nan)
    error = (above.var(-1) / positives + below.var(-1) / negatives).sqrt()
    return area, error.where((area > 0) & (area < 1), torch.nan)


def _ranks(values: Tensor) -> Tensor:
    """Return ranks from 1 along the last axis; equal values share their mean rank."""
    return torch.from_numpy(rankdata(values.numpy(), axis=-1))
