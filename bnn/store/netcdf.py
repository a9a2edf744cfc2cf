"""The arrays of a run as a file: InferenceData in netCDF."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, unquote

import h5netcdf
import numpy as np
import xarray as xr

from bnn.data.checks import OWN_ROWS
from bnn.run import Arrays

AXES = {"probs": ("class",), "x": ("feature",)}  # after the points; most quantities have no more


def to_netcdf(arrays: Arrays) -> memoryview:
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


def from_netcdf(path: Path, *, draws: bool = True) -> dict[str, np.ndarray]:
    """Return the arrays in a file that `to_netcdf` made, under the names that they had.

    Arguments:
        path: of the file.
        draws: whether with the log-likelihoods of single draws.
    """
    names = {"log_likelihood": "test_draw_log_prob", "observed_data": "test_y"}
    arrays = {}
    with h5netcdf.File(path, "r") as file:
        for group, part in file.groups.items():
            if group == "log_likelihood" and not draws:
                continue
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
