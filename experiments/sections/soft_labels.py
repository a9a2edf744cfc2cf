"""Soft labels: cross-entropy is the entropy of the label plus a divergence."""

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Dirichlet

from bnn import MLE, MLP, InputError, Problem, Training, predict
from bnn.data.images import COUNTED_TEST, fashion_mnist_human
from bnn.metrics.entropy import entropy
from bnn.metrics.likelihood import cross_entropy, divergence
from bnn.plots.style import BLUE, INK, ORANGE, legend, new_axes, tidy
from bnn.report.article import Block, Formula, Section, picture
from bnn.report.claims import difference, identity
from bnn.report.figures import Figure
from bnn.report.words import number
from bnn.report.writing import Work
from bnn.statistics import paired_difference

PAIRS, CLASSES = 10_000, 5
TRAINED, VALIDATED = 3_600, 400  # together the 4,000 of the 5,000 that do not test
EXAMPLE = 0.3  # probability of the second of two classes


def section(work: Work) -> Section:
    """The decomposition for random labels and predictions; then the labels of people."""
    p, q = random_pairs()
    measured, reason = people(work)
    return Section(
        "Soft labels: the smallest loss is not zero",
        (
            "Nothing above needs the label to be one-hot. If people disagree about a picture, the "
            "label may be the distribution $p$ of their answers, and the cross-entropy with a "
            "prediction $q$ has two parts:",
            Formula(
                r"H(p, q) = H(p) + \mathrm{KL}(p \,\|\, q), \quad"
                r" \mathrm{KL}(p \,\|\, q) = \sum_k p_k \,\log\, \frac{p_k}{q_k} \ge 0"
            ),
            "The first is the entropy of the label. It is not the network's doing, and no network "
            "removes it. The second is, and it is zero for $q = p$ and for no other prediction. So "
            "the loss is smallest where the prediction is the label, and there it equals the "
            "label's entropy and not zero.",
            identity(
                f"$H(p, q) - H(p) - \\mathrm{{KL}}(p \\,\\|\\, q)$ for {PAIRS:,} random pairs, "
                "some of them with zeros: largest gap",
                found=(cross_entropy(q, p) - entropy(p.log()) - divergence(q, p)).abs().max(),
                expected=0.0,
                tolerance=1e-12,
                unit="nats",
            ),
            identity(
                "$H(p, q) - H(p)$ for the same pairs: the smallest is not below zero",
                found=(cross_entropy(q, p) - entropy(p.log())).min(),
                expected=0.0,
                tolerance=1e-12,
                relation="≥",
                unit="nats",
            ),
            identity(
                "$H(p, p) - H(p)$: largest gap",
                found=(cross_entropy(p.log(), p) - entropy(p.log())).abs().max(),
                expected=0.0,
                tolerance=1e-12,
                unit="nats",
            ),
            valley(),
            *measured,
        ),
        not_run=reason,
    )


def random_pairs() -> tuple[Tensor, Tensor]:
    """Return label distributions p, a quarter of them with a zero, and log-predictions q."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        p, q = Dirichlet(torch.ones(CLASSES, dtype=torch.float64)).sample((2, PAIRS))
    p[: PAIRS // 4, 0] = 0.0
    return p / p.sum(-1, keepdim=True), q.log()


def people(work: Work) -> tuple[tuple[Block, ...], str]:
    """Return what labels of people show, or why they could not be had."""
    seeds = range(2 if work.quick else 10)
    try:
        labelled = {
            kind: fashion_mnist_human(
                seeds, kind, points=TRAINED, validation=VALIDATED, calibration=0
            )
            for kind in ("soft", "hard")
        }
    except InputError as error:
        return (), f"the labels of people need data that are not here. {error}"
    training = Training(epochs=30, learning_rate=1e-3, patience=3 if work.quick else 5)
    human = labelled["soft"].test.y
    losses, predicted = {}, {}
    for kind, data in labelled.items():
        problem = Problem.of(data, MLP(784, [100], 10))
        posterior = work.fit(MLE(training), problem, seeds)
        predicted[kind] = predict(posterior, data.test.x).log_probs
        losses[kind] = cross_entropy(predicted[kind], human)
    floor = entropy(human.log())
    gap = paired_difference(losses["soft"], losses["hard"], "resplit", TRAINED)
    return (
        f"Five thousand pictures of garments, Fashion-MNIST, were each shown to some 67 people. "
        f"Two networks are trained on the same {TRAINED + VALIDATED:,} of them ({VALIDATED} "
        "only decide when to stop): one with the people's distributions as labels, one with the "
        f"official class. Both are scored against the people's distributions of the other "
        f"{COUNTED_TEST:,}, on {len(seeds)} random splits. The entropy of the people's labels is "
        f"{number(float(floor.mean()))} nats: no network's cross-entropy can be below.",
        difference(
            "Trained on soft labels minus trained on hard: cross-entropy with the people's labels",
            gap,
            expected=0.0,
            relation="≤",
            unit="nats",
        ),
        parts(losses, floor),
        confidence(predicted, human),
    ), ""


def valley() -> Figure:
    """Draw the cross-entropy of two classes against the prediction."""
    q = torch.linspace(0.005, 0.995, 199, dtype=torch.float64)
    prediction = torch.stack([1 - q, q], -1).log()
    p = torch.tensor([1 - EXAMPLE, EXAMPLE], dtype=torch.float64)
    loss, floor = cross_entropy(prediction, p.expand(len(q), -1)), float(entropy(p.log()))
    ax = new_axes(3.8, 2.5)
    ax.fill_between(q, 0, floor, color=INK, alpha=0.12, linewidth=0, label="entropy of the label")
    ax.fill_between(q, floor, loss, color=BLUE, alpha=0.25, linewidth=0, label="divergence")
    ax.plot(q, loss, color=INK, linewidth=1.3)
    ax.plot([EXAMPLE], [floor], "o", color=INK, markersize=5)
    ax.set(xlim=(0, 1), ylim=(0, 2.6))
    legend(ax)
    tidy(ax, "prediction q", "cross-entropy (nats)")
    return picture(
        ax,
        "Cross-entropy with a soft label against the prediction",
        "A valley whose lowest point lies above zero, where the prediction equals the label.",
        f"The label is (0.7, {EXAMPLE}). The lowest loss is its entropy, {number(floor)} nats, at "
        f"q = {EXAMPLE}.",
    )


def parts(losses: dict[str, Tensor], floor: Tensor) -> Figure:
    """Draw the two parts of the loss for both kinds of training."""
    ax = new_axes(3.2, 2.5)
    names = [f"{kind} labels" for kind in losses]
    means = np.array([float(loss.mean()) for loss in losses.values()])
    ax.bar(names, float(floor.mean()), 0.5, color=INK, alpha=0.25, label="entropy of the labels")
    ax.bar(
        names, means - float(floor.mean()), 0.5, float(floor.mean()), color=BLUE, label="divergence"
    )
    ax.set_ylim(0, 1.45 * means.max())
    legend(ax)
    tidy(ax, "trained on", "cross-entropy with people (nats)")
    return picture(
        ax,
        "Cross-entropy with the labels of people",
        "Two stacked bars: the same entropy below, and a divergence above it.",
        "What training on the distributions buys: less divergence from what people say.",
    )


def confidence(predicted: dict[str, Tensor], human: Tensor) -> Figure:
    """Draw the confidence of networks and of people."""
    ax = new_axes(3.2, 2.5)
    shown = {"people": human} | {f"{kind} labels": p.exp() for kind, p in predicted.items()}
    edges = np.linspace(0.1, 1, 37)
    looks = ((INK, "-"), (BLUE, "--"), (ORANGE, "-."))
    for (name, p), (colour, dash) in zip(shown.items(), looks, strict=True):
        share = np.histogram(p.amax(-1).flatten(), edges)[0] / p[..., 0].numel()
        ax.plot(edges[1:], share.cumsum(), color=colour, linestyle=dash, linewidth=1.4, label=name)
    ax.set(xlim=(0.2, 1), ylim=(0, 1))
    legend(ax, loc="upper left")
    tidy(ax, "largest probability", "share of pictures below")
    return picture(
        ax,
        "How sure people and networks are",
        "Three cumulative curves of the largest probability of a picture.",
        "A network trained on one label per picture cannot know how often people disagree.",
    )
