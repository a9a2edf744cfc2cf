"""The benchmark's machinery, on work that costs nothing; no time is asserted."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bnn.benchmark.comparison import Comparison, Outcome
from bnn.benchmark.item import Goal, Item
from bnn.benchmark.page import measured, render, seconds
from bnn.benchmark.rounds import answers, difference, measure
from bnn.benchmark.worker import Refused, Worker

ROOT = Path(__file__).parents[1]
NAN = math.nan

# Each side writes down when it was asked; what it tells of a repeat is made up.
SIDE = """
from pathlib import Path
import numpy as np
from peers.task import Task

def work(settings, given):
    if settings.get("raises") == NAME:
        raise ValueError("no such\\nthing")
    if given and settings.get("check"):
        assert given["x"].tolist() == [1.0, 2.0]
    count = [0]
    def seconds():
        count[0] += 1
        if settings.get("stops") == NAME and count[0] == 2:
            raise RuntimeError("enough")
        with open(settings["log"], "a") as log:
            log.write(NAME + " ")
        print("noise on the standard output")
        return {"seconds": SECONDS * count[0], "bytes": 3e6}
    return Task(seconds, lambda: VALUE, {"x": np.array([1.0, 2.0])}, warm=False)

WORK = {"tiny": work}
"""


@pytest.fixture
def side(tmp_path):
    """Return a way to start the process of a made-up side."""
    workers = []

    def start(name, spent, value=(1.0, 5.0)):
        source = SIDE.replace("NAME", repr(name)).replace("SECONDS", repr(spent))
        (tmp_path / f"side_{name}.py").write_text(source.replace("VALUE", repr(list(value))))
        workers.append(Worker(f"side_{name}", (tmp_path, ROOT / "experiments"), limit=60))
        return workers[-1]

    yield start
    for worker in workers:
        worker.stop()


def tiny(log, *goals, **settings) -> Item:
    settings = {"log": str(log), "check": True, **settings}
    return Item("tiny", "tiny", "A tiny item", "per step", goals or (Goal("a", 2, 4),), settings)


def test_all_sides_are_asked_in_turn_and_agree_first(side, tmp_path) -> None:
    log, told = tmp_path / "log", []
    peers = {"a": side("a", 4.0, (1.0, 5.0 + 4e-5)), "b": side("b", 1.5, (None, 5.0))}
    item = tiny(log, Goal("a", 2, 4), Goal("b", 2, 4))
    found = measure(item, side("ours", 1.0), peers, 3, lambda: told.append(1))
    assert log.read_text().split() == ["ours", "a", "b"] * 3
    assert len(told) == answers(item, ["a", "b"], 3) == 3 * 4
    a, b = found.comparisons
    assert [c.difference for c in (a, b)] == [pytest.approx(8e-6), 0.0]
    assert [repeat["seconds"] for repeat in a.theirs] == [4.0, 8.0, 12.0]
    assert (a.found, b.found) == (4.0, 1.5)
    assert (a.verdict, b.verdict) == ("aim reached", "not reached")


@pytest.mark.parametrize(
    ("settings", "value", "reason"),
    [
        ({"raises": "a"}, (1.0, 5.0), "ValueError: no such"),
        ({"stops": "a"}, (1.0, 5.0), "it stopped: RuntimeError: enough"),
        ({"raises": "ours"}, (1.0, 5.0), "the suite's own side: ValueError: no such"),
        ({}, (1.0, 5.1), "both sides differ by 2.0e-02"),
        ({}, (1.0, math.inf), "both sides differ by inf"),
        ({}, (None, None), "both sides differ by inf"),
        ({}, (1.0,), "both sides differ by inf"),
    ],
)
def test_a_ratio_that_means_nothing_is_void_and_says_why(
    side, tmp_path, settings, value, reason
) -> None:
    item = tiny(tmp_path / "log", **settings)
    value = str(list(value)).replace("inf", "float('inf')")
    peer = side("a", 4.0)
    source = tmp_path / "side_a.py"
    source.write_text(source.read_text().replace("[1.0, 5.0]", value, 1))
    (found,) = measure(item, side("ours", 1.0), {"a": peer}, 3, lambda: None).comparisons
    assert found.void.startswith(reason)
    assert found.verdict == "void"
    assert math.isnan(found.found)
    assert all(math.isnan(end) for end in found.spread)


def test_a_peer_that_is_not_there_is_listed(side, tmp_path) -> None:
    peers = {"a": "does not install here: pip said so"}
    (found,) = measure(
        tiny(tmp_path / "log"), side("ours", 1.0), peers, 2, lambda: None
    ).comparisons
    assert found.void == "does not install here: pip said so"
    assert len(found.ours) == 2  # the suite itself was measured


def test_a_judge_compares_the_repeats(side, tmp_path) -> None:
    item = tiny(tmp_path / "log")
    judged = Item(**{**vars(item), "judge": lambda a, b: f"{len(a)} against {len(b)}"})
    (found,) = measure(
        judged, side("ours", 1.0), {"a": side("a", 1.0)}, 2, lambda: None
    ).comparisons
    assert found.void == "2 against 2"


def test_a_process_that_ends_or_is_silent_is_refused(tmp_path) -> None:
    (tmp_path / "gone.py").write_text("raise SystemExit")
    (tmp_path / "slow.py").write_text("import time; time.sleep(600)")
    asked = {"family": "tiny", "settings": {}, "given": "", "make": True}
    for module, limit, reason in (("gone", 60, "ended"), ("slow", 0.2, "no answer within")):
        with (
            Worker(module, (tmp_path, ROOT / "experiments"), limit) as worker,
            pytest.raises(Refused, match=reason),
        ):
            worker.ask("prepare", **asked)


@pytest.mark.parametrize(
    ("found", "expected", "apart"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([1.0, 2.1], [1.0, 2.0], 0.05),
        ([None, 2.1], [7.0, 2.0], 0.05),
        ([], [], 0.0),
        ([], [1.0], math.inf),
        ([None], [1.0], math.inf),
        ([math.nan], [1.0], math.inf),
        ([1.0, math.nan], [1.0, 2.0], math.inf),
        ([1.0, 2.0], [1.0, math.nan], math.inf),
        ([0.0], [0.0], 0.0),
        ([0.1], [0.0], math.inf),
    ],
)
def test_difference(found, expected, apart) -> None:
    assert difference(found, expected) == pytest.approx(apart)


def made(goal: Goal, ours, theirs, **told) -> Comparison:
    repeats = tuple({"seconds": s, "bytes": 1e6 * s} for s in ours)
    return Comparison(goal, repeats, tuple({"seconds": s} for s in theirs), **told)


@pytest.mark.parametrize(
    ("goal", "found", "spread", "verdict"),
    [
        (Goal("a", 2, 4), 3.0, (1.0, 12.0), "must reached"),
        (Goal("a", 2, 3), 3.0, (1.0, 12.0), "aim reached"),
        (Goal("a", 4, 5), 3.0, (1.0, 12.0), "not reached"),
        (Goal("a", NAN, NAN), 3.0, (1.0, 12.0), "measured"),
        (Goal("a", 0.75, 0.9, "peak"), 3.0, (1.0, 12.0), "aim reached"),
        (Goal("a", 0.5, 0.1, "share"), 1 / 3, (1 / 12, 1.0), "must reached"),
        (Goal("a", 0.3, 0.1, "share"), 1 / 3, (1 / 12, 1.0), "not reached"),
        (Goal("a", 3e6, 1e6, "memory"), 2e6, (1e6, 3e6), "must reached"),
    ],
)
def test_goals_of_every_measure(goal, found, spread, verdict) -> None:
    comparison = made(goal, [1.0, 2.0, 3.0], [12.0, 6.0, 3.0])
    assert comparison.found == pytest.approx(found)
    assert comparison.spread == pytest.approx(spread)
    assert comparison.verdict == verdict


def test_a_memory_that_nobody_tells_is_void() -> None:
    comparison = Comparison(Goal("a", 1, 1, "memory"), ({"seconds": 1.0, "bytes": NAN},))
    assert comparison.verdict == "void"
    assert comparison.to_json()["found"] is None


def document(**changes):
    item = Item("tiny", "tiny", "A <tiny> item", "per step", (), {"steps": 3})
    comparisons = (
        made(Goal("a", 2, 4), [1e-6, 2e-6], [3e-6, 8e-6], difference=1e-7),
        made(Goal("b", 2, 4), [1e-6], [], void="does not run: <script>"),
        made(Goal("a", 64e6, 16e6, "memory"), [1.0], [1.0]),
    )
    outcome = Outcome(item, comparisons[0].ours, comparisons).to_json()
    peers = [
        {"name": n, "label": n.upper(), "version": "1", "outcome": "runs", "note": ""} for n in "ab"
    ]
    growth = {
        "title": "Replicas", "axis": "replicas", "size": [1, 10, 100],
        "seconds": [1.0, 2.0, 4.0], "seconds_slope": 0.3, "seconds_slope_error": 0.01,
        "bytes": [1e6, 0.0, 4e6], "bytes_slope": 0.3, "bytes_slope_error": None,
    }  # fmt: skip
    return {
        "command": "python experiments/benchmark.py", "made": "today", "quick": False, "repeats": 7,
        "machine": {"processor": "a"}, "versions": {"Python": "3"}, "peers": peers,
        "items": [outcome], "growth": [growth],
        "stress": {"cores": 2, "quiet": [3.0], "busy": [1.0], "kept": 0.5, "must": 0.4},
        "gpu": {"device": "", "rows": [{"title": "20 replicas"}]},
        **changes,
    }  # fmt: skip


def test_json_keeps_raw_repeats_and_is_plain() -> None:
    told = json.loads(json.dumps(document(), allow_nan=False))
    first, second, memory = told["items"][0]["comparisons"]
    assert told["items"][0]["ours_repeats"][1]["seconds"] == 2e-6
    assert [repeat["seconds"] for repeat in first["peer_repeats"]] == [3e-6, 8e-6]
    assert first["found"] == pytest.approx(5.5 / 1.5)
    assert first["difference_of_values"] == 1e-7
    assert (second["verdict"], second["found"], second["spread"]) == ("void", None, [None, None])
    assert memory["found"] == 1e6


def test_the_page_says_all_and_asks_nothing_of_the_network() -> None:
    html = render(document())
    text = re.sub("<[^>]*>", " ", html)
    for said in ("A &lt;tiny&gt; item", "3.67 ×", "must reached", "1.00 MB", "no GPU at hand"):
        assert said in text
    assert "void: does not run: &lt;script&gt;" in text
    assert "Of 2 ratios of which something is asked, 2 are what they must be" in text
    assert "slope 0.300 ± 0.010" in text
    assert "keeps 50% of the speed that its share of a core permits, as it must" in text
    assert "<script" not in html
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", html)
    assert "@import" not in html
    assert "default-src &#39;none&#39;" in html
    assert render(document()) == html


def test_a_page_without_numbers_can_be_made() -> None:
    html = render(document(items=[], growth=[], stress={}, quick=True))
    assert "Not measured in this run." in html
    assert "A first look" in html


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2.5, "2.50 s"),
        (0.0123, "12.3 ms"),
        (4.56e-5, "45.6 µs"),
        (1.2e-11, "0.0120 ns"),
        (None, "–"),
    ],
)
def test_seconds_in_words(value, text) -> None:
    assert seconds(value) == text


def test_measures_in_words() -> None:
    assert measured(0.756, "peak") == "75.6 %"
    assert measured(None, "speedup") == "–"


def test_the_quick_look_runs_and_both_sides_compute_the_same(tmp_path) -> None:
    report = tmp_path / "benchmark.html"
    script = ROOT / "experiments" / "benchmark.py"
    command = [sys.executable, str(script), "--quick", "--repeats", "1", "--report", str(report)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(report.with_suffix(".json").read_text())
    compared = [c for item in found["items"] for c in item["comparisons"]]
    assert len(compared) >= 3
    assert all(c["peer"] == "pyro" and c["found"] > 0 and not c["void"] for c in compared)
    assert all(c["difference_of_values"] <= 1e-5 for c in compared)
    assert "A first look" in report.read_text()


def test_unknown_names_are_refused(tmp_path) -> None:
    script = str(ROOT / "experiments" / "benchmark.py")
    done = subprocess.run(
        [sys.executable, script, "--items", "nothing"], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 2
    assert "Choose of those." in done.stderr
