"""Stochastic variational inference: the best of a family of distributions over the weights.

    w_s = g(phi, eps_s),  eps_s ~ Normal(0, I),  s = 1, ..., S
    -ELBO / N = 1/S sum_s [ -1/B sum_{n in batch} log p(y_n | x_n, w_s) + d_s / N ]

d_s is the divergence of the guide q(w; phi) from the prior: KL(q || p), or its estimate
log q(w_s) - log p(w_s) at the draw. A method brings a `Guide`, the family; all else is here. The
step that is trained with is written out below, because Pyro's general machinery takes most of a
small network's time; when a fit starts, its value and gradient are compared with Pyro's own ELBO of
the same program at the same draws, and if they differ, Pyro's is used.
"""

from bnn.variational.elbo import NegativeElbo, fast_negative_elbo, pyro_negative_elbo
from bnn.variational.fit import VALIDATION_DRAWS, fit_guide, mixture_loss
from bnn.variational.guide import EstimatedGuide, Estimator, Family, Guide, NormalGuide
from bnn.variational.objective import check_objective, check_prior, objective_caveats
from bnn.variational.trust import SINGLE_TOLERANCE, TOLERANCE, trusted

__all__ = [
    "SINGLE_TOLERANCE",
    "TOLERANCE",
    "VALIDATION_DRAWS",
    "EstimatedGuide",
    "Estimator",
    "Family",
    "Guide",
    "NegativeElbo",
    "NormalGuide",
    "check_objective",
    "check_prior",
    "fast_negative_elbo",
    "fit_guide",
    "mixture_loss",
    "objective_caveats",
    "pyro_negative_elbo",
    "trusted",
]
