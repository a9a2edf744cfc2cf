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

from bnn.store.store import Store
from bnn.store.writing import STALE, check_folder, write_whole

__all__ = ["STALE", "Store", "check_folder", "write_whole"]
