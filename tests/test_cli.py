"""The bnn command."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bnn import MAP, METHODS, MLE, MLP, Training, cli
from bnn.batch import Batch
from bnn.cli import app, main
from bnn.data import DATASETS, Dataset, two_moons
from bnn.priors import Normal
from bnn.store import Store


def test_lists_say_where_things_come_from() -> None:
    methods = CliRunner().invoke(app, ["methods"]).output
    assert all(m.name in methods and m.reference in methods for m in METHODS)
    datasets = CliRunner().invoke(app, ["datasets"]).output
    assert all(f"{name} " in datasets for name in DATASETS)


def test_a_report_without_runs_ends_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["bnn", "report", "digits", "--runs", str(tmp_path)])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert "Run the experiment first." in " ".join(capsys.readouterr().err.split())


def save(store: Store, batch: Batch, when: float) -> None:
    for run, arrays in batch.runs():
        store.save(run, arrays)
        os.utime(store.folder / batch.study / f"{run.key}.json", (when, when))


def a_batch(data: Dataset, epochs: int = 1) -> Batch:
    return Batch(
        study="moons",
        dataset="two_moons",
        data=data,
        network=MLP(2, [4], 2),
        prior=Normal(1.0),
        likelihood=None,
        method=MLE(Training(epochs=epochs)),
        seeds=(0, 1),
        design="resplit",
        draws=5,
        provenance={"question": "Does it work?"},
    )


@pytest.mark.parametrize("more", [{}, {"findings": "yes"}])
def test_a_report_without_the_script_says_that_its_findings_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, str]
) -> None:
    monkeypatch.chdir(tmp_path)
    batch = a_batch(two_moons([0, 1], points=40))
    save(Store(Path("runs")), replace(batch, provenance={**batch.provenance, **more}), 1.0)
    done = CliRunner().invoke(app, ["report", "moons"])
    assert done.exit_code == 0
    page = Path("reports/moons.html").read_text()
    assert ("adds a section of findings" in done.output) == ("findings" in more)
    assert ("adds a section of findings" in page) == ("findings" in more)


def test_a_report_takes_the_latest_runs_that_may_be_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = two_moons((0, 1), points=120)
    store = Store(Path("runs"))
    old = a_batch(data)
    save(store, old, 1)
    save(store, replace(old, method=MAP(Training(epochs=1)), network=MLP(2, [5], 2)), 2)
    save(store, replace(old, method=MLE(Training(epochs=2)), network=MLP(2, [5], 2)), 3)
    save(store, replace(old, method=MLE(Training(epochs=3)), network=MLP(2, [5], 2)), 4)
    done = CliRunner().invoke(app, ["report", "moons"])
    assert done.exit_code == 0
    page = Path("reports/moons.html").read_text()
    assert "4 of 4 runs finished" in page  # MAP and MLE with five units
    assert "epochs=3" in page
    assert "epochs=2," not in page
    for text in (done.output, page):
        assert "Left out: 4 runs of other, earlier settings." in text


def test_damage_is_told_and_hides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store(Path("runs"))
    batch = a_batch(two_moons((0, 1), points=120))
    save(store, batch, 1)
    Path("runs/moons/torn.json").write_text("{")
    (Path("runs/moons") / f"{batch.keys[0]}.nc").write_bytes(b"torn")
    done = CliRunner().invoke(app, ["report", "moons"])
    assert done.exit_code == 0
    page = Path("reports/moons.html").read_text()
    assert "2 of 2 runs finished" in page
    assert "Damaged: " in page
    assert "torn.json" in page
    assert "torn.json" in done.output


def test_a_check_prints_its_table_and_fails_where_a_row_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done = CliRunner().invoke(app, ["check", "map"])
    assert done.exit_code == 0
    assert "7 rows, none failed." in done.output
    assert done.output.count("passed") == 7
    # Whoever claims that the mode is least squares fails the rows that tell them apart.
    monkeypatch.setattr(MAP, "accuracy", MLE.accuracy)
    done = CliRunner().invoke(app, ["check", "map"])
    assert done.exit_code == 1
    assert "7 rows, 3 failed." in done.output
    assert done.output.count("FAILED") == 3
    done = CliRunner().invoke(app, ["check", "mapp"])
    assert "Did you mean 'map'?" in str(done.exception)


def test_all_methods_are_checked_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "METHODS", (MAP(), MLE()))
    done = CliRunner().invoke(app, ["check", "all"])
    assert done.exit_code == 0
    firsts = [line.split()[0] for line in done.output.splitlines() if "passed" in line]
    assert firsts == ["map"] * 7 + ["mle"] * 7


def test_a_study_misspelt_is_guessed(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    done = CliRunner().invoke(
        app, ["report", "Tiny", "--runs", str(tmp_path), "--report", str(tmp_path / "x.html")]
    )
    assert "Did you mean 'tiny'?" in str(done.exception)
