"""Posteriors: draws are fixed by the seed, and a draw is one function of the inputs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from small import apart, normal, quick, real_targets, relative, serves, two_classes
from torch import nn

from bnn.errors import InputError
from bnn.likelihoods import FixedNoise, InputNoise, LearnedNoise, Noise, Normal
from bnn.methods import (
    CORE,
    METHODS,
    MLE,
    ConcreteDropout,
    DeepEnsemble,
    Laplace,
    MCDropout,
    MeanField,
    Method,
)
from bnn.methods.dropout import DroppedUnits
from bnn.methods.mean_field import FactorisedNormal
from bnn.networks import MLP
from bnn.posterior import Atoms, Posterior, predict, running
from bnn.posterior import posterior as drawing
from bnn.predictive import CategoricalMixture, NormalMixture
from bnn.problem import Problem
from bnn.seeds import Streams

SEEDS = [11, 5, 8]
# The bounds of what a prediction holds at once, and where they are.
SIZES = {"UNITS_AT_ONCE": running, "WEIGHTS_AT_ONCE": drawing}
every_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)


def fitted(method: Method, dtype: torch.dtype = torch.float64, replicas: int = 3) -> Posterior:
    data = two_classes(40, replicas=replicas)
    problem = Problem.of(data, MLP(3, [6, 5], 2, "tanh").to(dtype))
    return quick(method, epochs=4, batch_size=10).fit(problem, SEEDS[:replicas])


def inputs(points: int = 12) -> torch.Tensor:
    return 3 + 2 * normal(points, 3, seed=4)


# Draws


@every_method
def test_a_draw_depends_on_the_replicas_seed_alone(method: Method, untouched: None) -> None:
    with torch.random.fork_rng(devices=[]):
        posterior = fitted(method)
    outputs, _ = posterior.outputs(inputs()[None], 6)
    for r in range(3):
        alone = posterior.take([r])
        assert alone.seeds == (SEEDS[r],)
        assert apart(alone.outputs(inputs()[None], 6)[0][0], outputs[r]) < 1e-13
        for name, value in alone.weights(6).items():
            assert apart(value[0], posterior.weights(6)[name][r]) < 1e-13


@every_method
def test_the_first_draws_do_not_depend_on_how_many_are_asked_for(method: Method) -> None:
    posterior = fitted(method)
    few, many = (posterior.outputs(inputs()[None], draws)[0] for draws in (4, 11))
    if posterior.family.atoms is None:
        assert few.shape[1] == 4
        assert many.shape[1] == 11
        assert apart(many[:, :4], few) < 1e-13
        assert apart(many[:, 4:8], few) > 1e-6  # and the next are others
    else:
        assert torch.equal(few, many)
        assert few.shape[1] == posterior.family.atoms


@every_method
def test_predicting_twice_gives_the_same_bits(method: Method) -> None:
    posterior = fitted(method)
    first, second = (predict(posterior, inputs(), 6).draw_log_probs for _ in range(2))
    assert torch.equal(first, second)


@every_method
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-5)], ids=str
)
def test_a_row_alone_is_predicted_as_in_a_batch(
    method: Method, dtype: torch.dtype, tolerance: float
) -> None:
    posterior, x = fitted(method, dtype), inputs()
    together = posterior.outputs(x[None], 8)[0]
    assert together.dtype == dtype
    for n in range(len(x)):
        assert relative(posterior.outputs(x[None, n : n + 1], 8)[0], together[:, :, n : n + 1]) < (
            tolerance
        )
    backwards = posterior.outputs(x.flip(0)[None], 8)[0]
    assert relative(backwards.flip(2), together) < tolerance


@every_method
@pytest.mark.parametrize("at_once", [1, 3 * 12, 3 * 12 * 3 + 1, 10**9])
@pytest.mark.parametrize("size", SIZES)
def test_draws_and_rows_in_chunks_are_the_same(
    method: Method, at_once: int, size: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    posterior = fitted(method)
    expected, latents = posterior.outputs(inputs()[None], 10)
    monkeypatch.setattr(running, "ROW_MULTIPLE", 5)
    monkeypatch.setattr(SIZES[size], size, at_once)
    found, again = posterior.outputs(inputs()[None], 10)
    assert found.shape == expected.shape
    assert apart(found, expected) < 1e-13
    assert latents.keys() == again.keys()
    assert all(apart(latents[name], again[name]) < 1e-13 for name in latents)


def test_what_a_prediction_holds_at_once_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    posterior = fitted(MeanField())
    weights, units = list[int](), list[int]()
    draw, run = FactorisedNormal.draw, running._Perceptrons.__call__

    def drawn(*given):
        found = draw(*given)
        weights.append(found[0].numel())
        return found

    def ran(self, *given):
        outputs = run(self, *given)
        units.extend(layer.numel() for layer in self.forward._units)
        return outputs

    monkeypatch.setattr(FactorisedNormal, "draw", drawn)
    monkeypatch.setattr(running._Perceptrons, "__call__", ran)
    monkeypatch.setattr(SIZES["WEIGHTS_AT_ONCE"], "WEIGHTS_AT_ONCE", 2000)
    monkeypatch.setattr(SIZES["UNITS_AT_ONCE"], "UNITS_AT_ONCE", 3000)
    outputs, _ = posterior.outputs(inputs(500)[None], 70)
    assert outputs.shape == (3, 70, 500, 2)
    assert max(weights) <= 2000 < sum(weights)
    assert max(units) <= 3000 < sum(units)


@pytest.mark.parametrize("at_once", [1, 50])
def test_chunks_keep_masks_and_learned_noise_with_their_draws(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = nn.Sequential(nn.Linear(3, 9), nn.Tanh(), nn.Dropout(0.5), nn.Linear(9, 1)).double()
    problem = Problem.of(real_targets(40, replicas=2), network)
    for method in (MCDropout(), MeanField()):
        posterior = quick(method, epochs=2).fit(problem, [0, 1])
        expected = predict(posterior, inputs(), 9)
        with monkeypatch.context() as patched:
            patched.setattr(running, "ROW_MULTIPLE", 5)
            for size, module in SIZES.items():
                patched.setattr(module, size, at_once)
            found = predict(posterior, inputs(), 9)
        assert apart(found.loc, expected.loc) < 1e-13
        assert apart(found.scale, expected.scale) < 1e-13


def test_a_draw_of_dropped_units_is_one_function() -> None:
    posterior = fitted(MCDropout(rate=0.5))
    x = inputs(1).expand(20, 3)
    outputs = posterior.outputs(x[None], 30)[0]
    assert apart(outputs, outputs[:, :, :1].expand_as(outputs)) < 1e-13
    assert outputs.std(1).min() > 1e-3  # over draws it varies


@pytest.mark.parametrize("replicas", [1, 3])
def test_masks_leave_units_out_as_often_as_they_say(replicas: int) -> None:
    posterior = fitted(MCDropout(rate=0.3, input_rate=0.1), replicas=replicas)
    assert isinstance(posterior.family, DroppedUnits)
    streams = Streams(SEEDS[:replicas], "a test", torch.device("cpu"), torch.float64)
    weights, masks = posterior.family.draw(streams, 3000)
    assert weights.shape == (replicas, 3000, posterior.problem.layout.size)
    assert {site: mask.shape[2:] for site, mask in masks.items()} == {
        "input": (3,),
        "hidden.0": (6,),
        "hidden.1": (5,),
    }
    for site, mask in masks.items():
        rate = round(2**16 * (0.1 if site == "input" else 0.3)) / 2**16
        assert set(mask.unique().tolist()) == {0.0, 1 / (1 - rate)}  # in float64
        share = (mask == 0).double().mean((0, 1))
        assert ((share - rate).abs() < 4.5 * (rate * (1 - rate) / 3000 / replicas) ** 0.5).all()
        assert abs(mask.mean().item() - 1) < 0.05
    units = torch.cat([mask.flatten(0, 1) for mask in masks.values()], -1)
    corner = units.mT.corrcoef() - torch.eye(14)
    assert corner.abs().max() < 5 / (3000 * replicas) ** 0.5  # units go independently


# Predictions


@every_method
def test_a_prediction_is_the_networks_run_one_by_one(method: Method) -> None:
    if isinstance(method, Laplace):  # by default its networks are tangents of this one
        method = replace(method, predictive="sampled")
    posterior = fitted(method)
    if isinstance(method, MCDropout | ConcreteDropout):
        return  # its networks have masks; see the closed forms
    x = inputs()
    predictive = predict(posterior, x, 5)
    assert isinstance(predictive, CategoricalMixture)
    weights, network = posterior.weights(5), posterior.problem.network.network
    for r in range(3):
        scaling = posterior.problem.inputs
        probs = [
            torch.func.functional_call(
                network,
                {name: w[r, s] for name, w in weights.items()},
                ((x - scaling.mean[r]) / scaling.scale[r],),
            ).softmax(-1)
            for s in range(predictive.draws)
        ]
        assert apart(predictive.probs[r], torch.stack(probs).mean(0)) < 1e-13


def test_networks_that_differ_in_masks_alone_have_one_set_of_weights() -> None:
    posterior = fitted(MCDropout(rate=0.5))
    (weight, *_) = posterior.weights(50).values()
    assert weight.shape == (3, 1, 6, 3)
    assert torch.equal(
        posterior.problem.layout.flat(posterior.weights(50))[:, 0], (posterior.fit.parameters)
    )


def test_named_weights_are_the_layouts() -> None:
    posterior = fitted(MeanField())
    weights = posterior.weights(4)
    assert {name: tuple(value.shape) for name, value in weights.items()} == {
        "layers.0.weight": (3, 4, 6, 3),
        "layers.0.bias": (3, 4, 6),
        "layers.1.weight": (3, 4, 5, 6),
        "layers.1.bias": (3, 4, 5),
        "layers.2.weight": (3, 4, 2, 5),
        "layers.2.bias": (3, 4, 2),
    }


@pytest.mark.parametrize(
    "noise", [FixedNoise(1.0), LearnedNoise(), InputNoise()], ids=lambda noise: type(noise).__name__
)
@pytest.mark.parametrize(
    "method",
    [method for method in METHODS if serves(method, "regression")],
    ids=lambda method: method.name,
)
def test_real_targets_come_back_in_their_units(method: Method, noise: Noise) -> None:
    likelihood = Normal(noise)
    data = real_targets(40, replicas=3)
    network = MLP(3, [6], noise.width, "tanh").double()
    problem = Problem.of(data, network, likelihood=likelihood)
    posterior = quick(method, epochs=100, batch_size=10).fit(problem, SEEDS)
    predictive = predict(posterior, data.train.x, 20)
    assert isinstance(predictive, NormalMixture)
    shift, unit = data.train.y.mean(1)[:, None], data.train.y.std(1, correction=0)[:, None]
    outputs, latents = posterior.outputs(data.train.x, 20)
    assert apart(predictive.mean, shift + unit * outputs[..., 0].mean(1)) < 1e-11
    if isinstance(noise, FixedNoise):
        scale = torch.ones_like(outputs[..., 0])  # in the data's units
    else:
        own = outputs[..., 1] if noise.width == 2 else latents["noise.log_scale"][..., None]
        scale = unit[..., None] * (noise.floor**2 + (2 * own).exp()).sqrt()
    expected = scale.square().mean(1).expand_as(predictive.mean)
    assert relative(predictive.noise_variance, expected) < 1e-11
    if method in CORE:  # the quick settings of others are too quick for a good fit
        error = (predictive.mean - data.train.y).square().mean(1).sqrt()
        assert (error < 0.25 * unit[:, 0]).all()  # the noise alone is 0.2
    for r in range(3):
        alone = predict(posterior.take([r]), data.train.x[r], 20)
        assert apart(alone.mean[0], predictive.mean[r]) < 1e-11
        assert apart(alone.variance[0], predictive.variance[r]) < 1e-11


@every_method
def test_inputs_may_be_shared_or_one_table_per_replica(method: Method) -> None:
    posterior, x = fitted(method), inputs()
    shared = predict(posterior, x, 4).log_probs
    assert torch.equal(predict(posterior, x[None], 4).log_probs, shared)
    assert apart(predict(posterior, x.expand(3, -1, -1), 4).log_probs, shared) < 1e-13
    assert torch.equal(predict(posterior, x.numpy(), 4).log_probs, shared)
    single = predict(posterior, x.float(), 4).log_probs
    assert apart(single, shared) < 1e-4
    shifted = torch.stack([x, x + 1, x + 2])
    assert (
        apart(
            predict(posterior, shifted, 4).log_probs[2:],
            predict(posterior.take([2]), x + 2, 4).log_probs,
        )
        < 1e-13
    )


def test_whole_numbers_are_inputs_too() -> None:
    posterior = fitted(MLE())
    x = np.arange(6).reshape(2, 3)
    assert torch.equal(predict(posterior, x).probs, predict(posterior, x.astype(float)).probs)


@every_method
def test_taking_replicas_keeps_what_belongs_to_them(method: Method) -> None:
    posterior = fitted(method)
    some = posterior.take([2, 0])
    assert some.seeds == (8, 11)
    assert some.problem.replicas == 2
    assert some.fit.curves == (posterior.fit.curves[2], posterior.fit.curves[0])
    assert some.fit.diverged == (False, False)
    assert torch.equal(some.fit.parameters, posterior.fit.parameters[[2, 0]])
    assert some.draws(50) == posterior.draws(50)
    found, expected = predict(some, inputs(), 6), predict(posterior, inputs(), 6)
    assert apart(found.draw_log_probs, expected.draw_log_probs[[2, 0]]) < 1e-13


def test_how_many_networks_a_prediction_averages() -> None:
    assert fitted(MLE()).draws(50) == 1
    assert fitted(DeepEnsemble()).draws(50) == 3
    assert fitted(MeanField()).draws(50) == 50
    assert fitted(MCDropout()).draws(50) == 50


def test_atoms_are_a_set() -> None:
    weights = normal(2, 3, 4)
    streams = Streams([0, 1], "a test", torch.device("cpu"), torch.float64)
    drawn, masks = Atoms(weights).draw(streams, 99)
    assert torch.equal(drawn, weights)
    assert masks == {}
    assert torch.equal(Atoms(weights).take([1]).weights, weights[1:])


# Refused


@every_method
def test_no_draws_are_refused(method: Method) -> None:
    posterior = fitted(method, replicas=1)
    for draws in (0, -3, 2.5, "9", None):
        with pytest.raises(InputError, match=f"at least one draw; found {draws!r}"):
            predict(posterior, inputs(), draws)
        with pytest.raises(InputError, match="at least one draw"):
            posterior.weights(draws)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_inputs_that_are_not_finite_are_refused(value: float) -> None:
    x = inputs()
    x[3, 1] = value
    for given in (x, x.numpy(), pd.DataFrame(x.numpy())):
        with pytest.raises(InputError, match=r"finite inputs.*; found NaN, infinite"):
            predict(fitted(MLE()), given)


def test_inputs_that_overflow_once_standardised_are_refused() -> None:
    posterior, x = fitted(MLE(), torch.float32), inputs()
    assert predict(posterior, x * 1e30).log_probs.isfinite().all()
    with pytest.raises(InputError, match=r"finite inputs.*as torch\.float32; found .*too large"):
        predict(posterior, x * 1e300)


def test_a_data_frame_of_numbers_is_read() -> None:
    posterior, x = fitted(MLE()), inputs()
    frame = pd.DataFrame(x.numpy(), columns=list("abc"))
    expected = predict(posterior, x).log_probs
    assert torch.equal(predict(posterior, frame).log_probs, expected)
    assert torch.equal(predict(posterior, frame.astype(object)).log_probs, expected)
    assert torch.equal(predict(posterior, x.tolist()).log_probs, expected)


@pytest.mark.parametrize(
    "x",
    [
        inputs() * 1j,
        inputs().numpy() * 1j,
        inputs()[None] * 1j,
        None,
        "abc",
        [["a", "b", "c"]],
        [[object(), 1.0, 2.0]],
        [[1.0, 2.0, 3.0], [1.0]],
        pd.DataFrame({"a": [1.0], "b": ["red"], "c": [2.0]}),
    ],
)
def test_inputs_that_are_no_real_numbers_are_refused(x: object) -> None:
    with pytest.raises(InputError, match=r"numbers (in column|of shape)|rectangular"):
        predict(fitted(MLE()), x)


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((12,), r"\[points, \*\(3,\)\]"),
        ((12, 4), "shape"),
        ((2, 12, 3), "shape"),
        ((3, 12, 3, 1), r"\[points, \*\(3,\)\]"),
        ((0, 3), "at least one row"),
        ((3, 0, 3), "at least one row"),
    ],
)
def test_inputs_of_another_shape_are_refused(shape: tuple[int, ...], says: str) -> None:
    with pytest.raises(InputError, match=says):
        predict(fitted(MLE()), torch.zeros(shape))
