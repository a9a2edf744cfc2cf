"""Temperature: the softmax as a Boltzmann distribution."""

import math

import numpy as np
import torch
from torch import Tensor

from bnn import predict
from bnn.data import Rows
from bnn.methods.temperature import best_temperature
from bnn.metrics.entropy import entropy
from bnn.plots.style import BLUE, DASHED, GREEN, INK, ORANGE, SOLID, legend, new_axes, tidy
from bnn.posterior import Posterior
from bnn.report.article import Formula, Section, picture
from bnn.report.claims import identity, replicated
from bnn.report.figures import Figure
from bnn.report.writing import Work

from .reliability import OVER, SCALED, trained

ROWS, CLASSES = 1000, 5
TEMPERATURES = torch.tensor([0.25, 0.5, 1.0, 2.0, 4.0], dtype=torch.float64)


def section(work: Work) -> Section:
    """Softmax at other temperatures, and the temperature that makes held-out labels likeliest."""
    generator = torch.Generator().manual_seed(3)
    u = 2 * torch.randn(ROWS, CLASSES, generator=generator, dtype=torch.float64)
    hot = TEMPERATURES[:, None, None]
    p = at(u, hot).exp()
    found = trained(work)
    over, scaled = found.posteriors[OVER], found.posteriors[SCALED]
    y = found.data.test.y
    gain = predict(over, found.data.test.x).log_prob(y) - predict(
        scaled, found.data.test.x
    ).log_prob(y)
    return Section(
        "Temperature",
        (
            "Divide the logits by a number $T$ before the softmax. In physics this is the "
            "Boltzmann distribution of states with energies $E_k = -u_k$ at the temperature $T$: "
            "cold systems sit in the lowest state, hot ones in any.",
            Formula(r"p_k = \frac{e^{-E_k / T}}{\sum_j e^{-E_j / T}}, \quad"
                    r" \frac{p_i}{p_j} = e^{-(E_i - E_j) / T}, \quad"
                    r" \frac{\mathrm{d} H}{\mathrm{d} T} = \frac{\mathrm{Var}(E)}{T^3} \ge 0"),
            identity(
                f"The log-ratio of two probabilities against the energies, {ROWS} random rows at "
                "five temperatures: largest gap",
                found=(p.log() - p[..., :1].log() - (u - u[:, :1]) / hot).abs().max(),
                expected=0.0, tolerance=1e-12,
            ),
            identity(
                "The slope of the entropy, by automatic differentiation, against the variance of "
                "the energy: largest gap",
                found=slope_gap(u), expected=0.0, tolerance=1e-10, unit="nats",
            ),
            identity(
                "The smallest step of the entropy from one temperature to the next is upward",
                found=entropy(p.log()).diff(dim=0).min(), expected=0.0, tolerance=0.0,
                relation="≥", unit="nats",
            ),
            identity(
                f"At T = 10,000: the entropy of log {CLASSES}, complete ignorance, largest gap",
                found=(entropy(at(u, 1e4)) - math.log(CLASSES)).abs().max(), expected=0.0,
                tolerance=1e-5, unit="nats",
            ),
            entropies(u),
            "One temperature, chosen so that labels held out become likeliest, is the simplest "
            "repair of an over-confident network: it changes how sure it is and never what it "
            "decides. Here it is chosen for the over-trained networks of section 8, on "
            f"{found.data.calibration.points} rows that nothing was trained on.",
            replicated(
                "The chosen temperature of over-trained networks",
                best_temperature(over, found.data.calibration), expected=1.0, relation="≥",
            ),
            replicated(
                "Cross-entropy on test rows: scaled minus unscaled", gain.mean(-1), expected=0.0,
                relation="≤", unit="nats",
            ),
            valley(over, found.data.calibration, found.data.test),
        ),
    )  # fmt: skip


def at(u: Tensor, temperature: Tensor | float) -> Tensor:
    """Return log-probabilities of logits at a temperature."""
    return (u / temperature).log_softmax(-1)


def slope_gap(u: Tensor) -> Tensor:
    """Compare dH/dT with Var(E) / T^3 at all temperatures."""
    hot = TEMPERATURES[:, None].expand(-1, len(u)).clone().requires_grad_()
    log_p = at(u, hot[..., None])
    (slope,) = torch.autograd.grad(entropy(log_p).sum(), hot)
    p = log_p.detach().exp()
    variance = (p * u.square()).sum(-1) - (p * u).sum(-1).square()
    return (slope - variance / hot.detach() ** 3).abs().max()


def entropies(u: Tensor) -> Figure:
    """Draw the entropy of a few rows against the temperature."""
    ax = new_axes(3.8, 2.5)
    hot = torch.logspace(-2, 2, 120, dtype=torch.float64)
    for row, colour in zip(u[:4], (BLUE, ORANGE, GREEN, INK), strict=True):
        ax.plot(hot, entropy(at(row, hot[:, None])), color=colour, linewidth=1.3)
    ax.axhline(math.log(CLASSES), color=INK, linewidth=0.7, alpha=0.6)
    ax.text(0.011, math.log(CLASSES) - 0.03, f"log {CLASSES}", fontsize=8, va="top")
    ax.set(xscale="log", xlim=(0.01, 100), ylim=(0, 1.75))
    tidy(ax, "temperature", "entropy (nats)")
    return picture(
        ax,
        "Entropy against temperature",
        f"Four curves that rise from 0 to log {CLASSES}, each at its own pace.",
        "Four predictions, heated: from certainty to ignorance, without a step back.",
    )


def valley(posterior: Posterior, held_out: Rows, test: Rows) -> Figure:
    """Draw the cross-entropy of held-out and test rows against the temperature."""
    ax = new_axes(3.8, 2.5)
    hot = np.geomspace(0.5, 30, 40)
    for rows, colour, dash, name in (
        (held_out, BLUE, SOLID, "held out"),
        (test, ORANGE, DASHED, "test"),
    ):
        outputs = posterior.outputs(rows.x)[0][:, 0].double()
        loss = [-at(outputs, t).gather(-1, rows.y[..., None]).mean() for t in hot]
        ax.plot(hot, loss, color=colour, linestyle=dash, linewidth=1.4, label=name)
        ax.plot(hot[np.argmin(loss)], min(loss), "o", color=colour, markersize=5)
    ax.axvline(1, color=INK, linewidth=0.7, alpha=0.6)
    ax.set(xscale="log")
    ax.set_xticks([0.5, 1, 2, 5, 10, 20], ["0.5", "1", "2", "5", "10", "20"])
    ax.minorticks_off()
    legend(ax)
    tidy(ax, "temperature", "cross-entropy (nats)")
    return picture(
        ax,
        "Cross-entropy of an over-trained network against temperature",
        "Two valleys, of held-out and of test rows, with their lowest points close together.",
        "All repetitions together. As trained (T = 1), the network pays for its certainty.",
    )
