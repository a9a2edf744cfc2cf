"""Small classification sets under the protocol of Immer, Korzepa and Bauer 2021.

Two hidden layers of 50 tanh units, 70 % of the rows train, 15 % validate and 15 % test, ten splits.
Each split and method has the prior of ten that validates best. Every step sees all training rows.
Published are 10,000 steps of Adam at 0.001; here there are 1000, at a rate that falls from 0.01 to
zero. Laplace has the Kronecker structure, for a full one of 3,352 weights takes minutes.

`--all` adds the larger sets.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from bnn import (
    MAP,
    MLE,
    MLP,
    DeepEnsemble,
    Laplace,
    MCDropout,
    MeanField,
    Study,
    Training,
    Under,
    Validated,
    priors,
)
from bnn.batch import Batch
from bnn.data import Dataset, uci
from bnn.methods import Method
from bnn.report.group import Lookup
from bnn.report.published import CLASSIFICATION
from bnn.report.sections import Part, Section
from bnn.report.tables import NOTHING, Cell, Column, Row, Table, numeric
from bnn.report.words import with_error
from bnn.run import Run
from bnn.statistics import summary
from bnn.study import Look

SMALL, LARGE = ("australian", "breast_cancer", "ionosphere"), ("digits", "satellite", "banana")
PRECISIONS = tuple(10 ** (-2 + 4 * i / 9) for i in range(10))
STEPS = Training(epochs=1000, learning_rate=1e-2, decay=True)


def network(data: Dataset) -> MLP:
    """Two hidden layers of 50 units."""
    return MLP(data.x.shape[1], [50, 50], len(data.classes), "tanh")


def validated(method: Method) -> Validated:
    """The method under each of ten priors, chosen by the validation rows."""
    return Validated(
        tuple(
            Under(method, priors.Normal(p**-0.5), f"{p:.2g}", f"precision {p:.2g}")
            for p in PRECISIONS
        ),
        share=None,
    )


METHODS = {
    "mle": lambda steps: MLE(replace(steps, patience=50)),
    "map_validated": lambda steps: validated(MAP(steps)),
    "ensemble": lambda steps: DeepEnsemble(5, MLE(replace(steps, patience=50))),
    "mc_dropout_validated": lambda steps: Validated(
        tuple(MCDropout(rate, training=steps) for rate in (0.01, 0.05, 0.1, 0.2)), share=None
    ),
    "mean_field_validated": lambda steps: validated(MeanField(training=steps)),
    "laplace_validated": lambda steps: validated(Laplace(evidence=False, training=steps)),
    "laplace": lambda steps: Laplace(training=steps),
}


def pose(batch: Batch) -> Batch:
    """All training rows in every step."""
    steps = replace(STEPS, batch_size=batch.data.train.points)
    return replace(batch, method=METHODS[batch.method.name](steps))


def findings(runs: Sequence[Run], arrays: Lookup, table: Path) -> Section:
    """The log-likelihoods beside the published ones."""
    sets, methods = (
        list(dict.fromkeys(getattr(r, n) for r in runs)) for n in ("dataset", "method")
    )
    rows = []
    for method in methods:
        cells = []
        for name in sets:
            found = [
                r for r in runs if (r.dataset, r.method, r.status) == (name, method, "finished")
            ]
            if not found:
                cells.append(NOTHING)
                continue
            total = summary([run.scores["nll"].value for run in found])
            error = None if total.sd is None else total.sd / math.sqrt(total.n)
            printed = CLASSIFICATION.get(method, {}).get(name)
            notes = [] if printed is None else [f"published {printed:g}, from memory"]
            cells.append(numeric(with_error(total.mean, error), total.mean, *notes))
        label = next(str(run.settings["label"]) for run in runs if run.method == method)
        rows.append(Row(label, cells, method))
    columns = [Column(name, "nats, lower is better") for name in sets]
    shown = Table("Negative log-likelihood, mean ± sd/√splits", "Method", columns, rows)
    return Section("Beside published results", "published", NOTE, [Part("By set", [], [shown])])


def cell(runs: Sequence[Run], dataset: str, method: str) -> Cell:
    """The mean over splits, and below it what is remembered of the publication."""
    finished = [run for run in runs if run.status == "finished"]
    own = [run for run in finished if (run.dataset, run.method) == (dataset, method)]
    if not own:
        return NOTHING
    total = summary([run.scores["nll"].value for run in own])
    error = None if total.sd is None else total.sd / math.sqrt(total.n)
    printed = CLASSIFICATION.get(method, {}).get(dataset)
    notes = [] if printed is None else [f"published {printed:g}, from memory"]
    return numeric(with_error(total.mean, error), total.mean, *notes)


NOTE = (
    "The published column is from memory, unchecked: orientation only, and no verdict is given."
    " Calibration and entropy are in the sections of the data sets."
)

study = Study(
    name=Path(__file__).stem,
    question="What does a Bayesian network buy on small tables, each prior chosen by validation?",
    datasets={name: partial(uci.classification, name) for name in SMALL},
    network=network,
    methods=[make(STEPS) for make in METHODS.values()],
    seeds=10,
    draws=100,
    look=Look("mle,map_validated,laplace", "australian,ionosphere", 5),
    pose=pose,
    findings=findings,
)

if __name__ == "__main__":
    if "--all" in sys.argv:
        sys.argv.remove("--all")
        every = {name: partial(uci.classification, name) for name in SMALL + LARGE}
        study = replace(study, datasets=every)
    study.main()
