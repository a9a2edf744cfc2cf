"""Backpropagation written out: the loss of many perceptrons and its gradient, in few operations.

    h_0 = x,   a_l = W_l h_{l-1} + b_l,   h_l = s(a_l),   f = a_L,   loss = 1/B sum_n l(y_n, f_n)
    D_L = dl/df / B,   dW_l = D_l h_{l-1}',   db_l = D_l 1,   D_{l-1} = s'(a_{l-1}) * W_l' D_l

Autograd finds the same numbers, but on a small network it takes longer to keep its books than to
compute. Here every product is one call for all replicas and draws, its result goes where it belongs
(a buffer, or the layer's place in the flat gradient), and nothing is allocated but for masks. These
multiply the units h_l, those of the inputs only where there is one draw. What a last layer reads
that is trained alone is computed once. Layers that are perturbed row by row have passes of their
own. A training compares its gradients with autograd's first; what is not recognised is left to it.

Rows are the last axis of all activations, `[networks, units, rows]`, networks = replicas x draws:
a processor's vectors then run along the rows, also in a softmax over few classes.
"""

from bnn.backpropagation.activations import ACTIVATIONS
from bnn.backpropagation.heads import HALF_LOG_2PI
from bnn.backpropagation.passes import NO_MASKS, Backpropagation, Forward, units_read
from bnn.backpropagation.perturbed import PerturbedBackpropagation
from bnn.backpropagation.recognition import perceptron, recognised

__all__ = [
    "ACTIVATIONS",
    "HALF_LOG_2PI",
    "NO_MASKS",
    "Backpropagation",
    "Forward",
    "PerturbedBackpropagation",
    "perceptron",
    "recognised",
    "units_read",
]
