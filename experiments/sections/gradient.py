"""Only the true class's probability enters the loss, every logit enters the gradient."""

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Dirichlet

from bnn.likelihoods import Categorical, Likelihood, SoftLabels
from bnn.metrics.likelihood import cross_entropy, distribution
from bnn.plots.style import BLUE, INK, ORANGE, legend, new_axes, tidy
from bnn.report.article import Formula, Section, picture
from bnn.report.claims import identity
from bnn.report.figures import Figure
from bnn.report.writing import Work

FIRST, SECOND = (0.1, 0.5, 0.1, 0.1, 0.2), (0.1, 0.6, 0.1, 0.1, 0.1)
LABEL = 0
ROWS, CLASSES = 1000, 10


def section(work: Work) -> Section:
    """Equal losses with different gradients; and the gradient in general."""
    pair = torch.tensor([FIRST, SECOND], dtype=torch.float64)
    label = torch.tensor([LABEL, LABEL])
    losses = cross_entropy(pair.log(), label)
    gradients = gradient(Categorical(), pair.log(), label)
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(ROWS, CLASSES, generator=generator, dtype=torch.float64)
    hard = torch.randint(CLASSES, (ROWS,), generator=generator)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        soft = Dirichlet(torch.full((CLASSES,), 0.5, dtype=torch.float64)).sample((ROWS,))
    return Section(
        "One probability enters the loss, every logit enters the gradient",
        (
            "With a one-hot label, the loss sees the probability of the true class and nothing "
            "else. It does not matter how the rest is spread over the other classes. So "
            f"{FIRST} and {SECOND} have the same loss where the first class is true:",
            identity(
                "The two losses differ by",
                found=losses[0] - losses[1],
                expected=0.0,
                tolerance=1e-12,
                unit="nats",
            ),
            "And yet they are not trained alike. The probabilities come from logits $u$ through a "
            "softmax, in which every logit moves every probability, and the gradient is as simple "
            "as it could be: what was predicted minus what was true.",
            Formula(r"\frac{\partial H}{\partial u_k} = \operatorname{softmax}(u)_k - y_k"),
            identity(
                "Their gradients differ: the largest gap, in the second class and the fifth",
                found=(gradients[0] - gradients[1]).abs().max(),
                expected=0.1,
                tolerance=1e-12,
            ),
            identity(
                f"Softmax minus label against automatic differentiation of the suite's "
                f"categorical likelihood, {ROWS} random rows with hard labels: largest gap",
                found=gap(Categorical(), logits, hard),
                expected=0.0,
                tolerance=1e-12,
            ),
            identity(
                "The same with soft labels, which are distributions over the classes",
                found=gap(SoftLabels(), logits, soft),
                expected=0.0,
                tolerance=1e-12,
            ),
            "A gradient sums to zero over the classes: what one logit gains the others lose. And "
            "the gradient of the whole loss vanishes only where predictions and labels agree on "
            "average, weighted by the inputs.",
            bars(gradients),
        ),
    )


def gradient(likelihood: Likelihood, logits: Tensor, labels: Tensor) -> Tensor:
    """Return the gradient of the loss of each row with respect to its logits, by autograd."""
    logits = logits.clone().requires_grad_()
    log_prob = likelihood.distribution(logits, {}, torch.ones(())).log_prob(labels)
    (found,) = torch.autograd.grad(-log_prob.sum(), logits)
    return found


def gap(likelihood: Likelihood, logits: Tensor, labels: Tensor) -> Tensor:
    """Return how far softmax minus label is from the gradient, at most."""
    formula = logits.softmax(-1) - distribution(labels, logits.shape[-1])
    return (gradient(likelihood, logits, labels) - formula).abs().max()


def bars(gradients: Tensor) -> Figure:
    """Draw the two gradients side by side."""
    ax = new_axes(3.9, 2.4)
    place = np.arange(len(FIRST))
    for shift, row, colour, name in ((-0.2, 0, BLUE, FIRST), (0.2, 1, ORANGE, SECOND)):
        ax.bar(place + shift, gradients[row].numpy(), 0.38, color=colour, label=str(name))
    ax.axhline(0, color=INK, linewidth=0.7)
    ax.set_xticks(place, ["A (true)", *"BCDE"])
    legend(ax, loc="lower right")
    tidy(ax, "class", "gradient at its logit")
    return picture(
        ax,
        "The gradients of two predictions with the same loss",
        "Bars per class: the true class is pulled up alike, the others are pushed down unlike.",
        "The true class is pulled up alike in both; the others are pushed down in proportion to "
        "what they were given.",
    )
