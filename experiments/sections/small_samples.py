"""At small n: is the average over weights closer to the truth than one network?"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from torch import Tensor

from bnn import HMC, MLE, MLP, Dataset, DeepEnsemble, MeanField, Problem, Training, predict
from bnn.data.gaussians import FOUR, four_gaussians
from bnn.methods import Method
from bnn.metrics.likelihood import cross_entropy, divergence
from bnn.plots.style import GREEN, INK, PURPLE, VERMILLION, legend, new_axes, tidy
from bnn.posterior import Posterior
from bnn.report.article import Formula, Section, Table, picture
from bnn.report.claims import identity, replicated
from bnn.report.figures import Figure
from bnn.report.words import number
from bnn.report.writing import Work

ROWS = (50, 200)
PLUG_IN = MLE(Training(epochs=400, learning_rate=1e-2, patience=20))


@dataclass(frozen=True)
class Trained:
    """All methods at one number of training rows.

    Arguments:
        data: rows of its own for every replica.
        posteriors: by the method's label.
        divergences: mean KL(truth || prediction) on the test rows, `[replicas]`, by label.
    """

    data: Dataset
    posteriors: Mapping[str, Posterior]
    divergences: Mapping[str, Tensor]


def methods(work: Work) -> tuple[Method, ...]:
    """Return one network, and the averages over several; HMC where there is time for it."""
    training = Training(epochs=500 if work.quick else 2000, learning_rate=2e-2, decay=True)
    return (
        PLUG_IN,
        DeepEnsemble(member=PLUG_IN),
        MeanField(training=training),
        *(() if work.quick else (HMC(chains=4, warmup=300, samples=100, thin=2, max_steps=64),)),
    )


@cache
def trained(work: Work, points: int) -> Trained:
    """Train every method, once, on this many rows."""
    seeds = range(8 if work.quick else 20)
    data = four_gaussians(seeds, points)
    problem = Problem.of(data, MLP(4, [32], 4))
    posteriors = {m.label: work.fit(m, problem, seeds) for m in methods(work)}
    truth = FOUR.log_posterior(data.test.x).exp()
    return Trained(
        data,
        posteriors,
        {
            label: divergence(predict(posterior, data.test.x).log_probs, truth).mean(-1)
            for label, posterior in posteriors.items()
        },
    )


def section(work: Work) -> Section:
    """The paired difference of every average to the one network."""
    found = {points: trained(work, points) for points in ROWS}
    one, *averages = found[ROWS[0]].posteriors
    replicas = found[ROWS[0]].data.replicas
    return Section(
        "With few rows: one network, or an average over many?",
        (
            "With many rows there is little to choose, since all networks that fit them agree. "
            "With few, many networks fit, and they disagree. The Bayesian answer is to average "
            "what they say,",
            Formula(r"p(y \mid x, \mathcal{D}) = \int p(y \mid x, w)\, p(w \mid \mathcal{D})\,"
                    r" \mathrm{d}w \approx \frac{1}{S} \sum_{s=1}^{S} p(y \mid x, w_s),"),
            "and it should be closer to the truth than one of them. Whether it is depends on how "
            "good the approximation and the prior are, so it is measured, with the same "
            f"training rows for both, {replicas} times over. Negative: the average is closer.",
            *(
                replicated(
                    f"{points} rows: {label} minus {one}, KL to the truth",
                    of.divergences[label] - of.divergences[one],
                    expected=0.0, relation="≤", unit="nats",
                )
                for points, of in found.items()
                for label in averages
            ),
            Table(
                "Mean KL to the truth, nats",
                ("method", *(f"{points} rows" for points in ROWS)),
                tuple(
                    (label, *(number(float(of.divergences[label].mean())) for of in found.values()))
                    for label in (one, *averages)
                ),
            ),
            "And none is better than the truth, which is the standard by which all are measured:",
            identity(
                r"The lowest mean of $\log\, p_{\text{true}} - \log\, q$ over these methods, in "
                "standard errors",
                found=min(errors(of, label) for of in found.values() for label in of.posteriors),
                expected=-4, tolerance=0, relation="≥",
            ),
            *(pairs(points, of, one) for points, of in found.items()),
        ),
    )  # fmt: skip


def errors(of: Trained, label: str) -> float:
    """Return the mean of log p_true - log q over the test labels, in standard errors."""
    x, y = of.data.test.x, of.data.test.y
    log_probs = predict(of.posteriors[label], x).log_probs
    gap = cross_entropy(log_probs, y) - cross_entropy(FOUR.log_posterior(x), y)
    return float(gap.mean() / (gap.std() / gap.numel() ** 0.5))


def pairs(points: int, of: Trained, one: str) -> Figure:
    """Draw each repetition: the average against the one network."""
    ax = new_axes(3.2, 2.7)
    looks = zip((VERMILLION, PURPLE, GREEN), "Dvo", strict=True)
    averages = {label: v for label, v in of.divergences.items() if label != one}
    for (label, values), (colour, marker) in zip(averages.items(), looks, strict=False):
        ax.plot(of.divergences[one], values, marker, color=colour, markersize=4.5, label=label)
    top = 1.08 * max(float(values.max()) for values in of.divergences.values())
    ax.plot([0, top], [0, top], color=INK, linewidth=0.7, alpha=0.6)
    ax.set(xlim=(0, top), ylim=(0, top))
    legend(ax, loc="upper left")
    tidy(ax, f"{one}: KL to the truth", "average: KL to the truth", f"{points} rows")
    return picture(
        ax,
        f"KL to the truth of averages and of one network, {points} rows",
        "Points for each repetition; below the diagonal the average is closer to the truth.",
        "One mark per repetition. Below the line the average is closer to the truth.",
    )
