"""The Laplace approximation: on linear models, where it is exact, and brute-force curvature."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from modules import USERS, Attention, Convolutions
from small import apart, normal, real_targets, relative, table, two_classes
from torch import Tensor, nn
from torch.autograd.functional import jacobian
from torch.func import functional_call

from bnn.curvature import Diagonal, Full, Kronecker, rows
from bnn.errors import InputError
from bnn.likelihoods import (
    Bernoulli,
    FixedNoise,
    InputNoise,
    Likelihood,
    SoftLabels,
    SoftplusNoise,
)
from bnn.likelihoods import Normal as NormalLikelihood
from bnn.methods.laplace import Laplace, LaplaceNormal
from bnn.methods.maximum_posterior import MAP
from bnn.networks import MLP, Partial
from bnn.optimise import Training
from bnn.posterior import Posterior, predict
from bnn.priors import Laplace as LaplacePrior
from bnn.priors import Normal
from bnn.problem import Problem

BRIEF = Training(epochs=20, batch_size=10)


def conjugate(replicas: int = 1, points: int = 40, prior: Normal | None = None) -> Problem:
    """Return a linear-Gaussian problem, its inputs correlated."""
    x = normal(points, 3)
    x[:, 1] = 0.7 * x[:, 0] + 0.5 * x[:, 1]
    data = table(x, x.sum(1) + normal(points, seed=1), replicas=replicas, held_out=5)
    noise = NormalLikelihood(FixedNoise(1.0))
    prior = Normal(0.8) if prior is None else prior
    return Problem.of(data, MLP(3, [], 1).double(), prior=prior, likelihood=noise)


def exact(problem: Problem, r: int = 0) -> tuple[Tensor, Tensor, float]:
    """Return the posterior's mean and precision of a linear problem, and its log evidence."""
    x, y = (part[r] for part in problem.batch(problem.train))
    design = torch.cat([x, torch.ones(len(x), 1)], 1).double()
    variance = problem.targets.scale[r] ** -2
    prior = problem.prior_distribution()
    mean, spread = prior.base_dist.loc, prior.base_dist.scale
    precision = design.mT @ design / variance + (spread**-2).diag()
    pull = design.mT @ y / variance + mean / spread**2
    marginal = torch.distributions.MultivariateNormal(
        design @ mean,
        variance * torch.eye(len(x)).double() + design @ (spread**2).diag() @ design.mT,
    )
    return torch.linalg.solve(precision, pull), precision, marginal.log_prob(y).item()


def family(posterior: Posterior) -> LaplaceNormal:
    assert isinstance(posterior.family, LaplaceNormal)
    return posterior.family


# Linear models


@pytest.mark.parametrize("prior", [Normal(0.8), Normal({"*.bias": 2.0, "*": 0.3}, True, 0.5)])
def test_on_a_linear_model_it_is_the_posterior(prior: Normal) -> None:
    problem = conjugate(3, prior=prior)
    posterior = Laplace().thorough().fit(problem, [0, 1, 2])
    for r in range(3):
        mean, precision, evidence = exact(problem, r)
        assert apart(family(posterior).mean[r], mean) < 1e-9
        assert relative(family(posterior).covariance[r], precision.inverse()) < 1e-9
        assert family(posterior).log_evidence[r].item() == pytest.approx(evidence, abs=1e-8)
    assert posterior.fit.diverged == (False, False, False)


def test_one_output_and_constant_noise_make_kronecker_exact_and_the_diagonal_factorise() -> None:
    problem = conjugate(prior=Normal({"*.bias": 2.0, "*": 0.3}))
    mean, precision, evidence = exact(problem)
    thorough = Laplace().thorough()
    kronecker = replace(thorough, structure="kronecker").fit(problem, [0])
    assert apart(family(kronecker).mean[0], mean) < 1e-9
    assert relative(family(kronecker).covariance[0], precision.inverse()) < 1e-9
    assert family(kronecker).log_evidence.item() == pytest.approx(evidence, abs=1e-8)
    diagonal = replace(thorough, structure="diagonal").fit(problem, [0])
    expected = (1 / precision.diagonal()).diag()
    assert relative(family(diagonal).covariance[0], expected) < 1e-9
    assert apart(precision, precision.diagonal().diag()) > 1  # not the same thing


@pytest.mark.parametrize("structure", ["full", "kronecker", "diagonal"])
def test_draws_have_the_moments_of_the_family(structure: str) -> None:
    problem = Problem.of(two_classes(40), MLP(3, [3], 2, "tanh").double())
    posterior = Laplace(structure, training=BRIEF).fit(problem, [0])
    weights = problem.layout.flat(posterior.weights(20_000))[0]
    covariance = family(posterior).covariance[0]
    # Of each entry, four standard errors: with 20 x 21 / 2 entries, 2 % would fail by chance.
    spread = covariance.diagonal()
    error = ((covariance**2 + spread[:, None] * spread) / 20_000).sqrt()
    assert ((weights.T.cov() - covariance).abs() < 4 * error).all()
    gap = (weights.mean(0) - family(posterior).mean[0]).abs()
    assert (gap < 4 * (spread / 20_000).sqrt()).all()
    assert relative(family(posterior).normal.variance[0], spread) < 1e-12
    log_det = family(posterior).normal.log_det
    assert log_det.item() == pytest.approx(-covariance.logdet().item(), rel=1e-10)


# Curvature against brute force


def dense(problem: Problem, weights: Tensor, r: int = 0) -> Tensor:
    """Return G of a replica from its Jacobian and the Hessian of -log p in the outputs."""
    network = problem.network.network.eval()
    size = problem.network.layout.size
    x, y = (part[r] for part in problem.batch(problem.train))
    unit = problem.targets.scale[r]

    def outputs(flat: Tensor) -> Tensor:
        return functional_call(network, problem.network.layout.views(flat), (x,))

    slopes = jacobian(outputs, weights[r, :size])
    latents = {name: value[r, 0] for name, value in problem.latents(weights[:, None]).items()}
    total = torch.zeros(size, size).double()
    for n in range(len(x)):

        def loss(f: Tensor, n: int = n) -> Tensor:
            p = problem.likelihood.distribution(f[None], latents, unit)
            return -p.log_prob(y[n : n + 1]).sum()

        hessian = torch.autograd.functional.hessian(loss, outputs(weights[r, :size])[n].detach())
        total += slopes[n].mT @ hessian @ slopes[n]
    return total


def soft() -> Problem:
    x = normal(30, 3, seed=5)
    y = (3 * normal(30, 4, seed=6).square()).round() + torch.eye(4)[torch.arange(30) % 4]
    data = table(x, y, classes=4)
    return Problem.of(data, MLP(3, [4], 4, "tanh").double(), likelihood=SoftLabels(counts=True))


CASES: dict[str, Callable[[], Problem]] = {
    "categorical": lambda: Problem.of(two_classes(30), MLP(3, [4], 2, "tanh").double()),
    "bernoulli": lambda: Problem.of(two_classes(30), MLP(3, [4], 1, "tanh").double()),
    "counts": soft,
    "learned noise": lambda: Problem.of(real_targets(30), MLP(3, [4], 1, "tanh").double()),
    "fixed noise": lambda: Problem.of(
        real_targets(30),
        MLP(3, [4], 1, "tanh").double(),
        likelihood=NormalLikelihood(FixedNoise(2.0)),
    ),
}


@pytest.mark.parametrize("pose", CASES.values(), ids=CASES)
def test_the_curvature_is_the_generalised_gauss_newton_matrix(pose: Callable[[], Problem]) -> None:
    problem = pose().take([0, 0])
    weights = problem.initial([0, 1]) + 0.3 * normal(2, problem.layout.size)
    full, diagonal = Full.of(problem, weights), Diagonal.of(problem, weights)
    for r in range(2):
        expected = dense(problem, weights, r)
        assert relative(full.matrix[r], expected) < 1e-12
        assert relative(diagonal.values[r], expected.diagonal()) < 1e-12
    assert torch.linalg.eigvalsh(full.matrix).min() > -1e-10


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("hidden", [[], [5], [4, 6]])
def test_the_curvature_written_out_is_that_of_autograd(
    monkeypatch: pytest.MonkeyPatch, hidden: list[int], activation: str, outputs: int
) -> None:
    data = two_classes(30) if outputs == 1 else table(normal(30, 3), torch.arange(30) % 3, 3)
    net = MLP(3, hidden, outputs, activation).double()
    problem = Problem.of(data, net).take([0, 0])
    weights = problem.initial([0, 1]) + 0.3 * normal(2, problem.layout.size)
    found = Full.of(problem, weights)
    some = list(problem.network.layout.shapes)[::-1]
    parts = torch.cat([*rows.roots(problem, weights, some)], 1)
    monkeypatch.setattr(rows, "perceptron", lambda network: False)
    assert relative(found.matrix, Full.of(problem, weights).matrix) < 1e-13
    assert torch.equal(parts, torch.cat([*rows.roots(problem, weights, some)], 1))


@pytest.mark.parametrize("way", [InputNoise(floor=0.2), SoftplusNoise(floor=0.04)])
def test_noise_that_depends_on_the_input_has_the_fisher_information(
    way: InputNoise | SoftplusNoise,
) -> None:
    noise = NormalLikelihood(way)
    problem = Problem.of(real_targets(20), MLP(3, [], 2).double(), likelihood=noise)
    weights = 0.5 * normal(1, problem.layout.size)
    x, _ = problem.batch(problem.train)
    outputs = problem.outputs(weights[:, None], x)[0, 0].detach().requires_grad_()
    given = noise.distribution(outputs, {}, torch.ones(()))
    y = given.loc + given.scale * normal(100_000, 20, seed=2)
    # The mean of squared scores, by a sum over many targets of each row.
    scale = given.scale.detach()
    z = (y - given.loc).detach() / scale
    # What the scale gains, d log v / df / 2, with v = 0.04 + e^2f or 0.04 + log(1 + e^f).
    free = outputs.detach()[:, 1]
    rise = 2 * (2 * free).exp() if isinstance(way, InputNoise) else free.sigmoid()
    score = torch.stack([z / scale, (z**2 - 1) * rise / (2 * scale**2)], -1)
    expected = torch.einsum("snk,snl->nkl", score, score) / len(score)
    design = torch.cat([x[0], torch.ones(20, 1)], 1)
    slopes = torch.zeros(20, 2, 8).double()
    slopes[:, 0, :3] = slopes[:, 1, 3:6] = x[0]
    slopes[:, 0, 6] = slopes[:, 1, 7] = 1
    assert design.shape == (20, 4)
    total = torch.einsum("nkp,nkl,nlq->pq", slopes, expected, slopes)
    # The largest relative error of a mean of 100,000 squares of such scores is some 1 %.
    assert relative(Full.of(problem, weights).matrix[0], total) < 0.04


def test_one_row_makes_the_blocks_of_kronecker_exact() -> None:
    problem = Problem.of(two_classes(20), MLP(3, [4], 2, "tanh").double())
    problem = replace(problem, train=replace(problem.train, index=problem.train.index[:, :1]))
    weights = problem.initial([0])
    expected = dense(problem, weights)
    found = Kronecker.of(problem, weights)
    assert len(found.rest) == 0
    for block in found.blocks:
        places = block.places.flatten()
        product = torch.kron(block.outer[0], block.inner[0])
        assert relative(product, expected[places][:, places]) < 1e-12


@pytest.mark.parametrize("build", USERS)
def test_the_factors_of_layers_are_means_of_products(build: Callable[[], nn.Module]) -> None:
    """The outer factor of a layer without shared places is the curvature of its biases."""
    x = normal(12, 1, 6, 6)
    data = table(x, (torch.arange(12) % 2), classes=2, replicas=2)
    problem = Problem.of(data, build().double())
    weights = problem.initial([0, 1])
    found, full = Kronecker.of(problem, weights), Full.of(problem, weights)
    places = problem.layout.views(torch.arange(problem.layout.size))
    head = next(b for b in found.blocks if (b.places == places["head.bias"][0]).any())
    bias = places["head.bias"]
    assert relative(head.outer, full.matrix[:, bias[:, None], bias]) < 1e-12
    blocks = {
        name
        for name in places
        if any((b.places == places[name].flatten()[0]).any() for b in found.blocks)
    }
    if build is Convolutions:
        assert {n.rpartition(".")[0] for n in blocks} == {"kernel", "head"}
    elif build is Attention:
        assert blocks == {"head.weight", "head.bias"}
    else:
        assert {n.rpartition(".")[0] for n in blocks} == {"first", "second", "head"}
    diagonal = Diagonal.of(problem, weights).values
    assert relative(diagonal, full.matrix.diagonal(dim1=1, dim2=2)) < 1e-12
    assert relative(found.values, diagonal[:, found.rest]) < 1e-12
    covered = torch.cat([found.rest, *(b.places.flatten() for b in found.blocks)]).sort().values
    assert torch.equal(covered, torch.arange(problem.layout.size))


def test_a_convolution_of_one_place_is_a_linear_layer() -> None:
    """A kernel as large as the image, padded and strided so that it sits in one place."""
    x, y = normal(20, 1, 3, 3), torch.arange(20) % 2
    image = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Tanh(), nn.Linear(4, 2)).double()
    flat = nn.Sequential(nn.Flatten(), nn.Linear(9, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    one, two = (Problem.of(table(x, y, classes=2), network) for network in (image, flat))
    weights = one.initial([0])
    found, expected = (Kronecker.of(problem, weights) for problem in (one, two))
    for a, b in zip(found.blocks, expected.blocks, strict=True):
        assert torch.equal(a.places, b.places)
        assert apart(a.outer, b.outer) < 1e-13
        assert apart(a.inner, b.inner) < 1e-13


def test_shared_places_are_counted_once_each() -> None:
    """A strided, padded convolution: its inner factor by loops over rows and places."""
    x, y = normal(6, 2, 5, 5), torch.arange(6) % 2
    network = nn.Sequential(
        nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(27, 2)
    ).double()
    problem = Problem.of(table(x, y, classes=2), network)
    block = Kronecker.of(problem, problem.initial([0])).blocks[0]
    z, _ = problem.batch(problem.train)
    padded = nn.functional.pad(z[0], (1, 1, 1, 1))
    total = torch.zeros(19, 19).double()
    for image in padded:
        for i in (0, 2, 4):
            for j in (0, 2, 4):
                patch = torch.cat([image[:, i : i + 3, j : j + 3].flatten(), torch.ones(1)])
                total += torch.outer(patch, patch) / (6 * 9)
    assert relative(block.inner[0], total) < 1e-12


def test_a_layer_used_twice_has_its_diagonal_only() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.again, self.head = nn.Linear(3, 3), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.again(self.again(x).tanh()).tanh())

    problem = Problem.of(two_classes(20), Twice().double())
    weights = problem.initial([0])
    found, expected = Kronecker.of(problem, weights), dense(problem, weights)
    assert torch.equal(found.rest, torch.arange(12))
    assert relative(found.values[0], expected.diagonal()[:12]) < 1e-12


# The part that is inferred


def test_the_last_layer_has_its_own_curvature() -> None:
    problem = Problem.of(two_classes(40), MLP(3, [4], 2, "tanh").double())
    posterior = Laplace("last_layer", evidence=False, training=BRIEF).fit(problem, [0])
    network = posterior.problem.network.curved
    assert isinstance(network, Partial)
    names = ["layers.1.weight", "layers.1.bias"]
    assert list(posterior.weights(2)) == names
    at = network.whole.layout.views(network.fixed)
    whole = problem.layout.flat({**at, **network.layout.views(posterior.fit.parameters)})
    matrix = dense(problem, whole)[-10:, -10:]
    expected = (matrix + torch.eye(10)).inverse()
    assert relative(family(posterior).covariance[0], expected) < 1e-10
    same = Laplace("full", last_layer=True, evidence=False, training=BRIEF).fit(problem, [0])
    assert torch.equal(same.fit.parameters, posterior.fit.parameters)
    blocks = Laplace("kronecker", last_layer=True, evidence=False, training=BRIEF)
    assert set(blocks.fit(problem, [0]).weights(1)) == set(names)


def test_the_last_layer_and_its_noise_stay_where_map_has_put_them() -> None:
    problem = Problem.of(real_targets(40, replicas=2), MLP(3, [4], 1, "tanh").double())
    whole = MAP(BRIEF).fit(problem, [3, 4])
    found = Laplace("last_layer", evidence=False, training=BRIEF).fit(problem, [3, 4])
    assert torch.equal(found.fit.parameters, whole.fit.parameters[:, -6:])  # 4 weights, bias, noise
    assert found.fit.curves == whole.fit.curves
    learnt = Laplace("last_layer", training=BRIEF, updates=2).fit(problem, [3, 4])
    assert torch.equal(learnt.problem.network.curved.fixed, whole.fit.parameters[:, :-1])
    assert not torch.equal(learnt.fit.parameters, found.fit.parameters)


@pytest.mark.parametrize("structure", ["full", "kronecker", "diagonal"])
def test_the_biases_alone(structure: str) -> None:
    problem = Problem.of(two_classes(40), MLP(3, [4], 2, "tanh").double())
    method = Laplace(structure, training=BRIEF, last_layer=lambda name: name.endswith("bias"))
    posterior = method.fit(problem, [0])
    assert {n: v.shape for n, v in posterior.weights(3).items()} == {
        "layers.0.bias": (1, 3, 4),
        "layers.1.bias": (1, 3, 2),
    }
    assert predict(posterior, problem.train.x, 5).probs.shape == (1, 40, 2)


# Predictions


def test_the_linearised_outputs_have_the_closed_form() -> None:
    problem = Problem.of(real_targets(40), MLP(3, [4], 1, "tanh").double())
    posterior = Laplace("full", training=BRIEF).fit(problem, [0])
    x = 3 + 2 * normal(5, 3, seed=9)
    size, draws = problem.network.layout.size, 20_000
    outputs, latents = posterior.outputs(x[None], draws)
    assert (latents["noise.log_scale"] == posterior.fit.parameters[0, -1]).all()
    z, at = problem.standardise(x[None]), posterior.fit.parameters

    def value(flat: Tensor) -> Tensor:
        return problem.network(problem.network.layout.views(flat[None, None]), z)[0, 0, :, 0]

    slopes = jacobian(value, at[0, :size])
    spread = slopes @ family(posterior).covariance[0, :size, :size] @ slopes.mT
    found, mean = outputs[0, :, :, 0], value(at[0, :size])
    variance = spread.diagonal()
    assert ((found.mean(0) - mean).abs() < 4 * (variance / draws).sqrt()).all()
    error = ((spread**2 + variance[:, None] * variance) / draws).sqrt()
    assert ((found.T.cov() - spread).abs() < 4 * error).all()
    predictive, unit = predict(posterior, x, draws), problem.targets.scale[0]
    noise = math.exp(2 * at[0, -1]) + 0.003**2
    assert apart(predictive.noise_variance, (unit**2 * noise).expand(1, 5)) < 1e-9
    sampled = Laplace("full", predictive="sampled", training=BRIEF).fit(problem, [0])
    assert torch.equal(sampled.fit.parameters, at)
    curved, _ = sampled.outputs(x[None], 3)
    assert apart(curved, problem.outputs(family(sampled).mean[:, None], z)) > 1e-3
    weights = problem.layout.flat(sampled.weights(3))
    assert apart(curved, problem.outputs(weights, z)) < 1e-12


# The evidence


@pytest.mark.parametrize("shared", [False, True])
def test_updates_end_where_the_evidence_is_highest(shared: bool) -> None:
    """On a linear model the evidence is known for any prior: no change of a scale raises it."""
    data = real_targets(60, 3, noise=0.3)
    problem = Problem.of(data, MLP(3, [], 1).double())
    training = Training(epochs=800, learning_rate=0.05, batch_size=60, decay=True)
    method = Laplace("full", updates=60, shared_scale=shared, training=training, polish=1e-10)
    posterior = method.fit(problem, [0])
    hyper, noise = family(posterior).hyper[0], posterior.fit.parameters[0, -1]
    x, y = (part[0] for part in problem.batch(problem.train))
    design = torch.cat([x, torch.ones(60, 1)], 1)

    def evidence(at: Tensor) -> Tensor:
        spread = (-at[:2]).exp().repeat_interleave(torch.tensor([3, 1]))
        scale = (2 * at[2]).exp() + 0.003**2
        covariance = scale * torch.eye(60).double() + design @ spread.diag() @ design.mT
        return torch.distributions.MultivariateNormal(
            torch.zeros(60).double(), covariance
        ).log_prob(y)

    at = torch.cat([hyper, noise[None]]).requires_grad_()
    found = evidence(at)
    assert family(posterior).log_evidence.item() == pytest.approx(found.item(), abs=1e-6)
    (slope,) = torch.autograd.grad(found, at)
    if shared:
        assert hyper[0] == hyper[1]
        assert torch.stack([slope[:2].sum(), slope[2]]).abs().max() < 1e-2
        return
    # The bias is zero by standardisation, and so is its scale: there the evidence is flat at last.
    assert slope[[0, 2]].abs().max() < 1e-2
    assert hyper[1] > 3


def test_the_evidence_tells_inputs_that_matter_from_noise() -> None:
    x = normal(200, 4)
    y = (2 * x[:, 0] - 2 * x[:, 1] + normal(200, seed=1) > 0).long()
    strong = Problem.of(table(x, y, classes=2), MLP(4, [], 2).double())
    coin = Problem.of(table(x, (normal(200, seed=3) > 0).long(), classes=2), MLP(4, [], 2).double())
    training = Training(epochs=200, batch_size=200, learning_rate=0.05, decay=True)
    precisions = [
        family(Laplace("full", training=training).fit(p, [0])).hyper[0, 0] for p in (strong, coin)
    ]
    assert precisions[0] < 0 < 2 < precisions[1]


def test_without_evidence_the_mode_is_that_of_map() -> None:
    problem = Problem.of(real_targets(40, replicas=2), MLP(3, [4], 1, "tanh").double())
    mode = MAP(BRIEF).fit(problem, [3, 4])
    found = Laplace(evidence=False, training=BRIEF).fit(problem, [3, 4])
    assert apart(found.fit.parameters, mode.fit.parameters) < 1e-12
    assert (family(found).hyper == 0).all()


def test_soft_labels_have_a_caveat() -> None:
    found = Laplace("full", training=BRIEF).fit(soft(), [0])
    assert "pseudo-evidence" in found.caveats[0]
    assert Laplace("full", evidence=False, training=BRIEF).fit(soft(), [0]).caveats == ()


@pytest.mark.parametrize("structure", ["full", "diagonal", "kronecker"])
def test_every_form_is_replica_by_replica_the_single_run(structure: str) -> None:
    problem = Problem.of(real_targets(50, replicas=3), MLP(3, [6], 1, "tanh").double())
    method = Laplace(structure, updates=3, training=BRIEF)
    together = method.fit(problem, [3, 4, 5])
    x = normal(6, 3)
    for r in range(3):
        alone = method.fit(problem.take([r]), [3 + r])
        assert apart(together.fit.parameters[r], alone.fit.parameters[0]) < 1e-10
        assert relative(family(together).covariance[r], family(alone).covariance[0]) < 1e-9
        outputs = together.outputs(x[None], 4)[0][r]
        assert apart(outputs, alone.outputs(x[None], 4)[0][0]) < 1e-9
        taken = together.take([r])
        assert apart(taken.outputs(x[None], 4)[0][0], outputs) < 1e-12


# Refused


def test_what_cannot_be_served_is_refused() -> None:
    problem = Problem.of(two_classes(20), MLP(3, [4], 2))
    with pytest.raises(InputError, match=r"a Normal prior.*found Laplace"):
        Laplace().fit(replace(problem, prior=LaplacePrior(1.0)), [0])
    large = Problem.of(two_classes(20), MLP(3, [2000, 20], 2))
    with pytest.raises(InputError, match=r"that are free; found .* about 51.6 GiB.*kronecker"):
        Laplace("full").fit(large, [0])
    for bad in ({"structure": "krone"}, {"predictive": "mean"}, {"updates": 0}, {"polish": -1.0}):
        with pytest.raises(InputError):
            Laplace(**bad)

    class Strange:
        task, latents = "classification", Bernoulli.latents

        width = Bernoulli.width
        targets = Bernoulli.targets
        distribution = Bernoulli.distribution
        predictive = Bernoulli.predictive

    likelihood: Likelihood = Strange()
    problem = Problem.of(two_classes(20), MLP(3, [4], 1), likelihood=likelihood)
    with pytest.raises(InputError, match=r"Fisher information.*found Strange"):
        Laplace().fit(problem, [0])
