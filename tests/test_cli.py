"""The bnn command."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bnn import METHODS, MLE, MLP, Training
from bnn.batch import Batch
from bnn.cli import app, main
from bnn.data import DATASETS, two_moons
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


def test_a_report_takes_the_latest_settings_of_each_method(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = two_moons((0, 1), points=120)
    store = Store(tmp_path / "runs")
    saved = []
    for epochs in (1, 2):
        method = MLE(Training(epochs=epochs))
        batch = Batch(
            "moons",
            "two_moons",
            data,
            MLP(2, [4], 2),
            Normal(1.0),
            None,
            method,
            (0, 1),
            "resplit",
            5,
        )
        for run, arrays in batch.runs():
            store.save(run, arrays)
            saved.append(run)
            os.utime(tmp_path / "runs" / "moons" / f"{run.key}.json", (epochs, epochs))
    assert CliRunner().invoke(app, ["report", "moons"]).exit_code == 0
    page = (tmp_path / "reports" / "moons.html").read_text()
    assert "2 of 2 runs finished" in page
    assert "epochs=2" in page
    assert "epochs=1," not in page
