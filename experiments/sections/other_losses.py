"""Other losses: which of them estimate probabilities, and of what?"""

from dataclasses import replace

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.distributions import Dirichlet
from torch.nn.functional import logsigmoid

from bnn import MLE, MLP, Dataset, Problem, Training, likelihoods, predict
from bnn.data.gaussians import TWO, two_gaussians
from bnn.likelihoods import Likelihood
from bnn.losses import Hinge, SquaredError
from bnn.metrics.likelihood import brier, divergence
from bnn.plots.style import (
    BLUE,
    DASHED,
    DOTTED,
    GREEN,
    INK,
    ORANGE,
    VERMILLION,
    legend,
    new_axes,
    tidy,
)
from bnn.posterior import Posterior
from bnn.report.article import Formula, Section, picture
from bnn.report.claims import identity, replicated
from bnn.report.figures import Figure
from bnn.report.writing import Work

from . import label_smoothing

POINTS = 1000  # training rows
PAIRS, CLASSES = 1000, 5
GRID = torch.linspace(-6.5, 5, 231)[:, None]
METHOD = MLE(Training(epochs=200, learning_rate=1e-2, patience=20))


def section(work: Work) -> Section:
    """Squared error, the hinge loss, and label smoothing."""
    seeds = range(5 if work.quick else 20)
    data = two_gaussians(seeds, POINTS)
    fits = {
        "cross-entropy": fit(work, data, 2, None),
        "squared error": fit(work, data, 2, SquaredError()),
        "hinge": fit(work, data, 1, Hinge()),
        "linear outputs": linear(work, data),
    }
    truth = TWO.log_posterior(data.test.x).exp()
    margins = {
        where: fits["hinge"].outputs(x)[0][:, 0, :, 0].double()
        for where, x in (
            ("calibration", data.calibration.x),
            ("test", data.test.x),
            ("grid", GRID[None]),
        )
    }
    platt = calibrated(margins, data.calibration.y)
    found = {
        name: divergence(log_probs, truth).mean(-1)
        for name, log_probs in {
            "cross-entropy": predict(fits["cross-entropy"], data.test.x).log_probs,
            "squared error": predict(fits["squared error"], data.test.x).log_probs,
            "raw": two_classes(margins["test"]),
            "calibrated": two_classes(platt["test"]),
        }.items()
    }
    estimate = predict(fits["linear outputs"], data.test.x).mean
    return Section(
        "Other losses",
        (
            "Cross-entropy is not the only loss whose smallest value lies at the true "
            "probabilities. The squared error between softmax outputs and one-hot labels, the "
            "Brier score, is another: with labels drawn from $p$, a prediction $q$ costs on "
            "average",
            Formula(r"\mathbb{E}\, \lVert q - y \rVert^2 = \mathbb{E}\, \lVert p - y \rVert^2 +"
                    r" \lVert q - p \rVert^2"),
            identity(
                f"Both sides of this for {PAIRS:,} random pairs: largest gap",
                found=brier_gap(), expected=0.0, tolerance=1e-12,
            ),
            "So it estimates the posterior probability of the classes as well. But it is a loss "
            "and not a likelihood: $e^{-\\text{loss}}$ is no density of labels, it is not the "
            "length of a code, and no scale tells how it weighs against a prior (generalised "
            f"Bayes). Below, networks learn two Normal classes on a line from {POINTS:,} rows, "
            f"{len(seeds)} times over, and are compared with the truth, which is known.",
            replicated(
                r"Trained with cross-entropy: $\mathrm{KL}(\text{truth} \,\|\, \text{network})$",
                found["cross-entropy"], unit="nats",
            ),
            replicated(
                "Trained with squared error of softmax outputs: the same",
                found["squared error"], unit="nats",
            ),
            "With linear outputs in place of softmax, the squared error still has its minimum at "
            "the probabilities, but nothing keeps the estimate between 0 and 1:",
            replicated(
                "Linear outputs: share of test inputs whose estimate is no probability",
                (((estimate < 0) | (estimate > 1)).double()).mean(-1),
                expected=0.0, relation="≥",
            ),
            "The hinge loss of support vector machines, $\\max(0, 1 - t f)$ for $t = \\pm 1$, is "
            "smallest at $f = \\pm 1$, the sign of the decision. How probable the class is cannot "
            "be read from it. A logistic curve fitted to the margins on rows held out (Platt) "
            "repairs the scale, but not what the margin never knew.",
            replicated(
                "The margin taken for a logit, minus cross-entropy: KL to the truth",
                found["raw"] - found["cross-entropy"], expected=0.0, relation="≥", unit="nats",
            ),
            replicated(
                "The calibrated margin minus cross-entropy: KL to the truth",
                found["calibrated"] - found["cross-entropy"], expected=0.0, relation="≥",
                unit="nats",
            ),
            probabilities(fits, two_classes(platt["grid"])),
            logits(fits, margins["grid"]),
            *label_smoothing.body(),
        ),
    )  # fmt: skip


def fit(work: Work, data: Dataset, outputs: int, loss: Likelihood | None) -> Posterior:
    """Train one network per replica with a loss; cross-entropy if none is given."""
    problem = Problem.of(data, MLP(1, [20], outputs), likelihood=loss)
    return work.fit(METHOD, problem, data.split.ids)


def linear(work: Work, data: Dataset) -> Posterior:
    """Train with squared error between one linear output and the label as a number, 0 or 1."""
    numbers = replace(data, task="regression", y=data.y.float(), classes=())
    return fit(work, numbers, 1, likelihoods.Normal(likelihoods.FixedNoise(1.0)))


def two_classes(logit: Tensor) -> Tensor:
    """Return the log-probabilities of both classes, `[..., 2]`."""
    return torch.stack([logsigmoid(-logit), logsigmoid(logit)], -1)


def calibrated(margins: dict[str, Tensor], y: Tensor) -> dict[str, Tensor]:
    """Return logits a f + b, a and b fitted on each replica's calibration rows (Platt)."""
    lines = [
        LogisticRegression(C=np.inf).fit(f[:, None].numpy(), labels.numpy())
        for f, labels in zip(margins["calibration"], y, strict=True)
    ]
    slope, shift = (
        torch.tensor(np.array([getattr(line, part) for line in lines])).view(-1, 1)
        for part in ("coef_", "intercept_")
    )
    return {where: slope * f + shift for where, f in margins.items()}


def brier_gap() -> Tensor:
    """Compare the expected Brier score with its two parts, over random pairs."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        p, q = Dirichlet(torch.ones(CLASSES, dtype=torch.float64)).sample((2, PAIRS))
    labels = torch.arange(CLASSES).expand(PAIRS, -1)

    def expected(prediction: Tensor) -> Tensor:
        each = brier(prediction[:, None].expand(-1, CLASSES, -1), labels)
        return (p * each).sum(-1)

    return (expected(q) - expected(p) - (q - p).square().sum(-1)).abs().max()


def probabilities(fits: dict[str, Posterior], platt: Tensor) -> Figure:
    """Draw the truth and what each loss makes of it, for the first replica."""
    ax = new_axes(3.4, 2.7)
    x = GRID[:, 0]
    ax.axhspan(1.0, 1.4, color=INK, alpha=0.07, linewidth=0)
    ax.axhspan(-0.4, 0.0, color=INK, alpha=0.07, linewidth=0)
    ax.plot(
        x, TWO.log_posterior(GRID)[:, 1].exp(), color=INK, linewidth=2.4, alpha=0.35, label="truth"
    )
    for (name, values), (colour, dash) in zip(
        {
            "cross-entropy": predict(fits["cross-entropy"], GRID).probs[0, :, 1],
            "squared error": predict(fits["squared error"], GRID).probs[0, :, 1],
            "linear outputs": predict(fits["linear outputs"], GRID).mean[0],
            "hinge, calibrated": platt[0, :, 1].exp(),
        }.items(),
        ((BLUE, (0, ())), (GREEN, DASHED), (VERMILLION, DOTTED), (ORANGE, (0, (5, 1.5, 1, 1.5)))),
        strict=True,
    ):
        ax.plot(x, values, color=colour, linestyle=dash, linewidth=1.3, label=name)
    ax.set(xlim=(-6.5, 5), ylim=(-0.25, 1.25))
    legend(ax, loc="center left")
    tidy(ax, "x", "probability of class B")
    return picture(
        ax,
        "Probabilities by four losses",
        "Curves that rise near the true one; the linear one leaves the range from 0 to 1.",
        "Two Normal classes, and what each loss makes of them. Grey is no probability.",
    )


def logits(fits: dict[str, Posterior], margins: Tensor) -> Figure:
    """Draw the true logit, that of cross-entropy, and the margin of the hinge loss."""
    ax = new_axes(3.4, 2.7)
    x, joint = GRID[:, 0], TWO.log_joint(GRID)
    outputs = fits["cross-entropy"].outputs(GRID[None])[0][0, 0]
    ax.plot(x, joint[:, 1] - joint[:, 0], color=INK, linewidth=2.4, alpha=0.35, label="truth")
    ax.plot(x, outputs[:, 1] - outputs[:, 0], color=BLUE, linewidth=1.3, label="cross-entropy")
    ax.plot(x, margins[0], color=ORANGE, linestyle=DASHED, linewidth=1.3, label="hinge margin")
    for side in (-1, 1):
        ax.axhline(side, color=INK, linewidth=0.6, alpha=0.4)
    ax.set(xlim=(-5, 5), ylim=(-6, 6))
    legend(ax, loc="upper left")
    tidy(ax, "x", "logit or margin")
    return picture(
        ax,
        "Logits and margins",
        "The logit of cross-entropy follows the truth; the margin is a step from -1 to 1.",
        "Cross-entropy follows the true logit where there are rows; the margin only decides.",
    )
