"""The store: finished runs on disk, each written once and never changed.

    folder/<study>/<key>.json    the run
    folder/<study>/<key>.nc      its arrays, an ArviZ InferenceData file in netCDF

The .json is the commit mark. The arrays get their name first, the run second; a run without its
.json does not exist. Each file is written beside its place, flushed to the disk, and only then
given its name by a hard link, which, unlike a rename, cannot replace a file that is already there.
So a writer may be killed at any moment, and any number of writers may save the same key: what was
acknowledged stays whole, and the first writer wins. (Equal keys mean equal runs; see `key_of`.)

A file that is no run, such as one torn by a full disk of another program, is listed by `problems`
and otherwise passed over: one bad file must not hide a hundred good ones. A run of a newer
version stops everything instead, because a report without it would be silently incomplete.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

import h5netcdf
import numpy as np
import xarray as xr

from bnn.errors import InputError
from bnn.run import Arrays, NoRun, Run

FOLDER_NAME = re.compile(r"\w[\w .+-]{0,99}", re.ASCII)
STALE = 3600.0  # seconds after which a temporary file has lost its writer; saving takes far less
OWN_ROWS = ("train", "unseen", "grid")  # all other conditions are the test rows, disturbed
READING = "Check its permissions, or name another folder with --runs."
WRITING = "Free some space or name another folder with --runs; the runs there are unharmed."
AXES = {"probs": ("class",), "x": ("feature",)}  # after the points; most quantities have no more


@dataclass(frozen=True)
class Store:
    """Runs in a folder.

    Arguments:
        folder: where the studies lie; it is made when the first run is saved.
    """

    folder: Path

    def save(self, run: Run, arrays: Arrays) -> bool:
        """Write a run and its arrays; when this returns, they survive a crash.

        Returns:
            Whether this call wrote the run: False where its key was there already, unchanged.

        Raises:
            InputError: if the folder cannot be written or the disk is full.
        """
        place = self._file(run.study, run.key, ".json")
        with _told(f"to write a run to {str(place.parent)!r}", WRITING):
            if place.exists():
                return False
            place.parent.mkdir(parents=True, exist_ok=True)
            if arrays:
                write_whole(place.with_suffix(".nc"), _to_netcdf(arrays))
            return write_whole(place, run.to_json().encode())

    def check_writable(self) -> None:
        """Make sure before long work that runs can be saved after it.

        Raises:
            InputError: if they cannot.
        """
        with _told(f"to write runs to {str(self.folder)!r}", WRITING):
            check_folder(self.folder)

    def studies(self) -> list[str]:
        """Return the names of the studies that have a folder here.

        Raises:
            InputError: if the folder is unreadable.
        """
        with _told(f"to read {str(self.folder)!r}", READING):
            return [path.name for path in _listing(self.folder) if path.is_dir()]

    def load(self, study: str) -> list[Run]:
        """Return the runs of a study by data set, method, split and seed.

        Raises:
            InputError: if a newer version of bnn wrote one of them, or the folder is unreadable.
        """
        runs = [found for found in self._read(study) if isinstance(found, Run)]
        return sorted(runs, key=lambda r: (r.dataset, r.method, r.split, r.seed, r.key))

    def problems(self, study: str) -> list[str]:
        """Return a sentence for each file of a study that should be a run and is none."""
        return [found for found in self._read(study) if isinstance(found, str)]

    def arrays(self, run: Run) -> dict[str, np.ndarray]:
        """Return the arrays saved with a run; none where it was saved without.

        Raises:
            InputError: if their file cannot be read.
        """
        path = self._file(run.study, run.key, ".nc")
        try:
            return _from_netcdf(path)
        except FileNotFoundError:
            return {}
        except (OSError, LookupError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise InputError(
                f"the arrays of a run in {str(path)!r}",
                f"a file that cannot be read ({error})",
                "Delete it and the .json beside it, and run the study again.",
            ) from error

    def saved(self, run: Run) -> float:
        """Return when a run was saved, seconds since the epoch.

        Raises:
            InputError: if it is not there, or the folder is unreadable.
        """
        path = self._file(run.study, run.key, ".json")
        with _told(f"to read {str(path)!r}", READING):
            return path.stat().st_mtime

    def discard(self, study: str, key: str) -> None:
        """Forget a run: first its commit mark, then its arrays.

        Raises:
            InputError: if the folder cannot be written.
        """
        for suffix in (".json", ".nc"):
            path = self._file(study, key, suffix)
            with _told(f"to remove {str(path)!r}", READING):
                path.unlink(missing_ok=True)

    def _file(self, study: str, key: str, suffix: str) -> Path:
        for name in (study, key):
            if not FOLDER_NAME.fullmatch(name):
                raise InputError(
                    "a name of at most 100 letters, digits, spaces and . _ + - as a file name",
                    repr(name[:120]),
                    "Choose a simpler name for the study.",
                )
        return Path(self.folder) / study / f"{key}{suffix}"

    def _read(self, study: str) -> list[Run | str]:
        """Return what each .json of a study holds: a run, or a sentence on why it is none."""
        folder = self._file(study, "any", "").parent
        found: list[Run | str] = []
        with _told(f"to read {str(folder)!r}", READING):
            paths = _listing(folder)
        _sweep(paths)
        for path in (path for path in paths if path.suffix == ".json"):
            try:
                run = Run.from_json(path.read_bytes().decode())
                named = (run.study, run.key) == (study, path.stem)
                found.append(run if named else f"{path}: holds run {run.key!r} of {run.study!r}.")
            except (NoRun, UnicodeDecodeError) as error:
                found.append(f"{path}: {error}")
            except FileNotFoundError:  # discarded since it was listed
                continue
            except OSError as error:
                raise _refusal(f"to read {str(path)!r}", error, READING) from error
        return found


def _refusal(expected: str, error: OSError, remedy: str) -> InputError:
    return InputError(expected, error.strerror or str(error), remedy)


@contextmanager
def _told(expected: str, remedy: str) -> Iterator[None]:
    """Tell what the system refuses inside the block in one sentence."""
    try:
        yield
    except OSError as error:
        raise _refusal(expected, error, remedy) from error


def _listing(folder: Path) -> list[Path]:
    """Return what lies in a folder, nothing where there is none."""
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []


def check_folder(folder: Path) -> None:
    """Make sure that a folder is there and takes files, or raise OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def write_whole(path: Path, content: bytes | memoryview, *, replace: bool = False) -> bool:
    """Write a file that appears whole or not at all, in the place of another only if asked.

    Returns:
        Whether it was written: False if a file was there already.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(temporary, path)
        else:
            _give_name(temporary, path)
    except FileExistsError:
        return False
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)
    return True


def _give_name(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if path.exists():
            raise FileExistsError(path) from None
        os.replace(temporary, path)


def _sync_folder(folder: Path) -> None:
    """Make new names in a folder last through a power cut, where the system can."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _sweep(paths: list[Path]) -> None:
    """Remove the temporary files of writers that were killed."""
    for path in (p for p in paths if p.name.startswith(".") and p.suffix == ".tmp"):
        with contextlib.suppress(OSError):  # gone already, or not ours to remove
            if time.time() - path.stat().st_mtime > STALE:
                path.unlink()


def _to_netcdf(arrays: Arrays) -> memoryview:
    """Return an InferenceData file: standard groups only, so that ArviZ opens it."""
    groups: dict[str, dict[str, xr.Variable]] = {}
    for name, array in arrays.items():
        group, variable, dims = _place_of(name, array.ndim)
        values = _compact(array)[None] if group == "log_likelihood" else _compact(array)
        packed: dict[str, object] = {"zlib": True, "complevel": 1} if values.size else {}
        encoding = {**packed, "_FillValue": None} if values.dtype.kind == "f" else packed
        groups.setdefault(group, {})[variable] = xr.Variable(dims, values, encoding=encoding)
    tree = xr.DataTree.from_dict({name: xr.Dataset(part) for name, part in groups.items()})
    return tree.to_netcdf(engine="h5netcdf")


def _place_of(name: str, axes: int) -> tuple[str, str, tuple[str, ...]]:
    """Return the group, the variable and the dimensions of an array."""
    if name == "test_draw_log_prob":
        return "log_likelihood", "y", ("chain", "draw", "test_point")
    group, variable = ("observed_data", "y") if name == "test_y" else ("predictions", _quote(name))
    condition, _, quantity = name.partition("_")
    points = f"{condition}_point" if condition in OWN_ROWS else "test_point"
    named = ("class",) if name == "test_y" else AXES.get(quantity, ())
    others = tuple(f"{_quote(name)}_dim_{axis}" for axis in range(1, axes))
    return group, variable, (points, *(named if len(named) == axes - 1 else others))[:axes]


def _from_netcdf(path: Path) -> dict[str, np.ndarray]:
    names = {"log_likelihood": "test_draw_log_prob", "observed_data": "test_y"}
    arrays = {}
    with h5netcdf.File(path, "r") as file:
        for group, part in file.groups.items():
            for variable, values in part.variables.items():
                arrays[names.get(group) or unquote(variable)] = values[...]
    if "test_draw_log_prob" in arrays:
        arrays["test_draw_log_prob"] = arrays["test_draw_log_prob"][0]
    return arrays


def _quote(name: str) -> str:
    """Return a name that netCDF takes; shifts are named by people ('blur 1/2')."""
    return quote(name, safe=" @+=,()")


def _compact(array: np.ndarray) -> np.ndarray:
    """Return real numbers as float32, unless one of them would overflow."""
    if array.dtype.kind != "f":
        return array
    fits = np.abs(array[np.isfinite(array)], dtype=np.float64).max(initial=0.0)
    return array.astype(np.float32) if fits < np.finfo(np.float32).max else array
