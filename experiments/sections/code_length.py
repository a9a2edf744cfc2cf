"""Cross-entropy is a code length: labels as one message, coded by each method's predictions."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor

from bnn import MLE, MLP, Dataset, MeanField, Problem, Training, predict
from bnn.data import digits
from bnn.metrics.coding import PRECISION, code_length, decode, encode, table
from bnn.metrics.likelihood import bits, cross_entropy
from bnn.plots.style import INK, PURPLE, new_axes, tidy
from bnn.report.article import Block, Formula, Section, Table, picture
from bnn.report.claims import difference, identity
from bnn.report.figures import Figure
from bnn.report.writing import Work
from bnn.statistics import paired_difference

SPLITS = 35  # of 289 test digits each: more than ten thousand labels
WORDS = 64  # bits that a message may be longer than it should, beside one per cent


@dataclass(frozen=True)
class Message:
    """All test labels of all splits, coded by one method's predictions.

    Arguments:
        probs: `[replicas, points, classes]`.
        y: `[replicas, points]`.
    """

    probs: Tensor
    y: Tensor

    @cached_property
    def table(self) -> Tensor:
        """The predictions in whole shares, `[labels, classes]`."""
        return table(self.probs.flatten(0, 1))

    @cached_property
    def words(self) -> np.ndarray:
        """What is sent."""
        return encode(self.y.flatten(), self.table)

    @property
    def sent(self) -> int:
        """Its length in bits."""
        return 32 * len(self.words)

    @property
    def ideal(self) -> float:
        """The ideal length by the table, in bits."""
        return float(code_length(self.table, self.y.flatten()))

    @property
    def exact(self) -> float:
        """The ideal length by the predictions before they were rounded, in bits."""
        return float(code_length(self.probs, self.y).sum())

    @property
    def mistakes(self) -> int:
        """How many labels are decoded wrongly."""
        return int((decode(self.words, self.table) != self.y.flatten()).sum())


def section(work: Work) -> Section:
    """Send the test labels of digits with a range coder, and read them again."""
    body, reason = (), 'the range coder is not installed; run: pip install "bnn[theory]"'
    if find_spec("constriction"):
        body, reason = sent(work), ""
    return Section(
        "Cross-entropy is the length of a message",
        (
            "Someone who has the pictures is to be sent their labels. Both sides have the same "
            "network, so what it finds likely can be said in few bits. Shannon's ideal code spends "
            r"$-\log_2 p$ bits on a label of probability $p$, and the whole message has the length",
            Formula(
                r"L = -\sum_{n=1}^{N} \log_2\, p_n(y_n) = \frac{1}{\log\, 2} \sum_{n=1}^{N}"
                r" H(y_n, p_n) \quad \text{bits.}"
            ),
            "This is not a figure of speech. A range coder makes such messages, and here it is "
            "given the predictions of each method in turn, encodes every test label of "
            f"{SPLITS} random splits of the digits as one message, and decodes it.",
            *body,
        ),
        not_run=reason,
    )


def sent(work: Work) -> tuple[Block, ...]:
    """Send all labels by each method's predictions."""
    data = digits(range(SPLITS))
    y = data.test.y
    messages = {name: Message(probs, y) for name, probs in predictions(work, data).items()}
    losses = {name: cross_entropy(m.probs.log(), y) for name, m in messages.items()}
    gain = paired_difference(
        bits(losses["Mean-field SVI"]), bits(losses["MLE"]), "resplit", data.train.points
    )
    return (
        "The coder works with whole numbers, so each prediction is first rounded to multiples of "
        f"$2^{{-{PRECISION}}}$, and none to zero. What that costs is the gap between the last two "
        "columns.",
        lengths(messages),
        identity(
            f"Labels that were not decoded as they were sent, of {y.numel():,} in each of "
            f"{len(messages)} messages",
            found=sum(message.mistakes for message in messages.values()),
            expected=0,
            tolerance=0,
        ),
        *(
            identity(
                f"{name}: length of the message, to within one per cent and {WORDS} bits",
                found=message.sent,
                expected=message.ideal,
                tolerance=0.01 * message.ideal + WORDS,
                unit="bits",
            )
            for name, message in messages.items()
        ),
        "So a difference in cross-entropy is a difference in bits on the wire, and the question "
        "whether a Bayesian network is better becomes: does its message get shorter?",
        difference(
            "Mean-field SVI minus MLE, bits per label",
            gain,
            expected=0.0,
            relation="≤",
            unit="bits",
        ),
        bars(messages),
    )


def predictions(work: Work, data: Dataset) -> Mapping[str, Tensor]:
    """Return what each method predicts for the test rows, `[replicas, points, classes]`."""
    seeds = range(SPLITS)
    problem = Problem.of(data, MLP(64, [50], 8))
    mle = MLE(Training(epochs=150, learning_rate=3e-3, patience=20)) if work.quick else MLE()
    bayes = MeanField(training=Training(epochs=80, decay=True)) if work.quick else MeanField()
    y, classes = data.train.y, len(data.classes)
    frequencies = torch.stack([row.bincount(minlength=classes) / len(row) for row in y]).double()
    shape = (*data.test.y.shape, classes)
    return {
        "Uniform": torch.full(shape, 1 / classes, dtype=torch.float64),
        "Class frequencies": frequencies[:, None].expand(shape),
        "MLE": predict(work.fit(mle, problem, seeds), data.test.x).probs,
        "Mean-field SVI": predict(work.fit(bayes, problem, seeds), data.test.x).probs,
    }


def lengths(messages: Mapping[str, Message]) -> Table:
    """Tabulate the lengths."""
    return Table(
        "Length of the message, in bits",
        ("coded by", "per label", "sent", "ideal, rounded table", "ideal, exact predictions"),
        tuple(
            (
                name,
                f"{m.sent / m.y.numel():.4f}",
                f"{m.sent:,}",
                f"{m.ideal:,.3f}",
                f"{m.exact:,.3f}",
            )
            for name, m in messages.items()
        ),
    )


def bars(messages: Mapping[str, Message]) -> Figure:
    """Draw what was sent, and the cross-entropy."""
    ax = new_axes(3.8, 2.3)
    names = list(messages)
    sent = [m.sent / m.y.numel() for m in messages.values()]
    exact = [m.exact / m.y.numel() for m in messages.values()]
    ax.barh(names, sent, 0.55, color=INK, alpha=0.22)
    ax.plot(exact, names, "|", color=PURPLE, markersize=16, markeredgewidth=2)
    for name, value in zip(names, sent, strict=True):
        ax.text(value * 1.15, name, f"{value:.3f}", va="center", fontsize=8)
    ax.set(xscale="log", xlim=(0.02, 8))
    ax.set_xticks([0.03, 0.1, 0.3, 1, 3], ["0.03", "0.1", "0.3", "1", "3"])
    ax.minorticks_off()
    ax.invert_yaxis()
    tidy(ax, "bits per label")
    return picture(
        ax,
        "Bits per label on the wire, and the cross-entropy",
        "Four bars, and on the end of each a mark for the cross-entropy.",
        "Bars: what was sent. Marks: the cross-entropy.",
    )
