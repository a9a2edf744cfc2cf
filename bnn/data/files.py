"""Files of numbers that are too large to be bundled: from a folder of the user's, or downloaded.

The folder is named by the environment variable BNN_DATA. What is not there is downloaded once, to
the user's cache. Either way the unpacked numbers must have the known checksum, so that the same
rows come out however they are packed.
"""

from __future__ import annotations

import hashlib
import os
import textwrap
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pooch

from bnn.errors import InputError

FOLDER = "BNN_DATA"  # the environment variable

UNREADABLE = (OSError, EOFError, ValueError, KeyError, zlib.error, zipfile.BadZipFile)


@dataclass(frozen=True)
class File:
    """A file of numbers, and how to know that they are the right ones.

    Arguments:
        name: its path in the user's folder, for example "mnist/t10k-labels-idx1-ubyte.gz".
        url: where it, or the same numbers in another form, can be downloaded; None if nowhere.
        unpack: from either file to the numbers' bytes.
        sha256: of these bytes.
    """

    name: str
    url: str | None
    unpack: Callable[[Path], bytes]
    sha256: str


def content(file: File, cache: Path | None = None) -> bytes:
    """Return a file's numbers as bytes, from the user's folder or else by a download.

    Arguments:
        file: what is wanted.
        cache: folder of downloads; the user's own cache unless given.

    Raises:
        InputError: if it is in neither place, or its checksum is another.
    """
    path = _at_hand(file) or _downloaded(file, cache or Path(pooch.os_cache("bnn")))
    try:
        numbers = file.unpack(path)
    except UNREADABLE as error:
        raise _corrupted(file, path, f"one that cannot be read ({_brief(error)})") from error
    found = hashlib.sha256(numbers).hexdigest()
    if found != file.sha256:
        raise _corrupted(file, path, f"numbers whose checksum is {found}")
    return numbers


def _at_hand(file: File) -> Path | None:
    folder = os.environ.get(FOLDER)
    path = Path(folder, file.name) if folder else None
    return path if path and path.is_file() else None


def _downloaded(file: File, cache: Path) -> Path:
    if file.url is None:
        raise InputError(
            f"{file.name!r} in the folder that {FOLDER} names, as no download of it is known",
            f"{FOLDER}={os.environ.get(FOLDER, '')!r}",
            f"Set {FOLDER} to a folder that holds it.",
        )
    place = f"{Path(file.name).parent}/{Path(file.url).name}"
    try:
        # No checksum here: it is that of the numbers, taken by `content` wherever they come from.
        shelf = pooch.create(cache, base_url="", registry={place: None}, urls={place: file.url})
        # Not streamed, so that the connection of a refused download is closed as well.
        return Path(shelf.fetch(place, downloader=pooch.HTTPDownloader(stream=False)))
    except (OSError, ValueError) as error:  # what requests raises is an OSError too
        raise InputError(
            f"{file.name!r} in the folder that {FOLDER} names, or a download of it",
            f"neither ({_brief(error)})",
            f"Set {FOLDER} to a folder that holds it, or fetch it on another machine: "
            f"curl -L --create-dirs -o '{cache / place}' {file.url}",
        ) from error


def _corrupted(file: File, path: Path, found: str) -> InputError:
    return InputError(
        f"the file {file.name!r} with the checksum {file.sha256}",
        f"{found}, in {str(path)!r}",
        "Delete that file; the next run downloads it again."
        if file.url
        else "Put the right one in its place.",
    )


def _brief(error: BaseException) -> str:
    return textwrap.shorten(f"{type(error).__name__}: {error}", 200, placeholder=" ...")
