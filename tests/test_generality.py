"""The report over data sets: shown where there are enough, with the numbers of the statistics."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from test_report import HOSTILE, METHODS, assert_inert, make, render, see

from bnn.report.compare import relative_errors
from bnn.report.generality import ROPE, Overall, overall, sentences
from bnn.report.group import groups
from bnn.report.words import chance, interval
from bnn.statistics import generalise, paired_difference
from bnn.statistics.hierarchical import Regions

TWO = {"mle": METHODS["mle"], "mean_field": METHODS["mean_field"]}


def study(names="one two three", methods=METHODS, seeds=3):
    """The same made-up methods on several data sets."""
    runs, stored = [], {}
    for name in names.split():
        some, arrays = make(seeds, methods, dataset=name)
        runs += some
        stored |= arrays
    return runs, stored


@cache
def found() -> tuple[Overall, str]:
    runs, stored = study()
    lookup = {run.key: stored[run.key] for run in runs}
    over = overall(list(groups(runs, "mle", lambda run: lookup[run.key])))
    assert over is not None
    return over, render(runs, stored)


def test_the_numbers_are_those_of_the_statistics() -> None:
    over, page = found()
    runs, stored = study()
    differences = []
    for name in ("one", "three", "two"):
        pick = {
            method: np.stack(
                [stored[r.key]["test_nll"] for r in runs if (r.method, r.dataset) == (method, name)]
            )
            for method in ("ensemble", "mle")
        }
        a, b = (torch.from_numpy(pick[m]) for m in ("ensemble", "mle"))
        differences.append(paired_difference(a, b, "resplit", 240))
    (expected,) = generalise([differences], ROPE)
    assert over.found["ensemble"].mean == pytest.approx(expected.mean, abs=1e-9)
    cells = see(page).table("Negative log-likelihood over data sets")[over.labels["ensemble"]]
    assert cells[0] == "3"
    assert cells[2] == interval(expected.low, expected.high)
    assert cells[4] == interval(expected.next_low, expected.next_high)
    for place, name in ((5, "below"), (6, "within"), (7, "above")):
        following, mean = (getattr(r, name) for r in (expected.on_next, expected.on_average))
        assert cells[place] == f"{chance(following)}|mean {chance(mean)}"


def test_errors_are_compared_by_the_log_of_their_ratio_whatever_their_unit() -> None:
    parts, stored = {}, {}
    for unit, name in ((1.0, "one"), (1000.0, "two"), (0.01, "three")):
        runs, arrays = make(4, TWO, dataset=name, task="regression")
        stored |= arrays
        parts[name] = [
            replace(
                run,
                scores={
                    **run.scores,
                    "rmse": replace(run.scores["rmse"], value=unit * run.scores["rmse"].value),
                },
            )
            for run in runs
        ]
    runs = [run for some in parts.values() for run in some]
    over = overall(list(groups(runs, "mle", lambda run: stored[run.key])))
    assert over is not None
    rmse = {(r.method, r.dataset, r.split): r.scores["rmse"].value for r in runs}
    differences = []
    for name in ("one", "three", "two"):
        logs = [np.log(rmse["mean_field", name, r] / rmse["mle", name, r]) for r in range(4)]
        spread = np.std(logs, ddof=1) * np.sqrt(1 / 4 + 80 / 240)
        told = relative_errors(next(g for g in over.groups if g.dataset == name))["mean_field"]
        assert told.estimate == pytest.approx(np.mean(logs))
        assert told.error == pytest.approx(spread)
        differences.append(told)
    (expected,) = generalise([differences], ROPE)
    assert over.errors["mean_field"].mean == pytest.approx(expected.mean)
    cells = see(render(runs, stored)).table("Root mean squared error over data sets")
    assert cells[over.labels["mean_field"]][2] == interval(expected.low, expected.high)


def test_the_headline_has_the_best_method_in_a_sentence_and_the_others_in_numbers() -> None:
    over, page = found()
    words = see(page).words
    assert next(iter(over.found)) == "ensemble"  # the most probably better one first
    assert list(over.found)[-1] == "mean_field"
    regions = over.found["ensemble"].on_next
    assert (
        f"On a next data set like these 3, {over.labels['ensemble']} has a better log-likelihood"
        " than MLE (cross-entropy) by more than 0.01 nats per row with probability"
        f" {chance(regions.below)}, is practically equivalent with {chance(regions.within)},"
        f" and worse with {chance(regions.above)}."
    ) in words
    for method in ("mean_field", "map"):
        regions, label = over.found[method].on_next, over.labels[method]
        chances = [chance(p) for p in (regions.below, regions.within, regions.above)]
        assert f"{label} {' / '.join(chances)}" in words
    assert words.index("On a next data set") < words.index("On one,")
    assert words.index("Data set by data set") < words.index("On one,")


def test_ranks_are_of_all_methods_on_all_data_sets() -> None:
    over, page = found()
    assert over.ranks is not None
    assert over.ranks.mean["ensemble"] == 1.0
    assert over.ranks.mean["mean_field"] == 4.0
    table = see(page).table("Ranks over 3 data sets")
    assert table[over.labels["ensemble"]][0] == "1.00"
    assert table["MLE (cross-entropy)"][1] == "–"
    assert "Ranks over 3 data sets by negative log-likelihood, pictured" in page


def test_the_page_is_inert_and_the_same_every_time() -> None:
    _, page = found()
    assert_inert(page)
    runs, stored = study()
    assert render(runs[::-1], stored) == page


def test_two_data_sets_are_too_few() -> None:
    runs, stored = study("one two", TWO)
    words = see(render(runs, stored)).words
    assert "On a next data set" not in words
    assert "Over the data sets" not in words
    more, arrays = make(3, TWO, dataset="one", design="fixed")  # again, and not a third
    assert "On a next data set" not in see(render(runs + more, stored | arrays)).words


def test_a_method_that_is_missing_somewhere_has_no_rank_and_its_own_count() -> None:
    runs, stored = study("one two three four", TWO)
    some = [r for r in runs if (r.method, r.dataset) != ("mean_field", "four")]
    lost = [r for r in runs if r.method == "mle" or r.dataset in ("one", "two")]
    lookup = list(groups(some, "mle", lambda run: stored[run.key]))
    over = overall(lookup)
    assert over is not None
    assert over.found["mean_field"].datasets == 3
    assert over.ranks is None
    assert overall(list(groups(lost, "mle", lambda run: stored[run.key]))) is None


def test_a_caveat_on_one_data_set_is_told_over_all() -> None:
    runs, stored = study(methods=TWO)
    odd = [
        replace(r, caveats=("The chains are lost.",))
        if (r.method, r.dataset, r.seed) == ("mean_field", "two", 0)
        else r
        for r in runs
    ]
    over = overall(list(groups(odd, "mle", lambda run: stored[run.key])))
    assert over is not None
    assert over.labels["mean_field"] == "mean_field †"
    assert over.caveats == ["mean_field †: see the caveat on two."]
    lost = replace(over.found["mean_field"], caveats=("The chains are lost too.",))
    both = replace(over, found={"mean_field": lost})
    assert both.labels["mean_field"] == "mean_field †"
    assert list(sentences(both))[1:] == [
        "mean_field †: see the caveat on two.",
        "mean_field †, over data sets: The chains are lost too.",
    ]


@pytest.mark.parametrize("name", HOSTILE[:3])
def test_hostile_names_are_text_over_data_sets_too(name) -> None:
    runs, stored = study(methods=TWO, seeds=2)
    rough = [
        replace(r, dataset=r.dataset + name, method=r.method.replace("mean_field", name))
        for r in runs
    ]
    seen = assert_inert(render(rough, stored, rope=0.2))
    assert "Over the data sets" in seen.words
    assert "by more than 0.2 nats per row" in seen.words  # the region that was asked for


def test_probabilities_in_words() -> None:
    assert [chance(p) for p in (0.0, 0.004, 0.5, 0.129, 0.994, 1.0)] == [
        "< 0.01", "< 0.01", "0.50", "0.13", "> 0.99", "> 0.99"
    ]  # fmt: skip


def test_sentences_say_better_where_the_loss_is_lower() -> None:
    over, _ = found()
    sure = Regions(below=0.9, within=0.07, above=0.03)
    told = replace(over.found["map"], on_next=sure)
    (sentence,) = sentences(replace(over, found={"map": told}))
    assert "with probability 0.90, is practically equivalent with 0.07, and worse with 0.03" in (
        sentence
    )
