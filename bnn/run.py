"""A run: everything worth keeping of one (study, data set, method, replica), as plain data.

Reports, tables and statistics are made from runs alone; no model is needed to read one.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from bnn.errors import InputError
from bnn.optimise import Curve

SCHEMA = 2  # raised whenever a field is added or changes its meaning
ADDED: Mapping[int, Mapping[str, Any]] = {2: {"diagnostics": {}, "caveats": []}}  # by schema

Arrays = Mapping[str, np.ndarray]
Design = Literal["resplit", "fixed"]
Status = Literal["finished", "diverged", "failed"]


class NoRun(InputError):
    """Text that should be a run and is none: torn, or written by something else."""


@dataclass(frozen=True)
class Score:
    """A number with what is known of its error.

    `name` is a score of `bnn.scores.SCORES`; on other inputs than the test rows it is
    `name@condition`, for example `nll@rotation 30` or `auroc_entropy@unseen`.
    """

    value: float
    error: float | None = None  # standard error over test points
    draw_error: float | None = None  # Monte-Carlo error over draws; None where draws are not random


@dataclass(frozen=True)
class Cost:
    """What a run cost. Replicas are trained together, so their time is shared evenly."""

    batch_seconds: float  # wall clock of the fit of the whole batch
    replicas: int  # in that batch
    predict_seconds: float  # per replica: predicting and scoring test, shifted and unseen rows
    parameters: int  # weights of one network
    draws: int  # networks averaged in a prediction

    @property
    def seconds(self) -> float:
        """Seconds of training per replica."""
        return self.batch_seconds / self.replicas


@dataclass(frozen=True)
class Run:
    """One method on one replica of one data set.

    Its arrays lie beside it in the store: `test_index`, `test_y`, and for classification
    `test_probs [points, classes]`, for any condition c in test, unseen and the shifts
    `c_entropy`, `c_mutual_information [points]`; for regression `test_mean`, `test_noise_sd`,
    `test_weight_sd`, `test_pit`; the pointwise proper scores `test_nll`, `test_brier` or
    `test_crps`; `test_draw_log_prob [draws, points]`; and for toys `grid_x [points, features]` with
    the same quantities as for test.
    """

    key: str  # the hash of all that determines the run
    study: str
    dataset: str
    task: str
    method: str
    seed: int
    split: int
    design: Design  # does every seed draw its own split?
    status: Status
    message: str  # why a run did not finish, or what to know about one that did
    settings: Mapping[str, Any]  # method, network, prior, likelihood, draws, dtype, data hash
    scores: Mapping[str, Score] = field(default_factory=dict)
    curve: Curve = field(default_factory=Curve)
    cost: Cost | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)  # versions, command, data source
    diagnostics: Mapping[str, float] = field(default_factory=dict)  # of chains; see bnn.diagnostics
    caveats: tuple[str, ...] = ()  # sentences that a reader must know with every number above

    def to_json(self) -> str:
        """Return the run as JSON text, keys sorted, so that equal runs are equal bytes.

        JSON knows no infinity and no NaN: both are written as null, and a null number reads as NaN.
        """
        fields = _strict({"schema": SCHEMA, **asdict(self)})
        return json.dumps(fields, indent=1, sort_keys=True, allow_nan=False)

    @staticmethod
    def from_json(text: str) -> Run:
        """Read what `to_json` wrote.

        Raises:
            NoRun: if it is no run at all.
            InputError: if a newer version of the suite wrote it.
        """
        try:
            fields = json.loads(text)
            schema = int(fields.pop("schema"))
            for later in range(schema + 1, SCHEMA + 1):
                fields |= ADDED[later]
            if schema <= SCHEMA:
                return _typed(Run, fields)
        except (ValueError, KeyError, AttributeError, TypeError, ArithmeticError) as error:
            raise NoRun(
                "a run written by bnn", f"text that is none ({error!r})", "Delete the file."
            ) from error
        raise InputError(
            f"a run of schema {SCHEMA} or older",
            f"schema {schema}, written by a newer bnn",
            "Upgrade bnn, or choose another folder with --runs.",
        )


def _strict(found: Any) -> Any:
    """Return plain data with None for the numbers that JSON does not know."""
    if isinstance(found, Mapping):
        return {name: _strict(value) for name, value in found.items()}
    if isinstance(found, list | tuple):
        return [_strict(value) for value in found]
    return None if isinstance(found, float) and not math.isfinite(found) else found


def _typed(kind: Any, found: Any) -> Any:
    """Return plain data as what a field is declared to be, or raise TypeError."""
    origin, parts = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and is_dataclass(kind) and isinstance(found, dict):
        hints = get_type_hints(kind)
        if found.keys() != hints.keys():
            raise TypeError(f"fields {sorted(found.keys() ^ hints.keys())} missing or unknown")
        return kind(**{name: _typed(hints[name], value) for name, value in found.items()})
    if origin is Mapping and isinstance(found, dict):
        return {name: _typed(parts[1], value) for name, value in found.items()}
    if origin is tuple and isinstance(found, list):
        return tuple(_typed(parts[0], value) for value in found)
    if origin is UnionType:  # of something and None
        return None if found is None and NoneType in parts else _typed(parts[0], found)
    if kind is float and (found is None or type(found) in (int, float)):
        return math.nan if found is None else float(found)
    if kind is Any or type(found) is kind or (origin is Literal and found in parts):
        return found
    raise TypeError(f"{kind} expected, {str(found)[:40]!r} found")


def key_of(settings: Mapping[str, Any]) -> str:
    """Return the hash of all that determines a run: equal settings give equal keys."""
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:20]
