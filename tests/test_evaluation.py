"""From a posterior to scores: what reaches them, from where, and with what error."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from small import normal, quick, real_targets, two_classes

from bnn import evaluation
from bnn.data import Dataset, sine
from bnn.errors import InputError
from bnn.evaluation import evaluate
from bnn.methods import MLE, DeepEnsemble, MCDropout
from bnn.metrics.decision import auroc
from bnn.networks import MLP
from bnn.optimise import Training
from bnn.posterior import Atoms, Posterior, predict
from bnn.predictive import Predictive
from bnn.problem import Problem
from bnn.scores import pointwise


@dataclass(frozen=True)
class Elsewhere:
    """A predictive on some other device: nothing can be done with it but to bring it here."""

    predictive: Predictive

    def to(self, device: str) -> Predictive:
        """Bring it to the CPU."""
        assert device == "cpu"
        return self.predictive.to("cpu")


def disturbed(data: Dataset) -> Dataset:
    """The rows held out are tested; noise is a shift, and the far away is unseen."""
    x = data.x + 0.5 * normal(*data.x.shape, seed=5)
    far = 9 + normal(20, 3, seed=6)
    split = data.split
    split = replace(split, validation=split.validation[:, :0], test=split.validation)
    return replace(data, split=split, shifted={"noise": x}, unseen=far, grid=far[:5])


def fitted(data: Dataset, outputs: int) -> Posterior:
    problem = Problem.of(data, MLP(3, [5], outputs).double())
    return quick(DeepEnsemble(), epochs=3, batch_size=20).fit(problem, (0, 1))


@pytest.mark.parametrize("data", [two_classes(held_out=20), real_targets(held_out=20)])
def test_predictions_are_brought_to_the_cpu_first(
    data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = disturbed(data)
    posterior = fitted(data, 2)
    expected = evaluate(posterior, data, 3)
    monkeypatch.setattr(evaluation, "predict", lambda *given: Elsewhere(predict(*given)))
    for one, other in zip(evaluate(posterior, data, 3), expected, strict=True):
        assert one.scores == other.scores
        assert one.arrays.keys() == other.arrays.keys()
        assert all(np.array_equal(one.arrays[name], other.arrays[name]) for name in one.arrays)


def test_shifted_rows_are_paired_with_test_rows_and_unseen_ones_are_not() -> None:
    data = disturbed(two_classes(held_out=20))
    for found in evaluate(fitted(data, 2), data, 3):
        test, noise, unseen = (
            torch.from_numpy(found.arrays[f"{rows}_entropy"]).double()
            for rows in ("test", "noise", "unseen")
        )
        paired, independent = auroc(noise, test, aligned=True), auroc(unseen, test)
        for name, (area, error) in (("noise", paired), ("unseen", independent)):
            score = found.scores[f"auroc_entropy@{name}"]
            assert score.value == pytest.approx(area.item(), rel=1e-4)  # stored as float32
            assert score.error == pytest.approx(error.item(), rel=1e-3)


def test_nulls_are_drawn_by_seed_and_alike_alone() -> None:
    data = disturbed(two_classes(held_out=20))
    posterior = fitted(data, 2)
    both = evaluate(posterior, data, 3)
    alone = evaluate(posterior.take([1]), data, 3)
    found, expected = (one.scores["ece_null"].value for one in (alone[0], both[1]))
    assert found == pytest.approx(expected, rel=1e-12)
    same = replace(posterior, seeds=(7, 7)), replace(posterior, seeds=(7, 8))
    nulls = [[one.scores["ece_null"] for one in evaluate(p, data, 3)] for p in same]
    assert nulls[0][0] == nulls[1][0]
    assert nulls[0][1] != nulls[1][1]


def test_predictions_that_are_not_finite_are_told_by_row() -> None:
    data = disturbed(two_classes(held_out=20))
    problem = Problem.of(data, MLP(3, [5], 2).double())
    posterior = quick(MLE(), epochs=1).fit(problem, (0,))
    weights = torch.full((1, 1, problem.layout.size), torch.inf, dtype=torch.float64)
    broken = replace(posterior, family=Atoms(weights))
    with pytest.raises(InputError, match=r"'test'; found NaN or .* in 20 of 20 rows"):
        evaluate(broken, data, 1)


@pytest.mark.parametrize("draws", [20, 23])  # the last two of 23 are in no group of the jackknife
def test_the_arrays_of_a_regression_are_of_all_draws(draws: int) -> None:
    data = disturbed(real_targets(held_out=20))
    problem = Problem.of(data, MLP(3, [5], 2).double())
    posterior = quick(MCDropout(), epochs=3, batch_size=20).fit(problem, (0, 1))
    test = predict(posterior, data.test.x, draws)
    y = data.test.y.expand(2, -1)
    expected = {
        "test_pit": test.cdf(y),
        "test_nll": -test.log_prob(y),
        "test_crps": pointwise(test, y)["crps"],
        "test_draw_log_prob": test.draw_log_prob(y),
        "test_mean": test.mean,
        "test_noise_sd": test.noise_variance.sqrt(),
        "test_weight_sd": test.weight_variance.sqrt(),
    }
    for r, found in enumerate(evaluate(posterior, data, draws)):
        assert found.scores["crps"].draw_error > 0
        assert {"noise_mean", "unseen_weight_sd", "grid_noise_sd"} <= found.arrays.keys()
        assert not found.arrays.keys() & {"noise_pit", "unseen_pit", "grid_pit"}
        for name, values in expected.items():  # stored as float32
            np.testing.assert_allclose(found.arrays[name], values[r], rtol=1e-6, err_msg=name)


def test_the_grid_of_a_regression_has_the_mixtures_own_interval() -> None:
    data = sine((0,), points=100)
    posterior = MCDropout(training=Training(epochs=2)).fit(Problem.of(data, MLP(1, [8], 2)), (0,))
    (found,) = evaluate(posterior, data, draws=20)
    grid = predict(posterior, data.grid, draws=20)
    inside = grid.cdf(torch.from_numpy(found.arrays["grid_high"])[None].double()) - grid.cdf(
        torch.from_numpy(found.arrays["grid_low"])[None].double()
    )
    torch.testing.assert_close(inside, torch.full_like(inside, 0.95), atol=1e-5, rtol=0)
