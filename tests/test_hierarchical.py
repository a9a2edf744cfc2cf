"""Two methods over several data sets: against quadrature, closed forms and its own simulations."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine
from scipy import integrate, stats

from bnn.errors import InputError
from bnn.seeds import seeded
from bnn.statistics import Difference, generalise, paired_difference
from bnn.statistics.hierarchical import (
    SITES,
    Draws,
    Generalisation,
    Hierarchy,
    constrained,
    model,
    posterior,
    potential,
)

ROPE = 0.01


def shown(estimate: float, error: float = 0.03, freedom: float = 19.0) -> Difference:
    """A difference on one data set of which only these numbers count."""
    return Difference(
        estimate=estimate,
        low=math.nan,
        high=math.nan,
        p_value=math.nan,
        scope="made",
        design="resplit",
        replicas=20,
        points=10,
        wins=0,
        losses=0,
        error=error,
        freedom=freedom,
    )


FIVE = [shown(x) for x in (-0.15, -0.02, -0.08, 0.04, -0.1)]


def posed(comparisons: int = 2) -> Hierarchy:
    """Some hierarchy, and one whose prior has other scales."""
    rng = np.random.default_rng(1)
    rows = [
        [shown(x, 0.02 + abs(e), 3 + 10 * f) for x, e, f in rng.uniform(-0.1, 0.3, (4, 3)) ** 2]
        for _ in range(comparisons)
    ]
    return Hierarchy.of(rows, ROPE)


# The density


def test_the_density_is_that_of_the_program_and_of_the_equations() -> None:
    h, position = posed(), torch.randn(2, 11, generator=torch.Generator().manual_seed(2)).double()
    sites, log_volume = constrained(h, position)
    trace = poutine.trace(poutine.condition(model, sites)).get_trace(h, (2,))
    trace.compute_log_prob()
    parts = [trace.nodes[name]["log_prob"].sum(-1) for name in (*sites, "estimate")]
    found = -potential(h, position) - log_volume
    assert (found - sum(parts)).abs().max() < 1e-6  # a float32 constant in the half-Cauchy
    m, s, v, g, d = (sites[name].numpy() for name in SITES)
    expected = (
        stats.norm.logpdf(m, 0, h.centre).sum(-1)
        + stats.halfcauchy.logpdf(s, scale=h.unit).sum(-1)
        + stats.gamma.logpdf(v, 2.0, scale=10.0).sum(-1)
        + stats.gamma.logpdf(g, v / 2, scale=2 / v).sum(-1)
        + stats.norm.logpdf(d, m, s / np.sqrt(g)).sum(-1)
        + stats.t.logpdf(h.estimate, h.freedom, d, h.error).sum(-1)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-11)


def test_the_volume_is_that_of_the_change_of_coordinates() -> None:
    h = posed(1)

    def flat(position: torch.Tensor) -> torch.Tensor:
        return torch.cat(list(constrained(h, position[None])[0].values()), -1)[0]

    position = torch.randn(11, generator=torch.Generator().manual_seed(3)).double()
    jacobian = torch.autograd.functional.jacobian(flat, position)
    _, log_volume = constrained(h, position[None])
    assert log_volume.item() == pytest.approx(torch.linalg.slogdet(jacobian)[1].item(), rel=1e-10)


def test_a_t_density_is_what_correlated_splits_leave_of_their_variance() -> None:
    """The likelihood of the splits themselves, integrated over their variance by quadrature."""
    gaps, train, test = np.array([0.3, -0.1, 0.25, 0.6, 0.2]), 90, 10
    columns = torch.tensor(gaps)[:, None].expand(-1, test)
    found = paired_difference(columns, torch.zeros(5, test), "resplit", train)
    rho = test / (test + train)
    correlation = (1 - rho) * np.eye(5) + rho
    true = np.linspace(found.estimate - 60 * found.error, found.estimate + 60 * found.error, 4801)
    rest = gaps - true[:, None]
    square = (rest @ np.linalg.inv(correlation) * rest).sum(1)
    log_variance = np.linspace(-15, 12, 700)  # in which the density 1 / variance is flat
    log_density = -0.5 * (5 * log_variance + square[:, None] * np.exp(-log_variance))
    density = np.exp(log_density).sum(1)
    density /= integrate.trapezoid(density, true)
    expected = stats.t.pdf(true, found.freedom, found.estimate, found.error)
    np.testing.assert_allclose(density, expected, rtol=1e-3, atol=1e-6 / found.error)


# The posterior


def by_quadrature(found: list[Difference], rope: float) -> tuple[list[float], list[float]]:
    """Probabilities of the three regions, on average and on a next data set, on a lattice.

    Each t density is integrated over in the quantiles of the narrower of the two that it meets.
    """
    h = Hierarchy.of([found], rope)
    x, e, f = (part[0].numpy() for part in (h.estimate, h.error, h.freedom))
    a, b = h.centre.item(), h.unit.item()
    u = (np.arange(80) + 0.5) / 80
    edges = np.arange(-60, 61) * rope / 3  # the region ends at edges of cells
    m = (edges[1:, None] + edges[:-1, None]) / 2
    average, following, total = np.zeros(3), np.zeros(3), 0.0
    for log_v in np.linspace(-4, 1.6, 13):
        v = 20 * math.exp(log_v)
        for log_s in np.linspace(-6, 4, 31):
            s = b * math.exp(log_s)
            seen = np.zeros(m.shape[0])
            for xi, ei, fi in zip(x, e, f, strict=True):
                if s < ei:
                    values = stats.t.pdf(xi, fi, m + s * stats.t.ppf(u, v), ei)
                else:
                    values = stats.t.pdf(xi + ei * stats.t.ppf(u, fi), v, m, s)
                seen += np.log(values.mean(1))
            prior = stats.gamma.pdf(v, 2, scale=10) * v * stats.halfcauchy.pdf(s, scale=b) * s
            weight = np.exp(seen + stats.norm.logpdf(m[:, 0], 0, a)) * prior
            total += weight.sum()
            average += [weight[m[:, 0] < -rope].sum(), 0, weight[m[:, 0] > rope].sum()]
            below, above = stats.t.cdf(-rope, v, m, s)[:, 0], stats.t.sf(rope, v, m, s)[:, 0]
            following += [(weight * below).sum(), 0, (weight * above).sum()]
    return list(average / total), list(following / total)


# An outlier leaves two answers: one data set is unlike the four others, or all are far apart.
ALIKE = [shown(-0.12, 0.05, 4.0), shown(-0.02, 0.02), shown(0.03, 0.04, 9.0)]
OUTLIER = [shown(x, 0.04) for x in (-0.2, -0.23, -0.24, -0.07, -1.47)]


@pytest.mark.parametrize(("found", "rope"), [(ALIKE, 0.03), (OUTLIER, 0.05)])
def test_probabilities_are_those_of_quadrature(found: list[Difference], rope: float) -> None:
    """To 0.02: five standard errors of 2,000 independent draws at one half, and the lattice's."""
    (told,) = generalise([found], rope)
    average, following = by_quadrature(found, rope)
    for regions, expected in ((told.on_average, average), (told.on_next, following)):
        assert regions.below == pytest.approx(expected[0], abs=0.02)
        assert regions.above == pytest.approx(expected[2], abs=0.02)
    assert told.caveats == ()


def test_one_data_set_gives_the_bayesian_correlated_t_test() -> None:
    """Its closed form is the t density of the corrected interval; off by 5 errors once in 10^6."""
    g = torch.Generator().manual_seed(4)
    a, b = (torch.randn(20, 30, generator=g, dtype=torch.float64) for _ in range(2))
    found = paired_difference(a, b, "resplit", 270)
    draws = posterior(Hierarchy.of([[found]], ROPE)).difference[0, :, 0].numpy()
    for end, expected in ((found.low, 0.025), (found.estimate, 0.5), (found.high, 0.975)):
        error = math.sqrt(expected * (1 - expected) / 2000)
        assert np.mean(draws < end) == pytest.approx(expected, abs=5 * error)


def test_many_like_data_sets_give_their_t_interval() -> None:
    """Where errors vanish and the spread is Normal, m has the interval of the t-test."""
    x = 0.1 * stats.norm.ppf((np.arange(30) + 0.5) / 30) + 0.05
    (told,) = generalise([[shown(float(value), 1e-5, 1e4) for value in x]], 1e-3)
    theirs = stats.ttest_1samp(x, 0.0).confidence_interval(0.95)
    assert told.mean == pytest.approx(x.mean(), abs=0.002)
    assert told.low == pytest.approx(theirs.low, abs=0.005)
    assert told.high == pytest.approx(theirs.high, abs=0.005)
    assert told.next_high - told.next_low > 3 * (told.high - told.low)


def test_sure_differences_unsure_ones_and_none() -> None:
    rows = [[shown(-0.2, 0.005)] * 8, [shown(-0.2, 0.4)] * 8, [shown(0.0, 0.0)] * 8]
    sure, unsure, same = generalise(rows, ROPE)
    assert sure.on_next.below > 0.97
    assert sure.next_high < 0
    assert 0.6 < unsure.on_next.below < 0.95
    assert same.on_average.within == 1.0
    assert same.on_next.within > 0.999
    assert abs(same.mean) < 1e-4


@cache
def five() -> Generalisation:
    return generalise([FIVE], ROPE)[0]


def test_the_unit_of_the_score_does_not_matter() -> None:
    bits = [replace(d, estimate=d.estimate * 7, error=d.error * 7) for d in FIVE]
    (found,) = generalise([bits], 7 * ROPE)
    assert found.on_next.below == pytest.approx(five().on_next.below, abs=1e-6)
    assert found.mean == pytest.approx(7 * five().mean, rel=1e-6)


def test_a_comparison_does_not_depend_on_what_stands_beside_it() -> None:
    state = torch.get_rng_state()
    turned = [replace(d, estimate=-d.estimate) for d in FIVE]
    beside = generalise([turned, FIVE], ROPE)[1]
    assert beside.on_next.below == pytest.approx(five().on_next.below, abs=1e-9)
    assert beside.mean == pytest.approx(five().mean, abs=1e-9)
    assert torch.equal(torch.get_rng_state(), state)
    assert not pyro.get_param_store().keys()


def test_probabilities_add_up() -> None:
    for regions in (five().on_average, five().on_next):
        assert regions.below + regions.within + regions.above == pytest.approx(1.0, abs=1e-12)
    assert (five().datasets, five().rope, five().level) == (5, ROPE, 0.95)
    assert five().next_low < five().low < five().mean < five().high < five().next_high


# Simulations from the Pyro program


@cache
def worlds(count: int = 150, datasets: int = 4) -> tuple[dict[str, torch.Tensor], Draws]:
    """Draw everything from the Pyro program, and the posteriors that see the estimates only."""
    ones = torch.ones(count, datasets, dtype=torch.float64)
    freedom = torch.tensor([2.0, 4.0, 9.0, 19.0] * datasets, dtype=torch.float64)[:datasets]
    blank = Hierarchy(0 * ones, 0.7 * ones, freedom * ones, 2 * ones[:, :1], ones[:, :1])
    with seeded(0, "worlds"):
        trace = poutine.trace(poutine.uncondition(model)).get_trace(blank, (count,))
    names = ("mean", "spread", "tails", "difference", "estimate")
    drawn = {name: trace.nodes[name]["value"] for name in names}
    seen = replace(blank, estimate=drawn["estimate"])
    return drawn, posterior(seen, warmup=150, samples=30)


def test_posteriors_are_calibrated_on_data_from_the_model() -> None:
    """Ranks of truths are uniform; each of four tests fails by chance once in 1,000 times."""
    truth, draws = worlds()
    for name in ("mean", "spread", "tails", "difference"):
        rank = (getattr(draws, name) < truth[name][:, None]).double().mean(1)[:, 0]
        assert stats.kstest(rank.numpy(), "uniform").pvalue > 0.001


def test_the_probability_on_a_next_data_set_is_how_often_it_happens() -> None:
    """A sum of independent outcomes less their probabilities; 3.5 errors once in 2,000 times."""
    truth, draws = worlds()
    rng, rope = np.random.default_rng(5), 0.5
    shape = [truth[name][:, 0].numpy() for name in ("tails", "mean", "spread")]
    following = stats.t.rvs(*shape, random_state=rng)
    parts = [getattr(draws, name)[..., 0].numpy() for name in ("tails", "mean", "spread")]
    below, above = stats.t.cdf(-rope, *parts).mean(1), stats.t.sf(rope, *parts).mean(1)
    for chance, happened in ((below, following < -rope), (above, following > rope)):
        error = math.sqrt((chance * (1 - chance)).sum())
        assert abs((happened - chance).sum()) < 3.5 * error
        assert chance.std() > 0.2  # they tell something


# Refusals


@pytest.mark.parametrize(
    ("found", "rope"),
    [
        ([FIVE], 0.0),
        ([FIVE], math.nan),
        ([FIVE, FIVE[:3]], ROPE),
        ([[]], ROPE),
        ([], ROPE),
        ([[shown(math.nan)]], ROPE),
        ([[shown(0.1, math.inf)]], ROPE),
    ],
)
def test_what_cannot_be_compared_is_refused(found: list[list[Difference]], rope: float) -> None:
    with pytest.raises(InputError, match="as many data sets"):
        generalise(found, rope)
