"""Cross-entropy by hand."""

import math

import numpy as np
import torch

from bnn.metrics.likelihood import bits, cross_entropy
from bnn.plots.style import BLUE, INK, new_axes, tidy
from bnn.report.article import Formula, Section, Table, picture
from bnn.report.claims import identity
from bnn.report.figures import Figure
from bnn.report.writing import Work

EXAMPLES = (  # the class that is true, the prediction, the cross-entropy, half its last digit
    (1, (0.228, 0.619, 0.153), 0.47965, 5e-6),
    (1, (0.001, 0.998, 0.001), 0.0020020, 5e-8),
    (1, (0.001, 0.001, 0.998), 6.907755, 5e-7),
    (1, (0.333, 0.333, 0.334), 1.0996128, 5e-8),
    (0, (0.1, 0.5, 0.1, 0.1, 0.2), 2.302585, 5e-7),
)


def section(work: Work) -> Section:
    """Five predictions, their cross-entropy with a one-hot label, in nats and in bits."""
    found = [loss(label, prediction) for label, prediction, _, _ in EXAMPLES]
    return Section(
        "Worked examples",
        (
            "A network predicts a probability $p_k$ for every class $k$. The label is a "
            "distribution too, $y$, and mostly a plain one: all of its mass is on the true class. "
            "The cross-entropy of the two is",
            Formula(r"H(y, p) = -\sum_k y_k \,\log\, p_k = -\log\, p_{\text{true class}}"),
            "It is the surprise at the truth: nothing if the truth was certain, more and more as "
            "it was held to be less likely, without end. The logarithm may have any base, because "
            "another base only multiplies all surprises by the same number. So the unit is said "
            "once: with the natural logarithm it is the nat, with base two the bit, and one nat is "
            "$1 / \\log\\, 2 = 1.4427$ bits. This article counts in nats unless it says otherwise.",
            Table(
                "Five predictions and their cross-entropy",
                ("prediction", "true class", "nats", "bits"),
                tuple(
                    (str(prediction), "ABCDE"[label], f"{h:.7f}", f"{bits(h):.7f}")
                    for (label, prediction, _, _), h in zip(EXAMPLES, found, strict=True)
                ),
            ),
            *(
                identity(
                    rf"$H$ of {prediction} where {'ABCDE'[label]} is true",
                    found=h,
                    expected=by_hand,
                    tolerance=half_digit,
                    unit="nats",
                )
                for (label, prediction, by_hand, half_digit), h in zip(EXAMPLES, found, strict=True)
            ),
            identity(
                r"The same in bits is $-\log_2 p$ of the true class: largest gap over the five",
                found=max(
                    abs(float(bits(h)) + math.log2(prediction[label]))
                    for (label, prediction, _, _), h in zip(EXAMPLES, found, strict=True)
                ),
                expected=0.0,
                tolerance=1e-12,
                unit="bits",
            ),
            curve(found),
        ),
    )


def loss(label: int, prediction: tuple[float, ...]) -> torch.Tensor:
    """Return the cross-entropy of one label with one prediction, as the suite computes it."""
    log_probs = torch.tensor(prediction, dtype=torch.float64).log()
    return cross_entropy(log_probs, torch.tensor(label))


def curve(found: list[torch.Tensor]) -> Figure:
    """Draw -log p with the five examples on it."""
    ax = new_axes(3.9, 2.6)
    p = np.geomspace(5e-4, 1, 300)
    ax.plot(p, -np.log(p), color=INK, linewidth=1.3)
    for (label, prediction, _, _), h in zip(EXAMPLES, found, strict=True):
        ax.plot(prediction[label], float(h), "o", color=BLUE, markersize=5)
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.15, 7.6))
    right = ax.secondary_yaxis(
        "right", functions=(lambda h: h / np.log(2), lambda b: b * np.log(2))
    )
    right.set_ylabel("bits", fontsize=8.5)
    right.tick_params(labelsize=8, width=0.6, length=3)
    tidy(ax, "probability of the true class", "cross-entropy (nats)")
    return picture(
        ax,
        "Cross-entropy against the probability of the true class",
        "A curve that falls from 7 nats at a probability of 0.001 to 0 at 1, and five points.",
        "Steep where the truth was held to be impossible, and flat where it was certain.",
    )
