"""A batch: some replicas of one method on one data set, fitted together, evaluated, made runs."""

from __future__ import annotations

import hashlib
import platform
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import metadata
from typing import Any

import numpy
import pyro
import torch
from torch import nn

from bnn.data import Dataset
from bnn.errors import InputError
from bnn.evaluation import Evaluation, evaluate
from bnn.likelihoods import LearnedNoise, Likelihood, Normal
from bnn.methods import Method, Under
from bnn.methods.temperature import at_edge
from bnn.optimise import Progress, silent
from bnn.posterior import Posterior
from bnn.priors import Prior
from bnn.problem import Problem
from bnn.run import Arrays, Cost, Design, Run, key_of

WORTH_A_REMARK = 0.5  # nats per row by which a fixed budget may overshoot without a word
SETS = ("train", "validation", "calibration", "test")


@dataclass(frozen=True)
class Batch:
    """What is needed to make runs; it can be sent to another process.

    Arguments:
        study: the study's name.
        dataset: what the study calls the data set.
        data: one split per seed, or a single one for all.
        network, prior, likelihood: the problem; the network's device is where it is computed.
        method: how it is solved.
        seeds: one replica each.
        design: "resplit" where every seed draws its own split, "fixed" where all share one.
        draws: networks averaged in a prediction, where there is a choice.
        provenance: what else a reader of a run may want to know.
    """

    study: str
    dataset: str
    data: Dataset
    network: nn.Module
    prior: Prior
    likelihood: Likelihood | None
    method: Method
    seeds: tuple[int, ...]
    design: Design
    draws: int
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def problem(self) -> Problem:
        """What is fitted, posed under the prior that the method asks for."""
        prior = self.method.prior if isinstance(self.method, Under) else self.prior
        return Problem.of(self.data, self.network, prior, self.likelihood)

    @cached_property
    def keys(self) -> dict[int, str]:
        """The key of each seed's run: the hash of all that determines its numbers."""
        return {seed: key_of(self._settings(seed)) for seed in self.seeds}

    def take(self, seeds: tuple[int, ...]) -> Batch:
        """Return the batch of some of the seeds."""
        data = self.data
        if data.replicas > 1:
            data = data.take([self.seeds.index(seed) for seed in seeds])
        return replace(self, data=data, seeds=seeds)

    def runs(self, progress: Progress = silent) -> list[tuple[Run, Arrays]]:
        """Fit and evaluate all replicas.

        A replica that diverges, or whose predictions cannot be scored, becomes a run that says so,
        beside the others. If the fit itself fails, all replicas do.

        Raises:
            InputError: if the method cannot serve the problem as posed.
        """
        problem = self.problem
        try:
            posterior = self.method.fit(problem, self.seeds, progress)
        except InputError:
            raise
        except Exception as error:  # a study goes on without the method that failed
            return [(self._failed(seed, error), {}) for seed in self.seeds]
        began = time.perf_counter()
        found = self._evaluations(posterior)
        cost = Cost(
            batch_seconds=posterior.fit.seconds + posterior.problem.network.seconds,
            replicas=len(self.seeds),
            predict_seconds=(time.perf_counter() - began) / len(self.seeds),
            parameters=problem.layout.size,
            draws=posterior.draws(self.draws),
        )
        made = []
        for r, evaluation in enumerate(found):
            run, arrays = self._made(posterior, r, evaluation)
            made.append((replace(run, curve=posterior.fit.curves[r], cost=cost), arrays))
        return made

    def _evaluations(self, posterior: Posterior) -> list[Evaluation | Exception | None]:
        """Return what became of each replica's predictions; None where the fit diverged."""
        sound = [r for r, diverged in enumerate(posterior.fit.diverged) if not diverged]

        def of(replicas: list[int]) -> list[Evaluation]:
            data = self.data.take(replicas) if self.data.replicas > 1 else self.data
            return evaluate(posterior.take(replicas), data, self.draws)

        found: dict[int, Evaluation | Exception] = {}
        try:
            found.update(zip(sound, of(sound) if sound else [], strict=True))
        except Exception:  # one of them cannot be scored: find out which
            for r in sound:
                try:
                    (found[r],) = of([r])
                except Exception as error:
                    found[r] = error
        return [found.get(r) for r in range(len(self.seeds))]

    def _made(
        self, posterior: Posterior, r: int, evaluation: Evaluation | Exception | None
    ) -> tuple[Run, Arrays]:
        seed = self.seeds[r]
        if evaluation is None:
            epoch = posterior.fit.curves[r].epochs[-1]
            message = f"the loss was no longer finite in epoch {epoch}"
            return self._run(seed, status="diverged", message=message), {}
        if isinstance(evaluation, Exception):
            return self._failed(seed, evaluation), {}
        run = self._run(seed, status="finished", message=_remark(posterior, r))
        run = replace(
            run,
            scores=evaluation.scores,
            diagnostics=evaluation.diagnostics,
            caveats=evaluation.caveats,
        )
        return run, evaluation.arrays

    def _failed(self, seed: int, error: Exception) -> Run:
        message = (
            str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        )
        trace = "".join(traceback.format_exception(error))
        return self._run(
            seed,
            status="failed",
            message=(message.splitlines() or [""])[0],
            provenance={"traceback": trace},
        )

    def _run(self, seed: int, **fields: Any) -> Run:
        fields["provenance"] = {
            **self.provenance,
            "source": self.data.provenance.source,
            "licence": self.data.provenance.licence,
            "data_sha256": self.data.provenance.sha256,
            "rows": {part: getattr(self.data, part).points for part in ("train", "test")},
            "machine": {"system": platform.system(), "processor": platform.machine()},
            "threads": torch.get_num_threads(),
            "versions": versions(),
            **fields.get("provenance", {}),
        }
        return Run(
            key=self.keys[seed],
            study=self.study,
            dataset=self.dataset,
            task=self.data.task,
            method=self.method.name,
            seed=seed,
            split=self._split(seed),
            design=self.design,
            settings={**self._settings(seed), "label": self.method.label},
            **fields,
        )

    def _split(self, seed: int) -> int:
        return self.data.split.ids[self._replica(seed)]

    def _replica(self, seed: int) -> int:
        """Return which of the data's splits a seed works on."""
        return self.seeds.index(seed) if self.data.replicas > 1 else 0

    @cached_property
    def _content(self) -> str:
        """The hash of all that the data bring, whatever their provenance says."""
        data = self.data
        tables = {"x": data.x, "y": data.y, "unseen": data.unseen, "grid": data.grid}
        digest = hashlib.sha256(f"{data.task} {data.classes} {data.scale_inputs}".encode())
        for name, table in (*tables.items(), *data.shifted.items()):
            if table is not None:
                digest.update(f"{name} {table.dtype} {tuple(table.shape)}".encode())
                digest.update(table.contiguous().numpy().data)
        return digest.hexdigest()

    @cached_property
    def _outputs(self) -> list[float]:
        """What the freshly started network says of one input: its `repr` may not tell all of it."""
        problem = self.problem.take([0])
        features = self.data.x.shape[1:]
        x = torch.linspace(-1, 1, features.numel()).reshape(1, 1, *features).to(problem.like)
        outputs = problem.outputs(problem.initial([0])[:, None], x)
        return [round(value, 3) + 0.0 for value in outputs.flatten().tolist()]

    def _settings(self, seed: int) -> dict[str, Any]:
        like = next(self.network.parameters())
        return {
            "dataset": self.dataset,
            "data": self._content,
            "split": self._split(seed),
            "rows": self.data.split.fingerprint(self._replica(seed)),
            "sizes": [getattr(self.data, part).points for part in SETS],
            "seed": seed,
            "design": self.design,
            "network": repr(self.network),
            "outputs": self._outputs,
            "prior": repr(self.problem.prior),
            "likelihood": repr(self.problem.likelihood),
            "method": repr(self.method),
            "version": self.method.version,
            "draws": self.draws,
            "dtype": str(like.dtype),
            "device": like.device.type,
        }


def versions() -> dict[str, str]:
    """Return the versions of what computes the numbers."""
    return {
        "bnn": metadata.version("bnn"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "pyro": pyro.__version__,
        "numpy": numpy.__version__,
    }


def _remark(posterior: Posterior, r: int) -> str:
    """Return what a reader of a finished run should know about its fit, or nothing."""
    curve = posterior.fit.curves[r]
    remarks = []
    if curve.best is not None and curve.best == curve.epochs[-1]:
        remarks.append("the validation loss was still falling when the epochs ended")
    if curve.best is None and curve.validation:
        rise = curve.validation[-1] - min(curve.validation)
        if rise > WORTH_A_REMARK:
            remarks.append(f"the validation loss ended {rise:.2g} nats per row above its lowest")
    if posterior.temperature is not None and at_edge(posterior.temperature[r]):
        remarks.append("the temperature ended at the edge of what was looked at")
    if _noise_at_floor(posterior.take([r])):
        remarks.append("the noise scale fell to its floor")
    told = posterior.fit.diagnostics[r] if posterior.fit.diagnostics else {}
    if told.get("divergences"):
        remarks.append(f"{told['divergences']:.0f} trajectories left the flow (divergences)")
    return "; ".join(remarks)


def _noise_at_floor(posterior: Posterior) -> bool:
    """Has a learned noise scale collapsed, as that of a point estimate can?"""
    likelihood = posterior.problem.likelihood
    if not (isinstance(likelihood, Normal) and isinstance(likelihood.noise, LearnedNoise)):
        return False
    log_scale = posterior.weights(draws=1)["noise.log_scale"]
    return bool((log_scale.exp() < likelihood.noise.floor).any())
