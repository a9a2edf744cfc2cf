"""Runs in a folder: saved, listed and found again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bnn.errors import InputError
from bnn.run import Arrays, NoRun, Run
from bnn.store.netcdf import from_netcdf, to_netcdf
from bnn.store.writing import check_folder, sweep, write_whole

FOLDER_NAME = re.compile(r"\w[\w .+-]{0,99}", re.ASCII)
READING = "Check its permissions, or name another folder with --runs."
WRITING = "Free some space or name another folder with --runs; the runs there are unharmed."


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
                write_whole(place.with_suffix(".nc"), to_netcdf(arrays))
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

    def arrays(self, run: Run, *, draws: bool = True) -> dict[str, np.ndarray]:
        """Return the arrays saved with a run; none where it was saved without.

        Arguments:
            run: as it was saved.
            draws: whether with the log-likelihoods of single draws, which are nearly all of it.

        Raises:
            InputError: if their file cannot be read.
        """
        path = self._file(run.study, run.key, ".nc")
        try:
            return from_netcdf(path, draws=draws)
        except FileNotFoundError:
            return {}
        except (OSError, LookupError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise InputError(
                f"the arrays of a run in {str(path)!r}",
                f"a file that cannot be read ({error})",
                "Delete it and the .json beside it, and run the study again.",
            ) from error

    def light(self, run: Run) -> dict[str, np.ndarray]:
        """Return the arrays but for single draws, which are in no figure and no table."""
        return self.arrays(run, draws=False)

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
        sweep(paths)
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
