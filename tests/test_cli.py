"""The bnn command."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from bnn import METHODS
from bnn.cli import app, main
from bnn.data import DATASETS


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
