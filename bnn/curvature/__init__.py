"""Curvature: the generalised Gauss-Newton matrix of the training rows, and forms of it.

    G = sum_n J_n' H_n J_n,    J_n = df(x_n) / dw,  H_n = Fisher information of y_n in f(x_n)

For all likelihoods but a Normal whose noise is an output, H_n is also the Hessian of -log p(y_n) in
the outputs, and for a network that is linear in its weights G is then the Hessian of the loss. It
is positive semi-definite everywhere, which the Hessian of a network is not. With a prior precision
on the diagonal, each form gives a Normal distribution of precision G + diag(prior). All of it is
computed in float64, whatever the network's precision is.
"""

from bnn.curvature.diagonal import Diagonal
from bnn.curvature.form import Curvature, Gaussian
from bnn.curvature.full import Full
from bnn.curvature.information import fisher_root
from bnn.curvature.kronecker import Kronecker

__all__ = ["Curvature", "Diagonal", "Full", "Gaussian", "Kronecker", "fisher_root"]
