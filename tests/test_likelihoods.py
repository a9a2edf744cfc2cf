"""Likelihoods: each is a loss of the field, and predicts in the target's own units."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from small import apart, normal, real_targets, table
from torch import Tensor

from bnn.data import Scaling
from bnn.errors import InputError
from bnn.likelihoods import (
    Bernoulli,
    Categorical,
    FixedNoise,
    InputNoise,
    LearnedNoise,
    Likelihood,
    Noise,
    Normal,
    SoftLabels,
    default,
)
from bnn.methods import MAP, MLE
from bnn.networks import MLP
from bnn.optimise import Training
from bnn.posterior import predict
from bnn.predictive import CategoricalMixture, NormalMixture
from bnn.problem import Problem

UNIT = torch.ones(1, 1, 1, dtype=torch.float64)
LOG_SCALES = [-9.0, -1.0, 0.0, 0.5, 2.0]
LABELS = torch.tensor([0, 2, 1, 1, 2])


def log_prob(
    likelihood: Likelihood, outputs: Tensor, y: Tensor, latents: dict[str, Tensor] | None = None
) -> Tensor:
    return likelihood.distribution(outputs, latents or {}, UNIT).log_prob(
        likelihood.targets(y, outputs)
    )


def test_minus_categorical_is_cross_entropy() -> None:
    outputs = 4 * normal(5, 3)
    found = -log_prob(Categorical(), outputs, LABELS)
    assert apart(found, F.cross_entropy(outputs, LABELS, reduction="none")) < 1e-14


def test_minus_bernoulli_is_binary_cross_entropy() -> None:
    outputs, y = 4 * normal(5, 1), torch.tensor([0, 1, 1, 0, 1])
    expected = F.binary_cross_entropy_with_logits(outputs[:, 0], y.double(), reduction="none")
    assert apart(-log_prob(Bernoulli(), outputs, y), expected) < 1e-14


def test_minus_soft_labels_is_cross_entropy_with_probabilities() -> None:
    outputs, q = 4 * normal(5, 3), normal(5, 3, seed=1).softmax(-1)
    expected = F.cross_entropy(outputs, q, reduction="none")
    assert apart(-log_prob(SoftLabels(), outputs, q), expected) < 1e-14


def test_a_soft_label_with_all_mass_on_a_class_is_that_label() -> None:
    outputs = 4 * normal(5, 3)
    found = log_prob(SoftLabels(), outputs, F.one_hot(LABELS, 3))
    assert apart(found, log_prob(Categorical(), outputs, LABELS)) < 1e-14


def test_counts_weigh_every_label_and_distributions_every_row() -> None:
    outputs, counts = normal(2, 3), torch.tensor([[4.0, 0.0, 1.0], [0.0, 2.0, 0.0]])
    log_p = outputs.log_softmax(-1)
    by_hand = torch.stack([4 * log_p[0, 0] + log_p[0, 2], 2 * log_p[1, 1]])
    assert apart(log_prob(SoftLabels(counts=True), outputs, counts), by_hand) < 1e-14
    per_row = torch.stack([by_hand[0] / 5, by_hand[1] / 2])
    assert apart(log_prob(SoftLabels(), outputs, counts), per_row) < 1e-14


def test_minus_normal_of_unit_noise_is_half_the_squared_error_up_to_a_constant() -> None:
    outputs, y = normal(5, 1), normal(5, seed=1)
    found = -log_prob(Normal(FixedNoise(1.0)), outputs, y)
    half = F.mse_loss(outputs[:, 0], y, reduction="none") / 2
    assert apart(found, half + math.log(2 * math.pi) / 2) < 1e-14


@pytest.mark.parametrize(
    ("noise", "latents", "scale"),
    [
        (FixedNoise(0.7), {}, [0.7] * 5),
        (
            LearnedNoise(floor=0.02),
            {"noise.log_scale": torch.tensor(-1.2, dtype=torch.float64)},
            [math.hypot(0.02, math.exp(-1.2))] * 5,
        ),
        (
            InputNoise(floor=0.02),
            {},
            [math.hypot(0.02, math.exp(f)) for f in LOG_SCALES],
        ),
    ],
)
def test_normal_is_scipys(noise: Noise, latents: dict[str, Tensor], scale: list[float]) -> None:
    log_scales = torch.tensor(LOG_SCALES, dtype=torch.float64)
    outputs = torch.stack([normal(5), log_scales], -1)[:, : noise.width]
    y = normal(5, seed=1)
    expected = stats.norm.logpdf(y.numpy(), outputs[:, 0].numpy(), scale)
    found = log_prob(Normal(noise), outputs, y, latents)
    assert apart(found[0, 0] if found.ndim == 3 else found, torch.as_tensor(expected)) < 1e-12


def test_latents_and_draws_keep_their_axes() -> None:
    outputs = normal(2, 3, 5, 1)  # replicas, draws, points, width
    latents = {"noise.log_scale": normal(2, 3, seed=1)}
    given = Normal(LearnedNoise()).distribution(outputs, latents, UNIT)
    assert given.batch_shape == (2, 3, 5)
    expected = (0.003**2 + (2 * latents["noise.log_scale"]).exp()).sqrt()
    assert apart(given.scale, expected[..., None].expand(2, 3, 5)) < 1e-15


def test_the_floor_holds_a_collapsing_noise() -> None:
    given = Normal(LearnedNoise(floor=0.01)).distribution(
        normal(1, 1, 4, 1), {"noise.log_scale": torch.tensor([[-1e4]]).double()}, UNIT
    )
    assert apart(given.scale, torch.tensor(0.01)) < 1e-9


# Predictives


def test_one_logit_predicts_what_two_do() -> None:
    outputs = 5 * normal(2, 7, 4, 1)
    nothing = torch.zeros(2)
    one = Bernoulli().predictive(outputs, {}, nothing, nothing + 1)
    two = Categorical().predictive(
        torch.cat([torch.zeros_like(outputs), outputs], -1), {}, nothing, nothing + 1
    )
    assert isinstance(one, CategoricalMixture)
    assert one.draw_log_probs.shape == (2, 7, 4, 2)
    assert apart(one.draw_log_probs, two.draw_log_probs) < 1e-13
    assert apart(one.probs, two.probs) < 1e-14


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_extreme_logits_stay_finite(size: float, dtype: torch.dtype) -> None:
    logits = torch.tensor([[[[size, 0.0, -size]]]], dtype=dtype)
    nothing = torch.zeros(1)
    for likelihood, outputs, y in (
        (Categorical(), logits, torch.tensor([2])),
        (SoftLabels(), logits, torch.tensor([[0.2, 0.3, 0.5]])),
        (Bernoulli(), logits[..., :1], torch.tensor([1])),
        (Bernoulli(), logits[..., :1], torch.tensor([0])),
    ):
        outputs = outputs.clone().requires_grad_()
        loss = -log_prob(likelihood, outputs, y).sum()
        (gradient,) = torch.autograd.grad(loss, outputs)
        assert loss.isfinite()
        assert gradient.isfinite().all()
        predictive = likelihood.predictive(outputs.detach(), {}, nothing, nothing + 1)
        assert predictive.draw_log_probs.isfinite().all()
        assert apart(predictive.probs.sum(-1), torch.ones(1, 1).double()) < 1e-12


@pytest.mark.parametrize(
    "noise", [FixedNoise(1.3), LearnedNoise(), InputNoise()], ids=lambda noise: type(noise).__name__
)
def test_real_targets_are_predicted_in_their_own_units(noise: Noise) -> None:
    shift, unit = torch.tensor([[10.0, -4.0], [5.0, 0.2]], dtype=torch.float64)
    outputs = normal(2, 3, 4, noise.width, seed=5)
    latents = {name: normal(2, 3, seed=6) for name in noise.latents}
    found = Normal(noise).predictive(outputs, latents, shift, unit)
    assert isinstance(found, NormalMixture)
    y = shift[:, None] + 3 * unit[:, None] * normal(2, 4, seed=7)
    for r in range(2):
        for s in range(3):
            loc = shift[r] + unit[r] * outputs[r, s, :, 0]
            if isinstance(noise, FixedNoise):
                scale = torch.full((4,), 1.3, dtype=torch.float64)  # stated in original units
            elif isinstance(noise, LearnedNoise):
                scale = unit[r] * math.hypot(0.003, latents["noise.log_scale"][r, s].exp())
            else:
                scale = unit[r] * (0.003**2 + (2 * outputs[r, s, :, 1]).exp()).sqrt()
            expected = stats.norm.logpdf(y[r].numpy(), loc.numpy(), scale.numpy())
            # the 1.3 above and the floor are float32 in nobody's code, so only rounding remains
            assert apart(found.draw_log_prob(y)[r, s], torch.as_tensor(expected)) < 2e-6
    assert apart(found.mean, shift[:, None] + unit[:, None] * outputs[..., 0].mean(1)) < 1e-12


def test_training_and_prediction_score_a_row_alike_but_for_the_unit() -> None:
    data = real_targets()
    for likelihood in (Normal(FixedNoise(2.0)), Normal(LearnedNoise()), Normal(InputNoise())):
        network = MLP(3, [4], likelihood.width(0)).double()
        problem = Problem.of(data, network, likelihood=likelihood)
        posterior = MLE(Training(epochs=3)).fit(problem, [0])
        weights = posterior.fit.parameters[:, None]
        x, y = problem.batch(problem.train)
        standardised = problem.log_likelihood(weights, problem.outputs(weights, x), y)[:, 0]
        original = predict(posterior, data.train.x).log_prob(data.train.y)
        assert apart(original, standardised - problem.targets.scale.log()[:, None]) < 1e-12


def test_a_learned_noise_recovers_a_known_one() -> None:
    rows = 4000
    x = normal(rows, 2)
    y = 30 + 8 * (x[:, 0] - x[:, 1]) + 5 * normal(rows, seed=1)
    data = table(x, y)
    training = Training(epochs=2000, learning_rate=0.05, batch_size=rows, decay=True)
    for method in (MLE(training), MAP(training)):
        problem = Problem.of(data, MLP(2, [], 1).double())
        predictive = predict(method.fit(problem, [0]), x[:1])
        found = predictive.noise_variance.sqrt().item()
        residual = y.numpy() - stats_of_least_squares(x, y)
        assert found == pytest.approx(residual.std(), rel=1e-3)  # the MLE of the noise
        assert found == pytest.approx(5.0, rel=4 / math.sqrt(2 * rows))


def stats_of_least_squares(x: Tensor, y: Tensor) -> object:
    design = torch.cat([x, torch.ones(len(x), 1).double()], 1)
    return (design @ torch.linalg.lstsq(design, y[:, None]).solution)[:, 0].numpy()


def test_a_noise_of_the_input_recovers_how_it_grows() -> None:
    rows = 4000
    x = normal(rows, 1)
    y = 2 * x[:, 0] + (0.5 * x[:, 0] - 1).exp() * normal(rows, seed=1)
    problem = Problem.of(table(x, y), MLP(1, [], 2).double())
    assert problem.likelihood == Normal(InputNoise())
    training = Training(epochs=400, learning_rate=0.05, batch_size=rows, decay=True)
    predictive = predict(MLE(training).fit(problem, [0]), torch.tensor([[-1.0], [0.0], [1.0]]))
    log_noise = predictive.noise_variance.sqrt().log()[0]
    assert apart(log_noise, torch.tensor([-1.5, -1.0, -0.5]).double()) < 0.06


# Choice and refusal


def test_the_usual_likelihoods() -> None:
    assert default("classification", False, 3) == Categorical()
    assert default("classification", False, 1) == Bernoulli()
    assert default("classification", True, 3) == SoftLabels()
    assert default("regression", False, 1) == Normal(LearnedNoise())
    assert default("regression", False, 2) == Normal(InputNoise())


def test_widths() -> None:
    assert Categorical().width(4) == SoftLabels().width(4) == 4
    assert Bernoulli().width(2) == 1
    assert [Normal(n).width(0) for n in (FixedNoise(1.0), LearnedNoise(), InputNoise())] == [
        1,
        1,
        2,
    ]
    with pytest.raises(InputError, match="two classes"):
        Bernoulli().width(3)


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan, "1", None])
def test_a_noise_scale_is_positive_and_finite(value: object) -> None:
    with pytest.raises(InputError, match="positive, finite noise scale"):
        FixedNoise(value)


def test_the_learned_noise_has_a_lognormal_prior() -> None:
    (prior,) = LearnedNoise(median=0.3, spread=0.8).latents.values()
    assert prior.loc == pytest.approx(math.log(0.3))
    assert prior.scale == 0.8


def test_standardised_targets_have_mean_zero_and_unit_spread() -> None:
    problem = Problem.of(real_targets(replicas=2, held_out=10), MLP(3, [], 1).double())
    _, y = problem.batch(problem.train)
    assert apart(y.mean(1), torch.zeros(2)) < 1e-12
    assert apart(y.std(1, correction=0), torch.ones(2)) < 1e-12
    assert isinstance(problem.targets, Scaling)
