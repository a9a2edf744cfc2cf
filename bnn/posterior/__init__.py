"""A posterior: what a method believes of the weights, as something networks can be drawn from.

    w_1, ..., w_S ~ q(w | D),    outputs f(x, w_1), ..., f(x, w_S)

Methods differ in the family q alone. Drawing, running the networks and averaging is written here
and in `bnn.predictive`, once for all of them. Draws are fixed by the replica's seed and do not
depend on the inputs, so a row is predicted alike alone and in a batch.
"""

from bnn.posterior.affine import Affine
from bnn.posterior.family import Atoms, Chains, Family, Masks
from bnn.posterior.posterior import Posterior
from bnn.posterior.prediction import predict
from bnn.posterior.running import ROWS_AT_ONCE

__all__ = [
    "ROWS_AT_ONCE",
    "Affine",
    "Atoms",
    "Chains",
    "Family",
    "Masks",
    "Posterior",
    "predict",
]
