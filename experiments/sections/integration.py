"""Averaging over weights against plugging one in, where the exact answer is known."""

from collections.abc import Callable

import numpy as np
import torch
from scipy.integrate import dblquad
from torch import Tensor

from bnn import (
    HMC,
    MAP,
    MLE,
    MLP,
    DeepEnsemble,
    MCDropout,
    MeanField,
    Problem,
    Training,
    predict,
    priors,
)
from bnn.data.gaussians import two_gaussians
from bnn.exact import GridPosterior, grid_posterior
from bnn.methods import Method
from bnn.plots.style import BLUE, GREEN, INK, ORANGE, PURPLE, VERMILLION, legend, new_axes, tidy
from bnn.posterior import Posterior
from bnn.report.article import Formula, Section, picture
from bnn.report.claims import identity, replicated
from bnn.report.figures import Figure
from bnn.report.writing import Work

POINTS = 10  # training rows
SCALE = 3.0  # of the prior
DRAWS = 10_000
STEPS = (161, 201)  # of the lattice along each weight
GRID = torch.linspace(-6, 6, 61, dtype=torch.float64)[:, None]
CHECKED = 45  # the grid point at which the integral is taken a second time: x = 3
LOOKS = (
    (INK, "-"), (BLUE, "--"), (VERMILLION, "-."), (GREEN, ":"), (PURPLE, "--"), (ORANGE, "-"),
)  # fmt: skip
PLUGGED = (MLE.label, MAP.label, DeepEnsemble.label)
FULL = Training(epochs=1000, learning_rate=0.05, batch_size=POINTS, decay=True)
LONG = Training(epochs=2000, learning_rate=0.02, batch_size=POINTS, decay=True)


def section(work: Work) -> Section:
    """A logistic regression with two weights; every method's worst error."""
    seeds = range(6 if work.quick else 20)
    data = two_gaussians(seeds, POINTS)
    problem = Problem.of(data, MLP(1, [], 1).double(), prior=priors.Normal(SCALE))
    lattices = [grid_posterior(problem.take([r]), STEPS[1]) for r in range(len(seeds))]
    coarse = grid_posterior(problem.take([0]), STEPS[0])
    exact = torch.stack([lattice.log_probs(GRID) for lattice in lattices]).exp()
    posteriors = {m.label: work.fit(m, problem, seeds) for m in methods()}
    probs = {label: predict(p, GRID, DRAWS).probs for label, p in posteriors.items()}
    worst = {label: (q - exact).abs().amax((1, 2)) for label, q in probs.items()}
    surer = {label: (q.amax(-1) - exact.amax(-1)).mean(-1) for label, q in probs.items()}
    return Section(
        "Integrating over weights, against plugging one in",
        (
            "In the smallest network of all, a logistic regression with one slope $a$ and one "
            "intercept $b$, the average over the posterior can be had exactly, as a sum over a "
            "fine grid of the two weights. So here, and only here, every method can be held "
            "against the answer that it approximates.",
            Formula(r"p(y = 1 \mid x, \mathcal{D}) = \iint \frac{1}{1 + e^{-(a x + b)}}\,"
                    r" p(a, b \mid \mathcal{D})\, \mathrm{d}a\, \mathrm{d}b"),
            identity(
                "The grid, at $x = 3$, against an adaptive double integral (scipy) of the same "
                "formula, written out by hand",
                found=exact[0, CHECKED, 1], expected=by_integral(problem.take([0])),
                tolerance=1e-8,
            ),
            identity(
                f"A grid of {STEPS[0]} steps per weight against {STEPS[1]}: largest difference of "
                "a probability",
                found=(coarse.log_probs(GRID).exp() - exact[0]).abs().max(), expected=0.0,
                tolerance=1e-8,
            ),
            identity(
                "The posterior mass that lies on the border of the grid, at most",
                found=max(lattice.edge for lattice in lattices), expected=0.0, tolerance=1e-10,
            ),
            f"Ten rows of two classes on a line are drawn, {len(seeds)} times over; the "
            f"prior of both weights is Normal(0, {SCALE:g}²). The worst error of a method is the "
            "largest difference of its predicted probability to the exact one, for $x$ from −6 to "
            "6:",
            *(replicated(f"{label}: worst error", values) for label, values in worst.items()),
            "An average of many logistic curves is flatter than the curve of the average weights, "
            "so plugging one in makes the prediction too sure. (The ensemble is no average here: "
            "without hidden units there is one optimum, and all members find it.) By how much:",
            *(
                replicated(
                    f"{label}: mean confidence minus the exact one", values, relation="≥",
                    expected=0.0 if label in PLUGGED else None,
                )
                for label, values in surer.items()
            ),
            curves(exact[0], {label: q[0] for label, q in probs.items()}),
            contours(lattices[0], posteriors),
        ),
    )  # fmt: skip


def methods() -> tuple[Method, ...]:
    """Return every method that a network without hidden units can have."""
    plug_in = MLE(FULL)
    return (
        plug_in,
        MAP(FULL),
        DeepEnsemble(member=plug_in),
        MCDropout(rate=0.0, input_rate=0.1, training=FULL),
        MeanField(training=LONG),
        HMC(chains=8, warmup=300, samples=250, thin=1),
    )


def by_integral(problem: Problem) -> float:
    """Return p(y = 1 | x = 3, D) as a ratio of two integrals over the weights, by scipy."""
    x, y = (part[0].numpy() for part in problem.batch(problem.train))
    at = float(problem.standardise(GRID[None, CHECKED : CHECKED + 1])[0, 0, 0])
    signs = 2 * y - 1

    def density(a: float, b: float) -> float:
        log_prior = -(a * a + b * b) / (2 * SCALE**2)
        return float(np.exp(log_prior - np.logaddexp(0, -signs * (a * x[:, 0] + b)).sum()))

    def integral(f: Callable[[float, float], float]) -> float:
        reach = 10 * SCALE
        return dblquad(f, -reach, reach, -reach, reach, epsabs=0, epsrel=1e-9)[0]

    above = integral(lambda b, a: density(a, b) / (1 + np.exp(-(a * at + b))))
    return above / integral(lambda b, a: density(a, b))


def curves(exact: Tensor, probs: dict[str, Tensor]) -> Figure:
    """Draw the exact predictive of the first repetition and those of the methods."""
    ax = new_axes(3.3, 2.7)
    ax.plot(GRID, exact[:, 1], color=INK, linewidth=4, alpha=0.25, label="exact")
    for (label, q), (colour, look) in zip(probs.items(), LOOKS, strict=False):
        ax.plot(GRID, q[:, 1], look, color=colour, linewidth=1.3, label=label)
    legend(ax, loc="upper left")
    ax.set(xlim=(-6, 6), ylim=(-0.02, 1.5))
    ax.set_yticks([0, 0.5, 1])
    tidy(ax, "x", "probability of class B")
    return picture(
        ax,
        "Predictions of every method, and the exact one",
        "S-shaped curves; the plugged-in ones are steeper than the exact average.",
        "The first repetition. Steeper than the exact curve is too sure.",
    )


def contours(lattice: GridPosterior, posteriors: dict[str, Posterior]) -> Figure:
    """Draw the exact posterior of the two weights, and where the methods stand in it."""
    ax = new_axes(3.3, 2.7)
    side = STEPS[1]
    a, b = (lattice.weights[:, i].view(side, side).numpy() for i in (0, 1))
    mass = lattice.log_mass.view(side, side).numpy()
    levels = float(mass.max()) - np.array([4.5, 2.0, 0.5])  # at 3, 2 and 1 standard deviations
    ax.contour(a, b, mass, levels=levels, colors=INK, linewidths=(0.7, 1.0, 1.3), linestyles="-")
    for (label, posterior), (colour, _), marker in zip(
        posteriors.items(), LOOKS, "os*^v<", strict=False
    ):
        weights = torch.cat([w.flatten(2) for w in posterior.weights(60).values()], -1)[0]
        alpha = 1.0 if len(weights) < 20 else 0.8
        size = 5 if len(weights) < 20 else 2.5
        ax.plot(
            *weights.T,
            marker,
            color=colour,
            markersize=size,
            alpha=alpha,
            label=label,
            markeredgewidth=0,
        )
    ends = torch.stack([lattice.mean - 4 * lattice.sd, lattice.mean + 4 * lattice.sd], 1).tolist()
    ax.set(xlim=ends[0], ylim=ends[1])
    tidy(ax, "slope a", "intercept b")
    return picture(
        ax,
        "The exact posterior of the two weights",
        "Oval contours that lean, single points near the mode, and a cloud that does not lean.",
        "Contours: the exact posterior. Marks: the weights that the methods average.",
    )
