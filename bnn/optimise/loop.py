"""From batch to batch and epoch to epoch, until all replicas have stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import pyro
from torch import Tensor

from bnn.errors import InputError
from bnn.forecast import check, of_training
from bnn.gradients import WriteOut
from bnn.optimise.active import Active, Visit
from bnn.optimise.loss import Loss
from bnn.optimise.progress import Progress, silent
from bnn.optimise.record import Fit, Mean, Record
from bnn.optimise.training import Training
from bnn.optimise.trust import trusted
from bnn.optimise.update import Adam, Update
from bnn.problem import Problem
from bnn.threads import threads_for


def train(
    problem: Problem,
    seeds: Sequence[int],
    training: Training,
    start: Tensor,
    loss: Loss,
    validate: Loss,
    progress: Progress = silent,
    update: Callable[[Tensor], Update] = Adam,
    visit: Visit | None = None,
    write_out: WriteOut | None = None,
) -> Fit:
    """Minimise every replica's loss, all of them in one tensor.

    A replica whose patience ends leaves the computation with its best parameters, and one whose
    loss is no longer finite leaves it as diverged; the others go on as if alone.

    Arguments:
        problem: the rows.
        seeds: one per replica.
        training: how long and how fast.
        start: initial parameters, `[replicas, ...]`.
        loss: of a minibatch; its noise goes on from step to step.
        validate: of the validation rows; its noise is the same every time.
        progress: told the finished share of the work.
        update: makes what turns gradients into steps, from the initial parameters.
        visit: shown the parameters after every step, for methods that look at the whole course.
        write_out: the gradient of the loss written out, where that is quicker than autograd. It is
            compared with autograd's when the fit starts, and if they differ it is not used.
    """
    if training.patience is not None and not problem.validation.points:
        raise InputError(
            "validation rows for early stopping", "none", "Keep some, or set patience=None."
        )
    check(of_training(problem, weights=start[0].numel()), problem)
    began = time.perf_counter()
    size = training.batch_of(problem.points)
    record = Record(start, training.patience)
    steps, epochs = problem.points // size, training.epochs_of(problem.points)
    mean = Mean(start, math.floor((1 - training.average) * steps * epochs))
    visits: list[Visit] = [mean.visit] if training.average else []
    visits += [] if visit is None else [visit]
    # Pyro's validation would raise on the first replica that diverges, and take the others along.
    with threads_for(problem.layout.size), pyro.validation_enabled(False):
        write_out = trusted(write_out, loss, problem, start, seeds, size)
        active = Active.all_of(problem, seeds, start, loss, update, size, write_out)
        for epoch in range(epochs):
            rates = [training.rate((epoch + step / steps) / epochs) for step in range(steps)]
            losses = active.epoch(rates, epoch * steps, visits)
            going = record.note(epoch, active, losses, active.held_out_loss(validate))
            if epoch + 1 == epochs and training.patience is None:
                record.keep(active, going)
            progress((epoch + 1) / epochs)
            if not going:
                break
            if len(going) < len(active.replicas):
                active = active.take(going)
    progress(1.0)
    if training.average:
        record.kept = mean.parameters
    return record.fit(time.perf_counter() - began)
