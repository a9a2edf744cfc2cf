"""Temperature scaling: against a known answer, against scipy, and as a method beside the others."""

from __future__ import annotations

import math
import pickle
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp
from small import apart, normal, quick, real_targets, two_classes
from torch import Tensor, nn

from bnn.batch import Batch
from bnn.data import Dataset, Provenance, Split, from_arrays
from bnn.errors import InputError
from bnn.likelihoods import Bernoulli
from bnn.methods import METHODS, MLE, DeepEnsemble, MCDropout, MeanField, TemperatureScaled, Under
from bnn.methods.temperature import COLDEST, HOTTEST, at_edge, best_temperature
from bnn.networks import MLP
from bnn.optimise import Curve, Fit
from bnn.posterior import Affine, Atoms, Posterior, predict
from bnn.priors import Laplace, Normal
from bnn.problem import Problem
from bnn.store import Store

SEEDS = [3, 4, 5]


# Against known answers: the inputs are logits, and each network multiplies them by a number


def logits_as_inputs(logits: Tensor, y: Tensor, replicas: int = 1) -> Problem:
    """Rows whose inputs are logits, all of them for calibration, left as they are."""
    rows, classes = logits.shape
    index = torch.arange(rows).expand(replicas, -1)
    blank = torch.arange(rows, rows + classes).expand(replicas, -1)
    hard = torch.arange(classes) if y.ndim == 1 else torch.eye(classes, dtype=y.dtype)
    data = Dataset(
        name="logits",
        task="classification",
        x=torch.cat([logits, torch.zeros(classes + 1, classes, dtype=logits.dtype)]),
        y=torch.cat([y, hard, hard[:1]]),
        split=Split(blank, index[:, :0], index, blank[:, :1] + classes, tuple(range(replicas))),
        provenance=Provenance("a test", "none", ""),
        classes=tuple("abcdefghij"[:classes]),
    )
    return Problem.of(data, nn.Linear(classes, classes, bias=False).to(logits))


def multiples(problem: Problem, factors: Tensor) -> Posterior:
    """Return the networks f(x) = c x for c in `factors [replicas, atoms]`."""
    replicas, atoms = factors.shape
    weights = (factors[..., None, None] * torch.eye(problem.network.outputs)).to(problem.like)
    fit = Fit(weights, (Curve(),) * replicas, (False,) * replicas, 0.0)
    family = Atoms(weights.reshape(replicas, atoms, -1))
    return Posterior(problem, family, tuple(range(replicas)), fit)


def drawn(rows: int, classes: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return logits, and labels drawn from their softmax."""
    logits = 1.5 * normal(rows, classes, seed=seed)
    generator = torch.Generator().manual_seed(seed + 1)
    return logits, F.softmax(logits, -1).multinomial(1, generator=generator)[:, 0]


def scipy_temperature(outputs: np.ndarray, q: np.ndarray) -> float:
    """Return the best temperature of `outputs [atoms, rows, classes]` for distributions q."""

    def loss(u: float) -> float:
        mixture = logsumexp(log_softmax(outputs / math.exp(u), axis=-1), axis=0)
        return -(q * (mixture - math.log(len(outputs)))).sum(-1).mean()

    found = minimize_scalar(
        loss,
        bounds=(math.log(COLDEST), math.log(HOTTEST)),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return math.exp(found.x)


def test_true_logits_times_c_have_temperature_c() -> None:
    logits, y = drawn(40_000)
    factors = torch.tensor([0.25, 1.0, 2.5, 6.0], dtype=torch.float64)
    problem = logits_as_inputs(logits, y, replicas=4)
    found = best_temperature(multiples(problem, factors[:, None]), problem.calibration)
    assert found.dtype == torch.float64
    # The information in a row about log T is the variance of the logits under their softmax.
    p = F.softmax(logits, -1)
    variance = (p * logits.square()).sum(-1) - (p * logits).sum(-1).square()
    error = 1 / math.sqrt(variance.sum().item())
    assert error < 0.01
    assert (found / factors).log().abs().max() < 4 * error
    # All four are the same question, asked in other units.
    assert apart(found / factors, found[1].expand(4)) < 1e-10


@pytest.mark.parametrize("soft", [False, True], ids=["numbers", "distributions"])
@pytest.mark.parametrize("atoms", [1, 5])
def test_the_temperature_is_scipys(atoms: int, soft: bool) -> None:
    logits, y = drawn(300)
    q = F.softmax(logits + normal(300, 4, seed=8), -1) if soft else F.one_hot(y, 4).double()
    problem = logits_as_inputs(logits, q if soft else y, replicas=3)
    # Some factors are negative: a mixture of networks that disagree.
    factors = 4 * normal(3, atoms, seed=7).abs() - (0.5 if atoms > 1 else 0)
    found = best_temperature(multiples(problem, factors), problem.calibration)
    for r in range(3):
        outputs = factors[r, :, None, None] * logits
        expected = scipy_temperature(outputs.numpy(), q.numpy())
        assert found[r].item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("rows", "seed", "factors", "minima"),
    [(8, 360, [0.32, 50.0, 0.14], (0.115, 15.4)), (9, 192, [12.9, -2.5], (8.7, 0.52))],
)
def test_the_lower_of_two_minima_is_found(
    rows: int, seed: int, factors: list[float], minima: tuple[float, float]
) -> None:
    """The loss of a mixture may dip twice."""
    logits, y = drawn(rows, classes=2, seed=seed)
    problem = logits_as_inputs(logits, y)
    posterior = multiples(problem, torch.tensor([factors]).double())
    found = best_temperature(posterior, problem.calibration)

    def loss(temperature: Tensor) -> float:
        scaled = replace(posterior, scaling=Affine.temperature(temperature.reshape(1)))
        return -predict(scaled, logits).log_prob(y[None]).mean().item()

    ends = math.log10(COLDEST), math.log10(HOTTEST)
    tried = torch.logspace(*ends, 300, dtype=torch.float64)
    losses = torch.tensor(list(map(loss, tried)))
    dips = 1 + ((losses[1:-1] < losses[:-2]) & (losses[1:-1] < losses[2:])).nonzero().flatten()
    by_depth = dips[losses[dips].argsort()]
    assert tried[by_depth].tolist() == pytest.approx(minima, rel=0.03)
    assert found.item() == pytest.approx(minima[0], rel=0.03)
    assert loss(found) <= losses.min().item() + 1e-7


def test_one_is_the_identity() -> None:
    logits, y = drawn(50)
    posterior = multiples(logits_as_inputs(logits, y, replicas=2), 1 + normal(2, 3).abs())
    one = replace(posterior, scaling=Affine.temperature(torch.ones(2, dtype=torch.float64)))
    assert torch.equal(
        predict(one, logits).draw_log_probs, predict(posterior, logits).draw_log_probs
    )


def test_every_draw_is_divided_before_the_average() -> None:
    logits, y = drawn(50)
    factors = 1 + normal(2, 3).abs()
    posterior = multiples(logits_as_inputs(logits, y, replicas=2), factors)
    temperature = torch.tensor([0.5, 3.0], dtype=torch.float64)
    scaled = replace(posterior, scaling=Affine.temperature(temperature))
    by_hand = F.log_softmax(
        factors[..., None, None] * logits / temperature[:, None, None, None], dim=-1
    )
    assert apart(predict(scaled, logits).draw_log_probs, by_hand) < 1e-14
    assert apart(predict(scaled, logits).probs, by_hand.exp().mean(1)) < 1e-14
    second = scaled.take([1, 1])
    assert second.temperature is not None
    assert second.temperature.tolist() == [3, 3]
    assert apart(predict(second, logits).probs[0], by_hand.exp().mean(1)[1]) < 1e-14


def test_large_problems_are_done_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, y = drawn(200)
    problem = logits_as_inputs(logits, y, replicas=5)
    posterior = multiples(problem, 3 * normal(5, 4).abs())
    whole = best_temperature(posterior, problem.calibration)
    monkeypatch.setattr("bnn.methods.scaling.NUMBERS_AT_ONCE", 2 * 200 * 4 * 4)
    assert apart(best_temperature(posterior, problem.calibration), whole) < 1e-12


# As a method


def overlapping(replicas: int = 3, rows: int = 300) -> Dataset:
    """Two classes that overlap, with noise features to overfit to."""
    x = normal(rows, 8, seed=1)
    y = (2 * x[:, 0] + 1.5 * normal(rows, seed=2) > 0).long()
    return from_arrays("overlapping", x, y, splits=range(replicas))


def pose(replicas: int = 3, outputs: int = 2) -> Problem:
    return Problem.of(overlapping(replicas), MLP(8, [20], outputs).double())


def test_an_overtrained_network_is_made_less_sure_and_predicts_better() -> None:
    data = overlapping(rows=1500)
    problem = Problem.of(data, MLP(8, [50], 2).double())
    method = MLE(replace(MLE().training, epochs=60, learning_rate=0.02, patience=None))
    plain = method.fit(problem, SEEDS)
    scaled = TemperatureScaled(method).fit(problem, SEEDS)
    assert scaled.temperature is not None
    assert (scaled.temperature > 1.2).all()
    before, after = predict(plain, data.test.x), predict(scaled, data.test.x)
    assert (after.log_prob(data.test.y).mean(1) > before.log_prob(data.test.y).mean(1)).all()
    assert torch.equal(after.probs.argmax(-1), before.probs.argmax(-1))
    assert torch.equal(scaled.fit.parameters, plain.fit.parameters)
    assert scaled.fit.seconds > 0


@pytest.mark.parametrize(
    "method", [MLE(), DeepEnsemble(), MCDropout(), MeanField()], ids=lambda method: method.name
)
@pytest.mark.parametrize("outputs", [1, 2])
def test_the_calibration_rows_become_as_likely_as_they_can(method, outputs: int) -> None:
    """Looked at from outside, through `predict` alone."""
    problem = pose(outputs=outputs)
    assert isinstance(problem.likelihood, Bernoulli) == (outputs == 1)
    posterior = TemperatureScaled(quick(method, epochs=25), draws=10).fit(problem, SEEDS)
    rows = problem.calibration
    found = posterior.temperature
    assert found is not None
    assert not at_edge(found).any()

    def log_prob(temperature: Tensor) -> Tensor:
        changed = replace(posterior, scaling=Affine.temperature(temperature))
        return predict(changed, rows.x, draws=10).log_prob(rows.y).mean(1)

    best = log_prob(found)
    for factor in (0.2, 0.8, 0.99, 1.01, 1.25, 5):
        assert (best > log_prob(found * factor)).all()
    assert (best >= log_prob(torch.ones_like(found))).all()


@pytest.mark.parametrize(
    "method", [MLE(), MCDropout(), MeanField()], ids=lambda method: method.name
)
def test_a_replica_equals_the_single_run(method) -> None:
    method = TemperatureScaled(quick(method, epochs=10), draws=10)
    problem = pose()
    together, again = method.fit(problem, SEEDS), method.fit(problem, SEEDS)
    assert torch.equal(together.temperature, again.temperature)
    for r, seed in enumerate(SEEDS):
        alone = method.fit(problem.take([r]), [seed])
        assert apart(alone.temperature[0], together.temperature[r]) < 1e-10
        x = problem.train.x[r]
        assert apart(predict(alone, x).probs[0], predict(together, x).probs[r]) < 1e-10


def test_replicas_on_one_split_have_temperatures_of_their_own() -> None:
    posterior = TemperatureScaled(quick(MLE(), epochs=10)).fit(pose(replicas=1), SEEDS)
    assert posterior.temperature.shape == (3,)
    assert len(set(posterior.temperature.tolist())) == 3


def test_scaling_twice_changes_nothing_more() -> None:
    once = TemperatureScaled(quick(MLE(), epochs=25))
    first, second = (m.fit(pose(), SEEDS).temperature for m in (once, TemperatureScaled(once)))
    assert apart(first, second) < 1e-9


@dataclass(frozen=True)
class Given:
    """A method that returns the networks f(x) = c x."""

    factors: tuple[float, ...]

    name, label, reference, version = "given", "Given", "", 1

    def fit(self, problem: Problem, seeds: list[int], progress: object = None) -> Posterior:
        posterior = multiples(problem, torch.tensor(self.factors).double()[:, None])
        diverged = tuple(map(math.isnan, self.factors))
        fit = replace(posterior.fit, diverged=diverged)
        return replace(posterior, seeds=tuple(seeds), fit=fit)


def test_a_diverged_replica_keeps_to_itself() -> None:
    problem = logits_as_inputs(*drawn(200), replicas=3)
    sound = TemperatureScaled(Given((2.0, 2.5, 3.0))).fit(problem, SEEDS).temperature
    lost = TemperatureScaled(Given((2.0, math.nan, 3.0))).fit(problem, SEEDS).temperature
    assert torch.equal(lost[[0, 2]], sound[[0, 2]])
    assert lost[1] == 1


def test_a_temperature_at_the_edge_is_told() -> None:
    logits, y = drawn(200)
    right = logits.argmax(1)
    method = TemperatureScaled(Given((1.0, 1.0)))
    told = r"Given for seeds \[7, 9\] ended at the edge of \[0.0625, 16.0\]"
    with pytest.warns(UserWarning, match=told):
        cold = method.fit(logits_as_inputs(logits, right, replicas=2), [7, 9])
    assert cold.temperature.tolist() == pytest.approx([COLDEST] * 2)
    with pytest.warns(UserWarning, match=told):
        hot = method.fit(logits_as_inputs(logits, (right + 1) % 4, replicas=2), [7, 9])
    assert hot.temperature.tolist() == pytest.approx([HOTTEST] * 2)
    assert not at_edge(
        method.fit(logits_as_inputs(logits, y, replicas=2), [7, 9]).temperature
    ).any()


def test_what_cannot_be_scaled_is_refused() -> None:
    numbers = Problem.of(real_targets(), MLP(3, [5], 1).double())
    with pytest.raises(InputError, match=r"a classification.*found regression"):
        TemperatureScaled(MLE()).fit(numbers, SEEDS[:1])
    without = Problem.of(two_classes(), MLP(3, [5], 2).double())
    with pytest.raises(InputError, match=r"calibration rows.*found none.*Split the data with some"):
        TemperatureScaled(MLE()).fit(without, SEEDS[:1])


def test_names_tell_a_method_from_its_scaled_self() -> None:
    method = TemperatureScaled(MLE())
    assert method.name == "mle_temperature"
    assert method.label == "MLE (cross-entropy), temperature-scaled"
    assert "Guo" in method.reference
    assert method.version > MLE().version
    assert pickle.loads(pickle.dumps(method)) == method
    assert hash(method) == hash(TemperatureScaled(MLE()))
    names = {TemperatureScaled(inner).name for inner in METHODS} | {m.name for m in METHODS}
    assert len(names) == 2 * len(METHODS)
    under = TemperatureScaled(Under(MLE(), Laplace(1.0), "laplace", "Laplace prior"))
    assert under.name == "mle_laplace_temperature"


def test_it_makes_runs_beside_the_others(tmp_path: Path) -> None:
    inner = quick(MLE(), epochs=40)
    plain, scaled = (
        Batch(
            study="scaled",
            dataset="small",
            data=overlapping(),
            network=MLP(8, [20], 2),
            prior=Normal(1.0),
            likelihood=None,
            method=method,
            seeds=(0, 1, 2),
            design="resplit",
            draws=8,
        )
        for method in (inner, TemperatureScaled(inner))
    )
    assert not set(plain.keys.values()) & set(scaled.keys.values())
    runs = [*plain.runs(), *scaled.runs()]
    for run, arrays in runs:
        assert run.status == "finished", run.message
        assert Store(tmp_path).save(run, arrays)
    before, after = ([run.scores for run, _ in part] for part in (runs[:3], runs[3:]))
    for a, b in zip(before, after, strict=True):
        assert a["accuracy"] == b["accuracy"]
        assert a["nll"].value != b["nll"].value
    assert {run.method for run in Store(tmp_path).load("scaled")} == {"mle", "mle_temperature"}


def test_a_run_says_when_its_temperature_is_at_the_edge() -> None:
    x = normal(200, 3, seed=1)
    data = from_arrays("easy", 3 * x, (x[:, 0] > 0).long(), splits=[0, 1])  # separable
    batch = Batch(
        study="edge",
        dataset="small",
        data=data,
        network=nn.Linear(3, 2).double(),
        prior=Normal(1.0),
        likelihood=None,
        method=TemperatureScaled(quick(MLE(), epochs=300)),
        seeds=(0, 1),
        design="resplit",
        draws=1,
    )
    with pytest.warns(UserWarning, match="edge"):
        runs = [run for run, _ in batch.runs()]
    assert any("temperature ended at the edge" in run.message for run in runs)
