"""When are activations probabilities?"""

import math

import numpy as np
import torch
from matplotlib.axes import Axes
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from bnn import MLE, MLP, Problem, Training, predict
from bnn.data import Dataset
from bnn.data.gaussians import FOUR, TWO, four_gaussians, two_gaussians
from bnn.likelihoods import Bernoulli, Categorical
from bnn.metrics.likelihood import cross_entropy
from bnn.plots.style import BLUE, DASHED, ORANGE, SOLID, legend, new_axes, tidy
from bnn.report.article import Formula, Section, picture
from bnn.report.claims import Claim, identity
from bnn.report.figures import Figure
from bnn.report.writing import Work

ROWS, CLASSES = 1000, 10
EXTREME = (1e4, -1e4, 0.0)
TRAINING = Training(epochs=2000, learning_rate=0.1, batch_size=400, decay=True)


def section(work: Work) -> Section:
    """What softmax guarantees, where it comes from, and what numbers do to it."""
    generator = torch.Generator().manual_seed(0)
    logits = 5 * torch.randn(ROWS, CLASSES, generator=generator, dtype=torch.float64)
    p = softmax(logits)
    x, _ = FOUR.draw(ROWS, 0)
    extreme = torch.tensor([EXTREME], dtype=torch.float64)
    return Section(
        "When activations are probabilities",
        (
            "A network's last activations are any real numbers, the logits $u$. Softmax makes "
            "probabilities of them:",
            Formula(r"\operatorname{softmax}(u)_k = \frac{e^{u_k}}{\sum_j e^{u_j}}"),
            identity(
                f"The smallest probability of {ROWS} random rows is not negative",
                found=p.min(),
                expected=0.0,
                tolerance=0.0,
                relation="≥",
            ),
            identity(
                "They sum to one: largest gap",
                found=(p.sum(-1) - 1).abs().max(),
                expected=0.0,
                tolerance=1e-12,
            ),
            identity(
                "A number added to all logits changes nothing: largest gap after adding 123.456",
                found=(softmax(logits + 123.456) - p).abs().max(),
                expected=0.0,
                tolerance=1e-12,
            ),
            "There is a reason to choose just this function. Suppose that the logits are "
            r"log-joint densities, $u_k = \log\, p(x, C_k)$. Then softmax is Bayes' rule, the "
            "denominator is $p(x)$, and the shift that cancels is what all classes share. A "
            "trained network's logits are such log-joints, up to that shift, which it is free to "
            "choose. Classes with Normal inputs show it, because their densities are known:",
            identity(
                "Softmax of the log-joints against the ratio of densities, 1,000 inputs of four "
                "Normal classes: largest gap",
                found=(softmax(FOUR.log_joint(x)) - bayes(x)).abs().max(),
                expected=0.0,
                tolerance=1e-12,
            ),
            "Because a shift is free, the largest logit is subtracted before anything is "
            "exponentiated, and so nothing overflows, however extreme the logits are. A computer "
            f"that follows the formula to the letter gets {to_the_letter(EXTREME)} for logits of "
            f"{EXTREME}.",
            identity(
                "Cross-entropy for logits of 10,000, −10,000 and 0 where the second is true",
                found=cross_entropy(log_softmax(extreme), torch.tensor([1]))[0],
                expected=20000.0,
                tolerance=1e-9,
                unit="nats",
            ),
            identity(
                "A predicted zero where the label has mass costs infinity, and is never NaN",
                found=cross_entropy(torch.tensor([0.0, 1.0]).log(), torch.tensor(0)),
                expected=math.inf,
                tolerance=0.0,
                unit="nats",
            ),
            identity(
                "A predicted zero where a soft label has none costs nothing",
                found=cross_entropy(torch.tensor([0.0, 1.0]).log(), torch.tensor([0.0, 1.0])),
                expected=0.0,
                tolerance=0.0,
                unit="nats",
            ),
            "Two classes need only one logit, because only differences count. A single logistic "
            "unit is a softmax over two classes, in the difference of their logits:",
            Formula(r"\frac{1}{1 + e^{-(u_1 - u_0)}} = \operatorname{softmax}(u_0, u_1)_1"),
            identity(
                "One logistic unit against a softmax over two classes: largest gap",
                found=logistic_gap(logits[:, :2]),
                expected=0.0,
                tolerance=1e-12,
            ),
            "Take the hidden layers away, and these networks are the logistic and the multinomial "
            "logistic regression of any textbook. Trained to the end by the suite's maximum "
            "likelihood, they give the probabilities of scikit-learn without a penalty:",
            regression("Two classes, one logistic unit", two_gaussians([0], 400), 1, work),
            regression("Four classes, softmax", four_gaussians([0], 400), 4, work),
            *joints(),
        ),
    )


def log_softmax(logits: Tensor) -> Tensor:
    """Return the suite's log-probabilities for logits `[points, classes]`."""
    none = torch.zeros(1)  # targets of a classification have no unit
    return Categorical().predictive(logits[None, None], {}, none, none).log_probs[0]


def softmax(logits: Tensor) -> Tensor:
    """Return the suite's probabilities for logits `[points, classes]`."""
    return log_softmax(logits).exp()


def bayes(x: Tensor) -> Tensor:
    """Return p(k | x) of the four Normal classes as a ratio of densities, no logarithm in it."""
    density = torch.distributions.Normal(FOUR.means, FOUR.scales).log_prob(x[:, None].double())
    joint = FOUR.weights * density.exp().prod(-1)
    return joint / joint.sum(-1, keepdim=True)


def to_the_letter(logits: tuple[float, ...]) -> str:
    """Return what the formula gives in float64 if nothing is subtracted."""
    powers = torch.tensor(logits, dtype=torch.float64).exp()
    return str(tuple((powers / powers.sum()).tolist()))


def logistic_gap(logits: Tensor) -> Tensor:
    """Return how far one logistic unit is from the softmax of two classes, at most."""
    none = torch.zeros(1)
    difference = (logits[:, 1:] - logits[:, :1])[None, None]
    one_unit = Bernoulli().predictive(difference, {}, none, none).probs[0]
    return (one_unit - softmax(logits)).abs().max()


def regression(name: str, data: Dataset, outputs: int, work: Work) -> Claim:
    """Compare the suite's MLE without hidden layers with scikit-learn, on the test rows."""
    problem = Problem.of(data, MLP(data.x.shape[1], [], outputs).double())
    ours = predict(work.fit(MLE(TRAINING), problem, [0]), data.test.x).probs[0]
    (x, y), test = problem.batch(problem.train), problem.standardise(data.test.x)
    theirs = LogisticRegression(C=math.inf, solver="newton-cholesky", tol=1e-12, max_iter=1000)
    theirs.fit(x[0].numpy(), y[0].numpy())
    gap = np.abs(theirs.predict_proba(test[0].numpy()) - ours.numpy()).max()
    return identity(
        f"{name}: largest gap of a probability on {len(ours)} test inputs",
        found=gap,
        expected=0.0,
        tolerance=1e-9,
    )


def joints() -> tuple[Figure, Figure]:
    """Draw the log-joint densities of two classes, and their softmax."""
    x = torch.linspace(-4, 4, 200)[:, None]
    joint = TWO.log_joint(x)
    return (
        picture(
            lines(x[:, 0], joint, "log joint density"),
            "Logits",
            "Two parabolas, one wide and one narrow, that cross twice.",
            "What goes in: the log-joint densities of two Normal classes …",
        ),
        picture(
            lines(x[:, 0], softmax(joint), "probability of the class"),
            "Softmax of the logits",
            "Two curves between 0 and 1 that sum to one and cross where the parabolas do.",
            "… and what comes out: the probability of each class, which is Bayes' rule.",
        ),
    )


def lines(x: Tensor, values: Tensor, y: str) -> Axes:
    """Draw a line for each of two classes."""
    ax = new_axes(3.2, 2.4)
    for k, (colour, dash) in enumerate(((BLUE, SOLID), (ORANGE, DASHED))):
        ax.plot(x, values[:, k], color=colour, linestyle=dash, label=f"class {'AB'[k]}")
    legend(ax)
    return tidy(ax, "x", y)
