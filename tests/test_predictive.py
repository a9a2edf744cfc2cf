import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from bnn.errors import InputError
from bnn.predictive import CategoricalMixture, NormalMixture, log_mean_exp


def normal_mixture(loc, scale, shift=0.0, unit=1.0):
    """One replica, one point."""
    return NormalMixture(
        torch.tensor(loc, dtype=torch.float64)[None, :, None],
        torch.tensor(scale, dtype=torch.float64)[None, :, None],
        torch.tensor([shift], dtype=torch.float64),
        torch.tensor([unit], dtype=torch.float64),
    )


@pytest.fixture
def mixture():
    g = torch.Generator().manual_seed(0)
    r, s, n = 2, 5, 4
    return NormalMixture(
        torch.randn(r, s, n, generator=g, dtype=torch.float64),
        torch.rand(r, s, n, generator=g, dtype=torch.float64) + 0.2,
        torch.tensor([10.0, -3.0], dtype=torch.float64),
        torch.tensor([2.5, 0.01], dtype=torch.float64),
    )


def components(mixture, r, n):
    """The mixture of one replica and point as scipy distributions in original units."""
    shift, unit = mixture.shift[r].item(), mixture.unit[r].item()
    loc = shift + unit * mixture.loc[r, :, n].numpy()
    return stats.norm(loc, unit * mixture.scale[r, :, n].numpy())


def test_two_narrow_normals_have_a_hand_worked_density():
    both = normal_mixture([-2.0, 2.0], [0.1, 0.1])
    at = both.log_prob(torch.tensor([[2.0]], dtype=torch.float64)).item()
    assert at == pytest.approx(0.6905, abs=5e-5)
    assert at == pytest.approx(math.log(0.5 / (0.1 * math.sqrt(2 * math.pi))), abs=1e-12)


def test_a_mixture_is_neither_its_mean_nor_a_matched_normal():
    both = normal_mixture([-2.0, 2.0], [0.1, 0.1])
    zero = torch.zeros(1, 1, dtype=torch.float64)
    assert both.log_prob(zero).item() < -190  # a Normal of the same moments would say -1.6
    assert both.mean.item() == 0.0
    assert both.weight_variance.item() == pytest.approx(4.0)
    assert both.noise_variance.item() == pytest.approx(0.01)


def test_density_and_cdf_equal_scipy_in_original_units(mixture):
    for r in range(2):
        for n in range(4):
            parts = components(mixture, r, n)
            y = mixture.shift[r] + mixture.unit[r] * 0.7
            targets = torch.full((2, 4), y.item(), dtype=torch.float64)
            density = math.log(parts.pdf(y.item()).mean())
            assert mixture.log_prob(targets)[r, n].item() == pytest.approx(density, abs=1e-12)
            assert mixture.cdf(targets)[r, n].item() == pytest.approx(
                parts.cdf(y.item()).mean(), abs=1e-14
            )


def test_density_integrates_to_one_and_to_the_moments(mixture):
    r, n = 1, 2
    parts = components(mixture, r, n)
    low, high = parts.ppf(1e-12).min(), parts.ppf(1 - 1e-12).max()

    def density(t):
        return mixture.log_prob(torch.full((2, 4), t, dtype=torch.float64))[r, n].exp().item()

    middle = mixture.mean[r, n].item()
    moments = [
        integrate.quad(lambda t, k=k: density(t) * (t - middle) ** k, low, high, limit=200)[0]
        for k in range(3)
    ]
    assert moments[0] == pytest.approx(1.0, abs=1e-9)
    assert moments[1] == pytest.approx(0.0, abs=1e-9)
    assert moments[2] == pytest.approx(mixture.variance[r, n].item(), rel=1e-8)


def test_variance_is_noise_and_weights(mixture):
    parts = components(mixture, 0, 3)
    assert mixture.noise_variance[0, 3].item() == pytest.approx(np.mean(parts.var()))
    assert mixture.weight_variance[0, 3].item() == pytest.approx(np.var(parts.mean()))
    total = mixture.noise_variance + mixture.weight_variance
    assert torch.equal(mixture.variance, total)
    assert torch.equal(mixture.subset([0]).weight_variance, torch.zeros(2, 4, dtype=torch.float64))


@pytest.mark.parametrize("level", [0.001, 0.05, 0.5, 0.975, 0.9999])
def test_quantile_inverts_the_cdf(mixture, level):
    cdf = mixture.cdf(mixture.quantile(level))
    assert (cdf - level).abs().max() < 1e-12


def test_quantile_of_one_normal_is_the_normal_quantile():
    one = normal_mixture([0.3], [1.7], shift=5.0, unit=2.0)
    assert one.quantile(0.9).item() == pytest.approx(stats.norm.ppf(0.9, 5.6, 3.4), abs=1e-12)


def test_far_away_nothing_overflows():
    both = normal_mixture([-2.0, 2.0], [1e-3, 1e-3], unit=1e-6)
    far = both.log_prob(torch.tensor([[1.0]], dtype=torch.float64)).item()
    assert math.isfinite(far)
    assert far < -1e17


def test_probabilities_are_averaged_not_logarithms_or_weights():
    probs = torch.tensor([[0.9, 0.1], [0.2, 0.8]], dtype=torch.float64)
    both = CategoricalMixture(probs.log()[None, :, None])
    assert both.probs[0, 0].tolist() == pytest.approx([0.55, 0.45], abs=1e-15)
    assert both.log_prob(torch.tensor([[1]])).item() == pytest.approx(math.log(0.45), abs=1e-15)
    assert both.draw_log_prob(torch.tensor([[1]])).flatten().exp().tolist() == pytest.approx(
        [0.1, 0.8]
    )


def test_log_mean_exp_does_not_underflow():
    logs = torch.tensor([-1000.0, -1001.0], dtype=torch.float64)
    expected = -1000 + math.log((1 + math.exp(-1)) / 2)
    assert log_mean_exp(logs, 0).item() == pytest.approx(expected, abs=1e-12)


def test_subset_and_take_select_draws_and_replicas(mixture):
    assert torch.equal(mixture.subset([4, 1]).loc, mixture.loc[:, [4, 1]])
    assert mixture.subset(torch.arange(3)).draws == 3
    assert torch.equal(mixture.take([1]).mean, mixture.mean[1:])
    g = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 4, 2, 5, generator=g, dtype=torch.float64)
    classes = CategoricalMixture(logits.log_softmax(-1))
    assert torch.equal(classes.subset([2]).log_probs, classes.draw_log_probs[:, 2])
    assert torch.equal(classes.take(slice(1, 3)).log_probs, classes.log_probs[1:])
    torch.testing.assert_close(classes.probs.sum(-1), torch.ones(3, 2, dtype=torch.float64))


def test_a_predictive_moves_to_a_device(mixture):
    moved = mixture.to("meta")
    parts = (moved.loc, moved.scale, moved.shift, moved.unit)
    assert [part.device.type for part in parts] == ["meta"] * 4
    assert torch.equal(mixture.to("cpu").mean, mixture.mean)
    classes = CategoricalMixture(mixture.loc[..., None].expand(-1, -1, -1, 3))
    assert classes.to("meta").logits.device.type == "meta"


# Refusals


def three_classes():
    logits = torch.randn(2, 5, 4, 3, generator=torch.Generator().manual_seed(2)).double()
    return CategoricalMixture(logits.log_softmax(-1))


@pytest.mark.parametrize("ask", ["log_prob", "draw_log_prob", "cdf"])
@pytest.mark.parametrize("shape", [(4,), (2, 3), (1, 4), (2, 1), (2, 4, 1), ()])
def test_targets_that_would_be_broadcast_are_refused(mixture, ask, shape):
    with pytest.raises(InputError, match=r"\[replicas, points\] of shape \[2, 4\].*y\[None\]"):
        getattr(mixture, ask)(torch.zeros(shape, dtype=torch.float64))


@pytest.mark.parametrize("ask", ["log_prob", "draw_log_prob"])
@pytest.mark.parametrize("shape", [(4,), (2, 3), (1, 4), (2, 5), (2, 4, 1)])
def test_labels_of_other_rows_are_refused(ask, shape):
    with pytest.raises(InputError, match=r"\[replicas, points\] of shape \[2, 4\].*y\[None\]"):
        getattr(three_classes(), ask)(torch.zeros(shape, dtype=torch.int64))


@pytest.mark.parametrize("shape", [(2, 4), (2, 4, 2), (1, 4, 3), (4, 3)])
def test_label_distributions_of_other_rows_or_classes_are_refused(shape):
    expected = r"\[replicas, points, classes\] of shape \[2, 4, 3\]"
    with pytest.raises(InputError, match=expected):
        three_classes().log_prob(torch.full(shape, 1 / 3, dtype=torch.float64))


@pytest.mark.parametrize(("label", "dtype"), [(3, "int64"), (-1, "int64"), (1, "int32")])
def test_labels_out_of_range_are_refused(label, dtype):
    y = torch.zeros(2, 4, dtype=getattr(torch, dtype))
    y[1, 2] = label
    with pytest.raises(InputError, match="class numbers 0 to 2 in int64"):
        three_classes().log_prob(y)


def test_numbers_that_are_no_targets_are_refused(mixture):
    with pytest.raises(InputError, match=r"tensor.*ndarray"):
        mixture.log_prob(np.zeros((2, 4)))
    with pytest.raises(InputError, match="finite targets; found 8 others"):
        mixture.log_prob(torch.full((2, 4), math.nan, dtype=torch.float64))
    with pytest.raises(InputError, match="shares of the classes"):
        three_classes().log_prob(-three_classes().probs)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, 1.5, 95, math.nan])
def test_quantiles_of_no_level_are_refused(mixture, level):
    with pytest.raises(InputError, match="level between 0 and 1"):
        mixture.quantile(level)
