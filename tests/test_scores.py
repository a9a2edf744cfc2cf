import math
from dataclasses import astuple, replace

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from bnn.errors import InputError
from bnn.metrics.calibration import calibration_error
from bnn.metrics.decision import auroc
from bnn.metrics.entropy import entropy, mutual_information
from bnn.metrics.likelihood import correct
from bnn.metrics.regression import crps_normal_mixture
from bnn.predictive import CategoricalMixture, NormalMixture
from bnn.scores import (
    CLASSIFICATION,
    REGRESSION,
    SCORES,
    draw_error,
    draw_groups,
    kind_of,
    pointwise,
    score,
)
from bnn.scores.regression import Regressed

R, S, N, C = 3, 20, 60, 4


def generator(seed):
    return torch.Generator().manual_seed(seed)


def classes(seed, replicas=R, draws=S, points=N, spread=1.0):
    """Return draws that scatter around a common prediction per replica and point."""
    g = generator(seed)
    centre = 2 * torch.randn(replicas, 1, points, C, generator=g, dtype=torch.float64)
    noise = torch.randn(replicas, draws, points, C, generator=g, dtype=torch.float64)
    return CategoricalMixture((centre + spread * noise).log_softmax(-1))


def labels(seed, replicas=R, points=N):
    return torch.randint(C, (replicas, points), generator=generator(seed))


def reals(seed, replicas=R, draws=S, points=N):
    g = generator(seed)
    return NormalMixture(
        torch.randn(replicas, draws, points, generator=g, dtype=torch.float64),
        torch.rand(replicas, draws, points, generator=g, dtype=torch.float64) + 0.3,
        torch.linspace(-1, 1, replicas, dtype=torch.float64),
        torch.linspace(0.5, 20, replicas, dtype=torch.float64),
    )


def targets(seed, mixture):
    z = torch.randn(
        len(mixture.loc), mixture.loc.shape[-1], generator=generator(seed), dtype=torch.float64
    )
    return mixture.shift[:, None] + 1.3 * mixture.unit[:, None] * z


# Names


def test_kinds_are_named_once_and_in_order():
    assert [kind.name for kind in CLASSIFICATION] == [
        "nll", "nll_bits", "accuracy", "brier", "ece", "ece_null", "ece_null_95", "ece_debiased",
        "entropy", "expected_entropy", "mutual_information", "mutual_information_corrected",
        "auroc_entropy", "auroc_expected_entropy", "auroc_mutual_information",
    ]  # fmt: skip
    assert [kind.name for kind in REGRESSION] == [
        "rmse", "nll", "crps", "coverage_50", "coverage_90", "coverage_95", "noise_sd", "weight_sd",
    ]  # fmt: skip
    assert all(SCORES[kind.name] is kind for kind in (*CLASSIFICATION, *REGRESSION))
    assert [k.name for k in SCORES.values() if k.proper] == ["nll", "nll_bits", "brier", "crps"]


def test_what_calibrated_models_show_on_either_side_of_zero_is_no_merit():
    assert SCORES["ece_debiased"].better is None


def test_the_target_of_a_coverage_is_its_level():
    targets_of = {kind.name: kind.target for kind in SCORES.values() if kind.target is not None}
    assert targets_of == {"coverage_50": 0.5, "coverage_90": 0.9, "coverage_95": 0.95}


def test_a_condition_does_not_change_the_kind():
    assert kind_of("nll@rotation 30") is SCORES["nll"]
    with pytest.raises(InputError, match="Did you mean 'brier'"):
        kind_of("brierr@noise")


# Classification


def test_every_classification_score_has_its_value():
    test, unseen, shifted = classes(0), classes(1, points=45), classes(2, spread=2.0)
    y = labels(3)
    found = score(
        test,
        y,
        random_draws=True,
        others={"unseen": unseen, "noise 0.5": shifted},
        other_labels={"noise 0.5": y},
    )
    assert len(found) == R
    for r, scores in enumerate(found):
        probs = test.probs[r]
        value = {name: kept.value for name, kept in scores.items()}
        assert value["nll"] == pytest.approx(log_loss(y[r], probs, labels=range(C)), abs=1e-12)
        assert value["nll_bits"] == pytest.approx(value["nll"] / math.log(2), abs=1e-12)
        assert value["accuracy"] == accuracy_score(y[r], probs.argmax(-1))
        one_hot = np.eye(C)[y[r]]
        assert value["brier"] == pytest.approx(((probs.numpy() - one_hot) ** 2).sum(1).mean())
        hit = correct(test.log_probs, y)
        ece = calibration_error(test.probs.amax(-1), hit)[r].item()
        assert value["ece"] == pytest.approx(ece, abs=1e-15)
        assert value["entropy"] == pytest.approx(entropy(test.log_probs)[r].mean().item())
        assert value["entropy"] == pytest.approx(
            value["expected_entropy"] + value["mutual_information"], abs=1e-12
        )
        assert value["mutual_information_corrected"] == pytest.approx(
            value["mutual_information"] * S / (S - 1)
        )
        truth = [0] * N + [1] * 45
        both = torch.cat([entropy(test.log_probs)[r], entropy(unseen.log_probs)[r]])
        assert value["auroc_entropy@unseen"] == pytest.approx(roc_auc_score(truth, both))
        both = torch.cat([mutual_information(m.draw_log_probs)[r] for m in (test, unseen)])
        assert value["auroc_mutual_information@unseen"] == pytest.approx(roc_auc_score(truth, both))
        both = torch.cat([entropy(m.draw_log_probs).mean(1)[r] for m in (test, unseen)])
        assert value["auroc_expected_entropy@unseen"] == pytest.approx(roc_auc_score(truth, both))
        assert value["nll@noise 0.5"] == pytest.approx(
            log_loss(y[r], shifted.probs[r], labels=range(C))
        )
        assert value["accuracy@noise 0.5"] == accuracy_score(y[r], shifted.probs[r].argmax(-1))
        assert {"brier@noise 0.5", "entropy@noise 0.5", "auroc_entropy@noise 0.5"} <= set(scores)
        assert "nll@unseen" not in scores
        assert 0 < value["ece_null"] < value["ece_null_95"]
        assert all(name.partition("@")[0] in SCORES for name in scores)
        assert all(math.isfinite(kept.value) for kept in scores.values())


def test_error_of_a_mean_is_its_standard_error():
    test, y = classes(4), labels(5)
    nll = -test.log_prob(y)[1]
    found = score(test, y, random_draws=False)[1]
    assert found["nll"].error == pytest.approx(nll.std().item() / math.sqrt(N), rel=1e-12)
    assert found["ece"].error is None
    assert found["ece_null"].error is None
    assert found["ece_debiased"].error > 0


def test_one_draw_shows_no_doubt_about_weights():
    found = score(
        classes(6, draws=1),
        labels(7),
        random_draws=True,
        others={"unseen": classes(8, draws=1)},
    )[0]
    assert not any("mutual_information" in name for name in found)
    assert {"entropy", "expected_entropy", "auroc_entropy@unseen"} <= set(found)
    assert found["auroc_expected_entropy@unseen"] == found["auroc_entropy@unseen"]
    assert all(kept.draw_error is None for kept in found.values())


def test_finite_sets_have_no_error_over_draws():
    found = score(classes(9, draws=5), labels(10), random_draws=False)[0]
    assert all(kept.draw_error is None for kept in found.values())
    assert "mutual_information_corrected" in found


def test_a_test_set_without_mistakes_is_no_proof():
    log_probs = torch.tensor([0.9, 0.06, 0.04], dtype=torch.float64).log()
    sure = CategoricalMixture(log_probs.expand(1, 2, 30, 3))
    found = score(sure, torch.zeros(1, 30, dtype=torch.long), random_draws=False)[0]
    assert found["accuracy"].value == 1.0
    assert found["accuracy"].error is None


def test_impossible_truth_costs_infinity_and_is_no_nan():
    log_probs = torch.tensor([1.0, 0.0], dtype=torch.float64).log().expand(1, 4, 5, 2)
    y = torch.tensor([[0, 0, 1, 0, 0]])
    found = score(CategoricalMixture(log_probs), y, random_draws=True)[0]
    assert found["nll"].value == math.inf
    assert found["nll"].error is None
    assert found["nll"].draw_error is None
    assert not any(math.isnan(kept.value) for kept in found.values())


def test_label_distributions_have_no_calibration_error():
    soft = classes(11, draws=1).probs
    found = score(classes(12), soft, random_draws=False)[0]
    assert not any(name.startswith("ece") for name in found)
    assert {"nll", "brier", "accuracy"} <= set(found)


def test_disturbed_test_rows_are_paired_with_themselves():
    test, noise, y = classes(42), classes(43), labels(44)
    others = {"noise": noise, "unseen": noise}
    found = score(test, y, random_draws=True, others=others, aligned=["noise"])
    pair = entropy(noise.log_probs), entropy(test.log_probs)
    for r, scores in enumerate(found):
        paired, independent = scores["auroc_entropy@noise"], scores["auroc_entropy@unseen"]
        assert (paired.value, paired.draw_error) == (independent.value, independent.draw_error)
        assert paired.error == pytest.approx(auroc(*pair, aligned=True)[1][r].item(), rel=1e-12)
        assert independent.error == pytest.approx(auroc(*pair)[1][r].item(), rel=1e-12)
        assert paired.error != pytest.approx(independent.error, rel=1e-3)


def test_replicas_of_other_seeds_have_independent_nulls():
    test, y = classes(45, replicas=1, draws=1), labels(46, replicas=1)
    twice = CategoricalMixture(test.draw_log_probs.expand(2, -1, -1, -1))
    y = y.expand(2, -1)
    one, other = score(twice, y, random_draws=False, seeds=(3, 4))
    assert one["ece_null"] != other["ece_null"]
    (alone,) = score(twice.take([1]), y[:1], random_draws=False, seeds=(4,))
    assert alone["ece_null"].value == pytest.approx(other["ece_null"].value, rel=1e-12)
    one, other = score(twice, y, random_draws=False)
    assert one == other


def test_a_single_point_is_scored_without_error():
    found = score(classes(13, points=1), labels(14, points=1), random_draws=False)[0]
    assert found["nll"].error is None
    assert "ece_debiased" not in found


# Regression


def test_every_regression_score_has_its_value():
    test = reals(15)
    y = targets(16, test)
    found = score(test, y, random_draws=True, others={"unseen": reals(17)})
    for r, scores in enumerate(found):
        value = {name: kept.value for name, kept in scores.items()}
        gap = (test.mean - y)[r]
        assert value["rmse"] == pytest.approx(gap.square().mean().sqrt().item())
        assert value["nll"] == pytest.approx(-test.log_prob(y)[r].mean().item())
        original = test.shift[:, None, None] + test.unit[:, None, None] * test.loc
        crps = crps_normal_mixture(y, original, test.unit[:, None, None] * test.scale)
        assert value["crps"] == pytest.approx(crps[r].mean().item(), rel=1e-12)
        for level in (0.5, 0.9, 0.95):
            low, high = test.quantile(0.5 - level / 2), test.quantile(0.5 + level / 2)
            inside = ((low <= y) & (y <= high))[r].double().mean().item()
            assert value[f"coverage_{round(100 * level)}"] == pytest.approx(inside, abs=1e-12)
        total = value["noise_sd"] ** 2 + value["weight_sd"] ** 2
        assert total == pytest.approx(test.variance[r].mean().item())
        assert {"noise_sd@unseen", "weight_sd@unseen"} <= set(scores)
        assert all(kept.draw_error is not None for kept in scores.values())


def test_error_of_rmse_is_its_spread():
    test = reals(18, replicas=1, draws=1)
    many = NormalMixture(*(p.expand(3000, *p.shape[1:]) for p in (test.loc, test.scale)),
                         *(p.expand(3000) for p in (test.shift, test.unit)))  # fmt: skip
    y = targets(19, many)
    y = y + many.mean - many.shift[:, None]
    found = [scores["rmse"] for scores in score(many, y, random_draws=False)]
    spread = np.std([kept.value for kept in found])
    assert np.mean([kept.error for kept in found]) == pytest.approx(spread, rel=0.05)


def test_one_normal_has_no_weight_uncertainty():
    test = reals(20, draws=1)
    assert "weight_sd" not in score(test, targets(21, test), random_draws=False)[0]


def assert_predicts(rows, mixture, y):
    """Compare with what the mixture says of itself, all draws at once."""
    crps = mixture.unit[:, None] * crps_normal_mixture(
        (y - mixture.shift[:, None]) / mixture.unit[:, None], mixture.loc, mixture.scale
    )
    pairs = {
        "mean": (rows.mean, mixture.mean),
        "noise": (rows.noise_variance, mixture.noise_variance),
        "weights": (rows.weight_variance, mixture.weight_variance),
        "pit": (rows.truth.pit.mean(1), mixture.cdf(y)),
        "nll": (rows.pointwise["nll"], -mixture.log_prob(y)),
        "crps": (rows.pointwise["crps"], crps),
    }
    assert rows.draws == mixture.draws
    for name, (found, expected) in pairs.items():
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14, msg=name)


@pytest.mark.parametrize("groups", [1, 2, 5, 20])
def test_predictions_by_groups_are_those_of_all_draws(groups):
    mixture = reals(62)
    y = targets(63, mixture)
    rows = Regressed.of(mixture, y, groups)
    assert rows.components == groups
    assert_predicts(rows, mixture, y)
    kept = list(range(0, groups, 2))
    draws = torch.arange(S).view(groups, -1)[kept].flatten()
    assert_predicts(rows.subset(kept), mixture.subset(draws), y)


@pytest.mark.parametrize("shift", [0.0, 1e9])
def test_doubt_by_groups_is_kept_where_the_targets_are_far_from_zero(shift):
    mixture = reals(64)
    far = replace(mixture, loc=1e-3 * mixture.loc, shift=torch.full_like(mixture.shift, shift))
    found, expected = Regressed.of(far, None, 5).weight_variance, 1e-6 * mixture.weight_variance
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


# Replicas


@pytest.mark.parametrize("random_draws", [True, False])
def test_a_replicas_scores_do_not_depend_on_its_company(random_draws):
    test, unseen, y = classes(22), classes(23), labels(24)
    together = score(test, y, random_draws=random_draws, others={"unseen": unseen})
    alone = score(
        test.take([1]), y[1:2], random_draws=random_draws, others={"unseen": unseen.take([1])}
    )
    _assert_same(together[1], alone[0])
    test = reals(25)
    y = targets(26, test)
    together = score(test, y, random_draws=random_draws)
    _assert_same(together[2], score(test.take([2]), y[2:], random_draws=random_draws)[0])


def _assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        for one, other in zip(astuple(a[name]), astuple(b[name]), strict=True):
            assert (one is None) == (other is None)
            assert one is None or one == pytest.approx(other, rel=1e-9, abs=1e-15)


# Errors over draws


@pytest.mark.parametrize("draws", [3, 5, 9, 10, 11, 17, 19, 23, 50, 64, 97, 100, 1000])
def test_groups_are_equal_and_leave_little_aside(draws):
    groups = draw_groups(draws)
    count, size = groups.shape
    assert groups.flatten().tolist() == list(range(count * size))
    assert min(5, draws) <= count <= 10
    assert draws - count * size <= 0.1 * draws


def test_jackknife_of_a_mean_by_hand():
    values = torch.tensor([[1.0, 2.0, 6.0]], dtype=torch.float64)
    found = draw_error(lambda kept: {"mean": values[:, kept].mean(1)}, 3)["mean"].item()
    assert found == pytest.approx(values.std().item() / math.sqrt(3), rel=1e-12)


@pytest.mark.parametrize("make", [classes, reals])
@pytest.mark.parametrize("count", [20, 23])  # the last two of 23 are in no group
def test_leaving_out_groups_is_scoring_without_their_draws(make, count):
    test, unseen = make(39, draws=count), make(40, draws=count)
    y = labels(41) if make is classes else targets(41, test)
    groups = draw_groups(count)
    assert groups.shape == {20: (10, 2), 23: (7, 3)}[count]

    def rescored(kept):
        draws = groups[kept].flatten()
        others = {"unseen": unseen.subset(draws)}
        found = score(test.subset(draws), y, random_draws=False, others=others)
        return {
            name: torch.tensor([scores[name].value for scores in found], dtype=torch.float64)
            for name in found[0]
        }

    slow = draw_error(rescored, len(groups))
    for r, scores in enumerate(score(test, y, random_draws=True, others={"unseen": unseen})):
        for name, kept in scores.items():
            if name.startswith("ece_null"):
                assert kept.draw_error is None
            else:
                assert kept.draw_error == pytest.approx(slow[name][r].item(), rel=1e-9)


def error_to_spread(found, name):
    """Replicas are repetitions here: their spread is the error that each of them estimates."""
    spread = np.std([scores[name].value for scores in found])
    return np.sqrt(np.mean([scores[name].draw_error ** 2 for scores in found])) / spread


def test_error_over_draws_is_the_spread_over_sets_of_draws():
    # 400 sets of 60 draws from one posterior; a draw moves all points together.
    g = generator(27)
    centre = torch.randn(1, 1, 50, C, generator=g, dtype=torch.float64)
    common = torch.randn(400, 60, 1, C, generator=g, dtype=torch.float64)
    own = torch.randn(400, 60, 50, C, generator=g, dtype=torch.float64)
    test = CategoricalMixture((centre + common + 0.5 * own).log_softmax(-1))
    unseen = CategoricalMixture((0.5 * centre + common + 0.6 * own).log_softmax(-1))
    y = labels(28, replicas=1, points=50).expand(400, -1)
    found = score(test, y, random_draws=True, others={"unseen": unseen})
    for name in ("nll", "nll_bits", "brier", "entropy", "expected_entropy", "mutual_information"):
        assert error_to_spread(found, name) == pytest.approx(1.0, abs=0.12), name
    for name in ("accuracy", "ece", "auroc_entropy@unseen", "auroc_mutual_information@unseen"):
        assert 0.9 < error_to_spread(found, name) < 2.1, name  # they count, see draw_error
    probs = test.draw_log_prob(y).exp()
    pointwise_errors = probs.std(1) / probs.mean(1) / math.sqrt(60)
    too_small = pointwise_errors.square().sum(-1).sqrt().mean().item() / 50
    assert too_small < 0.6 * np.std([scores["nll"].value for scores in found])


def test_error_over_draws_in_regression():
    g = generator(29)
    common = torch.randn(400, 60, 1, generator=g, dtype=torch.float64)
    loc = common + 0.5 * torch.randn(400, 60, 40, generator=g, dtype=torch.float64)
    zero, unit = torch.zeros(400, dtype=torch.float64), torch.full((400,), 3.0, dtype=torch.float64)
    test = NormalMixture(loc, torch.full_like(loc, 0.7), zero, unit)
    y = 4 * torch.randn(1, 40, generator=g, dtype=torch.float64).expand(400, -1) + 1
    found = score(test, y, random_draws=True)
    for name in ("rmse", "nll", "crps", "weight_sd"):
        assert error_to_spread(found, name) == pytest.approx(1.0, abs=0.12), name
    for name in ("coverage_50", "coverage_90", "coverage_95"):
        assert 0.9 < error_to_spread(found, name) < 2.1, name


# Pointwise


def test_pointwise_scores_average_to_the_printed_ones():
    test, y = classes(30), labels(31)
    found, printed = pointwise(test, y), score(test, y, random_draws=False)
    assert list(found) == ["nll", "brier"]
    real = reals(32)
    found_real, printed_real = (
        pointwise(real, targets(33, real)),
        score(real, targets(33, real), random_draws=False),
    )
    assert list(found_real) == ["nll", "crps"]
    for values, scores in ((found, printed), (found_real, printed_real)):
        for name, points in values.items():
            assert points.shape == (R, N)
            for r in range(R):
                assert points[r].mean().item() == pytest.approx(scores[r][name].value, rel=1e-12)


# Refusals


def test_what_would_make_a_wrong_number_is_refused():
    test, y = classes(34), labels(35)
    bad = test.draw_log_probs.clone()
    bad[1, 2, 3] = math.nan
    with pytest.raises(InputError, match=r"in 1 of 60 rows of replica 1\. .*diverged"):
        score(CategoricalMixture(bad), y, random_draws=False)
    with pytest.raises(InputError, match=r"in 1 of 60 rows\. "):  # alone it needs no number
        score(CategoricalMixture(bad).take([1]), y[1:2], random_draws=False)
    with pytest.raises(InputError, match="one target per replica and point"):
        score(test, y[:, 1:], random_draws=False)
    with pytest.raises(InputError, match="Number the classes from zero"):
        score(test, y + 1, random_draws=False)
    with pytest.raises(InputError, match=r"label distributions .* that sum to one"):
        score(test, test.probs * 2, random_draws=False)
    negative = {"noise": -test.probs}
    with pytest.raises(InputError, match="targets for 'noise' as label distributions"):
        score(test, y, random_draws=False, others={"noise": test}, other_labels=negative)
    with pytest.raises(InputError, match="Predict both from one posterior"):
        score(test, y, random_draws=False, others={"unseen": classes(36, draws=7)})
    with pytest.raises(InputError, match="Name each condition once"):
        score(test, y, random_draws=False, others={"test": test})
    few = {"unseen": classes(36, points=7)}
    for name in ("unseen", "noise"):
        with pytest.raises(InputError, match=f"rows for '{name}'"):
            score(test, y, random_draws=False, others=few, aligned=[name])
    with pytest.raises(InputError, match="Name each condition once"):
        score(test, y, random_draws=False, other_labels={"noise": y})
    real = reals(37)
    with pytest.raises(InputError, match="finite targets"):
        pointwise(real, torch.full((R, N), math.nan, dtype=torch.float64))
    collapsed = NormalMixture(real.loc, 0 * real.scale, real.shift, real.unit)
    with pytest.raises(InputError, match="not positive"):
        score(collapsed, targets(38, real), random_draws=False)


@pytest.mark.parametrize("draws", [20, 23])  # the last three of 23 are in no group
def test_the_draws_errors_change_no_score(draws):
    test = reals(60, draws=draws)
    y = targets(61, test)
    alone, jackknifed = (score(test, y, random_draws=random) for random in (False, True))
    for r in range(R):
        assert alone[r].keys() == jackknifed[r].keys()
        for name, found in jackknifed[r].items():
            assert found.draw_error is not None
            assert found.value == pytest.approx(alone[r][name].value, rel=1e-13)
