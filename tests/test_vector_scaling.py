"""Vector scaling: against known answers, scipy and scikit-learn, and as a method."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import minimize
from scipy.special import log_softmax, logsumexp
from sklearn.linear_model import LogisticRegression
from small import apart, normal, quick, real_targets, two_classes
from test_temperature import Given, drawn, logits_as_inputs, multiples, overlapping, pose
from torch import Tensor

from bnn.errors import InputError
from bnn.likelihoods import Bernoulli
from bnn.methods import MLE, MCDropout, MeanField, TemperatureScaled, VectorScaled
from bnn.methods.temperature import best_temperature
from bnn.methods.vector_scaling import best_map
from bnn.networks import MLP
from bnn.posterior import Affine, predict
from bnn.problem import Problem

SEEDS = [3, 4, 5]
GAIN = torch.tensor([0.4, 1.0, 1.6, 0.8], dtype=torch.float64)
SHIFT = torch.tensor([0.5, -1.0, 0.0, 0.5], dtype=torch.float64)  # their sum, unidentified, is 0


def parts(found: Affine) -> tuple[Tensor, Tensor]:
    assert found.shift is not None
    return found.gain, found.shift


def test_the_map_that_labels_were_drawn_from_is_found() -> None:
    logits = 1.5 * normal(40_000, 4)
    p = F.softmax(GAIN * logits + SHIFT, -1)
    y = p.multinomial(1, generator=torch.Generator().manual_seed(1))[:, 0]
    problem = logits_as_inputs(logits, y)
    found, norms = best_map(
        multiples(problem, torch.ones(1, 1).double()), problem.calibration, spread=math.inf
    )
    assert norms.item() <= 1e-8
    # The information of all rows about (gain, shift), less the direction of equal shifts.
    features = torch.cat([torch.diag_embed(logits), torch.eye(4).expand(len(p), 4, 4)], 2).double()
    noise = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    errors = torch.linalg.pinv((features.mT @ noise @ features).sum(0)).diagonal().sqrt()
    assert (errors < 0.03).all()
    gap = torch.cat([part[0] for part in parts(found)]) - torch.cat([GAIN, SHIFT])
    assert (gap.abs() < 4 * errors).all()  # fails by chance in 5 of 10,000 seeds
    assert abs(parts(found)[1].sum().item()) < 1e-9


def scipy_map(outputs: np.ndarray, q: np.ndarray, spread: float) -> tuple[np.ndarray, float]:
    """Return the best change of the identity for `outputs [atoms, rows, classes]`, and its loss."""
    width = outputs.shape[-1]

    def loss(change: np.ndarray) -> float:
        mapped = (1 + change[:width]) * outputs + change[width:]
        mixture = logsumexp(log_softmax(mapped, axis=-1), axis=0) - math.log(len(outputs))
        return -(q * mixture).sum(-1).mean() + (change**2).sum() / (2 * len(q) * spread**2)

    found = minimize(loss, np.zeros(2 * width), options={"gtol": 1e-8, "maxiter": 10_000})
    return found.x, found.fun


@pytest.mark.parametrize("soft", [False, True], ids=["numbers", "distributions"])
@pytest.mark.parametrize(("atoms", "spread"), [(1, 10.0), (1, 0.5), (5, 0.5)])
def test_the_map_is_scipys(atoms: int, spread: float, soft: bool) -> None:
    logits, y = drawn(300)
    q = F.softmax(logits + normal(300, 4, seed=8), -1) if soft else F.one_hot(y, 4).double()
    problem = logits_as_inputs(logits, q if soft else y, replicas=3)
    factors = 0.5 + normal(3, atoms, seed=7).abs()
    found, norms = best_map(multiples(problem, factors), problem.calibration, spread=spread)
    assert (norms <= 1e-8).all()
    for r in range(3):
        outputs = factors[r, :, None, None] * logits
        expected, _ = scipy_map(outputs.numpy(), q.numpy(), spread)
        change = torch.cat([found.gain[r] - 1, parts(found)[1][r]]).numpy()
        assert np.abs(change - expected).max() < 1e-4


def test_one_logit_has_platts_scaling() -> None:
    problem = pose(outputs=1)
    assert isinstance(problem.likelihood, Bernoulli)
    posterior = quick(MLE(), epochs=25).fit(problem, SEEDS)
    rows = problem.calibration
    found, _ = best_map(posterior, rows, spread=math.inf)
    assert found.gain.shape == (3, 1)
    logits = posterior.outputs(rows.x)[0][:, 0].numpy()
    for r in range(3):
        platt = LogisticRegression(C=np.inf, tol=1e-10).fit(logits[r], rows.y[r].numpy())
        assert found.gain[r].item() == pytest.approx(platt.coef_.item(), rel=1e-3)
        assert parts(found)[1][r].item() == pytest.approx(platt.intercept_.item(), abs=1e-3)


def test_every_draw_is_mapped_before_the_average() -> None:
    logits, y = drawn(50)
    factors = 1 + normal(2, 3).abs()
    posterior = multiples(logits_as_inputs(logits, y, replicas=2), factors)
    scaling = Affine(torch.stack([GAIN, 2 * GAIN]), torch.stack([SHIFT, -SHIFT]))
    scaled = replace(posterior, scaling=scaling)
    outputs = factors[..., None, None] * logits
    by_hand = F.softmax(
        torch.stack([GAIN, 2 * GAIN])[:, None, None] * outputs
        + torch.stack([SHIFT, -SHIFT])[:, None, None],
        dim=-1,
    )
    assert apart(predict(scaled, logits).probs, by_hand.mean(1)) < 1e-14
    assert apart(predict(scaled.take([1]), logits).probs[0], by_hand.mean(1)[1]) < 1e-14
    assert scaled.temperature is None


@pytest.mark.parametrize("first", [None, SHIFT[None]], ids=["gain", "gain and shift"])
@pytest.mark.parametrize("second", [None, -2 * SHIFT[None]], ids=["gain", "gain and shift"])
def test_maps_follow_each_other(first: Tensor | None, second: Tensor | None) -> None:
    outputs = normal(1, 2, 5, 4)
    one, two = Affine(GAIN[None], first), Affine(3 * GAIN[None], second)
    assert apart(two.after(one)(outputs), two(one(outputs))) < 1e-14
    assert two.after(None) == two


# As a method


@pytest.mark.parametrize(
    "method", [MLE(), MCDropout(), MeanField()], ids=lambda method: method.name
)
def test_the_mixture_becomes_as_likely_as_it_can(method) -> None:
    """Looked at from outside, through `predict` alone; no temperature does better."""
    problem = pose(outputs=2)
    method = quick(method, epochs=25)
    posterior = VectorScaled(method, draws=10).fit(problem, SEEDS)
    rows = problem.calibration
    gain, shift = parts(posterior.scaling)

    def log_joint(gain: Tensor, shift: Tensor) -> Tensor:
        changed = replace(posterior, scaling=Affine(gain, shift))
        found = predict(changed, rows.x, draws=10).log_prob(rows.y).sum(1)
        return found - ((gain - 1).square() + shift.square()).sum(1) / 2

    best = log_joint(gain, shift)
    for k in range(2):
        for step in (-0.02, 0.02):
            change = torch.zeros(1, 2).double()
            change[0, k] = step
            assert (best > log_joint(gain + change, shift)).all()
            assert (best > log_joint(gain, shift + change)).all()
    plain = method.fit(problem, SEEDS)
    temperature = best_temperature(plain, rows, draws=10)
    assert (best > log_joint((1 / temperature)[:, None].expand(3, 2), torch.zeros(3, 2))).all()


@pytest.mark.parametrize("method", [MLE(), MCDropout()], ids=lambda method: method.name)
def test_a_replica_equals_the_single_run(method) -> None:
    method = VectorScaled(quick(method, epochs=10), draws=10)
    problem = pose()
    together, again = method.fit(problem, SEEDS), method.fit(problem, SEEDS)
    for part, other in zip(parts(together.scaling), parts(again.scaling), strict=True):
        assert torch.equal(part, other)
    for r, seed in enumerate(SEEDS):
        alone = method.fit(problem.take([r]), [seed])
        for part, other in zip(parts(together.scaling), parts(alone.scaling), strict=True):
            assert apart(part[r], other[0]) < 1e-10
        x = problem.train.x[r]
        assert apart(predict(alone, x).probs[0], predict(together, x).probs[r]) < 1e-10


def test_large_problems_are_done_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, y = drawn(200)
    problem = logits_as_inputs(logits, y, replicas=5)
    posterior = multiples(problem, 3 * normal(5, 4).abs())
    whole, _ = best_map(posterior, problem.calibration)
    monkeypatch.setattr("bnn.methods.scaling.NUMBERS_AT_ONCE", 2 * 200 * 4 * 4)
    pieces, norms = best_map(posterior, problem.calibration)
    assert norms.shape == (5,)
    assert apart(pieces.gain, whole.gain) < 1e-12
    assert apart(parts(pieces)[1], parts(whole)[1]) < 1e-12


def test_scalings_of_scalings_work_on_what_they_find() -> None:
    problem, given = logits_as_inputs(*drawn(400)), Given((2.5,))
    free = VectorScaled(given, spread=math.inf)
    direct = free.fit(problem, [7]).scaling
    first = VectorScaled(TemperatureScaled(given), spread=math.inf)  # the same optimum
    second = TemperatureScaled(free)  # after a free map, nothing is left for a temperature
    for method in (first, second):
        found = method.fit(problem, [7]).scaling
        for part, other in zip(parts(found), parts(direct), strict=True):
            assert apart(part, other) < 1e-4


def test_a_diverged_replica_keeps_to_itself() -> None:
    problem = logits_as_inputs(*drawn(200), replicas=3)
    sound = VectorScaled(Given((2.0, 2.5, 3.0))).fit(problem, SEEDS).scaling
    lost = VectorScaled(Given((2.0, math.nan, 3.0))).fit(problem, SEEDS).scaling
    assert torch.equal(lost.gain[[0, 2]], sound.gain[[0, 2]])
    assert torch.equal(lost.shift[[0, 2]], sound.shift[[0, 2]])
    assert (lost.gain[1] == 1).all()
    assert (lost.shift[1] == 0).all()


# Few rows, and rows that are told apart without error


def test_rows_without_error_are_told() -> None:
    logits, _ = drawn(200)
    problem = logits_as_inputs(logits, logits.argmax(1), replicas=2)
    told = r"Given for seeds \[7, 9\] ended without gains between 0 and 16"
    for spread in (math.inf, 100.0):
        with pytest.warns(UserWarning, match=told):
            VectorScaled(Given((1.0, 1.0)), spread=spread).fit(problem, [7, 9])
    held = VectorScaled(Given((1.0, 1.0)), spread=1.0).fit(problem, [7, 9])  # is not told
    assert (held.scaling.gain < 16).all()


def test_a_map_that_turns_the_logits_round_is_told() -> None:
    logits, _ = drawn(200)
    problem = logits_as_inputs(logits, logits.argmin(1))
    with pytest.warns(UserWarning, match="between 0 and 16"):
        VectorScaled(Given((1.0,))).fit(problem, [7])


@pytest.mark.parametrize(("rows", "told"), [(79, True), (80, False)])
def test_few_rows_are_told_with_every_number(rows: int, told: bool) -> None:
    problem = logits_as_inputs(*drawn(rows))
    caveats = VectorScaled(Given((1.0,)), spread=1.0).fit(problem, [7]).caveats
    assert len(caveats) == told
    assert all("8 numbers to 79 calibration rows" in caveat for caveat in caveats)


def test_a_narrow_prior_keeps_the_identity() -> None:
    problem = logits_as_inputs(*drawn(200))
    found = VectorScaled(Given((3.0,)), spread=1e-4).fit(problem, [7]).scaling
    assert apart(found.gain, torch.ones(1, 4)) < 1e-4
    assert apart(found.shift, torch.zeros(1, 4)) < 1e-4


def test_what_cannot_be_scaled_is_refused() -> None:
    numbers = Problem.of(real_targets(), MLP(3, [5], 1).double())
    with pytest.raises(InputError, match=r"a classification.*found regression"):
        VectorScaled(MLE()).fit(numbers, SEEDS[:1])
    without = Problem.of(two_classes(), MLP(3, [5], 2).double())
    with pytest.raises(InputError, match=r"calibration rows.*found none.*Split the data with some"):
        VectorScaled(MLE()).fit(without, SEEDS[:1])
    for spread in (0.0, -1.0, math.nan):
        with pytest.raises(InputError, match="a positive spread"):
            VectorScaled(MLE(), spread=spread)


def test_names_tell_a_method_from_its_scaled_self() -> None:
    method = VectorScaled(MLE())
    assert method.name == "mle_vector"
    assert method.label == "MLE (cross-entropy), vector-scaled"
    assert method.version > MLE().version
    assert method.tasks == TemperatureScaled(MLE()).tasks == ("classification",)
    assert pickle.loads(pickle.dumps(method)) == method
    assert hash(method) == hash(VectorScaled(MLE()))


def test_a_shift_of_the_classes_is_corrected_on_rows_never_seen() -> None:
    data = overlapping(rows=3000)
    problem = Problem.of(data, MLP(8, [20], 2).double())
    plain = quick(MLE(), epochs=10).fit(problem, SEEDS)
    skewed = Affine(torch.ones(3, 2).double(), torch.tensor([[0.0, 1.5]] * 3).double())
    skewed_posterior = replace(plain, scaling=skewed)
    found, _ = best_map(skewed_posterior, problem.calibration)
    mended = replace(plain, scaling=found.after(skewed))
    before, after = (
        predict(p, data.test.x).log_prob(data.test.y).mean(1) for p in (skewed_posterior, mended)
    )
    assert (after > before + 0.05).all()
