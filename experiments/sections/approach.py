"""Networks approach the true posterior as the rows grow, and none gets past it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from scipy.integrate import quad
from torch import Tensor

from bnn import MLE, MLP, Problem, Training, predict
from bnn.data.gaussians import FOUR, TWO, four_gaussians
from bnn.losses import SquaredError
from bnn.metrics.entropy import entropy
from bnn.metrics.likelihood import cross_entropy, divergence
from bnn.plots.style import BLUE, DASHED, INK, ORANGE, SOLID, legend, new_axes, tidy
from bnn.report.article import Formula, Section, picture
from bnn.report.claims import identity, replicated
from bnn.report.figures import Figure
from bnn.report.words import number
from bnn.report.writing import Work

EPOCHS = {50: 400, 200: 300, 1000: 150, 5000: 60, 20_000: 20}  # by the number of training rows
LOSSES = {"cross-entropy": None, "squared error": SquaredError()}
NODES = (24, 28)  # per feature, of the quadrature in four dimensions


@dataclass(frozen=True)
class Scored:
    """Test scores of one loss at one number of rows.

    Arguments:
        divergence: mean KL(truth || network), `[replicas]`.
        loss: mean cross-entropy, averaged over the labels that might have come, `[replicas]`.
        better: log p_true - log q of every drawn label, `[replicas, points]`.
    """

    divergence: Tensor
    loss: Tensor
    better: Tensor

    @staticmethod
    def of(log_probs: Tensor, x: Tensor, y: Tensor) -> "Scored":
        """Compare predictions `[replicas, points, classes]` with the truth."""
        truth = FOUR.log_posterior(x)
        return Scored(
            divergence(log_probs, truth.exp()).mean(-1),
            cross_entropy(log_probs, truth.exp()).mean(-1),
            cross_entropy(log_probs, y) - cross_entropy(truth, y),
        )

    @property
    def errors(self) -> float:
        """The mean of log p_true - log q, in standard errors; all labels are independent."""
        return float(self.better.mean() / (self.better.std() / self.better.numel() ** 0.5))


def section(work: Work) -> Section:
    """Train on more and more rows; compare with the truth and with H(Y|X)."""
    seeds = range(5 if work.quick else 20)
    scores = {name: {n: train(work, name, n, seeds) for n in EPOCHS} for name in LOSSES}
    coarse, floor = (FOUR.conditional_entropy(nodes) for nodes in NODES)
    x, y = FOUR.draw(200_000, 1)
    surprise = cross_entropy(FOUR.log_posterior(x), y)
    return Section(
        "Networks approach the truth, and none gets past it",
        (
            "The data are made here: every class draws its inputs from a Normal distribution of "
            "its own. So the probability of each class at each input is not a matter of opinion, "
            "it follows from Bayes' rule:",
            Formula(r"p(k \mid x) = \frac{\pi_k \,\mathcal{N}(x; \mu_k, \Sigma_k)}"
                    r"{\sum_j \pi_j \,\mathcal{N}(x; \mu_j, \Sigma_j)}"),
            "Even who knows these probabilities is surprised by some labels. The average surprise "
            "of the truth itself is the conditional entropy, and a prediction $q$ adds to it just "
            "its divergence from the truth:",
            Formula(r"\mathbb{E}\, H(y, q(x)) = H(Y|X) +"
                    r" \mathbb{E}\, \mathrm{KL}\left(p(\cdot|x) \,\|\, q(x)\right)"),
            identity(
                "Two classes on a line: $H(Y|X)$ by quadrature, against the chain rule "
                "$H(Y) + h(X|Y) - h(X)$",
                found=by_quadrature(), expected=by_chain_rule(), tolerance=1e-8, unit="nats",
            ),
            identity(
                f"Four classes of four features: $H(Y|X)$ by quadrature with {NODES[1]} nodes per "
                f"feature, against {NODES[0]}",
                found=floor, expected=coarse, tolerance=1e-5, unit="nats",
            ),
            identity(
                f"The truth's own mean cross-entropy on {len(y):,} labels, to within four standard "
                "errors",
                found=surprise.mean(), expected=floor,
                tolerance=4 * surprise.std() / len(y) ** 0.5, unit="nats",
            ),
            f"Now networks learn the four classes from 50 to 20,000 rows, {len(seeds)} times over "
            "with rows of their own, once with cross-entropy and once with the squared error of "
            "their probabilities, each stopped early. (One hidden layer of 32 units; a quarter as "
            "many rows more decide when to stop.)",
            *(
                replicated(
                    f"{name.capitalize()}: slope of log KL against log n",
                    slopes(by_rows), expected=0.0, relation="≤",
                )
                for name, by_rows in scores.items()
            ),
            *(
                replicated(
                    f"{name.capitalize()}: KL to the truth that is left at 20,000 rows",
                    by_rows[20_000].divergence, unit="nats",
                )
                for name, by_rows in scores.items()
            ),
            "No prediction is better than the truth on average, though by luck it may be on some "
            "labels. So the mean of $\\log\\, p_{\\text{true}} - \\log\\, q$ over the drawn labels "
            "must not be far below zero:",
            *(
                identity(
                    f"{name.capitalize()}: the lowest of these means, in standard errors",
                    found=min(s.errors for s in by_rows.values()), expected=-4, tolerance=0,
                    relation="≥",
                )
                for name, by_rows in scores.items()
            ),
            falling({name: {n: s.divergence for n, s in by_rows.items()}
                     for name, by_rows in scores.items()}),
            landing({name: {n: s.loss for n, s in by_rows.items()}
                     for name, by_rows in scores.items()}, floor),
        ),
    )  # fmt: skip


def train(work: Work, loss: str, points: int, seeds: Sequence[int]) -> Scored:
    """Train one network per seed, and compare it with the truth."""
    data = four_gaussians(seeds, points)
    problem = Problem.of(data, MLP(4, [32], 4), likelihood=LOSSES[loss])
    training = Training(epochs=EPOCHS[points], learning_rate=1e-2, patience=15, decay=True)
    posterior = work.fit(MLE(training), problem, seeds)
    return Scored.of(predict(posterior, data.test.x).log_probs, data.test.x, data.test.y)


def by_quadrature() -> float:
    """Return H(Y|X) of the two classes: the entropy of p(k | x), averaged over p(x)."""
    return integral(lambda x: density(x) * entropy(TWO.log_posterior(x)))


def by_chain_rule() -> float:
    """Return H(Y) + h(X|Y) - h(X), of which only the last needs an integral."""
    labels = entropy(TWO.weights.log())
    given = TWO.weights @ (TWO.scales[:, 0].log() + np.log(2 * np.pi * np.e) / 2)
    return float(labels + given) - integral(lambda x: -density(x) * density(x).log())


def density(x: Tensor) -> Tensor:
    """Return p(x) of the two classes."""
    return TWO.log_joint(x).logsumexp(-1).exp()


def integral(f: Callable[[Tensor], Tensor]) -> float:
    """Integrate over the line; beyond 15 the density is below 1e-30."""

    def at(x: float) -> float:
        return float(f(torch.tensor([x], dtype=torch.float64)))

    return quad(at, -15, 15, epsabs=1e-12, limit=500)[0]


def slopes(by_rows: Mapping[int, Scored]) -> Tensor:
    """Return each replica's slope of log KL against log n."""
    logs = torch.stack([scored.divergence for scored in by_rows.values()]).log()
    fitted = np.polyfit(np.log(list(by_rows)), logs.numpy(), 1)
    return torch.from_numpy(fitted[0])


def falling(values: Mapping[str, Mapping[int, Tensor]]) -> Figure:
    """Draw the divergence against the number of rows, both on log axes."""
    ax = bands(values)
    ax.set(xscale="log", yscale="log")
    legend(ax)
    tidy(ax, "training rows", "KL to the truth (nats)")
    return picture(
        ax,
        "Divergence from the true posterior against the number of training rows",
        "Two lines that fall together on log axes, with narrow bands.",
        "Closer and closer. Lines: means. Bands: the range of the repetitions.",
    )


def landing(values: Mapping[str, Mapping[int, Tensor]], floor: float) -> Figure:
    """Draw the test cross-entropy against the number of rows, and the floor."""
    ax = bands(values)
    ax.axhline(floor, color=INK, linewidth=0.9)
    ax.text(20_000, floor - 0.004, "H(Y|X)", ha="right", va="top", fontsize=8)
    ax.set(xscale="log")
    ax.set_ylim(bottom=floor - 0.06)
    legend(ax)
    tidy(ax, "training rows", "cross-entropy (nats)")
    return picture(
        ax,
        "Test cross-entropy against the number of training rows",
        "Two lines that fall towards a horizontal line, the conditional entropy.",
        f"The floor is the conditional entropy, {number(floor, 4)} nats. Single repetitions may "
        "dip below it by luck of their test inputs.",
    )


def bands(values: Mapping[str, Mapping[int, Tensor]]) -> Axes:
    """Draw means and ranges over replicas by the number of rows."""
    ax = new_axes(3.3, 2.6)
    looks = ((BLUE, SOLID), (ORANGE, DASHED))
    for (name, by_rows), (colour, dash) in zip(values.items(), looks, strict=True):
        rows, table = list(by_rows), torch.stack(list(by_rows.values()))
        ax.fill_between(rows, table.amin(1), table.amax(1), color=colour, alpha=0.18, linewidth=0)
        ax.plot(rows, table.mean(1), color=colour, linestyle=dash, linewidth=1.4, label=name)
    return ax
