"""Every command of the README runs, and so does its example."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bnn import CORE, METHODS
from bnn.store import Store

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.strip().splitlines()
]
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what git tracks or would, so that nothing is written into the real one."""
    folder = tmp_path_factory.mktemp("checkout")
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).exists():
            target.write_bytes((ROOT / name).read_bytes())
    return folder


def run(arguments: list[str], folder: Path) -> str:
    """Run a command with this interpreter's programs first on the path."""
    programs = str(Path(sys.executable).parent)
    env = os.environ | {"PATH": os.pathsep.join([programs, os.environ["PATH"]]), "COLUMNS": "120"}
    done = subprocess.run(arguments, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_readme_names_the_test_command_that_ci_calls() -> None:
    assert "make test" in COMMANDS
    assert "make test" in (ROOT / ".ci" / "run").read_text()


@pytest.fixture(scope="module")
def reports(checkout: Path) -> dict[str, Path]:
    """The reports that the README's commands write, by name."""
    found = {}
    for command in COMMANDS:
        arguments = shlex.split(command)
        if command == "make test":  # it is what runs this test
            continue
        if arguments[0] == "make":  # but for the installation, which made this interpreter
            arguments += ["-o", ".venv/demo", f"BIN={Path(sys.executable).parent}"]
        out = run(arguments, checkout)
        found |= {Path(file).stem: checkout / file for file in re.findall(r"Report: (\S+)", out)}
    return found


def test_every_command_runs_in_the_order_of_the_readme(reports: dict[str, Path]) -> None:
    assert reports.keys() == {
        "digits", "digits-quick", "two_moons-quick", "sine-quick", "benchmark-quick"
    }  # fmt: skip
    for report in reports.values():
        assert report.read_text().startswith("<!doctype html>")


def test_the_demo_shows_what_it_should_on_twenty_splits_of_digits(
    reports: dict[str, Path],
) -> None:
    runs = Store(reports["digits"].parent.parent / "runs").load("digits")
    scores = {
        method.name: {
            name: np.array([r.scores[name].value for r in runs if r.method == method.name])
            for name in ("nll", "accuracy")
        }
        for method in CORE
    }
    for method, found in scores.items():
        assert len(found["accuracy"]) == 20
        assert found["accuracy"].mean() >= 0.965, method
    gain = scores["mle"]["nll"] - scores["ensemble"]["nll"]
    assert gain.mean() > 0
    assert (gain > 0).mean() >= 0.8
    narrow = [r for r in runs if r.method == "mean_field_fan_in"]
    assert np.mean([r.scores["accuracy"].value for r in narrow]) < (
        scores["mean_field"]["accuracy"].mean()
    )
    assert np.mean([r.scores["nll"].value for r in narrow]) > 2 * scores["mean_field"]["nll"].mean()


def test_the_example_runs_and_fits_on_a_screen(tmp_path: Path) -> None:
    (example,) = EXAMPLES
    lines = [line for line in example.splitlines() if line]
    assert len(lines) <= 15
    out = run([sys.executable, "-c", example], tmp_path)
    nats = [float(found) for found in re.findall(r"([\d.]+) nats per digit", out)]
    assert len(nats) == 5
    assert all(0 < value < 0.2 for value in nats), out  # guessing costs log 8 = 2.08 nats


def test_every_method_is_in_the_table_of_methods() -> None:
    assert re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE) == [m.name for m in METHODS]
