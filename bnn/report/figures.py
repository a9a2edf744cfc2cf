"""The figures of a report, each with words that say how to read it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.markers import MarkerStyle

from bnn import plots
from bnn.metrics.calibration import Reliability
from bnn.metrics.calibration import reliability as diagram
from bnn.plots.style import INK, style_of
from bnn.report.group import Group

REPLICAS_SHOWN = 20  # curves in a reliability diagram


@dataclass(frozen=True)
class Figure:
    """One or two drawings that belong together.

    Arguments:
        method: whose they are; empty if they show all methods.
        drawings: inline SVG.
        caption: what to see.
    """

    method: str
    drawings: tuple[Markup, ...]
    caption: str = ""


def drawing(ax: Axes, title: str, description: str) -> Markup:
    """Return axes as inline SVG; every name in it is text by construction, see `bnn.plots.svg`."""
    return Markup(plots.svg(ax.figure.figure, title, description))


def key(method: str) -> Markup:
    """Return the line and marker that stand for a method in the figures."""
    look = style_of(method)
    colour = "currentColor" if look.colour == INK else look.colour
    dashes = ",".join(f"{length * 1.2:g}" for length in look.dash[1]) or "none"
    shape = MarkerStyle(look.marker)
    outline = shape.get_path().transformed(shape.get_transform()).to_polygons()
    corners = np.array(outline[0]) * (7, -7) + (13, 5)
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    return Markup(
        '<svg class="key" viewBox="0 0 26 10" width="26" height="10" aria-hidden="true">'
        '<line x1="0" y1="5" x2="26" y2="5" stroke="{0}" stroke-width="1.8"'
        ' stroke-dasharray="{1}"/><polygon points="{2}" fill="{0}"/></svg>'
    ).format(colour, dashes, points)


def reliability(group: Group) -> Iterator[Figure]:
    """Yield a reliability diagram per method of a classification."""
    for method in group.finished:
        found = [_top(arrays) for arrays in group.arrays(method) if "test_probs" in arrays]
        if not found:
            continue
        first, *others = found[:REPLICAS_SHOWN]
        # Only the first shows its band, so the others need no simulation to speak of.
        curves = [diagram(*first), *(diagram(*other, simulations=1) for other in others)]
        label, sure = group.labels[method], torch.cat([confidence for confidence, _ in found])
        accuracy = torch.cat([correct for _, correct in found]).mean().item()
        ax = plots.reliability(curves, sure.numpy(), colour=style_of(method).colour, title=label)
        words = f"Mean confidence {sure.mean().item():.3f}, share correct {accuracy:.3f}."
        words += f" {_outside(curves[0])}"
        yield Figure(
            method, (drawing(ax, f"Reliability of {label} on {group.dataset}", words),), words
        )


def _top(arrays: Mapping[str, np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the confidence of each row and whether its most probable class is the true one."""
    probs, y = arrays["test_probs"].astype(float), arrays["test_y"]
    truth = y.argmax(-1) if y.ndim == 2 else y
    confidence = np.clip(probs.max(-1), 0.0, 1.0)
    return torch.from_numpy(confidence), torch.from_numpy((probs.argmax(-1) == truth) * 1.0)


def _outside(curve: Reliability) -> str:
    below = float(np.mean(curve.frequency < curve.low - 1e-9))
    above = float(np.mean(curve.frequency > curve.high + 1e-9))
    if below + above == 0.0:
        return "The first replica's curve stays within its band."
    side = "below it (overconfident)" if below >= above else "above it (underconfident)"
    percent = 100 * (below + above)
    size = "under 1" if percent < 1 else f"{percent:.0f}"
    share = f"{size}\N{NO-BREAK SPACE}% of its rows, mostly {side}"
    return f"The first replica's curve leaves its band for {share}."


def entropies(group: Group) -> Iterator[Figure]:
    """Yield the distributions of entropy per method: test, the hardest shift, unseen."""
    shown = _telling(group)
    for method in group.finished:
        values = {c: _pooled(group.values(method, f"{c}_entropy")) for c in shown}
        if not any(len(part) for part in values.values()):
            continue
        label, classes = group.labels[method], _classes(group, method)
        ax = plots.entropy(values, classes, title=label)
        medians = (f"{c} {np.median(part):.2f}" for c, part in values.items() if len(part))
        words = f"Median entropy in nats: {', '.join(medians)}."
        yield Figure(method, (drawing(ax, f"Entropy of {label} on {group.dataset}", words),), words)


def _telling(group: Group) -> list[str]:
    """Return the conditions to draw: of the shifts only that of the highest mean entropy."""
    shifts = [c for c in group.conditions if c not in ("test", "unseen")]
    mean = {
        c: np.mean([v.mean() for m in group.finished for v in group.values(m, f"{c}_entropy")])
        for c in shifts
    }
    hardest = max(shifts, key=lambda c: mean[c], default=None)
    return [c for c in group.conditions if c in ("test", "unseen", hardest)]


def pictures(group: Group) -> Iterator[Figure]:
    """Yield, for the toys, what each method's first replica believes over a grid."""
    for method in group.finished:
        for arrays in group.arrays(method)[:1]:
            if "grid_x" not in arrays:
                continue
            inputs = arrays["grid_x"].reshape(len(arrays["grid_x"]), -1)
            if inputs.shape[1] == 2 and "grid_probs" in arrays:
                yield _surfaces(group, method, arrays, inputs)
            elif inputs.shape[1] == 1 and "grid_mean" in arrays:
                yield _bands(group, method, arrays, inputs)


def _surfaces(
    group: Group, method: str, arrays: Mapping[str, np.ndarray], inputs: np.ndarray
) -> Figure:
    label, probs, doubt = group.labels[method], arrays["grid_probs"], arrays["grid_entropy"]
    train = arrays.get("train_x"), arrays.get("train_y")
    views = (
        (plots.probability(inputs, probs, *train, title=label), "Probability"),
        (plots.doubt(inputs, doubt, probs.shape[1], *train, title=label), "Entropy"),
    )
    far = np.abs(inputs - inputs.mean(0)).max(1) >= 0.9 * np.abs(inputs - inputs.mean(0)).max()
    words = f"Mean entropy at the rim of the picture: {doubt[far].mean():.2f} nats."
    titles = [f"{what} over the plane, {label} on {group.dataset}" for _, what in views]
    drawn = tuple(drawing(ax, title, words) for (ax, _), title in zip(views, titles, strict=True))
    return Figure(method, drawn, words)


def _bands(
    group: Group, method: str, arrays: Mapping[str, np.ndarray], inputs: np.ndarray
) -> Figure:
    label, x = group.labels[method], inputs[:, 0]
    mean, weight_sd = arrays["grid_mean"], arrays["grid_weight_sd"]
    ends = arrays.get("grid_low"), arrays.get("grid_high")
    interval = None if ends[0] is None or ends[1] is None else (ends[0], ends[1])
    data, share = None, ""
    if "train_x" in arrays and "train_y" in arrays:
        data = arrays["train_x"].reshape(len(arrays["train_y"]), -1)[:, 0], arrays["train_y"]
    inside = np.ones(len(x), bool) if data is None else (x >= data[0].min()) & (x <= data[0].max())
    if not weight_sd.any():
        share = "One network: it has no doubt about its weights anywhere."
    elif inside.any() and not inside.all():
        within, beyond = weight_sd[inside].mean(), weight_sd[~inside].mean()
        share = (
            "Standard deviation from the weights:"
            f" {within:.2g} on average within the data, {beyond:.2g} beyond."
        )
    truth = arrays.get("grid_truth")
    ax = plots.bands(x, mean, weight_sd, interval=interval, truth=truth, data=data, title=label)
    title = f"Prediction with its doubt, {label} on {group.dataset}"
    return Figure(method, (drawing(ax, title, share),), share)


def curves(group: Group) -> Iterator[Figure]:
    """Yield the training curves per method, of finished and diverged runs alike."""
    for method in group.methods:
        found = [r.curve for r in group.runs if r.method == method and r.curve.epochs]
        if not found:
            continue
        label = group.labels[method]
        kept = [curve.best for curve in found if curve.best is not None]
        words = f"{len(found)} replicas." if len(found) > 1 else "One replica."
        if kept:
            words += f" Epochs kept: {min(kept)} to {max(kept)}, median {np.median(kept):g}."
        ax = plots.curves(found, title=label)
        yield Figure(
            method, (drawing(ax, f"Training of {label} on {group.dataset}", words),), words
        )


def _pooled(parts: Iterable[np.ndarray]) -> np.ndarray:
    parts = list(parts)
    return np.concatenate(parts) if parts else np.zeros(0)


def _classes(group: Group, method: str) -> int | None:
    sizes = [probs.shape[1] for probs in group.values(method, "test_probs")]
    return sizes[0] if sizes else None
