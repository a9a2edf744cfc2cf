"""Hamiltonian Monte Carlo: the kernel, for all chains of all replicas at once.

A position w with potential U(w) = -log p(w, D) gets a random velocity v ~ Normal(0, 1) and moves
along the flow of H(w, v) = U(w) + |v|^2 / 2 in the coordinates w / scale, in leapfrog steps h:

    v <- v - h/2 scale dU/dw,    w <- w + h scale v,    v <- v - h/2 scale dU/dw

Where it ends is accepted with probability min(1, exp(-change of H)), which leaves p(w | D) as it is
(Neal 2011, https://arxiv.org/abs/1206.1901). During warm-up the step is adapted by dual averaging
(Hoffman & Gelman 2014, https://arxiv.org/abs/1111.4246), the scales to the spread of the chains,
and the time of a trajectory by the ChEES criterion (Hoffman, Radul & Sountsov 2021,
https://proceedings.mlr.press/v130/hoffman21a.html), over the chains of one replica. All chains of a
replica make the same number of steps, which a low-discrepancy sequence varies from one iteration to
the next, so that no trajectory is a multiple of an orbit.
"""

from bnn.hamiltonian.adaptation import Ascent, DualAveraging, Spread, chees
from bnn.hamiltonian.chains import Sampled, sample, van_der_corput
from bnn.hamiltonian.flow import Potential, State, WithGradient, energy, leapfrog
from bnn.hamiltonian.kernel import DIVERGENT, Moved, transition
from bnn.hamiltonian.tuning import FIRST_STEP, SEARCH, SEARCH_STEPS, WINDOWS, Tuning

__all__ = [
    "DIVERGENT",
    "FIRST_STEP",
    "SEARCH",
    "SEARCH_STEPS",
    "WINDOWS",
    "Ascent",
    "DualAveraging",
    "Moved",
    "Potential",
    "Sampled",
    "Spread",
    "State",
    "Tuning",
    "WithGradient",
    "chees",
    "energy",
    "leapfrog",
    "sample",
    "transition",
    "van_der_corput",
]
