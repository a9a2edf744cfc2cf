"""A study from its command line: runs, resuming, the report, and every way to say no."""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import arviz
import pytest
import torch

from bnn.batch import Batch
from bnn.data import Dataset, from_arrays, two_moons
from bnn.errors import InputError
from bnn.methods import MAP, MLE, DeepEnsemble, LabelSmoothing, MCDropout, MeanField
from bnn.networks import MLP
from bnn.optimise import Training
from bnn.priors import Normal
from bnn.run import SCHEMA, Run
from bnn.store import Store
from bnn.study import Study

FEW = Training(epochs=3)


def moons(splits: Sequence[int]) -> Dataset:
    return two_moons(splits, points=120)


def blobs(splits: Sequence[int]) -> Dataset:
    x = torch.randn(80, 3, generator=torch.Generator().manual_seed(0))
    return from_arrays("blobs", x, (x[:, 0] > 0).long(), splits=splits)


def network(data: Dataset) -> MLP:
    return MLP(data.x.shape[1], [8], len(data.classes))


STUDY = Study(
    name="tiny",
    question="Does <it> work?",
    datasets={"two_moons": moons, "blobs": blobs},
    network=network,
    methods=(MLE(FEW), MAP(FEW), MCDropout(0.1, training=FEW), MeanField(training=FEW)),
    seeds=3,
    draws=10,
)


class Shell:
    """Runs a study as its script would, in a folder of its own."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
    ):
        self.folder, self.monkeypatch, self.capsys = folder, monkeypatch, capsys
        monkeypatch.chdir(folder)
        monkeypatch.setenv("COLUMNS", "200")

    def __call__(self, *arguments: str, study: Study = STUDY) -> tuple[int, str]:
        workers = [] if "--workers" in arguments else ["--workers", "1"]
        self.monkeypatch.setattr(sys, "argv", ["tiny.py", *arguments, *workers])
        with pytest.raises(SystemExit) as stop:
            study.main()
        out, err = self.capsys.readouterr()
        return int(stop.value.code or 0), out + err

    @property
    def runs(self) -> list[Run]:
        return Store(self.folder / "runs").load("tiny")


@pytest.fixture
def shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    return Shell(tmp_path, monkeypatch, capsys)


def numbers(runs: Sequence[Run]) -> list[str]:
    """What must be reproducible of runs: everything but times."""
    return [
        replace(
            run, cost=None, provenance={k: v for k, v in run.provenance.items() if k != "command"}
        ).to_json()
        for run in runs
    ]


def test_a_study_makes_runs_a_table_and_a_report(shell: Shell) -> None:
    code, text = shell("--datasets", "two_moons")
    assert code == 0, text
    assert len(shell.runs) == 4 * 3
    assert all(run.status == "finished" for run in shell.runs)
    for method in STUDY.methods:
        assert method.label in text
    page = (shell.folder / "reports" / "tiny.html").read_text()
    assert "Does &lt;it&gt; work?" in page
    assert "Does <it> work?" not in page


def test_a_rerun_repeats_nothing_and_says_so(shell: Shell) -> None:
    shell("--datasets", "two_moons")
    before = {p: p.stat().st_mtime_ns for p in (shell.folder / "runs").rglob("*.json")}
    code, text = shell("--datasets", "two_moons")
    assert code == 0
    assert "12 of 12 runs are finished already" in text
    assert {p: p.stat().st_mtime_ns for p in (shell.folder / "runs").rglob("*.json")} == before


def test_more_seeds_add_to_what_is_there(shell: Shell) -> None:
    shell("--datasets", "blobs", "--methods", "mle,map", "--seeds", "2")
    first = numbers(shell.runs)
    _, text = shell("--datasets", "blobs", "--methods", "mle,map", "--seeds", "3")
    assert "4 of 6 runs are finished already" in text
    assert [r for r in numbers(shell.runs) if json.loads(r)["seed"] < 2] == first


def test_larger_data_sets_join_where_all_are_wanted_or_one_is_named(shell: Shell) -> None:
    look = replace(STUDY.look, datasets="blobs")
    study = replace(STUDY, datasets={"blobs": blobs}, larger={"two_moons": moons}, look=look)

    def made(*options: str) -> set[str]:
        code, text = shell("--methods", "mle", "--seeds", "1", *options, study=study)
        assert code == 0, text
        name = "tiny-quick" if "--quick" in options else "tiny"
        found = Store(shell.folder / "runs").load(name)
        return {run.dataset for run in found}

    assert made("--quick") == {"blobs"}
    assert made("--quick", "--all") == {"blobs", "two_moons"}
    assert made("--datasets", "two_moons") == {"two_moons"}
    assert made("--all") == {"blobs", "two_moons"}
    code, text = shell("--all", "--datasets", "blobs", study=study)
    assert code == 2
    assert "either --all, or the data sets by name" in text
    with pytest.raises(InputError, match="'blobs' twice"):
        replace(study, larger={"blobs": moons})
    assert "blobs; with --all two_moons" in shell("--help", study=study)[1]
    assert "with --all two_moons" not in shell("--help")[1]


def test_fresh_runs_are_equal_to_the_last_digit(shell: Shell) -> None:
    shell("--datasets", "two_moons")
    first = numbers(shell.runs)
    _, text = shell("--datasets", "two_moons", "--fresh")
    assert "finished already" not in text
    assert numbers(shell.runs) == first


def test_fresh_deletes_nothing_before_it_has_a_replacement(shell: Shell) -> None:
    shell("--datasets", "blobs", "--methods", "mle")
    first = numbers(shell.runs)
    code, _ = shell("--datasets", "blobs", "--methods", "mle", "--fresh", "--workers", "0")
    assert code == 2
    assert numbers(shell.runs) == first
    stopped = replace(STUDY, methods=(MLE(FEW), Impatient()))
    shell("--datasets", "blobs", "--methods", "impatient", "--fresh", study=stopped)
    assert numbers(shell.runs) == first


def test_entries_that_share_a_loader_stay_apart(shell: Shell) -> None:
    study = replace(
        STUDY, datasets={"few": moons, "more": partial(two_moons, points=160)}, methods=(MLE(FEW),)
    )
    code, text = shell(study=study)
    assert code == 0, text
    assert {run.dataset: run.provenance["rows"]["test"] for run in shell.runs} == {
        "few": 24,
        "more": 32,
    }


def test_methods_of_one_name_are_refused() -> None:
    with pytest.raises(InputError, match="methods of different names"):
        replace(STUDY, methods=(MLE(FEW), MLE(Training(epochs=9))))
    with pytest.raises(InputError, match="methods of different names"):
        replace(STUDY, methods=())


def test_two_workers_give_what_one_gives(shell: Shell) -> None:
    # The batches differ, so the numbers agree up to rounding in float32.
    shell("--datasets", "blobs", "--methods", "mle,mean_field")
    alone = shell.runs
    shell("--datasets", "blobs", "--methods", "mle,mean_field", "--fresh", "--workers", "2")
    for one, two in zip(alone, shell.runs, strict=True):
        assert one.key == two.key
        for name, score in one.scores.items():
            assert two.scores[name].value == pytest.approx(score.value, abs=1e-5), name


def test_runs_open_in_arviz(shell: Shell) -> None:
    shell("--datasets", "two_moons", "--methods", "mean_field", "--seeds", "1")
    (file,) = (shell.folder / "runs").rglob("*.nc")
    data = arviz.from_netcdf(file)
    log_prob = data["log_likelihood"]["y"]
    assert dict(log_prob.sizes) == {"chain": 1, "draw": 10, "test_point": 24}
    (run,) = shell.runs
    mixture = log_prob.values[0].astype(float)
    nll = -(torch.from_numpy(mixture).logsumexp(0) - torch.tensor(10.0).log()).mean()
    assert run.scores["nll"].value == pytest.approx(nll.item(), abs=1e-5)


def test_one_split_can_be_shared_by_all_seeds(shell: Shell) -> None:
    code, text = shell("--datasets", "blobs", study=replace(STUDY, resplit=False))
    assert code == 0, text
    assert {run.split for run in shell.runs} == {0}
    assert {run.design for run in shell.runs} == {"fixed"}
    assert {run.seed for run in shell.runs} == {0, 1, 2}


def test_a_method_for_classes_leaves_numbers_alone(shell: Shell) -> None:
    mixed = replace(
        STUDY,
        datasets={"blobs": blobs, "line": line},
        network=lambda data: MLP(data.x.shape[1], [8], len(data.classes) or 1),
        methods=(MLE(FEW), LabelSmoothing(training=FEW)),
    )
    code, text = shell("--seeds", "1", study=mixed)
    assert code == 0, text
    assert {(run.dataset, run.method) for run in shell.runs} == {
        ("blobs", "mle"), ("blobs", "label_smoothing"), ("line", "mle"),
    }  # fmt: skip
    code, text = shell("--datasets", "line", "--methods", "label_smoothing", study=mixed)
    assert code == 2
    assert "a method for regression, as line asks; found label_smoothing" in text


def line(splits: Sequence[int]) -> Dataset:
    x = torch.linspace(-1, 1, 60)[:, None]
    return from_arrays("line", x, 3 * x[:, 0], splits=splits)


class Fragile(MLP):
    """A network without an answer for rows that stand out."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(torch.where(x.abs() < 6, x, torch.nan))

    def batched(self, weights, x, masks):
        return super().batched(weights, torch.where(x.abs() < 6, x, torch.nan), masks)


@pytest.mark.parametrize("part", ["train", "test"])
def test_one_replica_that_goes_wrong_stands_beside_the_others(shell: Shell, part: str) -> None:
    def outlying(splits: Sequence[int]) -> Dataset:
        data = blobs(splits)
        # A row that seed 0 meets in this part, and seed 1 among its calibration rows, unused here.
        own, unused = getattr(data.split, part)[0], data.split.calibration[1]
        x = data.x.clone()
        x[min(set(own.tolist()) & set(unused.tolist()))] = 1e3
        return replace(data, x=x)

    study = replace(
        STUDY,
        datasets={"blobs": outlying},
        network=lambda data: Fragile(3, [8], 2),
        methods=(MLE(FEW), MAP(FEW)),
        seeds=2,
    )
    code, text = shell(study=study)
    found = {(run.method, run.seed): run.status for run in shell.runs}
    wrong = {"train": "diverged", "test": "failed"}[part]
    assert found == {
        ("mle", 0): wrong,
        ("mle", 1): "finished",
        ("map", 0): wrong,
        ("map", 1): "finished",
    }
    assert code == (1 if wrong == "failed" else 0), text
    assert "Traceback" not in text
    words = {"train": "no longer finite in epoch 1", "test": "finite"}[part]
    assert words in (shell.folder / "reports" / "tiny.html").read_text()


class Faulty:
    """A method with a fault of its own."""

    name, label, reference, version = "faulty", "Faulty", "Nobody 2026, https://example.org", 1

    def fit(self, *_: object) -> None:
        raise ZeroDivisionError("by <zero>")


def test_a_method_that_fails_does_not_stop_the_others(shell: Shell) -> None:
    study = replace(STUDY, methods=(MLE(FEW), Faulty(), MAP(FEW)))
    code, text = shell("--datasets", "blobs", study=study)
    assert code == 1
    failed = [run for run in shell.runs if run.status == "failed"]
    assert {run.method for run in failed} == {"faulty"}
    assert all(run.message == "ZeroDivisionError: by <zero>" for run in failed)
    assert sum(run.status == "finished" for run in shell.runs) == 6
    assert "Traceback" not in text
    assert "by &lt;zero&gt;" in (shell.folder / "reports" / "tiny.html").read_text()
    _, text = shell("--datasets", "blobs", study=study)
    assert "6 of 9 runs are finished already" in text  # the failed ones are tried again


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--methods", "mean_feild"], ["mean_feild", "Did you mean 'mean_field'?"]),
        (["--datasets", "moons"], ["moons", "two_moons"]),
        (["--seeds", "0"], ["at least one seed"]),
        (["--device", "warp"], ["warp", "--device cpu"]),
        (["--device", "meta"], ["meta", "--device cpu"]),
        (["--workers", "0"], ["at least one worker"]),
        (["--report", "/proc/nowhere/r.html"], ["/proc/nowhere"]),
        (["--runs", "/proc/nowhere"], ["/proc/nowhere"]),
    ],
)
def test_bad_options_end_in_one_sentence(
    shell: Shell, arguments: list[str], words: list[str]
) -> None:
    code, text = shell("--methods", "mle", "--datasets", "blobs", *arguments)
    assert code == 2, text
    assert "Traceback" not in text
    for word in words:
        assert word in text


@pytest.mark.parametrize(
    ("study", "words"),
    [
        (replace(STUDY, methods=(MLE(Training(epochs=2, batch_size=99)),)), "batch_size=99"),
        (replace(STUDY, network=lambda data: MLP(7, [], len(data.classes))), "rows of shape"),
        (replace(STUDY, network=lambda data: MLP(data.x.shape[1], [], 5)), "5 outputs"),
        (replace(STUDY, prior=Normal(-1.0)), "positive and finite"),
        (
            replace(STUDY, datasets={"blobs": lambda s: replace(blobs(s), x=blobs(s).x / 0)}),
            "NaN or infinite",
        ),
    ],
)
def test_what_cannot_be_posed_ends_in_one_sentence(shell: Shell, study: Study, words: str) -> None:
    code, text = shell(study=study)
    assert code == 2, text
    assert words in text
    assert "Traceback" not in text


def test_no_finished_run_is_lost_to_a_later_mistake(shell: Shell) -> None:
    impossible = MAP(Training(epochs=2, batch_size=99))
    code, _ = shell("--datasets", "blobs", study=replace(STUDY, methods=(MLE(FEW), impossible)))
    assert code == 2
    assert [run.method for run in shell.runs] == ["mle"] * 3


class Impatient(Faulty):
    """A method during which somebody presses Ctrl-C."""

    name = "impatient"

    def fit(self, *_: object) -> None:
        raise KeyboardInterrupt


def test_an_interrupted_study_keeps_what_is_finished_and_says_how_to_go_on(shell: Shell) -> None:
    study = replace(STUDY, methods=(MLE(FEW), Impatient()))
    code, text = shell("--datasets", "blobs", study=study)
    assert code == 130
    assert "Finished runs are kept in runs; the same command goes on." in text
    assert [run.method for run in shell.runs] == ["mle"] * 3


def test_runs_of_a_newer_version_stop_the_study(shell: Shell) -> None:
    shell("--datasets", "blobs", "--methods", "mle", "--seeds", "1")
    (file,) = (shell.folder / "runs").rglob("*.json")
    newer = json.loads(file.read_text()) | {"schema": SCHEMA + 1}
    file.write_text(json.dumps(newer))
    code, text = shell("--datasets", "blobs", "--methods", "mle", "--seeds", "1")
    assert code == 2
    assert "newer bnn" in text
    assert json.loads(file.read_text()) == newer


class Unspoken(MLP):
    """A network whose repr does not tell what it computes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)

    def batched(self, weights, x, masks):
        return 2 * super().batched(weights, x, masks)

    def _get_name(self) -> str:
        return "MLP"


def test_a_key_changes_with_all_that_determines_a_run() -> None:
    data = blobs((0, 1))
    batch = Batch(
        "tiny", "blobs", data, network(data), Normal(1.0), None, MLE(FEW), (0, 1), "resplit", 10
    )
    variants = [
        batch,
        replace(batch, method=MLE(Training(epochs=4))),
        replace(batch, method=MAP(FEW)),
        replace(batch, prior=Normal(2.0)),
        replace(batch, network=MLP(3, [9], 2)),
        replace(batch, network=network(data).double()),
        replace(batch, draws=11),
        replace(batch, design="fixed"),
        replace(batch, data=moons((0, 1)), network=MLP(2, [8], 2)),
        replace(batch, data=replace(data, x=2 * data.x)),
        replace(batch, data=replace(data, scale_inputs="global")),
        replace(batch, data=replace(data, shifted={"up": data.x + 1})),
        replace(batch, data=replace(data, shifted={"up": data.x + 2})),
        replace(batch, data=replace(data, unseen=data.x[:4] + 9)),
        replace(batch, dataset="others"),
        replace(batch, network=Unspoken(3, [8], 2)),
        replace(batch, method=DeepEnsemble(3, MLE(FEW))),
    ]
    keys = [key for variant in variants for key in variant.keys.values()]
    assert len(set(keys)) == len(keys)
    assert batch.take((1,)).keys == {1: batch.keys[1]}
    assert replace(batch, provenance={"command": "other"}).keys == batch.keys
