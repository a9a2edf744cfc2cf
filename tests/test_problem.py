"""The problem: an ordinary Pyro program, one replica or many."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np
import pyro
import pytest
import torch
import torch.nn.functional as F
from pyro.infer import MCMC, NUTS, SVI, Trace_ELBO, TraceMeanField_ELBO
from pyro.infer.autoguide import AutoNormal
from scipy import stats
from small import apart, normal, real_targets, table, two_classes

from bnn.data import Dataset
from bnn.errors import InputError
from bnn.likelihoods import (
    Bernoulli,
    Categorical,
    FixedNoise,
    InputNoise,
    LearnedNoise,
    Likelihood,
    Normal,
    SoftLabels,
)
from bnn.networks import MLP
from bnn.priors import Flat, Laplace, StudentT
from bnn.priors import Normal as NormalPrior
from bnn.problem import Problem


@pytest.fixture
def pyros_own() -> Iterator[None]:
    """Give Pyro a seeded generator and a parameter store of its own for the length of a test."""
    with torch.random.fork_rng(devices=[]), pyro.get_param_store().scope():
        torch.manual_seed(0)
        yield


def soft_labels(replicas: int = 1) -> Dataset:
    return table(normal(30, 3), normal(30, 3, seed=1).softmax(-1), classes=3, replicas=replicas)


def classes(replicas: int = 1) -> Dataset:
    return two_classes(30, replicas=replicas)


def numbers(replicas: int = 1) -> Dataset:
    return real_targets(30, replicas=replicas)


CASES: dict[str, tuple[Callable[[int], Dataset], Likelihood]] = {
    "categorical": (classes, Categorical()),
    "bernoulli": (classes, Bernoulli()),
    "soft labels": (soft_labels, SoftLabels()),
    "fixed noise": (numbers, Normal(FixedNoise(2.0))),
    "learned noise": (numbers, Normal(LearnedNoise())),
    "input noise": (numbers, Normal(InputNoise())),
}


def posed(case: str, replicas: int = 1, **problem: object) -> Problem:
    data, likelihood = CASES[case]
    data = data(replicas)
    network = MLP(3, [4], likelihood.width(len(data.classes)), "tanh").double()
    return Problem.of(data, network, likelihood=likelihood, **problem)


def weights_of(problem: Problem, draws: int = 1, seed: int = 0) -> torch.Tensor:
    return 0.5 * normal(problem.replicas, draws, problem.layout.size, seed=seed)


def noise_prior(log_scale: torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(stats.norm.logpdf(log_scale.numpy(), math.log(0.3), 1.0))


# The program and its density


@pytest.mark.parametrize("replicas", [1, 3])
@pytest.mark.parametrize("case", CASES)
def test_the_program_has_the_log_joint_as_its_density(
    case: str, replicas: int, pyros_own: None
) -> None:
    problem = posed(case, replicas)
    trace = pyro.poutine.trace(problem.model).get_trace()
    trace.compute_log_prob()
    weights = trace.nodes["weights"]["value"]
    assert weights.shape == (replicas, 1, problem.layout.size)
    assert trace.nodes["y"]["log_prob"].shape == (replicas, 30)
    joint = problem.log_joint(weights)
    assert joint.shape == (replicas, 1)
    per_replica = trace.nodes["y"]["log_prob"].sum(-1) + trace.nodes["weights"]["log_prob"][:, 0]
    assert apart(joint[:, 0], per_replica) < 1e-10
    assert trace.log_prob_sum().item() == pytest.approx(joint.sum().item(), rel=1e-13)


@pytest.mark.parametrize("case", CASES)
def test_the_log_joint_is_what_scipy_and_torch_say(case: str) -> None:
    problem = posed(case, 2, prior=NormalPrior(0.8))
    weights = weights_of(problem, draws=3)
    x = problem.train.x
    x = (x - x.mean(1, keepdim=True)) / x.std(1, correction=0, keepdim=True)
    y, network = problem.train.y, problem.network.network
    for r in range(2):
        for s in range(3):
            w = weights[r, s]
            own = w[problem.network.layout.size :]
            torch.nn.utils.vector_to_parameters(w[: len(w) - len(own)], network.parameters())
            with torch.no_grad():
                f = network(x[r])
            if case == "categorical":
                fitted = -F.cross_entropy(f, y[r], reduction="sum")
            elif case == "bernoulli":
                loss = F.binary_cross_entropy_with_logits
                fitted = -loss(f[:, 0], y[r].double(), reduction="sum")
            elif case == "soft labels":
                fitted = -F.cross_entropy(f, y[r], reduction="sum")
            else:
                unit = y[r].std(correction=0)
                z = (y[r] - y[r].mean()) / unit
                scale = {
                    "fixed noise": lambda unit=unit: 2.0 / unit,
                    "learned noise": lambda own=own: (0.003**2 + (2 * own[0]).exp()).sqrt(),
                    "input noise": lambda f=f: (0.003**2 + (2 * f[:, 1]).exp()).sqrt(),
                }[case]()
                fitted = stats.norm.logpdf(z.numpy(), f[:, 0].numpy(), scale.numpy()).sum()
            prior = stats.norm.logpdf(w[: len(w) - len(own)].numpy(), scale=0.8).sum()
            if len(own):
                prior += noise_prior(own).item()
            expected = float(fitted) + prior
            assert problem.log_joint(weights)[r, s].item() == pytest.approx(expected, rel=1e-12)


def test_a_batch_of_one_replica_is_the_problem_of_that_replica() -> None:
    problem = posed("learned noise", 3)
    weights = weights_of(problem, draws=2)
    for r in range(3):
        alone = problem.take([r])
        assert alone.replicas == 1
        assert apart(alone.log_joint(weights[r : r + 1]), problem.log_joint(weights)[r]) < 1e-12


@pytest.mark.parametrize("replicas", [1, 3])
@pytest.mark.parametrize("case", CASES)
def test_a_minibatch_counts_for_all_rows(case: str, replicas: int) -> None:
    problem = posed(case, replicas)
    weights = weights_of(problem)
    generator = torch.Generator().manual_seed(3)
    columns = torch.stack([torch.randperm(30, generator=generator) for _ in range(replicas)])[:, :7]
    x, y = problem.batch(problem.train.at(columns))
    conditioned = pyro.poutine.condition(problem.model, {"weights": weights})
    trace = pyro.poutine.trace(conditioned).get_trace((x, y))
    trace.compute_log_prob()
    assert trace.nodes["y"]["scale"] == 30 / 7
    scored = trace.nodes["y"]["log_prob"].sum(-1)  # Pyro's has the factor in it
    by_hand = problem.log_likelihood(weights, problem.outputs(weights, x), y)[:, 0].sum(-1)
    assert apart(scored, 30 / 7 * by_hand) < 1e-11
    total = (30 / 7 * by_hand + problem.log_prior(weights)[:, 0]).sum()
    assert trace.log_prob_sum().item() == pytest.approx(total.item(), rel=1e-12)
    assert apart(-problem.loss(weights, x, y)[:, 0] * 30, 30 / 7 * by_hand) < 1e-11


def test_all_minibatches_together_give_the_whole() -> None:
    problem = posed("categorical", 2)
    weights = weights_of(problem)
    columns = torch.stack([torch.randperm(30, generator=torch.Generator().manual_seed(0))] * 2)
    losses = [
        problem.loss(weights, *problem.batch(problem.train.at(columns[:, i : i + 10])))
        for i in (0, 10, 20)
    ]
    whole = problem.loss(weights, *problem.batch(problem.train))
    assert apart(torch.stack(losses).mean(0), whole) < 1e-14


@pytest.mark.parametrize("prior", [Laplace(0.5), StudentT(0.5), NormalPrior(1.0, fan_in=True)])
def test_every_prior_is_in_the_density(prior: object) -> None:
    problem = posed("learned noise", 2, prior=prior)
    weights = weights_of(problem, draws=3)
    network, own = weights[..., :-1], weights[..., -1:]
    expected = prior.distribution(problem.network.layout, weights).log_prob(network)
    expected = expected + noise_prior(own[..., 0])
    assert apart(problem.log_prior(weights), expected) < 1e-11


def test_without_a_prior_the_density_is_the_likelihood() -> None:
    for case in ("categorical", "learned noise"):
        problem = posed(case, 2, prior=Flat())
        weights = weights_of(problem, draws=3)
        noise = 0.0
        if case == "learned noise":  # keeps its own
            noise = noise_prior(weights[..., -1])
        x, y = problem.batch(problem.train)
        fitted = problem.log_likelihood(weights, problem.outputs(weights, x), y).sum(-1)
        assert apart(problem.log_joint(weights), fitted + noise) < 1e-12


# Pyro's own inference, unchanged


@pytest.mark.parametrize("replicas", [1, 3])
@pytest.mark.parametrize("case", CASES)
def test_pyros_own_guide_trains_on_the_program(case: str, replicas: int, pyros_own: None) -> None:
    problem = posed(case, replicas)
    guide = AutoNormal(problem.model, init_scale=0.01)
    svi = SVI(problem.model, guide, pyro.optim.Adam({"lr": 0.05}), Trace_ELBO())
    losses = [svi.step() for _ in range(60)]
    assert all(math.isfinite(loss) for loss in losses)
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
    assert pyro.param("AutoNormal.locs.weights").shape == (replicas, 1, problem.layout.size)


def test_pyros_own_guide_trains_on_minibatches(pyros_own: None) -> None:
    problem = posed("categorical", 3)
    guide = AutoNormal(problem.model, init_scale=0.01)
    svi = SVI(problem.model, guide, pyro.optim.Adam({"lr": 0.05}), TraceMeanField_ELBO())
    columns = torch.arange(10).expand(3, -1)
    losses = [svi.step(problem.batch(problem.train.at(columns))) for _ in range(60)]
    assert np.mean(losses[-10:]) < np.mean(losses[:10])


@pytest.mark.parametrize("case", ["categorical", "learned noise"])
def test_nuts_runs_on_the_program(case: str, pyros_own: None) -> None:
    problem = posed(case)
    mcmc = MCMC(NUTS(problem.model), num_samples=5, warmup_steps=5, disable_progbar=True)
    mcmc.run()
    drawn = mcmc.get_samples()["weights"]
    assert drawn.shape == (5, 1, 1, problem.layout.size)
    assert drawn.isfinite().all()
    assert len(drawn.unique(dim=0)) > 1


def test_nuts_finds_the_exact_posterior_of_a_linear_model(pyros_own: None) -> None:
    data = real_targets(20, 1)
    noise = Normal(FixedNoise(4.0))
    problem = Problem.of(data, MLP(1, [], 1).double(), likelihood=noise)
    x, y = problem.batch(problem.train)
    design = torch.cat([x[0], torch.ones(20, 1)], 1)
    precision = design.mT @ design / (4.0 / problem.targets.scale[0]) ** 2 + torch.eye(2)
    mean = torch.linalg.solve(precision, design.mT @ y[0] / (4.0 / problem.targets.scale[0]) ** 2)
    covariance = torch.linalg.inv(precision)
    mcmc = MCMC(NUTS(problem.model), num_samples=400, warmup_steps=100, disable_progbar=True)
    mcmc.run()
    drawn = mcmc.get_samples()["weights"][:, 0, 0]
    spread = covariance.diagonal().sqrt()
    assert ((drawn.mean(0) - mean).abs() < 4 * spread / math.sqrt(200)).all()
    assert ((drawn.std(0) / spread - 1).abs() < 0.2).all()


# Standardisation and shapes


def test_each_replica_is_standardised_by_its_own_training_rows() -> None:
    data = real_targets(40, replicas=3, held_out=15)
    problem = Problem.of(data, MLP(3, [], 1).double())
    x, _ = problem.batch(problem.train)
    assert apart(x.mean(1), torch.zeros(3, 3)) < 1e-12
    assert apart(x.std(1, correction=0), torch.ones(3, 3)) < 1e-12
    held_x, held_y = problem.batch(problem.validation)
    for r in range(3):
        rows = data.train.x[r]
        expected = (data.validation.x[r] - rows.mean(0)) / rows.std(0, correction=0)
        assert apart(held_x[r], expected) < 1e-12
        rows = data.train.y[r]
        expected = (data.validation.y[r] - rows.mean()) / rows.std(correction=0)
        assert apart(held_y[r], expected) < 1e-12


def test_classes_are_not_standardised() -> None:
    problem = posed("categorical", 2)
    assert torch.equal(problem.batch(problem.train)[1], problem.train.y)
    assert (problem.targets.mean == 0).all()
    assert (problem.targets.scale == 1).all()


def test_numbers_have_the_networks_dtype_whatever_the_datas() -> None:
    for dtype in (torch.float32, torch.float64):
        for given in (torch.float32, torch.float64):
            data = real_targets(30, dtype=given)
            problem = Problem.of(data, MLP(3, [4], 1).to(dtype))
            x, y = problem.batch(problem.train)
            weights = problem.initial([0])[:, None]
            assert {x.dtype, y.dtype, weights.dtype, problem.log_joint(weights).dtype} == {dtype}


def test_a_start_ends_with_the_noise_at_its_prior_mean() -> None:
    problem = posed("learned noise")
    start = problem.initial([4, 5])
    assert torch.equal(start[:, :-1], problem.network.initial([4, 5]))
    assert apart(start[:, -1], torch.tensor([math.log(0.3)] * 2, dtype=torch.float64)) < 1e-15
    assert list(problem.layout.shapes)[-1] == "noise.log_scale"


def test_one_split_is_shared_by_all_seeds() -> None:
    problem = posed("categorical").for_seeds([5, 6, 7])
    assert problem.replicas == 3
    assert torch.equal(problem.train.index[0], problem.train.index[2])
    assert posed("categorical", 3).for_seeds([5, 6, 7]).replicas == 3


def test_replicas_are_taken_by_number_also_twice() -> None:
    problem = posed("fixed noise", 3)
    some = problem.take([2, 0, 2])
    assert torch.equal(some.train.index, problem.train.index[[2, 0, 2]])
    assert torch.equal(some.inputs.mean, problem.inputs.mean[[2, 0, 2]])
    assert torch.equal(some.targets.scale, problem.targets.scale[[2, 0, 2]])


def test_the_test_rows_are_not_in_the_problem() -> None:
    data = two_classes(30, replicas=2, held_out=5)
    problem = Problem.of(data, MLP(3, [], 2).double())
    known = {f for f in vars(problem) if "test" in f}
    index = torch.cat([getattr(problem, part).index for part in ("train", "validation")], 1)
    assert not known
    assert not (index == 30).any()  # row 30 is the test row


# Refused


def test_no_seeds_and_too_many_are_refused() -> None:
    with pytest.raises(InputError, match="at least one seed; found 0 seeds"):
        posed("categorical").for_seeds([])
    for seeds in ([1], [1, 2], [1, 2, 3, 4]):
        with pytest.raises(InputError, match=rf"each of the 3 splits; found {len(seeds)} seeds"):
            posed("categorical", 3).for_seeds(seeds)


def test_equal_seeds_on_one_split_are_refused() -> None:
    with pytest.raises(InputError, match=r"different seeds.*found \[5, 6, 5\]"):
        posed("categorical").for_seeds([5, 6, 5])
    assert posed("categorical", 3).for_seeds([5, 6, 5]).replicas == 3  # on splits of their own


@pytest.mark.parametrize(
    "seeds", [range(3), np.arange(3), torch.arange(3), (s for s in range(3)), {0, 1, 2}]
)
def test_seeds_may_come_in_any_form(seeds: Iterable[int]) -> None:
    assert posed("categorical").for_seeds(seeds).replicas == 3


@pytest.mark.parametrize("prior", [1.0, NormalPrior, "Normal", Categorical()], ids=str)
def test_what_is_no_prior_is_refused(prior: object) -> None:
    with pytest.raises(InputError, match=r"a prior, such as .*Normal\(1\.0\)"):
        posed("categorical", prior=prior)
    with pytest.raises(InputError, match="a prior, such as"):
        replace(posed("categorical"), prior=prior)


@pytest.mark.parametrize("likelihood", [Categorical, "categorical", 0, NormalPrior()], ids=str)
def test_what_is_no_likelihood_is_refused(likelihood: object) -> None:
    with pytest.raises(InputError, match=r"a likelihood, such as .*Categorical\(\)"):
        Problem.of(classes(), MLP(3, [4], 2), likelihood=likelihood)


@pytest.mark.parametrize(
    ("case", "likelihood", "says"),
    [
        ("categorical", Normal(), "a likelihood for classification; found Normal"),
        ("fixed noise", Categorical(), "a likelihood for regression; found Categorical"),
        ("fixed noise", SoftLabels(), "a likelihood for regression; found SoftLabels"),
        ("soft labels", Categorical(), "label distributions; found Categorical"),
        ("soft labels", Bernoulli(), "label distributions; found Bernoulli"),
        ("categorical", SoftLabels(), "one target per row; found SoftLabels"),
        ("categorical", Bernoulli(), "a network with 1 outputs, as Bernoulli reads; found 2"),
        ("fixed noise", Normal(InputNoise()), "a network with 2 outputs, as Normal reads"),
    ],
)
def test_a_likelihood_for_something_else_is_refused(
    case: str, likelihood: Likelihood, says: str
) -> None:
    data, fitting = CASES[case]
    data = data(1)
    network = MLP(3, [4], fitting.width(len(data.classes)))
    with pytest.raises(InputError, match=says):
        Problem.of(data, network, likelihood=likelihood)


def test_a_logit_for_three_classes_is_refused() -> None:
    data = table(normal(30, 3), torch.arange(30) % 3, classes=3)
    with pytest.raises(InputError, match="two classes; found 3"):
        Problem.of(data, MLP(3, [], 1))


def test_a_class_absent_from_a_replicas_training_rows_is_refused() -> None:
    x, y = normal(30, 3), torch.zeros(30, dtype=torch.int64)
    y[25:] = 1
    with pytest.raises(InputError, match="'b'"):
        Problem.of(table(x, y, classes=2, held_out=5), MLP(3, [], 2))


def test_a_constant_column_does_not_make_the_problem_infinite() -> None:
    x = normal(30, 3)
    x[:, 1] = 7.0
    problem = Problem.of(table(x, x[:, 0], replicas=2), MLP(3, [4], 1).double())
    assert problem.log_joint(weights_of(problem)).isfinite().all()


def test_a_prior_can_be_replaced() -> None:
    problem = posed("categorical")
    weights = weights_of(problem)
    wide = replace(problem, prior=NormalPrior(10.0))
    expected = stats.norm.logpdf(weights.numpy(), scale=10.0).sum()
    assert wide.log_prior(weights).item() == pytest.approx(expected, rel=1e-12)
