"""The suite's own work on something else, of which an item is to be a small share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from items import scoring
from items.problems import problem_of

from bnn import MeanField, Training
from peers.task import Task, each


def scores(settings: Mapping[str, Any], given: Mapping[str, np.ndarray]) -> Task:
    """The prediction that is scored: as many draws of a digits network at as many rows."""
    problem = problem_of({"task": "digits"})
    x = torch.rand(1, scoring.ROWS, 64, generator=torch.Generator().manual_seed(0)) * 16
    posterior = MeanField(training=Training(epochs=1)).fit(problem, [0])
    value = scoring.ours(settings, given).value
    return Task(lambda: each(lambda: posterior.outputs(x, scoring.DRAWS)), value)


WORK = {"scores": scores}
