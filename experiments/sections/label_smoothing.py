"""Label smoothing: the part of the section on other losses that is about labels."""

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor
from torch.distributions import Dirichlet

from bnn.metrics.likelihood import cross_entropy, smoothed
from bnn.report.article import Block, Formula
from bnn.report.claims import identity

AMOUNT = 0.1
TRUTHS, CLASSES = 20, 5


def body() -> tuple[Block, ...]:
    """Where the cross-entropy with smoothed labels is smallest."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        truths = Dirichlet(torch.ones(CLASSES, dtype=torch.float64)).sample((TRUTHS,))
    optima = torch.stack([optimum(p) for p in truths])
    return (
        "Label smoothing trains with cross-entropy, but on labels that are mixed with the "
        f"uniform distribution by a share $a$, here {AMOUNT}. By what was said of soft labels, "
        "this moves the optimum away from the probabilities:",
        Formula(
            r"\operatorname{argmin}_q \, \mathbb{E}\, H\left((1 - a)\, y +"
            r" \frac{a}{K}, \, q\right) = (1 - a)\, p + \frac{a}{K}"
        ),
        identity(
            f"The optimum found numerically against the formula, {TRUTHS} random distributions: "
            "largest gap of a probability",
            found=(optima - smoothed(truths, CLASSES, AMOUNT)).abs().max(),
            expected=0.0,
            tolerance=1e-6,
        ),
    )


def optimum(p: Tensor) -> Tensor:
    """Return the prediction that costs least on average, if the class is drawn from p."""
    labels = smoothed(torch.arange(CLASSES), CLASSES, AMOUNT)  # of each class, if it is true

    def loss(u: np.ndarray) -> tuple[float, np.ndarray]:
        logits = torch.tensor(u, requires_grad=True)
        log_probs = logits.log_softmax(-1).expand(CLASSES, -1)
        value = (p * cross_entropy(log_probs, labels)).sum()
        (gradient,) = torch.autograd.grad(value, logits)
        return value.item(), gradient.numpy()

    found = minimize(loss, np.zeros(CLASSES), jac=True, method="BFGS", options={"gtol": 1e-9})
    return torch.tensor(found.x).softmax(-1)
