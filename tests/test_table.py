"""The table on the terminal."""

import io
import math

from rich.console import Console
from test_store import a_run

from bnn.run import Score
from bnn.table import table


def shown(*scores: dict[str, Score]) -> str:
    console = Console(width=100, record=True, file=io.StringIO())
    runs = [a_run(n, scores=some) for n, some in enumerate(scores)]
    console.print(table(runs, ["mean_field"]))
    return console.export_text()


def test_mean_and_spread_are_those_of_the_runs() -> None:
    text = shown({"nll": Score(0.1)}, {"nll": Score(0.3)})
    assert "0.200 ± 0.141" in text


def test_a_calibration_error_without_its_null_says_so() -> None:
    assert "0.100 (0.050)" in shown({"ece": Score(0.1), "ece_null": Score(0.05)})
    assert "0.100 (unknown)" in shown({"ece": Score(0.1)})


def test_a_number_that_is_not_finite_is_shown_as_such() -> None:
    assert "nan" in shown({"nll": Score(0.1)}, {"nll": Score(math.nan)})
