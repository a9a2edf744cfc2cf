"""The one training loop: all replicas of a method in one batched computation.

The loss is minus the log joint per training row, in nats, so that learning rates mean what they
mean in torch. Replicas share no number: each has its own rows, its own order of minibatches, its
own noise and its own entries in the optimiser, whose update is entry by entry. So what becomes of a
replica does not depend on the others, and one that has stopped can leave the computation.
"""

from bnn.optimise.active import Visit
from bnn.optimise.loop import train
from bnn.optimise.loss import Loss
from bnn.optimise.progress import Progress, silent
from bnn.optimise.record import CURVE_POINTS, Curve, Fit
from bnn.optimise.training import Training
from bnn.optimise.trust import agrees, difference
from bnn.optimise.update import Adam, Update

__all__ = [
    "CURVE_POINTS",
    "Adam",
    "Curve",
    "Fit",
    "Loss",
    "Progress",
    "Training",
    "Update",
    "Visit",
    "agrees",
    "difference",
    "silent",
    "train",
]
