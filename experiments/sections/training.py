"""Minimising the cross-entropy is maximum likelihood, and weight decay is a Normal prior."""

from collections.abc import Sequence

import pyro
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bnn import MAP, MLE, MLP, Problem, Training, priors
from bnn.data import digits
from bnn.layout import Layout
from bnn.methods import Method
from bnn.plots.style import BLUE, GREEN, INK, VERMILLION, legend, new_axes, tidy
from bnn.report.article import Formula, Section, picture
from bnn.report.claims import identity
from bnn.report.figures import Figure
from bnn.report.writing import Work

STEPS = (1, 2, 5, 10, 20, 50, 100)
RATE = 3e-3  # of Adam
SIGMA = 0.5  # of the prior
SEED = 0


def section(work: Work) -> Section:
    """A plain torch loop, the suite's methods, and Pyro's own program, step by step."""
    data = digits([0])
    network = MLP(64, [50], 8).double()
    flat = Problem.of(data, network, prior=priors.Flat())
    normal = Problem.of(data, network, prior=priors.Normal(SIGMA))
    decay = 1 / (flat.points * SIGMA**2)
    plain, decayed = torch_loop(flat, 0.0), torch_loop(flat, decay)
    gaps = {
        "MLE of the suite": apart(suite(MLE, flat), plain),
        "Pyro program, flat prior": apart(pyro_loop(flat), plain),
        "MAP of the suite, Normal prior": apart(suite(MAP, normal), decayed),
        "Pyro program, Normal prior": apart(pyro_loop(normal), decayed),
    }
    expected = ["plain torch"] * 2 + ["torch with weight decay"] * 2
    return Section(
        "Minimising cross-entropy is maximum likelihood",
        (
            "If the two numbers are one, so are their gradients, and training with cross-entropy "
            "is climbing the likelihood. To see it, the same network is trained from one start in "
            "three ways, each with Adam on all rows at once and in float64: by a plain loop in "
            "torch around its own cross_entropy; by the suite's method; and by the Pyro program "
            "itself, whose log joint density is differentiated as it stands.",
            Formula(
                r"-\frac{1}{N} \log\, p(y \mid x, w)\, p(w) = \frac{1}{N} \sum_n H(y_n, p_n)"
                r" - \frac{1}{N} \log\, p(w)"
            ),
            r"Under a flat prior the last term is constant. Under a Normal prior with standard "
            r"deviation $\sigma$ it is $\lVert w \rVert^2 / (2 N \sigma^2)$, whose gradient is "
            r"$w / (N \sigma^2)$: coupled L2 weight decay of $1 / (N \sigma^2)$, as torch's Adam "
            f"has it. Here $\\sigma = {SIGMA}$ and $N = {flat.points}$, a decay of {decay:.6f}. "
            f"The weights are compared after {STEPS[0]} to {STEPS[-1]} steps.",
            *(
                identity(
                    f"{name}, against {other}: largest difference of a weight",
                    found=max(gap),
                    expected=0.0,
                    tolerance=1e-10,
                )
                for (name, gap), other in zip(gaps.items(), expected, strict=True)
            ),
            drift(gaps),
        ),
    )


def torch_loop(problem: Problem, decay: float) -> list[Tensor]:
    """Train as a textbook would, and return the flat weights after each of STEPS."""
    x, y = (part[0] for part in problem.batch(problem.train))
    network = MLP(64, [50], 8).double()
    start = problem.network.layout.views(problem.initial([SEED])[0])
    network.load_state_dict(dict(start))
    optimiser = torch.optim.Adam(network.parameters(), lr=RATE, weight_decay=decay)
    kept = []
    for step in range(1, STEPS[-1] + 1):
        optimiser.zero_grad()
        cross_entropy(network(x), y).backward()
        optimiser.step()
        if step in STEPS:
            kept.append(weights_of(network))
    return kept


def weights_of(network: nn.Module) -> Tensor:
    """Return a module's parameters as one vector."""
    named = {name: p.detach() for name, p in network.named_parameters()}
    return Layout.of(network).flat(named)


def suite(method: type[MLE] | type[MAP], problem: Problem) -> list[Tensor]:
    """Fit the suite's method for each number of STEPS; one epoch of all rows is one step."""

    def fit(steps: int) -> Tensor:
        training = Training(epochs=steps, learning_rate=RATE, batch_size=problem.points)
        fitted: Method = method(training)
        return fitted.fit(problem, [SEED]).fit.parameters[0]

    return [fit(steps) for steps in STEPS]


def pyro_loop(problem: Problem) -> list[Tensor]:
    """Climb the log joint density of the Pyro program as Pyro computes it."""
    weights = problem.initial([SEED])[:, None].requires_grad_()
    optimiser = torch.optim.Adam([weights], lr=RATE)
    kept = []
    for step in range(1, STEPS[-1] + 1):
        optimiser.zero_grad()
        given = pyro.condition(problem.model, data={"weights": weights})
        log_joint = pyro.poutine.trace(given).get_trace().log_prob_sum()
        (-log_joint / problem.points).backward()
        optimiser.step()
        if step in STEPS:
            kept.append(weights.detach()[0, 0].clone())
    return kept


def apart(found: Sequence[Tensor], expected: Sequence[Tensor]) -> list[float]:
    """Return the largest difference of a weight after each of STEPS."""
    return [float((a - b).abs().max()) for a, b in zip(found, expected, strict=True)]


def drift(gaps: dict[str, list[float]]) -> Figure:
    """Draw the differences as they grow with the steps."""
    ax = new_axes(3.9, 2.6)
    looks = ((INK, "o-"), (BLUE, "s--"), (VERMILLION, "^-"), (GREEN, "D--"))
    for (name, gap), (colour, look) in zip(gaps.items(), looks, strict=True):
        shown = [max(value, 1e-17) for value in gap]
        ax.plot(STEPS, shown, look, color=colour, linewidth=1.2, markersize=4, label=name)
    ax.axhline(1e-10, color=INK, linewidth=0.7, alpha=0.6)
    ax.text(STEPS[0], 1.3e-10, "tolerance", fontsize=8, va="bottom")
    ax.set(xscale="log", yscale="log", ylim=(5e-18, 3e-9))
    ax.set_xticks(STEPS, [str(step) for step in STEPS])
    ax.minorticks_off()
    legend(ax, loc="center left", bbox_to_anchor=(0.0, 0.6))
    tidy(ax, "steps of Adam", "largest difference of a weight")
    return picture(
        ax,
        "How far the same training in different words drifts apart",
        "Four lines, all of them far below the tolerance over one hundred steps.",
        "What is left is rounding: the sums are taken in another order.",
    )
