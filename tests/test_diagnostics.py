"""Chains that agree pass the gate, others do not, and every number they feed says so."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console
from small import normal, real_targets, two_classes
from test_report import make, render, see
from test_store import a_run

from bnn.data import Dataset
from bnn.diagnostics import caveats_of, diagnose, predictions, worst_of
from bnn.evaluation import Evaluation, evaluate
from bnn.methods import HMC, MLE
from bnn.networks import MLP
from bnn.optimise import Training
from bnn.posterior import Posterior, predict
from bnn.problem import Problem
from bnn.run import Run
from bnn.table import table

CAVEAT = "The chains are not shown to have converged: worst R-hat 1.200, above 1.01."


def independent(chains: int = 4, samples: int = 500, quantities: int = 20) -> np.ndarray:
    return normal(chains, samples, quantities, seed=1).numpy()


def test_independent_draws_pass_the_gate() -> None:
    found = worst_of(independent())
    assert found["chains"] == 4
    assert found["samples"] == 500
    assert 0.999 < found["rhat"] < 1.01
    assert 1200 < found["ess_bulk"] < 2400  # the worst of 20, of 2,000 draws
    assert 1200 < found["ess_tail"] < 2400
    assert caveats_of(found) == ()


def test_a_chain_elsewhere_fails_it() -> None:
    values = independent()
    values[0, :, 7] += 1  # one standard deviation, in one quantity of one chain
    found = worst_of(values)
    assert found["rhat"] > 1.05
    assert "worst R-hat 1." in caveats_of(found)[0]


def test_a_wider_chain_fails_it_by_its_tails() -> None:
    values = independent()
    values[0, :, 7] *= 3
    found = worst_of(values)
    assert found["rhat"] > 1.05  # of the folded ranks; the means agree


def test_correlated_draws_are_worth_fewer() -> None:
    noise, values = independent(4, 4000, 3), np.zeros((4, 4000, 3))
    for t in range(1, 4000):
        values[:, t] = 0.9 * values[:, t - 1] + math.sqrt(1 - 0.81) * noise[:, t]
    # an autoregression of coefficient a is worth (1 - a) / (1 + a) of its length
    assert worst_of(values)["ess_bulk"] == pytest.approx(16_000 / 19, rel=0.25)
    assert "worst ESS" in caveats_of(worst_of(values))[0]


def test_few_chains_and_few_samples_fail_it() -> None:
    assert "2 of at least 4 chains" in caveats_of(worst_of(independent(2, 2000)))[0]
    assert "R-hat and ESS unknown" in caveats_of(worst_of(independent(4, 3)))[0]
    assert "1 of at least 4 chains" in caveats_of(worst_of(independent(1, 2000)))[0]


def test_what_never_moves_anywhere_is_left_out_and_a_stuck_chain_is_not() -> None:
    values = independent()
    values[:, :, 3] = 1.5
    assert worst_of(values)["rhat"] < 1.01
    values[2, :, 4] = 0.1
    assert worst_of(values)["rhat"] > 1.05
    values[:, :, 4] = np.arange(4)[:, None]  # every chain stuck at a place of its own
    assert caveats_of(worst_of(values))


def test_numbers_that_are_not_finite_are_never_agreement() -> None:
    values = independent()
    values[0, 0, 0] = np.nan
    assert "unknown" in caveats_of(worst_of(values))[0]


def judged(data: Dataset) -> Dataset:
    """Test the rows held out."""
    split = data.split
    return replace(
        data, split=replace(split, validation=split.validation[:, :0], test=split.validation)
    )


@pytest.mark.parametrize("outputs", [2, 1], ids=["classes", "numbers"])
def test_what_is_looked_at_is_predictions_and_densities(outputs: int) -> None:
    make_data = two_classes if outputs == 2 else real_targets
    data = judged(make_data(400, replicas=2, held_out=350))
    problem = Problem.of(data, MLP(3, [4], outputs).double())
    posterior = HMC(chains=4, warmup=20, samples=10, thin=1, max_steps=5).fit(problem, [0, 1])
    test = predict(posterior, data.test.x)
    found = predictions(test, data.test.y)
    assert found.shape == (2, 40, 300)
    if outputs == 2:
        exact = test.draw_log_probs[1, 7, 349, data.test.y[1, 349]]
    else:
        exact = test.loc[1, 7, 349]
    assert found[1, 7, -1] == exact  # the last row is among the evenly spaced
    weights = posterior.family.draw(None, 0)[0]
    joint = problem.log_joint(weights)
    every = torch.cat([found, (joint - problem.log_prior(weights))[..., None]], 2)
    every = torch.cat([every, problem.log_prior(weights)[..., None]], 2)
    told = diagnose(posterior, test, data.test.y)
    for r in range(2):
        expected = worst_of(every[r].unflatten(0, (4, 10)).numpy())
        assert told[r].items() >= {k: pytest.approx(v) for k, v in expected.items()}.items()
        assert told[r]["divergences"] >= 0
        assert 0 < told[r]["acceptance"] <= 1
    assert (
        diagnose(
            posterior.take([1]), predict(posterior.take([1]), data.test.x[1:]), data.test.y[1:]
        )[0]
        == told[1]
    )


def evaluated(posterior: Posterior, data: Dataset) -> Evaluation:
    return evaluate(posterior, data, 10)[0]


def test_an_evaluation_carries_the_caveats_of_chains_and_of_the_posterior() -> None:
    data = judged(two_classes(60, held_out=20))
    problem = Problem.of(data, MLP(3, [4], 2).double())
    short = HMC(chains=2, warmup=10, samples=10, thin=1, max_steps=3).fit(problem, [0])
    found = evaluated(short, data)
    assert len(found.caveats) == 1
    assert "2 of at least 4 chains" in found.caveats[0]
    assert found.diagnostics["chains"] == 2
    point = MLE(Training(epochs=1)).fit(problem, [0])
    assert evaluated(point, data).caveats == ()
    assert evaluated(point, data).diagnostics == {}
    assert evaluated(replace(point, caveats=("Not so.",)), data).caveats == ("Not so.",)


# Runs


def test_a_run_keeps_its_diagnostics_and_caveats() -> None:
    run = a_run(diagnostics={"rhat": 1.2, "ess_bulk": math.nan}, caveats=(CAVEAT, "b"))
    text = run.to_json()
    assert json.loads(text)["diagnostics"]["ess_bulk"] is None
    found = Run.from_json(text)
    assert found.caveats == (CAVEAT, "b")
    assert found.diagnostics["rhat"] == 1.2
    assert math.isnan(found.diagnostics["ess_bulk"])


def test_a_run_of_the_first_schema_is_read() -> None:
    fields = json.loads(a_run().to_json())
    assert fields.pop("diagnostics") == {}
    assert fields.pop("caveats") == []
    assert Run.from_json(json.dumps({**fields, "schema": 1})) == a_run()


# The report and the table on the terminal


def warned() -> str:
    runs, stored = make(2, full=True)
    runs = [replace(r, caveats=(CAVEAT,)) if r.method == "mean_field" else r for r in runs]
    return render(runs, stored)


def test_every_number_with_a_caveat_is_marked_and_the_caveat_stands_below() -> None:
    html, clean = warned(), render(*make(2, full=True))
    assert "†" not in clean
    rows = [row.partition("</tr>")[0] for row in html.split('<tr data-method="')[1:]]
    mine = [row for row in rows if row.startswith("mean_field") and "<sup" in row]
    assert len(mine) >= 3  # scores, entropies, differences
    mark = '<sup role="img" aria-label="with a caveat, see the note below the table">†</sup>'
    for row in mine:
        for cell in row.split("<td")[1:]:
            number = 'class="words"' not in cell and ">–<" not in cell
            assert (mark in cell) == number
    assert not any("<sup" in row for row in rows if not row.startswith("mean_field"))
    sentence = f"† mean_field, seeds 0–1: {CAVEAT}"
    assert html.count(sentence) >= 4  # in the answer, and below each table
    assert "Remarks on finished runs" in html


def test_a_baseline_with_a_caveat_marks_every_difference_to_it() -> None:
    runs, stored = make(2, full=True)
    runs = [replace(r, caveats=(CAVEAT,)) if r.method == "mle" else r for r in runs]
    html = render(runs, stored)
    found = next(part for part in html.split("<caption>") if "difference to" in part[:60])
    rows = found.partition("</table>")[0].split('<tr data-method="')[1:]
    assert rows
    assert all("<sup" in row for row in rows)


def test_many_caveats_of_a_method_are_told_once_and_in_full_further_down() -> None:
    runs, stored = make(5, full=False)
    runs = [
        replace(r, caveats=(f"worst ESS {r.seed}",)) if r.method == "mean_field" else r
        for r in runs
    ]
    html = render(runs, stored)
    assert "3 more caveats are listed under “What went wrong, or nearly”" in html
    assert all(f"worst ESS {seed}" in html for seed in range(5))
    assert see(html)


def test_the_table_on_the_terminal_marks_them_too() -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(table([a_run(0, caveats=(CAVEAT,)), a_run(1)], ["mean_field"]))
    text = console.export_text()
    assert "0.100 ± 0.000 †" in text
    assert "† mean_field: The chains are not shown" in text
