"""Away from the data, where the truth is known too: who is over-confident?"""

import torch
from torch import Tensor

from bnn import MLP, Problem, predict
from bnn.data.gaussians import FOUR, TWO, two_gaussians
from bnn.plots.style import INK, PURPLE, VERMILLION, legend, new_axes, tidy
from bnn.posterior import Posterior
from bnn.report.article import Formula, Section, picture
from bnn.report.claims import replicated
from bnn.report.figures import Figure
from bnn.report.writing import Work

from .small_samples import ROWS, methods, trained

DISTANCES = (0.0, 2.0, 4.0, 6.0, 8.0, 10.0)  # standard deviations of the last feature
FAR = 8.0
LOOKS = ((INK, "o-"), (VERMILLION, "D--"), (PURPLE, "v:"), ("#009E73", "^-."))
LINE_ROWS = 100  # training rows of the picture in one dimension
GRID = torch.linspace(-9, 9, 241)[:, None]


def section(work: Work) -> Section:
    """Move along a feature that says nothing; and look at a line."""
    of = trained(work, ROWS[-1])
    x = of.data.test.x
    excess = {
        label: torch.stack([over_confidence(p, moved(x, t)) for t in DISTANCES])
        for label, p in of.posteriors.items()
    }  # [distances, replicas]
    far = DISTANCES.index(FAR)
    one, *averages = excess
    line = two_gaussians([1], LINE_ROWS)
    problem = Problem.of(line, MLP(1, [32], 2))
    lines = {m.label: work.fit(m, problem, [1]) for m in methods(work)}
    return Section(
        "Away from the data",
        (
            "The last of the four features is standard Normal in every class. It says nothing, "
            f"however large it is, so a row that is moved along it by {FAR:g} standard deviations "
            "has the same true probabilities as before. A network does not know that. Its "
            "training rows end at about three, and beyond them its logits go on as they please. "
            "How over-confident is it there? With $k$ the class that it thinks likeliest,",
            Formula(r"\text{over-confidence} = q(k \mid x) - p_{\text{true}}(k \mid x)"),
            f"averaged over the test rows of each repetition, after {ROWS[-1]} training rows.",
            *(
                replicated(
                    f"{label}: over-confidence at {FAR:g} standard deviations",
                    excess[label][far], expected=0.0, relation="≥",
                )
                for label in excess
            ),
            *(
                replicated(
                    f"{label} minus {one}: the same",
                    excess[label][far] - excess[one][far], expected=0.0, relation="≤",
                )
                for label in averages
            ),
            outward(excess),
            picture_of_line(lines, line.train.x[0], line.train.y[0]),
            "On the line, the truth holds a surprise of its own: far to the right the wide class "
            "is the likelier again, where there is hardly ever a row. No method can know this from "
            "the rows alone. What can be asked of it is to become less sure.",
        ),
    )  # fmt: skip


def moved(x: Tensor, distance: float) -> Tensor:
    """Return inputs with the last feature put at a distance, to either side in turn."""
    out = x.clone()
    sign = torch.where(torch.arange(x.shape[1]) % 2 == 0, 1.0, -1.0)
    out[..., -1] = distance * sign
    return out


def over_confidence(posterior: Posterior, x: Tensor) -> Tensor:
    """Return by how much the likeliest class is thought likelier than it is, `[replicas]`."""
    q = predict(posterior, x).probs
    confidence, k = q.max(-1, keepdim=True)
    return (confidence - FOUR.log_posterior(x).exp().gather(-1, k))[..., 0].mean(-1)


def outward(excess: dict[str, Tensor]) -> Figure:
    """Draw the over-confidence against the distance, with the range of the repetitions."""
    ax = new_axes(3.3, 2.6)
    ax.axhline(0, color=INK, linewidth=0.7, alpha=0.6)
    for (label, values), (colour, dash) in zip(excess.items(), LOOKS, strict=False):
        error = values.std(1) / values.shape[1] ** 0.5
        ax.errorbar(
            DISTANCES,
            values.mean(1),
            2 * error,
            fmt=dash,
            color=colour,
            label=label,
            linewidth=1.3,
            markersize=4,
        )
    legend(ax)
    tidy(ax, "last feature (standard deviations)", "over-confidence")
    return picture(
        ax,
        "Over-confidence against the distance from the data",
        "One line per method, over the distance along the feature that says nothing.",
        "Means over the repetitions, with two standard errors. Zero is honest.",
    )


def picture_of_line(lines: dict[str, Posterior], x: Tensor, y: Tensor) -> Figure:
    """Draw the probability of the narrow class on the line, by each method."""
    ax = new_axes(3.3, 2.6)
    grid = GRID[:, 0]
    ax.plot(
        grid, TWO.log_posterior(GRID)[:, 1].exp(), color=INK, linewidth=4, alpha=0.25, label="truth"
    )
    for (label, posterior), (colour, dash) in zip(lines.items(), LOOKS, strict=False):
        ax.plot(
            grid,
            predict(posterior, GRID).probs[0, :, 1],
            dash[1:],
            color=colour,
            linewidth=1.3,
            label=label,
        )
    for k, place in ((0, -0.06), (1, 1.06)):
        ax.vlines(x[y == k], place - 0.03, place + 0.03, color=INK, linewidth=0.7, alpha=0.7)
    ax.set(xlim=(-9, 9), ylim=(-0.12, 1.95))
    ax.set_yticks([0, 0.5, 1])
    legend(ax, loc="upper left")
    tidy(ax, "x", "probability of class B")
    return picture(
        ax,
        "Two classes on a line, and what each method thinks of them",
        "The true probability rises and falls again; the methods' rise and level off.",
        f"Fitted to {LINE_ROWS} rows (the ticks).",
    )
