"""Priors: a scale is a standard deviation, whatever the family, and reaches the right weights."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import stats
from small import apart, normal
from torch import Size, Tensor
from torch.distributions import kl_divergence

from bnn.errors import InputError
from bnn.layout import Layout
from bnn.priors import Blocks, Flat, Laplace, Normal, Prior, StudentT, scales

LIKE = torch.zeros(1, dtype=torch.float64)
LAYOUT = Layout(
    {
        "layers.0.weight": Size([4, 9]),
        "layers.0.bias": Size([4]),
        "layers.1.weight": Size([2, 4]),
        "layers.1.bias": Size([2]),
    }
)
TRUE = {  # by scipy, standard deviation 0.7
    Normal(0.7): stats.norm(scale=0.7),
    Normal(0.7, loc=-0.3): stats.norm(loc=-0.3, scale=0.7),
    Laplace(0.7): stats.laplace(scale=0.7 / math.sqrt(2)),
    StudentT(0.7): stats.t(4.0, scale=0.7 / math.sqrt(2)),
    StudentT(0.7, df=11.0): stats.t(11.0, scale=0.7 * math.sqrt(9 / 11)),
}
FAMILIES = [Normal, Laplace, StudentT]


@pytest.mark.parametrize("prior", TRUE, ids=repr)
def test_densities_are_those_of_scipy_with_this_standard_deviation(prior: Prior) -> None:
    assert TRUE[prior].std() == pytest.approx(0.7, rel=1e-12)
    w = 3 * normal(5, LAYOUT.size)
    expected = TRUE[prior].logpdf(w.numpy()).sum(-1)
    assert apart(prior.distribution(LAYOUT, LIKE).log_prob(w), torch.as_tensor(expected)) < 1e-11
    assert prior.proper


@pytest.mark.parametrize("prior", TRUE, ids=repr)
def test_draws_follow_the_density(prior: Prior) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        drawn = prior.distribution(LAYOUT, LIKE).sample((200,))
    assert drawn.shape == (200, LAYOUT.size)
    assert drawn.dtype == torch.float64
    assert stats.kstest(drawn.flatten().numpy(), TRUE[prior].cdf).pvalue > 0.01


@pytest.mark.parametrize("family", FAMILIES)
def test_fan_in_divides_the_scale_of_matrices_and_kernels_only(family: type[Normal]) -> None:
    layout = LAYOUT + Layout({"kernel": Size([2, 3, 5, 5])})
    found = layout.views(scales(2.0, True, layout))
    assert apart(found["layers.0.weight"], torch.tensor(2 / 3)) < 1e-7
    assert (found["layers.1.weight"] == 1).all()
    assert (found["kernel"] == 2 / math.sqrt(75)).all()
    assert (found["layers.0.bias"] == 2).all()
    wide = family(2.0, fan_in=True).distribution(layout, LIKE).base_dist.stddev
    assert apart(wide, scales(2.0, True, layout)) < 1e-15


def test_fan_in_keeps_the_variance_of_a_layer_whatever_its_width() -> None:
    for width in (4, 400):
        layout = Layout({"w": Size([1, width])})
        w = Normal(1.5, fan_in=True).distribution(layout, LIKE)
        # x with unit variance: Var[w x] = width * (1.5^2 / width)
        assert w.variance.sum().item() == pytest.approx(1.5**2, rel=1e-12)


def test_the_first_pattern_that_matches_a_name_counts() -> None:
    scale = {"layers.0.*": 0.1, "*.bias": 5.0, "*": 1.0}
    found = LAYOUT.views(Normal(scale).distribution(LAYOUT, LIKE).base_dist.scale)
    assert {name: value.unique().tolist() for name, value in found.items()} == {
        "layers.0.weight": [0.1],  # exactly: in float64 no digit is lost
        "layers.0.bias": [0.1],
        "layers.1.weight": [1.0],
        "layers.1.bias": [5.0],
    }


@pytest.mark.parametrize(
    ("scale", "says"),
    [
        ({"layers.0.*": 1.0}, "none for 'layers.1.weight'"),
        (0.0, "positive and finite"),
        (-1.0, "positive and finite"),
        (math.inf, "positive and finite"),
        (math.nan, "positive and finite"),
        ("1", "positive and finite; found '1'"),
        (None, "positive and finite; found None"),
        ({"*.bias": 0.0, "*": 1.0}, "'layers.0.bias'"),
    ],
)
def test_scales_that_are_none_are_refused(scale: float | Mapping[str, float], says: str) -> None:
    for family in FAMILIES:
        with pytest.raises(InputError, match=says):
            family(scale).distribution(LAYOUT, LIKE)


def test_a_pattern_that_matches_nothing_is_refused() -> None:
    with pytest.raises(InputError, match=r"'layer\.0\.weight'\. Did you mean 'layers\.0\.weight'"):
        Normal({"layer.0.weight": 0.1, "*": 1.0}).distribution(LAYOUT, LIKE)
    Normal({"*.weight": 0.1, "*.bias": 1.0, "*": 2.0}).distribution(LAYOUT, LIKE)


@pytest.mark.parametrize("df", [2.0, 1.0, -3.0, math.nan, math.inf, "4"])
def test_student_needs_a_standard_deviation(df: float) -> None:
    with pytest.raises(InputError, match="more than 2 degrees of freedom"):
        StudentT(1.0, df=df)


def test_student_of_many_degrees_of_freedom_is_normal() -> None:
    w = normal(LAYOUT.size)
    student = StudentT(0.7, df=1e8).distribution(LAYOUT, LIKE).log_prob(w)
    assert apart(student, Normal(0.7).distribution(LAYOUT, LIKE).log_prob(w)) < 1e-5


def test_flat_is_no_density() -> None:
    flat = Flat()
    assert not flat.proper
    assert (flat.distribution(LAYOUT, LIKE).log_prob(normal(3, LAYOUT.size)) == 0).all()


# Blocks


def parts() -> tuple[list[dist.TorchDistribution], list[dist.TorchDistribution]]:
    """Return three blocks and the same as single distributions over each entry."""
    scale = torch.tensor([0.5, 2.0], dtype=torch.float64)
    blocks = [
        dist.Normal(torch.ones_like(scale), scale).to_event(1),
        dist.Laplace(torch.zeros(3, dtype=torch.float64), 0.3).to_event(1),
        Normal(2.0, loc=-1.0).distribution(Layout({"": Size([])}), LIKE),
    ]
    return blocks, [block.base_dist for block in blocks]


def test_blocks_score_like_the_sum_of_their_parts() -> None:
    blocks, singles = parts()
    joined = Blocks(blocks)
    assert joined.event_shape == (6,)
    value = normal(4, 6)
    pieces = value.split([2, 3, 1], dim=-1)
    expected = sum(one.log_prob(v).sum(-1) for one, v in zip(singles, pieces, strict=True))
    assert apart(joined.log_prob(value), expected) < 1e-13
    assert joined.expand((4, 1)).log_prob(value[:, None]).shape == (4, 1)
    assert apart(joined.expand((4, 1)).log_prob(value[:, None])[:, 0], expected) < 1e-13


def test_blocks_draw_each_part_in_its_place() -> None:
    blocks, singles = parts()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        drawn = Blocks(blocks).expand((3,)).rsample((2000,))
        assert drawn.shape == (2000, 3, 6)
        true = torch.cat([one.stddev for one in singles]), torch.cat([one.mean for one in singles])
    spread, centre = (part.expand(6) for part in true)
    error = spread / math.sqrt(6000)
    assert ((drawn.flatten(0, 1).mean(0) - centre).abs() < 4 * error).all()
    assert ((drawn.flatten(0, 1).std(0) / spread - 1).abs() < 0.08).all()


def test_blocks_are_differentiable_draws() -> None:
    loc = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    drawn = Blocks([dist.Normal(loc, 1.0).to_event(1)]).rsample((5,))
    (gradient,) = torch.autograd.grad(drawn.sum(), loc)
    assert gradient.tolist() == [5, 5]


def test_the_divergence_to_blocks_is_the_sum_of_torchs() -> None:
    blocks, singles = parts()
    loc, scale = normal(6), normal(6, seed=1).exp()
    q = dist.Normal(loc, scale)
    pieces = zip(loc.split([2, 3, 1]), scale.split([2, 3, 1]), singles, strict=True)
    expected = sum(kl_divergence(dist.Normal(m, s), one).sum() for m, s, one in pieces)
    assert apart(kl_divergence(q.to_event(1), Blocks(blocks)), expected) < 1e-13


def test_a_divergence_without_closed_form_is_not_made_up() -> None:
    q = dist.Normal(torch.zeros(2), 1.0).to_event(1)
    block = dist.StudentT(4.0, torch.zeros(2), 1.0).to_event(1)
    with pytest.raises(NotImplementedError):
        kl_divergence(q, Blocks([block]))
    with pytest.raises(NotImplementedError):
        kl_divergence(dist.Laplace(torch.zeros(2), 1.0).to_event(1), Blocks(parts()[0][:1]))


@pytest.mark.parametrize("prior", [Normal(0.7), Laplace(0.7)], ids=repr)
def test_closed_divergences_agree_with_an_integral(prior: Prior) -> None:
    layout, grid = Layout({"w": Size([1])}), np.linspace(-20, 20, 400_001)
    q, p = stats.norm(0.4, 0.9), TRUE[prior]
    expected = np.trapezoid(q.pdf(grid) * (q.logpdf(grid) - p.logpdf(grid)), grid)
    loc, scale = torch.tensor([[0.4], [0.9]], dtype=torch.float64)
    guide = dist.Normal(loc, scale).to_event(1)
    found = kl_divergence(guide, prior.distribution(layout, LIKE)).item()
    assert found == pytest.approx(expected, rel=1e-8)


def test_blocks_are_a_pyro_site() -> None:
    def model() -> Tensor:
        with pyro.plate("replicas", 4, dim=-2):
            return pyro.sample("w", Blocks(parts()[0]))

    with torch.random.fork_rng(devices=[]):
        trace = pyro.poutine.trace(model).get_trace()
    value = trace.nodes["w"]["value"]
    assert value.shape == (4, 1, 6)
    assert trace.log_prob_sum().item() == pytest.approx(
        Blocks(parts()[0]).log_prob(value).sum().item(), rel=1e-12
    )
