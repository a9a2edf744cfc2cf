"""Is the probability a probability? Confidence against the frequency of being right."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from torch import Tensor

from bnn import MLE, MLP, Dataset, MeanField, Problem, Training, predict
from bnn.data.gaussians import four_gaussians
from bnn.methods import TemperatureScaled
from bnn.metrics.calibration import reliability
from bnn.metrics.likelihood import correct
from bnn.plots import reliability as diagram
from bnn.posterior import Posterior
from bnn.report.article import Formula, Section, picture
from bnn.report.claims import replicated
from bnn.report.figures import Figure
from bnn.report.writing import Work

POINTS = 200  # training rows
RATE = 1e-2
OVER, EARLY, SCALED, BAYES = (
    "Over-trained MLE",
    "Early-stopped MLE",
    "Temperature-scaled",
    "Bayesian",
)


@dataclass(frozen=True)
class Trained:
    """The networks of this section and the next.

    Arguments:
        data: four Normal classes, rows of its own for every replica.
        posteriors: by what a reader calls them.
    """

    data: Dataset
    posteriors: Mapping[str, Posterior]


@cache
def trained(work: Work) -> Trained:
    """Train them, once."""
    seeds = range(10 if work.quick else 30)
    data = four_gaussians(seeds, POINTS)
    problem = Problem.of(data, MLP(4, [50], 4))
    epochs = 300 if work.quick else 1000
    over = MLE(Training(epochs=epochs, learning_rate=RATE))
    methods = {
        OVER: over,
        EARLY: MLE(Training(epochs=epochs, learning_rate=RATE, patience=20)),
        SCALED: TemperatureScaled(over),
        BAYES: MeanField(training=Training(epochs=epochs, learning_rate=2e-2, decay=True)),
    }
    return Trained(data, {name: work.fit(m, problem, seeds) for name, m in methods.items()})


def section(work: Work) -> Section:
    """Reliability diagrams, and the gap between mean confidence and accuracy."""
    found = trained(work)
    y = found.data.test.y
    probs = {name: predict(p, found.data.test.x).probs for name, p in found.posteriors.items()}
    confidence = {name: p.amax(-1) for name, p in probs.items()}
    right = {name: correct(p, y) for name, p in probs.items()}
    return Section(
        "The probability a network is trained to give, and the one it gives",
        (
            "Cross-entropy is smallest at the true probabilities, on average over all rows that "
            "might ever come. Training sees only some rows, and on those the loss falls further, "
            "without end, by being ever surer of labels that are already known. So whether an "
            "output may be called a probability has to be measured on rows that were not trained "
            "on: of the predictions made with confidence $c$, a share $c$ should be right.",
            Formula(
                r"\mathrm{P}\left(\text{the likeliest class is true} \mid"
                r" \max_k p_k = c\right) = c"
            ),
            f"Four Normal classes, four features, {POINTS} training rows, {y.shape[0]} "
            f"repetitions with rows of their own and {y.shape[1]:,} test rows each. The same "
            "network is trained for long; stopped early; trained for long and then divided by a "
            "temperature that is chosen on rows kept back; and averaged over a mean-field "
            "posterior of its weights. Positive: it is surer than it is right.",
            *(
                replicated(
                    f"{name}: mean confidence minus share correct",
                    (confidence[name] - right[name]).mean(-1),
                    expected=0.0,
                    relation="≥" if name == OVER else "=",
                )
                for name in probs
            ),
            "In the diagrams, a curve on the diagonal is a calibrated network, and the grey band "
            "holds nine of ten curves that a perfectly calibrated one would show with so many "
            "rows. The grey bars count the confidences.",
            *(draw(name, confidence[name], right[name]) for name in probs),
        ),
    )


def draw(name: str, confidence: Tensor, right: Tensor) -> Figure:
    """Draw the reliability diagram of all repetitions together: their rows are independent."""
    curve = reliability(confidence, right)
    ax = diagram([curve], confidence.flatten().numpy(), title=name)
    outside = np.mean((curve.frequency < curve.low) | (curve.frequency > curve.high))
    return picture(
        ax,
        f"Reliability of {name}",
        f"The curve lies outside the band at {100 * outside:.0f} % of the confidences.",
        f"Outside the band at {100 * outside:.0f} % of the confidences.",
    )
