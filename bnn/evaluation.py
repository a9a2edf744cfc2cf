"""Evaluation: from a posterior and the rows it never saw to scores, and the arrays behind them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from bnn.data import Dataset
from bnn.diagnostics import caveats_of, diagnose
from bnn.posterior import Posterior, predict
from bnn.predictive import NormalMixture, Predictive
from bnn.run import Score
from bnn.scores.classification import Classified
from bnn.scores.compared import Compared, Rows, rows_of

NUMBERS_AT_ONCE = 2**25  # log-probabilities held at once: 256 MiB


@dataclass(frozen=True)
class Evaluation:
    """What is known of one replica's predictions."""

    scores: Mapping[str, Score]
    arrays: Mapping[str, np.ndarray]
    diagnostics: Mapping[str, float]  # of chains
    caveats: tuple[str, ...]  # what must be known with the scores and the arrays


def evaluate(posterior: Posterior, data: Dataset, draws: int) -> list[Evaluation]:
    """Score a posterior on test, shifted and unseen rows, replica by replica.

    Arguments:
        posterior: fitted on `data`, one replica per split (or all on the only one).
        data: supplies the rows that the posterior never saw.
        draws: networks averaged in a prediction, where there is a choice.
    """
    data = data if data.replicas == len(posterior.seeds) else data.take([0] * len(posterior.seeds))
    per_replica = posterior.draws(draws) * data.test.points * max(len(data.classes), 1)
    size = max(1, NUMBERS_AT_ONCE // (per_replica * (2 + len(data.shifted))))
    found: list[Evaluation] = []
    for start in range(0, data.replicas, size):
        some = list(range(start, min(start + size, data.replicas)))
        found += _evaluate(posterior.take(some), data.take(some), draws)
    return found


def _evaluate(posterior: Posterior, data: Dataset, draws: int) -> list[Evaluation]:
    predictives = {"test": _predicted(posterior, data.test.x, draws)}
    for name in data.shifted:
        predictives[name] = _predicted(posterior, data.test_under(name).x, draws)
    y = _labels(data)
    labels = {name: y for name in predictives}
    if data.unseen is not None:
        predictives["unseen"] = _predicted(posterior, data.unseen, draws)
    random_draws = posterior.family.atoms is None
    compared = Compared.of(predictives, labels, random_draws, aligned=tuple(data.shifted))
    scores, test = compared.scores(posterior.seeds), predictives["test"]
    batched = dict(_arrays(test, data, compared.rows))
    if data.grid is not None:
        grid = _predicted(posterior, data.grid, draws)
        batched |= {f"grid_{name}": value for name, value in _quantities(rows_of(grid, None))}
        if isinstance(grid, NormalMixture):  # the mixture's own interval; it need not be Normal
            batched |= {"grid_low": grid.quantile(0.025), "grid_high": grid.quantile(0.975)}
    fixed = _pictured(data)
    diagnostics = diagnose(posterior, test, y)
    return [
        Evaluation(
            scores[r],
            {name: _plain(value[r]) for name, value in batched.items()}
            | {name: _plain(value[r] if len(value) > 1 else value[0]) for name, value in fixed},
            diagnostics[r],
            (*posterior.caveats, *caveats_of(diagnostics[r])),
        )
        for r in range(data.replicas)
    ]


def _predicted(posterior: Posterior, x: Tensor, draws: int) -> Predictive:
    """Return the predictive where labels, scores and stored arrays are: on the CPU."""
    return predict(posterior, x, draws).to("cpu")


def _arrays(
    test: Predictive, data: Dataset, rows: Mapping[str, Rows]
) -> Iterator[tuple[str, Tensor]]:
    """Yield arrays `[replicas, ...]` by name; see `bnn.run.Run` for what they are."""
    yield "test_index", data.split.test
    y = _labels(data)
    yield "test_y", y
    yield "test_draw_log_prob", test.draw_log_prob(y)
    yield from ((f"test_{name}", value) for name, value in rows["test"].pointwise.items())
    for condition, some in rows.items():
        for name, value in _quantities(some):
            if condition == "test" or name not in ("probs", "pit"):
                yield f"{condition}_{name}", value


def _labels(data: Dataset) -> Tensor:
    """Return the targets of the test rows; counts of labels as distributions."""
    y = data.test.y
    return y / y.sum(-1, keepdim=True) if y.ndim == 3 else y


def _quantities(rows: Rows) -> Iterator[tuple[str, Tensor]]:
    """Yield what is known of each point, `[replicas, points, ...]`, by name."""
    if isinstance(rows, Classified):
        yield "probs", rows.mixture.probs
        yield "entropy", rows.entropy
        yield "mutual_information", rows.mutual_information
    else:
        yield "mean", rows.mean
        yield "noise_sd", rows.noise_variance.sqrt()
        yield "weight_sd", rows.weight_variance.sqrt()
        if rows.truth is not None:
            yield "pit", rows.truth.pit.mean(1)


def _pictured(data: Dataset) -> list[tuple[str, Tensor]]:
    """Return what a picture over a grid shows beside the predictions."""
    if data.grid is None:
        return []
    truth = [] if data.truth is None else [("grid_truth", data.truth[None])]
    shown = [("grid_x", data.grid[None]), ("train_x", data.train.x), ("train_y", data.train.y)]
    return shown + truth


def _plain(value: Tensor) -> np.ndarray:
    array = value.detach().cpu().numpy()
    return array.astype(np.float32) if array.dtype.kind == "f" else array
