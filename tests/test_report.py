"""The report: it says what the numbers say, whatever the runs are, and nothing in them can act."""

import base64
import hashlib
import math
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field, replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from bnn.errors import InputError
from bnn.predictive import CategoricalMixture, NormalMixture
from bnn.report import page
from bnn.report.compare import standard_error
from bnn.report.words import (
    decimals_of,
    interval,
    listed,
    number,
    probability,
    ranges,
    short,
    verdict,
    with_error,
)
from bnn.run import Cost, Curve, Run, Score, key_of
from bnn.scores import pointwise, score
from bnn.statistics import Difference, paired_difference

POINTS, TRAIN, CLASSES, DRAWS = 80, 240, 4, 6
METHODS = {"mle": (1.0, 1), "map": (1.0, 1), "ensemble": (1.6, DRAWS), "mean_field": (0.4, DRAWS)}
LABELS = {"mle": "MLE (cross-entropy)", "map": "MAP", "ensemble": "Deep ensemble"}


# A study that never was: predictions of known quality, scored by the suite itself.


def make(
    seeds=5,
    methods=METHODS,
    task="classification",
    dataset="made",
    design="resplit",
    full=False,
    toy=False,
):
    """Runs and their arrays by key; not `full`, with what the tables need but few figures."""
    runs, stored = [], {}
    for place, (method, (quality, draws)) in enumerate(methods.items()):
        rng = np.random.default_rng(place)
        predictive, y, others, labels = predictions(rng, seeds, task, quality, draws, design)
        scores = score(
            predictive, y, random_draws=method == "mean_field", others=others, other_labels=labels
        )
        points = pointwise(predictive, y)
        for r in range(seeds):
            run = a_run(method, r, scores[r], task, dataset, design, draws, quality)
            arrays = {
                "test_index": np.arange(POINTS) + (1000 * r if design == "resplit" else 0),
                "test_draw_log_prob": predictive.draw_log_prob(y)[r].numpy(),
                **{f"test_{name}": values[r].numpy() for name, values in points.items()},
            }
            if full:
                arrays |= {"test_y": y[r].numpy(), **quantities(predictive, r, "test")}
                for condition, other in others.items():
                    arrays |= quantities(other, r, condition)
                run = replace(run, curve=Curve((1, 2, 3), (1.0, 0.5, 0.3), (1.1, 0.6, 0.5), 3))
            if toy:
                arrays |= grid(task, quality, rng)
            runs.append(run)
            stored[run.key] = {name: compact(array) for name, array in arrays.items()}
    return runs, stored


def compact(array):
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def predictions(rng, seeds, task, quality, draws, design):
    rows = 1 if design == "fixed" else seeds
    same = np.random.default_rng(17)  # the same rows for every method
    if task == "regression":
        truth = np.repeat(same.normal(size=(rows, POINTS)), seeds // rows, 0)
        loc = truth[:, None] * quality + rng.normal(size=(seeds, draws, POINTS)) * 0.3
        scale = np.full_like(loc, 0.5)
        unit = torch.ones(seeds, dtype=torch.double)
        mixture = NormalMixture(torch.tensor(loc), torch.tensor(scale), 0 * unit, unit)
        return mixture, torch.tensor(truth), {}, {}
    y = np.repeat(same.integers(0, CLASSES, (rows, POINTS)), seeds // rows, 0)

    def mixture(signal):
        logits = rng.normal(size=(seeds, draws, POINTS, CLASSES))
        logits += signal * np.eye(CLASSES)[y][:, None]
        return CategoricalMixture(torch.log_softmax(torch.tensor(logits), -1))

    others = {"noise 2": mixture(quality), "noise 10": mixture(quality / 2), "unseen": mixture(0)}
    labels = torch.tensor(y)
    return mixture(3 * quality), labels, others, {"noise 2": labels, "noise 10": labels}


def quantities(predictive, r, condition):
    if isinstance(predictive, NormalMixture):
        parts = {
            "mean": predictive.mean,
            "noise_sd": predictive.noise_variance.sqrt(),
            "weight_sd": predictive.weight_variance.sqrt(),
        }
    else:
        parts = {
            "probs": predictive.probs,
            "entropy": -(predictive.probs * predictive.log_probs).sum(-1),
        }
    return {f"{condition}_{name}": part[r].numpy() for name, part in parts.items()}


def grid(task, quality, rng):
    if task == "regression":
        x = np.linspace(-2, 2, 40)
        data = rng.uniform(-1, 1, 30)
        return {
            "grid_x": x[:, None],
            "grid_mean": np.sin(x) * quality,
            "grid_noise_sd": np.full(40, 0.2),
            "grid_weight_sd": 0.1 * np.abs(x),
            "grid_low": np.sin(x) * quality - 0.5 - 0.2 * np.abs(x),
            "grid_high": np.sin(x) * quality + 0.5 + 0.2 * np.abs(x),
            "train_x": data[:, None],
            "train_y": np.sin(data),
        }
    x = np.stack(np.meshgrid(np.linspace(-2, 2, 12), np.linspace(-2, 2, 12)), -1).reshape(-1, 2)
    second = 1 / (1 + np.exp(-quality * x[:, 1]))
    probs = np.stack([1 - second, second], -1)
    return {
        "grid_x": x,
        "grid_probs": probs,
        "grid_entropy": -(probs * np.log(probs)).sum(-1),
        "train_x": rng.normal(size=(20, 2)),
        "train_y": rng.integers(0, 2, 20),
    }


def a_run(method, seed, scores, task, dataset, design, draws, quality):
    return Run(
        key=key_of({"m": method, "s": seed, "d": dataset, "g": design}),
        study="made-up",
        dataset=dataset,
        task=task,
        method=method,
        seed=seed,
        split=seed if design == "resplit" else 0,
        design=design,
        status="finished",
        message="",
        settings={
            "label": LABELS.get(method, method),
            "network": "MLP(\n  (0): Linear(2, 50)\n)",
            "method": f"Method({quality})",
            "prior": "Normal(1.0)",
            "likelihood": "Categorical()",
            "dtype": "torch.float32",
            "device": "cpu",
        },
        scores=scores,
        cost=Cost(10.0 * draws, 5, 0.02, 1234, draws),
        provenance={
            "command": "python experiments/made_up.py --seeds 5",
            "source": "drawn for the test",
            "licence": "CC0",
            "data_sha256": "ab" * 32,
            "rows": {"train": TRAIN, "test": POINTS},
            "machine": {"system": "Linux", "processor": "x86_64"},
            "threads": 1,
            "versions": {"bnn": "0.1.0", "torch": "2.13.0"},
        },
    )


def broken(run, status, message):
    """A run that did not finish, of a seed of its own."""
    return replace(
        run, key=run.key + status, seed=99, status=status, message=message, scores={}, cost=None
    )


def render(runs, stored, **options):
    lookup = {run.key: stored.get(run.key, {}) for run in runs}
    return page.render("made-up", "Is it so?", runs, lambda r: lookup[r.key], **options)


@cache
def study():
    two = {"mle": METHODS["mle"], "mean_field": METHODS["mean_field"]}
    runs, stored = make(3, full=True)
    moons, moon_arrays = make(3, two, dataset="moons", design="fixed", full=True, toy=True)
    sine, sine_arrays = make(2, two, "regression", "sine", full=True, toy=True)
    odd = [
        broken(runs[0], "diverged", "the loss was no longer finite in epoch 3"),
        broken(runs[3], "failed", "RuntimeError: out of memory"),
    ]
    remark = replace(runs[1], message="the noise scale fell to its floor")
    every = [runs[0], remark, *runs[2:], *moons, *sine, *odd]
    return every, stored | moon_arrays | sine_arrays


@cache
def html():
    return render(*study())


@cache
def small_page():
    return render(*make(2, full=True, toy=True))


# Reading a page back.


@dataclass
class Seen(HTMLParser):
    """What a browser would find in a page: elements, tables and text."""

    tags: list = field(default_factory=list)
    tables: dict = field(default_factory=dict)
    text: list = field(default_factory=list)
    style: str = ""
    script: str = ""

    def __post_init__(self):
        super().__init__()
        self.open, self.rows, self.caption = [], [], ""

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag in ("meta", "input", "br"):
            return
        self.open.append(tag)
        if tag == "table":
            self.rows, self.caption = [], ""
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append([])

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag  # well nested
        if tag == "table":
            self.tables[self.caption] = [["|".join(cell) for cell in row] for row in self.rows]

    def handle_data(self, data):
        inside = self.open[-1] if self.open else ""
        if inside in ("style", "script"):
            setattr(self, inside, getattr(self, inside) + data)
            return
        if inside == "caption":
            self.caption = data
        if data.strip():
            self.text.append(data.strip())
            if ("td" in self.open or "th" in self.open) and "title" not in self.open:
                self.rows[-1][-1].append(data.strip())

    def table(self, start):
        found = next(rows for caption, rows in self.tables.items() if caption.startswith(start))
        return {row[0]: row[1:] for row in found}

    @property
    def words(self):
        return " ".join(self.text)


def see(html):
    seen = Seen()
    seen.feed(html)
    seen.close()
    assert seen.open == []
    return seen


# Numbers and words.


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1.2345, "1.23"),
        (-0.00123456, "\N{MINUS SIGN}0.00123"),
        (123456.0, "123456"),
        (3e9, "3.00e+09"),
        (1e-12, "1.00e\N{MINUS SIGN}12"),
        (math.inf, "∞"),
        (-math.inf, "\N{MINUS SIGN}∞"),
        (math.nan, "–"),
    ],
)
def test_numbers(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.12345, 0.0234, "0.123 ± 0.023"),
        (12.345, 1.26, "12.3 ± 1.3"),
        (1234.5, 130.0, "1234 ± 130"),
        (0.5, None, "0.500"),
        (0.5, 0.0, "0.500"),
        (0.5, math.nan, "0.500"),
        (math.inf, 0.1, "∞"),
        (-0.05, 0.011, "\N{MINUS SIGN}0.050 ± 0.011"),
    ],
)
def test_a_number_is_rounded_to_two_digits_of_its_error(value, error, text):
    assert with_error(value, error) == text


def test_small_words():
    assert decimals_of(0.0234) == 3
    assert interval(-0.0123, 0.0456) == "\N{MINUS SIGN}0.012 to 0.046"
    assert probability(0.0004) == "< 0.001"
    assert probability(0.0123) == "0.012"
    assert ranges([3, 0, 1, 2, 7, 7]) == "0–3, 7"
    assert ranges([]) == ""
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert len(short("x" * 1000)) == 80


def a_difference(**fields):
    known = {"estimate": -0.1, "low": -0.2, "high": -0.01, "p_value": 0.03, "scope": "s"}
    counts = {"replicas": 5, "points": 9, "wins": 3, "losses": 2}
    return Difference(**{**known, **counts, "design": "resplit", **fields})


def test_a_claim_needs_the_adjusted_p_value():
    assert verdict(a_difference(), "lower") == "better"
    assert verdict(a_difference(), "higher") == "worse"
    assert verdict(a_difference(holm_p=0.2), "lower") == "undecided"
    assert verdict(a_difference(holm_p=0.04), "lower") == "better"
    assert verdict(a_difference(estimate=0.1, low=0.01, high=0.2), "lower") == "worse"
    assert verdict(a_difference(estimate=0.0), "lower") == "undecided"


def test_the_standard_error_fits_the_design():
    scores = [Score(1.0, 0.3), Score(2.0, 0.4)]
    sd = math.sqrt(0.5)
    assert standard_error(scores[:1], None, "resplit", 0.25) == 0.3
    assert standard_error(scores, sd, "resplit", 0.25) == pytest.approx(sd * math.sqrt(0.75))
    assert standard_error(scores, sd, "fixed", 0.25) == pytest.approx(math.sqrt(0.25 + 0.125))
    assert standard_error([Score(1.0)], None, "resplit", 0.25) is None
    assert standard_error([Score(1.0)] * 2, sd, "fixed", None) is None
    assert standard_error(scores, sd, "resplit", None) is None
    agreed = standard_error(scores, 0.0, "resplit", 0.25)  # as if each had its own test points
    assert agreed == pytest.approx(math.sqrt(0.125) * math.sqrt(0.75))
    shared = standard_error(scores, sd, "resplit", 0.25, shared=True)
    assert shared == pytest.approx(math.sqrt(0.5 * 0.75 + 0.125))


def test_rows_that_all_replicas_share_keep_their_error():
    runs, stored = make(5)
    areas = [Score(0.9 + 0.001 * (r.seed - 2), 0.05) for r in runs]
    scores = [{**r.scores, "auroc_entropy@unseen": a} for r, a in zip(runs, areas, strict=True)]
    known = [replace(r, scores=some) for r, some in zip(runs, scores, strict=True)]
    table = see(render(known, stored)).table("AUROC")
    column = table["Method"].index("unseen|higher is better")
    error = math.hypot(
        0.05, np.std([a.value for a in areas[:5]], ddof=1) * math.sqrt(1 / 5 + 1 / 3)
    )
    assert table["MAP"][column].startswith(with_error(0.9, error) + "|")


def test_strange_rows_are_told_apart_by_three_measures_in_a_fixed_order():
    runs, stored = make(2)
    for name in ("auroc_expected_entropy@unseen", "auroc_mutual_information@unseen"):
        runs = [replace(r, scores={k: v for k, v in r.scores.items() if k != name}) for r in runs]
    more = {"auroc_expected_entropy@unseen": Score(0.75)}
    known = [replace(r, scores={**r.scores, **more}) for r in runs]
    for some, expected in ((runs, "–"), (known, "0.750")):
        table = see(render(some, stored)).table("AUROC")
        cell = table["MAP"][table["Method"].index("unseen|higher is better")]
        assert cell.split("|")[1:] == [expected, "–"]


def test_what_a_calibrated_model_would_show_is_of_one_replica():
    for seeds, of in ((1, r"\|"), (2, r"\|one replica: ")):
        table = see(render(*make(seeds))).table("Scores on")
        cell = table["MAP"][table["Method"].index("Calibration error (15 bins)")]
        assert re.search(rf"{of}95 % < [\d.]+(\||$)", cell)


# What the page says.


def test_the_score_table_holds_mean_error_and_spread_of_the_runs():
    runs, stored = make(4)
    table = see(render(runs, stored)).table("Scores on the test rows of made")
    assert list(table) == ["Method", "MLE (cross-entropy)", "MAP", "Deep ensemble", "mean_field"]
    values = [run.scores["nll"].value for run in runs if run.method == "map"]
    sd = np.std(values, ddof=1)
    error = sd * math.sqrt(1 / 4 + POINTS / TRAIN)
    column = table["Method"].index("Negative log-likelihood|nats, lower is better")
    main, bits, spread, rows = table["MAP"][column].split("|")
    assert main == with_error(float(np.mean(values)), float(error))
    assert bits == f"{number(np.mean(values) / math.log(2))} bits"
    assert spread == f"sd {sd:.{decimals_of(sd)}f}"
    of_rows = [run.scores["nll"].error for run in runs if run.method == "map"]
    typical = math.sqrt(np.mean(np.square(of_rows)))
    assert rows == f"rows ± {typical:.{decimals_of(typical)}f}"
    draws = [run.scores["nll"].draw_error for run in runs if run.method == "mean_field"]
    rms = math.sqrt(np.mean(np.square(draws)))
    assert table["mean_field"][column].endswith(f"draws ± {rms:.{decimals_of(rms)}f}")


def test_calibration_error_is_never_without_its_null():
    seen = see(html())
    for name in ("made", "moons"):
        table = seen.table(f"Scores on the test rows of {name}")
        column = table["Method"].index("Calibration error (15 bins)")
        for method, cells in table.items():
            if method != "Method":
                null = r"\|if calibrated 0\.\d+\|(one replica: )?95 % < 0\.\d+"
                assert re.search(null, cells[column])
    runs, stored = make(2)
    bare = [replace(r, scores={"ece": Score(0.1)}) for r in runs]
    assert "null unknown" in render(bare, stored)


def test_a_number_that_does_not_exist_is_a_dash():
    table = see(html()).table("Entropy on the test rows")
    column = table["Method"].index("Mutual information|nats")
    assert table["MLE (cross-entropy)"][column] == "–"
    assert table["mean_field"][column] != "–"


def expected_difference(runs, stored, method, name="test_nll", design="resplit"):
    pick = {
        m: torch.tensor(np.stack([stored[r.key][name] for r in runs if r.method == m])).double()
        for m in (method, "mle")
    }
    return paired_difference(pick[method], pick["mle"], design, TRAIN)


@pytest.mark.parametrize("design", ["resplit", "fixed"])
def test_differences_are_those_of_the_statistics(design):
    runs, stored = make(4, design=design)
    seen = see(render(runs, stored))
    for title, name in (("Negative log-likelihood: diff", "test_nll"), ("Brier", "test_brier")):
        table = seen.table(title)
        for method, label in (("ensemble", "Deep ensemble"), ("mean_field", "mean_field")):
            d = expected_difference(runs, stored, method, name, design)
            cells = table[label]
            assert cells[1] == interval(d.low, d.high)
            assert cells[2] == interval(d.naive_low, d.naive_high)
            assert cells[4] == f"{d.wins} of 4"
    words = {"resplit": "re-drawn splits, Nadeau–Bengio", "fixed": "Design: for this split"}
    assert words[design] in seen.words


def test_the_headline_says_who_is_better_by_how_much_and_at_what_cost():
    runs, stored = make(5)
    words = see(render(runs, stored)).words
    d = expected_difference(runs, stored, "ensemble")
    assert d.high < 0
    low, high = sorted((abs(d.low), abs(d.high)))
    assert "one method of 3 beats cross-entropy training on log-likelihood" in words
    assert f"({interval(low, high)})" in words
    assert f"at {number(DRAWS, 2)} × the training time" in words
    worse = expected_difference(runs, stored, "mean_field")
    assert worse.low > 0
    assert re.search(r"Worse: mean_field by [\d.]+ nats per row", words)
    assert re.search(r"Undecided, with the differences .*: MAP", words)
    assert "a claim needs a Holm-adjusted p below 0.05 among 3 comparisons" in words


def test_replicas_that_agree_to_rounding_are_not_certain():
    runs, stored = make(2, {"mle": METHODS["mle"]})
    values = [0.9875, 0.9875 + 1e-16]
    same = [
        replace(r, scores={"accuracy": Score(v, 0.02)}) for r, v in zip(runs, values, strict=True)
    ]
    cell = see(render(same, stored)).table("Scores")["MLE (cross-entropy)"][0]
    assert (
        cell == f"{with_error(0.9875, 0.02 * math.sqrt(1 / 2 + POINTS / TRAIN))}|sd 0|rows ± 0.020"
    )


def test_nothing_is_claimed_where_nothing_differs():
    runs, stored = make(3, {"mle": (1.0, 1), "map": (1.0, 1)})
    words = see(render(runs, stored)).words
    assert "no method is shown to beat cross-entropy training" in words
    assert "Undecided" in words
    assert "Worse" not in words


def test_the_best_and_those_that_may_be_as_good_are_marked():
    runs, stored = make(5)
    rows = re.findall(r'<tr data-method="(\w+)">(.*?)</tr>', render(runs, stored))
    first = dict(reversed(rows))  # the score table is the first one
    marked = {method for method, row in first.items() if 'class="best"' in row.split("</td>")[0]}
    assert marked == {"ensemble"}
    alike, stored = make(3, {"mle": (1.0, 1), "map": (1.0, 1)}, full=True)
    assert render(alike, stored).count('class="best"') == 2 * 3  # nll, accuracy, Brier


def test_runs_that_did_not_finish_are_listed_with_their_message():
    seen = see(html())
    table = seen.table("Runs that did not finish")
    assert "diverged" in table["MLE (cross-entropy)"]
    assert "the loss was no longer finite in epoch 3" in table["MLE (cross-entropy)"]
    assert table["MAP"][1] == "99|split 0"
    assert "RuntimeError: out of memory" in table["MAP"]
    assert "the noise scale fell to its floor" in seen.words


def test_shift_and_unseen_are_in_their_natural_order():
    seen = see(html())
    for start, names in (
        ("AUROC", ["noise 2", "noise 10", "unseen"]),
        ("Negative log-likelihood under", ["test", "noise 2", "noise 10"]),
    ):
        assert [cell.split("|")[0] for cell in seen.table(start)["Method"]] == names


def test_the_footer_tells_how_to_repeat_it():
    words = see(html()).words
    for part in (
        "python experiments/made_up.py --seeds 5",
        "bnn 0.1.0, torch 2.13.0",
        "ab" * 32,
        "CC0",
        "drawn for the test",
        "0–2, 99",
        "Method(1.6)",
        "MLP((0): Linear(2, 50))",
    ):
        assert part in words
    assert "22 finished, 1 diverged, 1 failed" in words


def test_each_part_is_there_for_each_kind_of_data():
    seen = see(html())
    titles = [a["aria-labelledby"] for t, a in seen.tags if t == "svg" and "role" in a]
    assert len(titles) == len(set(titles))
    words = html()
    for name in ("made", "moons"):
        assert words.count(f"Reliability of MLE (cross-entropy) on {name}") == 1
        assert words.count(f"Entropy of mean_field on {name}") == 1
    assert words.count("Probability over the plane, mean_field on moons") == 1
    assert words.count("Prediction with its doubt, mean_field on sine") == 1
    for name in ("made", "moons", "sine"):
        assert words.count(f"Training of mean_field on {name}") == 1
        assert words.count(f"Log-likelihood against training time on {name}") == 1
    assert "What this does not show" in words
    assert "With one fixed split nothing is known about other splits" in words
    assert "Re-drawn splits re-use the rows" in words
    assert "only 2 replicas" in words


def test_two_designs_of_one_data_set_stay_apart():
    one, arrays = make(2)
    two, others = make(2, design="fixed")
    seen = see(render([*one, *two], arrays | others))
    assert "Results on made, re-drawn splits" in seen.words
    assert "Results on made, one fixed split" in seen.words


def test_a_note_stands_before_the_answer():
    text = render(*make(2), notes=["A quick look."])
    assert 0 < text.index("A quick look.") < text.index('class="answer"')


def test_the_runs_own_notes_are_told_once():
    runs, stored = make(2)
    noted = [replace(r, provenance={**r.provenance, "note": "Too few."}) for r in runs]
    for notes in ((), ("Too few.",)):
        text = render(noted, stored, notes=notes)
        assert text.count("Too few.") == 1
        assert text.index("Too few.") < text.index('class="answer"')


# Little, broken or odd.


def test_no_runs():
    words = see(render([], {})).words
    assert "There are no runs yet" in words
    assert "What this does not show" in words


def test_every_run_failed():
    runs, _ = make(2)
    words = see(render([broken(r, "failed", "no luck") for r in runs], {})).words
    assert "No run finished" in words
    assert "no luck" in words


def test_no_baseline():
    runs, stored = make(2)
    words = see(render([r for r in runs if r.method != "mle"], stored)).words
    assert "has no finished run" in words
    words = see(render(runs, stored, baseline="map")).words
    assert "Differences to MAP" in words


def test_only_the_baseline():
    runs, stored = make(2)
    words = see(render([r for r in runs if r.method == "mle"], stored)).words
    assert "only cross-entropy training can be judged" in words


def test_one_replica_says_so():
    runs, stored = make(1)
    seen = see(render(runs, stored))
    assert "It says nothing about other seeds" in seen.words
    assert "for this split and seed" in seen.words
    cells = seen.table("Negative log-likelihood: diff")["Deep ensemble"]
    assert cells[2] == "–"  # no naive interval from one replica
    assert "sd" not in seen.table("Scores")["MAP"][0]


def test_arrays_that_are_damaged_are_told_and_the_page_is_made():
    runs, stored = make(2)

    def lookup(run):
        if run.key == runs[0].key:
            raise InputError("the arrays of a run", "a torn file", "Delete it.")
        return stored[run.key]

    seen = see(page.render("made-up", "Is it so?", runs, lookup))
    row = seen.table("Remarks on finished runs")["MLE (cross-entropy)"]
    assert row[1] == "0|split 0"
    assert row[3] == "Damaged: Expected the arrays of a run; found a torn file. Delete it."
    assert "arrays of 1 finished run are missing" in seen.words
    assert seen.table("Negative log-likelihood: diff")["MAP"][4].endswith("of 1")


def test_arrays_that_are_gone_are_told_and_the_scores_stay():
    runs, _ = make(2)
    seen = see(render(runs, {}))
    assert "arrays of 8 finished runs are missing" in seen.words
    assert "±" in seen.table("Scores on the test rows of made")["MAP"][0]
    assert "No pair could be compared" in seen.words


def test_methods_are_compared_on_the_replicas_that_both_finished():
    runs, stored = make(4)
    some = [r for r in runs if r.method != "ensemble" or r.seed > 0]
    table = see(render(some, stored)).table("Negative log-likelihood: diff")
    assert table["Deep ensemble"][4] == "3 of 3"
    assert table["MAP"][4].endswith(" of 4")


def test_replicas_on_other_rows_are_not_compared():
    runs, stored = make(2)
    moved = {
        key: {**arrays, "test_index": arrays["test_index"] + 1}
        for key, arrays in stored.items()
        if any(run.key == key and run.method == "map" for run in runs)
    }
    table = see(render(runs, stored | moved)).table("Negative log-likelihood: diff")
    assert table["MAP"][5].startswith("not compared|")


def test_numbers_that_are_not_finite_do_not_stop_the_page():
    runs, stored = make(2)
    worst = {**runs[-1].scores, "nll": Score(math.inf), "accuracy": Score(math.nan)}
    arrays = {**stored[runs[-1].key], "test_nll": np.full(POINTS, np.inf)}
    odd = replace(runs[-1], scores=worst)
    seen = see(render([*runs[:-1], odd], {**stored, odd.key: arrays}))
    assert seen.table("Scores on")["mean_field"][0].startswith("∞")
    assert seen.table("Negative log-likelihood: diff")["mean_field"][5].startswith("not compared")
    assert "∞" not in seen.table("Negative log-likelihood: diff")["MAP"][0]


def test_runs_with_almost_nothing_known():
    runs, _ = make(2)
    bare = [replace(r, settings={}, provenance={}, cost=None, curve=Curve()) for r in runs]
    assert "None" not in see(render(bare, {})).words


# The same bytes, and nothing that acts.


def test_the_same_runs_in_any_order_give_the_same_bytes():
    runs, stored = make(2, full=True, toy=True)
    shuffled = [runs[i] for i in np.random.default_rng(0).permutation(len(runs))]
    assert render(shuffled, stored) == small_page()


def test_another_process_gives_the_same_bytes(tmp_path):
    code = "import hashlib, test_report as t; print(t.digest(t.small_page()))"
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "1",
        "TZ": "Asia/Tokyo",
        "PYTHONPATH": str(Path(__file__).parent),
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.strip() == digest(small_page())


def digest(text):
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def test_the_policy_names_our_style_and_script_and_nothing_else():
    seen = see(html())
    policy = next(a["content"] for t, a in seen.tags if a.get("http-equiv"))
    assert policy.startswith("default-src 'none';")
    assert f"style-src 'sha256-{digest(seen.style)}'" in policy
    assert f"script-src 'sha256-{digest(seen.script)}'" in policy
    assert "unsafe" not in policy
    assert len(seen.script.encode()) < 4096
    assert [t for t, _ in seen.tags].count("script") == 1
    assert [t for t, _ in seen.tags].count("style") == 1


def assert_inert(html):
    """Assert that a page holds no element or attribute that could act or call out."""
    seen = see(html)
    known = set(
        "html head meta title style body header footer main nav section p h1 h2 h3 div ul li a "
        "details summary fieldset legend label input bdi table caption thead tbody tr th td small "
        "span figure figcaption dl dt dd code script "
        "svg desc g defs clippath path rect use text tspan image line polygon".split()
    )
    assert {tag for tag, _ in seen.tags} <= known
    for tag, attributes in seen.tags:
        assert "style" not in attributes, tag
        assert not any(name.startswith("on") for name in attributes), tag
        for name in ("href", "src"):
            assert attributes.get(name, "#").startswith(("#", "data:image/png;base64,")), tag
    assert [t for t, _ in seen.tags].count("script") == 1
    ids = [a["id"] for _, a in seen.tags if "id" in a]
    assert len(ids) == len(set(ids))
    return seen


def test_the_page_is_inert():
    assert_inert(html())


HOSTILE = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"'><svg onload=alert(1)>",
    "{{ 77 * 77177 }}{% raw %}",
    "]]><!--",
    "esc\x1b[31m\x00\x7f nul",
    "\u202egnorw \u2066",
    "مرحبا",
    "🎉" * 3,
    "$\\alpha$",
    "lone\ud800",
    "x" * 10_000,
    "a b" * 300,
    "javascript:alert(1)",
    "</title></style></svg>",
)


@cache
def two_methods():
    return make(2, {"mle": METHODS["mle"], "other": METHODS["mean_field"]})


def hostile_page(name):
    """Put a name wherever a name can stand."""
    runs, stored = two_methods()
    rough = [
        replace(
            run,
            dataset=name,
            method=run.method.replace("other", name),
            scores={k.replace("noise 10", name): v for k, v in run.scores.items()},
            settings={k: name for k in run.settings},
            provenance={**run.provenance, **dict.fromkeys(["command", "source", "licence"], name)},
            message=name,
        )
        for run in runs
    ]
    entropies = {f"{name}_entropy": np.ones(9), "unseen_entropy": np.ones(9)}
    lost = [broken(rough[0], "failed", name)]
    lookup = {run.key: {**stored[run.key], **entropies} for run in runs}
    return page.render(name, name, [*rough, *lost], lambda r: lookup[r.key], notes=[name])


@cache
def hostile_pages():
    return {name: hostile_page(name) for name in HOSTILE}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_text(name):
    text = hostile_pages()[name]
    text.encode()
    seen = assert_inert(text)
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
    assert str(77 * 77177) not in seen.words
    start = page.visible(name)[:20].strip()
    assert start in seen.words


def test_write_is_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "folder" / "page.html"
    page.check_writable(path)
    page.write(path, "<p>é</p>\n")
    assert path.read_bytes() == "<p>é</p>\n".encode()
    page.write(path, "again")
    assert [p.name for p in path.parent.iterdir()] == ["page.html"]
    with pytest.raises(UnicodeEncodeError):
        page.write(path, "\ud800")
    assert path.read_text() == "again"
    assert [p.name for p in path.parent.iterdir()] == ["page.html"]


@pytest.mark.parametrize("act", [page.check_writable, lambda path: page.write(path, "x")])
def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path, act):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(InputError, match="--report"):
        act(tmp_path / "taken" / "page.html")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="--report"):
        act(tmp_path / "folder")


# In a browser.


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip(
        "playwright.sync_api",
        reason="no browser tests: playwright is not installed (pip install playwright)",
    )
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no browser tests: no chromium in the PATH")
    with playwright.sync_playwright() as driver:
        instance = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield instance
        instance.close()


class Visit:
    """A page in the browser, with all that it said and asked for."""

    def __init__(self, context, path):
        self.page, self.path, self.messages, self.requests = context.new_page(), path, [], []
        self.page.on("console", lambda message: self.messages.append(message.text))
        self.page.on("pageerror", lambda error: self.messages.append(str(error)))
        self.page.on("dialog", self.refuse)
        self.page.on("request", self.note)

    def refuse(self, box):
        self.messages.append(box.message)
        box.dismiss()

    def note(self, request):
        if not request.url.startswith(("file:", "data:")):
            self.requests.append(request.url)

    def go(self, text):
        self.path.write_text(text, encoding="utf-8")
        self.page.goto(self.path.as_uri())


@pytest.fixture
def visit(browser, tmp_path):
    contexts = []

    def go(text, width=1200, **options):
        contexts.append(browser.new_context(viewport={"width": width, "height": 800}, **options))
        found = Visit(contexts[-1], tmp_path / "page.html")
        found.go(text)
        return found

    yield go
    for context in contexts:
        context.close()


def test_browser_everything_is_there_without_javascript(visit):
    bare = visit(html(), java_script_enabled=False)
    assert bare.messages == []
    text = bare.page.locator("main").inner_text()
    for caption, rows in see(html()).tables.items():
        if caption in ("Data", "Methods"):
            continue
        for row in rows[1:]:
            for cell in row[1:]:
                for part in cell.split("|"):
                    assert " ".join(part.split()) in " ".join(text.split())
    assert not bare.page.locator("#methods").is_visible()


def test_browser_no_message_and_no_request(visit):
    for scheme in ("light", "dark"):
        found = visit(html(), color_scheme=scheme)
        assert found.messages == []
        assert found.requests == []
    ink = found.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ink == "rgb(21, 24, 29)"
    line = "getComputedStyle(document.querySelector('figure svg path[stroke=currentColor]')).stroke"
    assert found.page.evaluate(line) == "rgb(229, 232, 236)"


def test_browser_columns_sort_by_number_and_say_so(visit):
    found = visit(html()).page
    table = found.locator("table", has_text="Scores on the test rows").first
    head = table.locator("thead th").nth(1)

    def column():
        keys = table.locator("tbody tr td:nth-child(2)").evaluate_all(
            "cells => cells.map(cell => Number(cell.dataset.sort))"
        )
        return keys

    before = column()
    assert before != sorted(before)
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert column() == sorted(before)
    found.keyboard.press("Enter")  # the keyboard works too
    assert head.get_attribute("aria-sort") == "descending"
    assert column() == sorted(before, reverse=True)
    table.locator("thead th button").first.click()
    assert head.get_attribute("aria-sort") is None
    names = table.locator("tbody th").all_inner_texts()
    assert names == sorted(names, key=str.lower)


def test_browser_methods_can_be_hidden_and_shown(visit):
    found = visit(html()).page
    rows = found.locator("[data-method=mean_field]")
    assert rows.count() > 10
    assert found.locator("main [data-method=mean_field]:visible").count() > 10
    found.locator("#methods input[value=mean_field]").click()
    assert found.locator("main [data-method=mean_field]:visible").count() == 0
    assert found.locator("main [data-method=map]:visible").count() > 10
    found.locator("#methods input[value=mean_field]").click()
    assert found.locator("main [data-method=mean_field]:visible").count() > 10


@pytest.mark.parametrize("width", [320, 768])
def test_browser_no_horizontal_scroll(visit, width):
    found = visit(html(), width=width)
    assert found.page.evaluate("document.documentElement.scrollWidth") <= width


def test_browser_hostile_names_do_nothing(visit):
    found = visit("", width=320)
    for name, text in hostile_pages().items():
        found.go(text)
        assert found.messages == [], name[:40]
        assert found.requests == [], name[:40]
        assert found.page.evaluate("document.scripts.length") == 1
        assert found.page.evaluate("document.documentElement.scrollWidth") <= 320, name[:40]
        found.page.locator("#methods input").last.click()
        hidden = found.page.evaluate("document.querySelectorAll('main .away').length")
        assert hidden > 2, name[:40]


def test_browser_the_policy_stops_what_we_did_not_write(visit):
    evil = (
        "<p style='color:red'>x</p><script>document.title='pwned'</script>"
        "<img src='https://example.org/x'>"
    )
    found = visit(html().replace("</main>", evil + "</main>"))
    assert found.page.title() == "made-up"
    assert len([m for m in found.messages if "Content Security Policy" in m]) >= 3
