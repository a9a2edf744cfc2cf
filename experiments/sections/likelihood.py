"""The mean cross-entropy times the number of rows is minus the log of the likelihood."""

from decimal import Decimal, localcontext

import numpy as np
from torch import Tensor

from bnn import (
    CORE,
    MAP,
    MLE,
    MLP,
    DeepEnsemble,
    MCDropout,
    MeanField,
    Problem,
    Training,
    predict,
)
from bnn.data import digits
from bnn.metrics.likelihood import cross_entropy
from bnn.plots.style import INK, VERMILLION, legend, new_axes, tidy
from bnn.report.article import Formula, Section, picture
from bnn.report.claims import Claim, identity
from bnn.report.figures import Figure
from bnn.report.writing import Work

SHORT = Training(epochs=30)
QUICK = (
    MLE(SHORT),
    MAP(SHORT),
    MCDropout(training=SHORT),
    DeepEnsemble(member=MLE(SHORT)),
    MeanField(training=SHORT),
)
DRAWS = 30
PRECISION = 60  # decimal digits in which the product is taken


def section(work: Work) -> Section:
    """The product of probabilities, exactly, against the sum of cross-entropies."""
    data = digits([0])
    problem = Problem.of(data, MLP(64, [50], 8))
    y = data.train.y[0]
    predictions = {"Before training": untrained(problem)} | {
        method.label: predict(work.fit(method, problem, [0]), data.train.x, DRAWS).log_probs[0]
        for method in (QUICK if work.quick else CORE)
    }
    start = predictions["Before training"].exp().gather(-1, y[:, None])[:, 0]
    return Section(
        "The mean cross-entropy, times N, is minus the log of the likelihood",
        (
            "The likelihood of a network is the probability that it gives to all the labels that "
            "came true: a product over the rows. With one-hot labels, the logarithm turns the "
            "product into a sum, and each term of the sum is a cross-entropy:",
            Formula(
                r"-\log\, \prod_{n=1}^{N} p(y_n \mid x_n) = -\sum_{n=1}^{N} \log\, p(y_n \mid x_n)"
                r" = N \cdot \frac{1}{N} \sum_{n=1}^{N} H(y_n, p_n)"
            ),
            f"So the two are one and the same number. Here it is computed in both ways, on the "
            f"{len(y)} training rows of handwritten digits, for a network before its training and "
            "for every method of the suite after it. Found is the right side, as the suite "
            "computes it; expected is the left, multiplied in decimal arithmetic with "
            f"{PRECISION} digits, in which nothing underflows.",
            *(claim(label, log_probs, y) for label, log_probs in predictions.items()),
            "On paper the product will do; in a computer it will not. The numbers of ordinary "
            "arithmetic end near $10^{-308}$ (float64) or $10^{-38}$ (float32), and where training "
            "begins, with every class about equally likely, the product has passed below both long "
            "before the last row. Then the loss is infinite and its gradient is gone. The sum of "
            "logarithms is of the size of $N$, and harmless.",
            identity(
                "The product in float64, before training, has underflowed to nothing",
                found=start.prod(),
                expected=0.0,
                tolerance=0.0,
            ),
            identity(
                "The sum of logarithms of the same probabilities has not",
                found=-start.log().sum(),
                expected=minus_log_product(start),
                tolerance=1e-10,
                unit="nats",
            ),
            underflow(start),
        ),
    )


def claim(label: str, log_probs: Tensor, y: Tensor) -> Claim:
    """Compare the two forms for one method's predictions `[N, C]`."""
    return identity(
        f"{label}: N times the mean cross-entropy",
        found=len(y) * cross_entropy(log_probs, y).mean(),
        expected=minus_log_product(log_probs.exp().gather(-1, y[:, None])[:, 0]),
        tolerance=1e-10,
        unit="nats",
    )


def minus_log_product(p: Tensor) -> float:
    """Return minus the log of the product, multiplied in decimal arithmetic."""
    with localcontext() as context:
        context.prec = PRECISION
        product = Decimal(1)
        for value in p.tolist():
            product *= Decimal(value)
        return float(-product.ln())


def untrained(problem: Problem) -> Tensor:
    """Return the log-probabilities of the training rows under the starting weights, `[N, C]`."""
    x, _ = problem.batch(problem.train)
    weights = problem.initial([0])[:, None]
    outputs = problem.outputs(weights, x).detach()
    return problem.predictive(outputs, problem.latents(weights)).log_probs[0]


def underflow(p: Tensor) -> Figure:
    """Draw the logarithm of the running product, and where the arithmetic loses it."""
    ax = new_axes(3.9, 2.6)
    rows = np.arange(1, len(p) + 1)
    product = p.cumprod(0).numpy()
    last = int(rows[product > 0][-1])
    running = np.log10(product[:last])
    ax.plot(rows[:last], running, color=VERMILLION, linewidth=4, alpha=0.4, label="product")
    ax.plot([last], running[-1:], "x", color=VERMILLION, markersize=8, markeredgewidth=2)
    ax.plot(rows, p.log10().cumsum(0), color=INK, linewidth=1.3, label="sum of logarithms")
    ax.axhline(-308, color=INK, linewidth=0.6, alpha=0.5)
    ax.text(len(p), -300, "end of float64", ha="right", va="bottom", fontsize=8)
    legend(ax, loc="lower left")
    tidy(ax, "rows multiplied", "log10 of the likelihood")
    return picture(
        ax,
        "The likelihood of an untrained network, as a product and as a sum of logarithms",
        f"Two lines fall together; the product ends at row {last} of {len(p)}, the sum goes on.",
        f"The product is lost after {last} of {len(p)} rows; the sum of logarithms goes on.",
    )
