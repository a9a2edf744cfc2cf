"""Samplers against the reference draws of posteriordb, on models written as Pyro programs.

Magnusson et al., https://github.com/stan-dev/posteriordb: real posteriors, each with ten chains of
a thousand draws that were checked for convergence. Means and standard deviations must agree within
four combined Monte-Carlo standard errors; with some hundred numbers the test of one sampler would
fail by chance once in 150 times, so its seeds are fixed. `pytest -m slow` runs NUTS, with a dense
mass matrix, and the two posteriors that cost HMC most.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pyro.infer.mcmc
import pytest
import torch
from pyro import poutine
from pyro.infer.autoguide import init_to_value
from pyro.infer.mcmc.api import MCMC
from pyro.infer.mcmc.util import initialize_model
from torch import Tensor
from torch.distributions import constraints
from torch.func import vmap
from torch.fx.experimental.proxy_tensor import make_fx

from bnn.diagnostics import worst_of
from bnn.hamiltonian import sample
from bnn.layout import Layout
from bnn.seeds import Streams, seeded

Data = Mapping[str, Any]
Draws = dict[str, Tensor]


@dataclass(frozen=True)
class Case:
    """A posterior of the data base.

    Arguments:
        model: from the data to the Pyro program.
        start: some point in its support, by site.
        named: from draws of the sites `[..., *shape]` to the numbers that the reference names.
    """

    model: Callable[[Data], None]
    start: Mapping[str, Any]
    named: Callable[[Draws], Draws] = lambda draws: draws


def vector(size: int) -> dist.ImproperUniform:
    """Return the flat prior that Stan gives a parameter of which nothing is said."""
    return dist.ImproperUniform(constraints.real_vector, (), (size,))


def observe(data: Data, target: str, mean: Tensor, scale: Tensor) -> None:
    pyro.sample("y", dist.Normal(mean, scale).to_event(1), obs=data[target])


def eight_schools(data: Data) -> None:
    standard = pyro.sample("theta_trans", dist.Normal(torch.zeros(8), 1.0).to_event(1))
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    observe(data, "y", mu + tau * standard, data["sigma"])


def schools(draws: Draws) -> Draws:
    mu, tau = draws["mu"], draws["tau"]
    theta = mu[..., None] + tau[..., None] * draws["theta_trans"]
    return {"theta": theta, "mu": mu, "tau": tau}


def gaussian_process(data: Data) -> None:
    rho = pyro.sample("rho", dist.Gamma(25.0, 4.0))
    alpha = pyro.sample("alpha", dist.HalfNormal(2.0))
    sigma = pyro.sample("sigma", dist.HalfNormal(1.0))
    x = data["x"]
    distance = (x[:, None] - x).square()
    cov = alpha**2 * torch.exp(-distance / (2 * rho**2)) + sigma * torch.eye(len(x))
    pyro.sample("y", dist.MultivariateNormal(torch.zeros(len(x)), cov), obs=data["y"])


def kidscore_interaction(data: Data) -> None:
    beta = pyro.sample("beta", vector(4))
    sigma = pyro.sample("sigma", dist.HalfCauchy(2.5))
    school, iq = data["mom_hs"], data["mom_iq"]
    mean = beta[0] + beta[1] * school + beta[2] * iq + beta[3] * school * iq
    observe(data, "kid_score", mean, sigma)


def kidscore(data: Data) -> None:
    beta = pyro.sample("beta", vector(3))
    sigma = pyro.sample("sigma", dist.HalfCauchy(2.5))
    mean = beta[0] + beta[1] * data["mom_hs"] + beta[2] * data["mom_iq"]
    observe(data, "kid_score", mean, sigma)


def mesquite(data: Data) -> None:
    beta = pyro.sample("beta", vector(7))
    sigma = pyro.sample("sigma", dist.ImproperUniform(constraints.positive, (), ()))
    names = ("diam1", "diam2", "canopy_height", "total_height", "density")
    columns = [torch.ones(46), *(data[name].log() for name in names), data["group"]]
    observe({"y": data["weight"].log()}, "y", torch.stack(columns, 1) @ beta, sigma)


def regression(data: Data) -> None:
    beta = pyro.sample("beta", dist.Normal(torch.zeros(5), 10.0).to_event(1))
    sigma = pyro.sample("sigma", dist.HalfNormal(10.0))
    observe(data, "y", data["X"] @ beta, sigma)


CASES = {
    "eight_schools-eight_schools_noncentered": Case(
        eight_schools, {"theta_trans": [0.0] * 8, "mu": 0.0, "tau": 1.0}, schools
    ),
    "gp_pois_regr-gp_regr": Case(gaussian_process, {"rho": 6.0, "alpha": 2.0, "sigma": 1.0}),
    "kidiq-kidscore_interaction": Case(
        kidscore_interaction, {"beta": [0.0, 0.0, 1.0, 0.0], "sigma": 20.0}
    ),
    "kidiq-kidscore_momhsiq": Case(kidscore, {"beta": [0.0, 0.0, 1.0], "sigma": 20.0}),
    "mesquite-logmesquite": Case(mesquite, {"beta": [0.0] * 7, "sigma": 1.0}),
    "sblrc-blr": Case(regression, {"beta": [1.0] * 5, "sigma": 1.0}),
    "sblri-blr": Case(regression, {"beta": [1.0] * 5, "sigma": 1.0}),
}
every_posterior = pytest.mark.parametrize("name", CASES)

# Their columns are so correlated that a diagonal mass matrix needs long trajectories.
LONG = ("kidiq-kidscore_interaction", "sblrc-blr")


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    """Constants of a Pyro program are of the default type."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def folder() -> Path:
    """Return where the posteriors are, or skip the test where they are not at hand."""
    found = Path(os.environ.get("BNN_DATA", ""), "posteriordb")
    absent = [name for name in CASES if not (found / name / "reference_draws.npz").is_file()]
    if absent:
        pytest.skip(f"posteriordb: BNN_DATA names no folder with posteriordb/{absent[0]}")
    return found


def read(folder: Path, name: str) -> Data:
    found = json.loads((folder / name / "data.json").read_text())
    return {key: torch.as_tensor(v, dtype=torch.double) for key, v in found.items()}


def initial(case: Case) -> Draws:
    return {site: torch.as_tensor(v, dtype=torch.double) for site, v in case.start.items()}


def check(folder: Path, name: str, draws: Draws) -> None:
    """Compare draws of the sites, `[chains, samples, *shape]`, with the reference."""
    reference = np.load(folder / name / "reference_draws.npz")
    names, expected = list(reference["names"]), reference["draws"].astype(float)
    found = {}
    for site, value in CASES[name].named(draws).items():
        for i, column in enumerate(value.flatten(2).unbind(-1) if value.ndim > 2 else [value], 1):
            found[f"{site}[{i}]" if value.ndim > 2 else site] = column.numpy()
    assert set(found) == set(names)
    mine = np.stack([found[n] for n in names], axis=-1)
    assert worst_of(mine)["rhat"] < 1.02
    assert worst_of(mine)["ess_bulk"] > 400
    for i, number in enumerate(names):
        pair = (found[number], expected[:, i])
        for moment in ("mean", "sd"):
            values = [getattr(np, "std" if moment == "sd" else "mean")(part) for part in pair]
            error = np.hypot(*(standard_error(part, moment) for part in pair))
            assert abs(values[0] - values[1]) < 4 * error, f"{moment} of {number}"
            assert error < 0.15 * np.std(pair[1]), f"{moment} of {number} is hardly known"


def standard_error(draws: np.ndarray, moment: str) -> float:
    """Return the Monte-Carlo standard error of a moment of `draws [chains, samples]`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ArviZ announces its next version
        import arviz
    return float(arviz.mcse(draws, method=moment))


def density(
    case: Case, data: Data
) -> tuple[Tensor, Callable[[Tensor], Tensor], Callable[[Tensor], Draws]]:
    """Return an unconstrained point, -log of the density there, and the way to the sites' values.

    `initialize_model` brings the transforms; its potential serves one point at a time only, and is
    what the batched one is compared with.
    """
    start = initial(case)
    point, pyros, transforms, _ = initialize_model(
        case.model,
        (data,),
        max_plate_nesting=0,
        init_strategy=init_to_value(values=start),
    )
    layout = Layout({site: value.shape for site, value in point.items()})

    def values(w: Tensor) -> Draws:
        return {
            s: transforms[s].inv(v) if s in transforms else v for s, v in layout.views(w).items()
        }

    def potential(w: Tensor) -> Tensor:
        found = values(w)
        trace = poutine.trace(poutine.condition(case.model, found)).get_trace(data)
        views = layout.views(w)
        jacobian = sum(
            t.log_abs_det_jacobian(found[s], views[s]).sum() for s, t in transforms.items()
        )
        return jacobian - trace.log_prob_sum()

    for shift in (0.0, 0.1):
        w = layout.flat({s: v.detach() + shift for s, v in point.items()})
        batched = vmap(vmap(potential))(w[None, None])[0, 0]
        assert batched.item() == pytest.approx(pyros(layout.views(w)).item(), rel=1e-10)
    return w, potential, values


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in CASES]
)
def test_hmc_agrees_with_the_reference_draws(name: str, folder: Path) -> None:
    case, data = CASES[name], read(folder, name)
    streams = Streams([4], name, torch.device("cpu"), torch.float64)
    with pyro.validation_enabled(False):
        point, potential, values = density(case, data)
        start = point + 0.1 * streams.normal(1, 32, len(point))[:, 0]
        # Written out once as tensor operations: the same numbers without Pyro's own time.
        batched = make_fx(vmap(vmap(potential)))(start)
        assert torch.equal(batched(start + 1), vmap(vmap(potential))(start + 1))
        most = 512 if name in LONG else 64
        sampled = sample(batched, start, streams, warmup=300, samples=150, max_steps=most)
    check(folder, name, values(sampled.positions[0]))


@pytest.mark.slow
@every_posterior
def test_nuts_agrees_with_the_reference_draws(name: str, folder: Path) -> None:
    case, data = CASES[name], read(folder, name)
    chains: list[Draws] = []
    for c in range(4):
        with seeded(c, name):
            kernel = pyro.infer.mcmc.NUTS(
                case.model,
                full_mass=True,
                max_plate_nesting=0,
                init_strategy=init_to_value(values=initial(case)),
            )
            mcmc = MCMC(kernel, num_samples=1000, warmup_steps=500, disable_progbar=True)
            mcmc.run(data)
        chains.append(mcmc.get_samples())
    check(folder, name, {site: torch.stack([c[site] for c in chains]) for site in chains[0]})
