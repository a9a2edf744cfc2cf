"""The store: what was acknowledged is there, whole, whatever happens to the writer."""

import contextlib
import json
import math
import multiprocessing
import os
import resource
import subprocess
import sys
import textwrap
import time
import warnings
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bnn.errors import InputError
from bnn.run import SCHEMA, Cost, Curve, NoRun, Run, Score, key_of
from bnn.store import STALE, Store

POINTS, CLASSES, DRAWS = 300, 8, 100


def a_run(number=0, **fields):
    run = Run(
        key=key_of({"number": number}),
        study="digits",
        dataset="digits",
        task="classification",
        method="mean_field",
        seed=number,
        split=number,
        design="resplit",
        status="finished",
        message="",
        settings={"draws": DRAWS},
        scores={"nll": Score(0.1, 0.01, 0.001), "accuracy": Score(0.97)},
        curve=Curve((1, 2), (1.0, 0.5), (1.1, 0.6), 2),
        cost=Cost(10.0, 5, 0.1, 1000, DRAWS),
        provenance={"command": "x"},
    )
    return replace(run, **fields)


def some_arrays(seed=0):
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.ones(CLASSES), POINTS)
    arrays = {
        "test_index": np.arange(POINTS) * 3,
        "test_y": rng.integers(0, CLASSES, POINTS),
        "test_probs": probs,
        "test_nll": -np.log(probs[:, 0]),
        "test_brier": (probs**2).sum(1),
        "test_draw_log_prob": -rng.exponential(size=(DRAWS, POINTS)),
        "unseen_entropy": rng.random(71),
        "unseen_mutual_information": rng.random(71),
        "train_x": rng.normal(size=(55, 2)),
        "train_y": rng.integers(0, CLASSES, 55),
        "grid_x": rng.normal(size=(40, 2)),
        "grid_probs": rng.dirichlet(np.ones(CLASSES), 40),
    }
    for condition in ("test", "rotation 30", "noise 0.5", "blur 1/2"):
        arrays[f"{condition}_entropy"] = rng.random(POINTS)
        arrays[f"{condition}_mutual_information"] = rng.random(POINTS)
    return arrays


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].shape == array.shape, name
        np.testing.assert_allclose(found[name], array, rtol=1e-6, err_msg=name)


def test_a_run_and_its_arrays_come_back(tmp_path):
    store = Store(tmp_path)
    run, arrays = a_run(), some_arrays()
    assert store.save(run, arrays)
    assert store.load("digits") == [run]
    assert store.problems("digits") == []
    assert_same(store.arrays(run), arrays)
    assert store.arrays(run)["test_nll"].dtype == np.float32
    assert_same(store.light(run), {n: a for n, a in arrays.items() if n != "test_draw_log_prob"})
    assert np.issubdtype(store.arrays(run)["test_y"].dtype, np.integer)


def test_nothing_but_the_two_files_remains(tmp_path):
    run = a_run()
    Store(tmp_path).save(run, some_arrays())
    names = sorted(path.name for path in (tmp_path / "digits").iterdir())
    assert names == [f"{run.key}.json", f"{run.key}.nc"]


def test_arviz_opens_the_arrays_without_a_warning(tmp_path):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="\nArviZ is undergoing", category=FutureWarning)
        import arviz
    run, arrays = a_run(), some_arrays()
    Store(tmp_path).save(run, arrays)
    data = arviz.from_netcdf(tmp_path / "digits" / f"{run.key}.nc")
    assert data.log_likelihood["y"].dims == ("chain", "draw", "test_point")
    assert data.predictions["test_probs"].dims == ("test_point", "class")
    assert data.predictions["rotation 30_entropy"].dims == ("test_point",)
    assert data.predictions["unseen_entropy"].dims == ("unseen_point",)
    assert data.predictions["grid_x"].dims == ("grid_point", "feature")
    np.testing.assert_array_equal(data.observed_data["y"], arrays["test_y"])
    np.testing.assert_allclose(data.log_likelihood["y"][0], arrays["test_draw_log_prob"], rtol=1e-6)
    # A whole ArviZ computation: the expected log predictive density from the stored draws.
    log_likelihood = data.log_likelihood["y"].values[0].astype(float)
    expected = np.log(np.exp(arrays["test_draw_log_prob"]).mean(0))
    np.testing.assert_allclose(np.log(np.exp(log_likelihood).mean(0)), expected, atol=1e-6)


def test_the_tree_opens_with_xarray_alone(tmp_path):  # which is how ArviZ 1.x reads it
    import xarray as xr

    run = a_run()
    Store(tmp_path).save(run, some_arrays())
    with xr.open_datatree(tmp_path / "digits" / f"{run.key}.nc", engine="h5netcdf") as tree:
        assert set(tree.children) == {"log_likelihood", "observed_data", "predictions"}


def test_label_distributions_odd_axes_and_empty_arrays_come_back(tmp_path):
    arrays = {
        "test_y": np.full((5, 2), 0.5),
        "test_something": np.ones((5, 2, 3)),
        "unseen_entropy": np.zeros(0),
        "grid_mean": np.ones(4),
    }
    run = a_run()
    Store(tmp_path).save(run, arrays)
    assert_same(Store(tmp_path).arrays(run), arrays)


def test_values_that_overflow_float32_keep_their_range(tmp_path):
    arrays = {"test_nll": np.array([1e300, 1.0]), "test_crps": np.array([np.inf, np.nan, 1.0])}
    run = a_run()
    Store(tmp_path).save(run, {"test_nll": arrays["test_nll"]})
    assert_same(Store(tmp_path).arrays(run), {"test_nll": arrays["test_nll"]})
    other = a_run(1)
    Store(tmp_path).save(other, {"test_crps": arrays["test_crps"]})
    found = Store(tmp_path).arrays(other)["test_crps"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [np.inf, np.nan, 1.0])


def test_a_failed_run_needs_no_arrays(tmp_path):
    run = a_run(status="failed", message="out of memory", scores={}, cost=None, curve=Curve())
    assert Store(tmp_path).save(run, {})
    assert Store(tmp_path).load("digits") == [run]
    assert Store(tmp_path).arrays(run) == {}


def test_losses_that_are_not_finite_come_back_as_none_in_particular(tmp_path):
    run = a_run(status="diverged", curve=Curve((1, 2), (1.0, float("inf"))))
    Store(tmp_path).save(run, {})
    (found,) = Store(tmp_path).load("digits")
    assert found == replace(run, curve=Curve((1, 2), (1.0, math.nan)))


def test_the_order_does_not_depend_on_the_order_of_saving(tmp_path):
    runs = [a_run(n, dataset=d, method=m) for n in (10, 2) for d in "ba" for m in "ba"]
    runs = [replace(run, key=key_of({"i": i})) for i, run in enumerate(runs)]
    for run in runs:
        Store(tmp_path / "one").save(run, {})
    for run in reversed(runs):
        Store(tmp_path / "two").save(run, {})
    order = Store(tmp_path / "one").load("digits")
    assert order == Store(tmp_path / "two").load("digits")
    assert [(r.dataset, r.method, r.seed) for r in order[:3]] == [
        ("a", "a", 2),
        ("a", "a", 10),
        ("a", "b", 2),
    ]


def test_a_saved_run_is_never_changed(tmp_path):
    store, run = Store(tmp_path), a_run()
    store.save(run, some_arrays(0))
    before = [path.read_bytes() for path in sorted((tmp_path / "digits").iterdir())]
    assert not store.save(replace(run, message="another"), some_arrays(1))
    assert [path.read_bytes() for path in sorted((tmp_path / "digits").iterdir())] == before


def test_discard_forgets_a_run_and_it_can_be_saved_again(tmp_path):
    store, run = Store(tmp_path), a_run()
    store.save(run, some_arrays(0))
    store.discard("digits", run.key)
    store.discard("digits", run.key)
    assert store.load("digits") == []
    assert store.save(run, some_arrays(1))
    assert_same(store.arrays(run), some_arrays(1))


def test_an_absent_study_has_no_runs(tmp_path):
    assert Store(tmp_path / "nowhere").load("digits") == []
    assert Store(tmp_path / "nowhere").problems("digits") == []


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "a\\b", "a\0b", "x" * 101, ".hidden", "<b>", "é\u202e"]
)
def test_a_study_cannot_leave_its_folder(tmp_path, name):
    with pytest.raises(InputError, match="Choose a simpler name"):
        Store(tmp_path).load(name)
    with pytest.raises(InputError, match="Choose a simpler name"):
        Store(tmp_path).save(a_run(study=name), {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"3", b"null", b'{"schema": "new"}', b'{"schema": 1}', b"\xff\xfe"]
)
def test_a_file_that_is_no_run_is_a_problem_and_hides_nothing(tmp_path, text):
    store, run = Store(tmp_path), a_run()
    store.save(run, {})
    (tmp_path / "digits" / "torn.json").write_bytes(text)
    assert store.load("digits") == [run]
    (problem,) = store.problems("digits")
    assert "torn.json" in problem
    assert "\n" not in problem


def test_every_truncation_of_a_run_is_a_problem(tmp_path):
    store, run = Store(tmp_path), a_run()
    text = run.to_json()
    (tmp_path / "digits").mkdir()
    path = tmp_path / "digits" / f"{run.key}.json"
    for length in range(0, len(text) - 1, 37):
        path.write_text(text[:length])
        assert store.load("digits") == []
        assert len(store.problems("digits")) == 1


def test_a_run_under_anothers_name_is_a_problem(tmp_path):
    store, run = Store(tmp_path), a_run()
    store.save(run, {})
    (tmp_path / "digits" / "copy.json").write_text(run.to_json())
    assert store.load("digits") == [run]
    assert "copy.json" in store.problems("digits")[0]


def test_a_run_of_a_newer_version_stops_the_reader_with_a_remedy(tmp_path):
    store, run = Store(tmp_path), a_run()
    store.save(run, {})
    newer = {**json.loads(run.to_json()), "schema": SCHEMA + 1, "novelty": 1}
    (tmp_path / "digits" / "new.json").write_text(json.dumps(newer))
    with pytest.raises(InputError, match=r"newer bnn.*Upgrade bnn") as caught:
        store.load("digits")
    assert not isinstance(caught.value, NoRun)


def test_torn_arrays_are_one_sentence(tmp_path):
    store, run = Store(tmp_path), a_run()
    store.save(run, some_arrays())
    path = tmp_path / "digits" / f"{run.key}.nc"
    content = path.read_bytes()
    for torn in (b"", b"hello", content[: len(content) // 2], content[:-1000]):
        path.write_bytes(torn)
        with pytest.raises(InputError, match="run the study again"):
            store.arrays(run)


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "taken").write_text("a file, not a folder")
    with pytest.raises(InputError, match="--runs"):
        Store(tmp_path / "taken").save(a_run(), {})


@contextmanager
def nobody(folder):
    """Stand in a folder as a user who may not write there; root may write everywhere."""
    with contextlib.chdir(folder):
        folder.chmod(0o555)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            yield
        finally:
            if root:
                os.seteuid(0)
            folder.chmod(0o755)


@pytest.mark.parametrize("act", [lambda store: store.save(a_run(), {}), Store.check_writable])
def test_a_read_only_folder_is_one_sentence(tmp_path, act):
    with nobody(tmp_path), pytest.raises(InputError, match=r"Permission denied.*--runs"):
        act(Store(Path("runs")))


def test_a_run_that_may_not_be_removed_is_one_sentence(tmp_path):
    Store(tmp_path).save(a_run(), {})
    with nobody(tmp_path / "digits"), pytest.raises(InputError, match="Permission denied"):
        Store(Path("..")).discard("digits", a_run().key)


@pytest.mark.parametrize("folder", ["taken", "taken/deeper"])
@pytest.mark.parametrize(
    "act",
    [
        lambda store: store.load("digits"),
        lambda store: store.problems("digits"),
        lambda store: store.save(a_run(), {}),
        lambda store: store.saved(a_run()),
        lambda store: store.arrays(a_run()),
        lambda store: store.discard("digits", "0"),
        lambda store: store.studies(),
        lambda store: store.check_writable(),
    ],
)
def test_a_file_where_the_folder_should_be_is_one_sentence(tmp_path, folder, act):
    (tmp_path / "taken").write_text("a file, not a folder")
    with pytest.raises(InputError, match="taken"):
        act(Store(tmp_path / folder))


def test_a_writable_folder_is_made_and_left_empty(tmp_path):
    Store(tmp_path / "new" / "runs").check_writable()
    assert list((tmp_path / "new" / "runs").iterdir()) == []


def test_studies_are_the_folders(tmp_path):
    assert Store(tmp_path / "nowhere").studies() == []
    Store(tmp_path).save(a_run(), {})
    (tmp_path / "notes.txt").write_text("mine")
    assert Store(tmp_path).studies() == ["digits"]


def test_a_full_disk_is_one_sentence_and_harms_no_run(tmp_path):
    store = Store(tmp_path)
    store.save(a_run(0), some_arrays())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # python ignores SIGXFSZ
    try:
        with pytest.raises(InputError, match=r"File too large.*unharmed"):
            store.save(a_run(1), some_arrays())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert store.load("digits") == [a_run(0)]
    assert len(list((tmp_path / "digits").iterdir())) == 2
    assert store.save(a_run(1), some_arrays())


@pytest.mark.parametrize("doomed", range(6))
def test_no_space_left_at_any_write(tmp_path, monkeypatch, doomed):
    """Fail the k-th system call that puts something on the disk, for every k."""
    store = Store(tmp_path)
    store.save(a_run(0), some_arrays())
    calls = iter(range(100))

    def failing(original):
        def call(*args, **kwargs):
            if next(calls) == doomed:
                raise OSError(28, "No space left on device")
            return original(*args, **kwargs)

        return call

    monkeypatch.setattr(os, "fsync", failing(os.fsync))
    monkeypatch.setattr(os, "link", failing(os.link))
    monkeypatch.setattr(os, "replace", failing(os.replace))
    acknowledged = False
    try:
        acknowledged = store.save(a_run(1), some_arrays())
    except InputError as error:
        assert "No space left" in str(error)  # noqa: PT017
    monkeypatch.undo()
    runs = store.load("digits")
    assert a_run(0) in runs
    for run in runs:
        assert_same(store.arrays(run), some_arrays())
    if acknowledged:
        assert a_run(1) in runs
    assert not list((tmp_path / "digits").glob(".*"))


def test_a_file_system_without_links_works_too(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    store, run = Store(tmp_path), a_run()
    assert store.save(run, some_arrays())
    assert not store.save(run, some_arrays())
    assert_same(store.arrays(run), some_arrays())


def test_leftovers_are_ignored_and_old_ones_swept(tmp_path):
    store, run = Store(tmp_path), a_run()
    store.save(run, some_arrays())
    folder = tmp_path / "digits"
    young, old = folder / ".a.json.1.tmp", folder / ".b.nc.2.tmp"
    for path in (young, old):
        path.write_text("half a r")
    os.utime(old, (time.time() - 2 * STALE,) * 2)
    (folder / "0123.nc").write_bytes(b"arrays without a run")
    assert store.load("digits") == [run]
    assert store.problems("digits") == []
    assert young.exists()  # its writer may live
    assert not old.exists()


def _save_many(folder, start, results):
    store = Store(folder)
    start.wait()
    results.put([store.save(a_run(n), some_arrays(n)) for n in range(8)])


def test_concurrent_writers_of_the_same_keys_agree(tmp_path):
    fork = multiprocessing.get_context("fork")
    start, results = fork.Event(), fork.Queue()
    writers = [fork.Process(target=_save_many, args=(tmp_path, start, results)) for _ in range(4)]
    for writer in writers:
        writer.start()
    start.set()
    wrote = np.array([results.get(timeout=30) for _ in writers])
    for writer in writers:
        writer.join()
    assert wrote.sum(0).tolist() == [1] * 8  # each key has exactly one winner
    store = Store(tmp_path)
    assert sorted(run.seed for run in store.load("digits")) == list(range(8))
    for run in store.load("digits"):
        assert_same(store.arrays(run), some_arrays(run.seed))
    assert not list((tmp_path / "digits").glob(".*"))


KILLER = """
    import os, random, signal, sys, time
    from pathlib import Path
    sys.path.insert(0, sys.argv[2])
    from test_store import KILLS, a_run, some_arrays
    from bnn.store import Store

    def write(number, acknowledge):
        store, arrays = Store(Path(sys.argv[1])), some_arrays()
        while True:
            if store.save(a_run(number), arrays):
                os.write(acknowledge, b"%d\\n" % number)
            number += 1

    seconds = []
    for number in range(3):  # the first has lazy imports to wait for
        began = time.perf_counter()
        Store(Path(sys.argv[1])).save(a_run(number), some_arrays())
        seconds.append(time.perf_counter() - began)
    moments = random.Random(0)
    for kill in range(1, KILLS + 1):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            write(1000 * kill, writer)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            first = pipe.readline() if kill % 2 else ""  # every other writer may finish one
            time.sleep(moments.uniform(0.0, 2.5 * min(seconds)))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            print(first + pipe.read(), end="")
"""
KILLS = 24


def test_killed_writers_lose_nothing_that_was_acknowledged(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLER), tmp_path, Path(__file__).parent],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    acknowledged = {int(number) for number in done.stdout.split()}
    assert len(acknowledged) >= KILLS / 2
    store = Store(tmp_path)
    runs = store.load("digits")
    assert store.problems("digits") == []
    assert acknowledged <= {run.seed for run in runs}
    for run in runs:
        assert_same(store.arrays(run), some_arrays())
    # A resumed writer takes up every key, also those that were killed between the two files.
    for kill in range(1, KILLS + 1):
        number = max([1000 * kill - 1, *(r.seed for r in runs if r.seed // 1000 == kill)]) + 1
        assert store.save(a_run(number), some_arrays())
        assert_same(store.arrays(a_run(number)), some_arrays())


def test_a_run_is_small(tmp_path):
    Store(tmp_path).save(a_run(), some_arrays())
    assert (tmp_path / "digits" / f"{a_run().key}.nc").stat().st_size < 250_000
