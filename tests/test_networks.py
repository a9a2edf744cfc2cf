"""Networks: all at once gives what one at a time gives, also for modules of a user's own."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from modules import USERS, Attention, Convolutions, Normalised
from small import apart, normal, relative, table
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parameters_to_vector

from bnn.errors import InputError
from bnn.networks import MLP, Functional
from bnn.problem import Problem
from bnn.seeds import seeded

SHAPES = {"linear": [], "one": [7], "three": [5, 6, 4]}


def image() -> Tensor:
    return normal(1, 1, 6, 6)


def weights_of(function: Functional, replicas: int, draws: int) -> dict[str, Tensor]:
    flat = 0.7 * normal(replicas, draws, function.layout.size, seed=8)
    return function.layout.views(flat.to(function.like))


def one_at_a_time(network: nn.Module, weights: dict[str, Tensor], x: Tensor) -> Tensor:
    replicas, draws = next(iter(weights.values())).shape[:2]
    network = copy.deepcopy(network).eval()

    def output(r: int, s: int) -> Tensor:
        return functional_call(network, {n: w[r, s] for n, w in weights.items()}, (x[r],))

    return torch.stack(
        [torch.stack([output(r, s) for s in range(draws)]) for r in range(replicas)]
    ).detach()


# The multilayer perceptron


@pytest.mark.parametrize("draws", [1, 3])
@pytest.mark.parametrize("activation", ["relu", "tanh", "silu", "gelu"])
@pytest.mark.parametrize("hidden", SHAPES.values(), ids=SHAPES)
def test_the_batched_form_is_forward_for_each(
    hidden: list[int], activation: str, draws: int
) -> None:
    for dtype, tolerance in ((torch.float64, 1e-13), (torch.float32, 1e-5)):
        network = MLP(6, hidden, 3, activation).to(dtype)
        x = normal(2, 5, 2, 3, seed=9).to(dtype)  # rows of two axes are flattened
        weights = weights_of(Functional(network, x[0, :1]), 2, draws)
        found = network.batched(weights, x, {})
        assert found.shape == (2, draws, 5, 3)
        assert relative(found, one_at_a_time(network, weights, x)) < tolerance


def test_forward_is_the_formula() -> None:
    network = MLP(2, [2], 1, "tanh").double()
    with torch.no_grad():
        for name, value in {
            "layers.0.weight": [[1.0, 2.0], [0.0, -1.0]],
            "layers.0.bias": [0.5, 0.0],
            "layers.1.weight": [[3.0, -2.0]],
            "layers.1.bias": [0.25],
        }.items():
            network.get_parameter(name).copy_(torch.tensor(value))
    x = torch.tensor([[0.2, -0.4]], dtype=torch.float64)
    hidden = torch.tensor([0.5 + 0.2 - 0.8, 0.4], dtype=torch.float64).tanh()
    assert apart(network(x), 3 * hidden[0] - 2 * hidden[1] + 0.25) < 1e-15


@pytest.mark.parametrize("draws", [1, 3])
@pytest.mark.parametrize("per_row", [True, False])
@pytest.mark.parametrize("sites", [["input"], ["hidden.0", "hidden.1"], ["input", "hidden.1"]])
def test_masks_multiply_inputs_and_hidden_units(
    sites: list[str], per_row: bool, draws: int
) -> None:
    network = MLP(4, [5, 6], 2, "tanh").double()
    x = normal(2, 3, 4, seed=9)
    weights = weights_of(Functional(network, x[0, :1]), 2, draws)
    masks = {
        site: normal(2, draws, 3 if per_row else 1, *network.mask_shapes[site], seed=i)
        for i, site in enumerate(sites)
    }
    found = network.batched(weights, x, masks)
    for r in range(2):
        for s in range(draws):
            mask = {
                site: masks[site][r, s] if site in masks else 1.0 for site in network.mask_shapes
            }
            h = x[r] * mask["input"]
            for i in range(3):
                h = h @ weights[f"layers.{i}.weight"][r, s].mT + weights[f"layers.{i}.bias"][r, s]
                h = h.tanh() * mask[f"hidden.{i}"] if i < 2 else h
            assert apart(found[r, s], h) < 1e-13


def test_masks_have_the_units_of_their_site() -> None:
    shapes = MLP(4, [5, 6], 2).mask_shapes
    assert shapes == {"input": (4,), "hidden.0": (5,), "hidden.1": (6,)}


def test_an_unknown_activation_is_answered_with_a_proposal() -> None:
    with pytest.raises(InputError, match="Did you mean 'relu'"):
        MLP(2, [3], 1, "relo")


# Modules of a user's own


@pytest.mark.parametrize("draws", [1, 3])
@pytest.mark.parametrize("build", USERS)
def test_a_users_module_runs_for_all_replicas_and_draws(
    build: Callable[[], nn.Module], draws: int
) -> None:
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 2e-5)):
        network, x = build().to(dtype), normal(2, 5, 1, 6, 6, seed=9).to(dtype)
        function = Functional(network, x[0, :1])
        assert function.outputs == 2
        weights = weights_of(function, 2, draws)
        expected = one_at_a_time(network, weights, x)
        assert relative(function(weights, x), expected) < tolerance
        with torch.no_grad():
            assert relative(function(weights, x), expected) < tolerance


class Viewed(nn.Module):
    """Calls `view`, which only works where channels come first in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel, self.head = nn.Conv2d(1, 4, 3), nn.Linear(64, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.kernel(x).relu().view(len(x), -1))


def test_a_forward_may_read_its_channels_as_memory_holds_them() -> None:
    network, x = Viewed().double(), normal(2, 5, 1, 6, 6, seed=9)
    function = Functional(network, x[0, :2])
    weights = weights_of(function, 2, 3)
    assert relative(function(weights, x), one_at_a_time(network, weights, x)) < 1e-12


def test_masks_stand_where_dropout_stood() -> None:
    network = Convolutions().double()
    function = Functional(network, image())
    assert function.dropout_rates == {"channels": 0.3, "units": 0.2}
    assert function.mask_shapes == {"channels": (4, 1, 1), "units": (16,)}
    weights, x = weights_of(function, 2, 3), normal(2, 5, 1, 6, 6, seed=9)
    masks = {
        "channels": normal(2, 3, 1, 4, 1, 1, seed=1),
        "units": normal(2, 3, 5, 16, seed=2),  # one per row
    }
    found = function(weights, x, masks)
    for r in range(2):
        for s in range(3):
            w = {name: value[r, s] for name, value in weights.items()}
            h = torch.conv2d(x[r], w["kernel.weight"], w["kernel.bias"]).relu()
            h = network.pool(h * masks["channels"][r, s])
            h = nn.functional.group_norm(h, 2, w["norm.weight"], w["norm.bias"])
            h = h.flatten(1) * masks["units"][r, s]
            expected = nn.functional.linear(h, w["head.weight"], w["head.bias"])
            assert apart(found[r, s], expected) < 1e-12


class Twice(nn.Module):
    """Drops units in two places with one layer, as many do."""

    def __init__(self, widths: tuple[int, int] = (4, 4)) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, widths[0]), nn.Linear(widths[0], widths[1])
        self.drop, self.head = nn.Dropout(0.1), nn.Linear(widths[1], 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.drop(self.first(x).relu())
        return self.head(self.drop(self.second(h).relu()))


@pytest.mark.parametrize("widths", [(4, 4), (4, 5)])
def test_a_dropout_layer_in_two_places_is_refused(widths: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="'drop' called more than once"):
        Functional(Twice(widths), torch.zeros(1, 3))


def test_a_dropout_layer_of_two_names_is_two_places() -> None:
    drop = nn.Dropout(0.1)
    network = nn.Sequential(nn.Linear(3, 4), drop, nn.Linear(4, 5), drop, nn.Linear(5, 2))
    function = Functional(network, torch.zeros(1, 3))
    assert function.dropout_rates == {"1": 0.1, "3": 0.1}
    assert function.mask_shapes == {"1": (4,), "3": (5,)}


class Doubled(MLP):
    """An MLP with a forward of its own, whose batched form is still the MLP's."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def test_a_batched_form_that_differs_from_forward_is_refused() -> None:
    with pytest.raises(InputError, match="Doubled, in which they differ by"):
        Functional(Doubled(3, [4], 2), normal(1, 3).float())
    for hidden in SHAPES.values():
        Functional(MLP(3, hidden, 2), normal(1, 3).float())


def test_weights_shared_by_two_layers_are_one_parameter() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3), nn.Linear(3, 2)).double()
    network[2].weight = network[0].weight
    function = Functional(network, normal(1, 3))
    assert function.layout.size == 9 + 3 + 3 + 8
    weights, x = weights_of(function, 2, 2), normal(2, 4, 3, seed=5)
    expected = one_at_a_time(network, weights, x)
    assert apart(function(weights, x), expected) < 1e-13


# Starts


@pytest.mark.parametrize("build", [*USERS, lambda: MLP(36, [5, 4], 2)])
def test_a_start_is_what_building_the_network_gives(
    build: Callable[[], nn.Module], untouched: None
) -> None:
    with seeded(0, "some other start"):
        function = Functional(build(), image().float())
    found = function.initial([3, 5])
    for start, seed in zip(found, (3, 5), strict=True):
        with seeded(seed, "initial weights"):
            expected = parameters_to_vector(build().parameters())
        assert torch.equal(start, expected)
    assert not torch.equal(found[0], found[1])
    assert not found.requires_grad


def test_a_start_depends_on_its_seed_alone() -> None:
    function = Functional(MLP(3, [4], 2).double(), normal(1, 3))
    assert function.initial([1]).dtype == torch.float64
    assert torch.equal(function.initial([1, 2, 3])[2:], function.initial([3]))


def test_a_networks_own_start_has_the_last_word() -> None:
    function = Functional(Normalised(), image().float())
    start = function.layout.views(function.initial([0]))
    assert (start["second.weight"] == 0).all()
    assert (start["gain"] == 1).all()
    assert start["second.bias"].abs().min() > 0


@pytest.mark.parametrize("build", [*USERS, lambda: MLP(36, [5], 2)])
@pytest.mark.parametrize("training", [True, False])
def test_the_users_module_is_left_as_it_was(build: Callable[[], nn.Module], training: bool) -> None:
    network = build().double().train(training)
    before = copy.deepcopy(network.state_dict())
    modes = [module.training for module in network.modules()]
    kinds = [type(module) for module in network.modules()]
    function = Functional(network, image())
    function.initial([0, 1])
    function(weights_of(function, 1, 2), normal(1, 3, 1, 6, 6))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert modes == [module.training for module in network.modules()]
    assert kinds == [type(module) for module in network.modules()]
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(module._forward_pre_hooks for module in network.modules())


# Refused


class Unstartable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.ones(3, 2))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.slope


def test_a_module_that_cannot_start_afresh_is_refused() -> None:
    network = nn.Sequential(nn.Linear(3, 3), Unstartable())
    function = Functional(network, torch.zeros(1, 3))
    with pytest.raises(InputError, match=r"Unstartable at 'network\.1' without reset_parameters"):
        function.initial([0])


def test_a_frozen_parameter_is_refused() -> None:
    network = MLP(3, [4], 2)
    network.layers[0].bias.requires_grad_(False)
    with pytest.raises(InputError, match=r"'layers\.0\.bias', which is frozen\. .*register_buffer"):
        Functional(network, torch.zeros(1, 3))


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(4), nn.InstanceNorm1d(4), nn.SyncBatchNorm(4)])
def test_rows_that_depend_on_each_other_are_refused(norm: nn.Module) -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.Sequential(norm), nn.Linear(4, 2))
    with pytest.raises(InputError, match=rf"{type(norm).__name__} at '1\.0'.*LayerNorm"):
        Functional(network, torch.zeros(1, 3))


@pytest.mark.parametrize("drop", [nn.AlphaDropout(0.1), nn.FeatureAlphaDropout(0.1)])
def test_dropout_that_is_no_mask_is_refused(drop: nn.Module) -> None:
    with pytest.raises(InputError, match=type(drop).__name__):
        Functional(nn.Sequential(nn.Linear(3, 4), drop, nn.Linear(4, 2)), torch.zeros(1, 3))


@pytest.mark.parametrize("network", [MLP(5, [4], 2), nn.Linear(5, 2), Convolutions(), Attention()])
def test_inputs_that_the_network_does_not_take_are_refused(network: nn.Module) -> None:
    data = table(normal(20, 3), torch.arange(20) % 2, classes=2)
    with pytest.raises(InputError, match=rf"rows of shape \(3,\).*{type(network).__name__}"):
        Problem.of(data, network)


def test_outputs_of_another_width_are_refused() -> None:
    data = table(normal(20, 3), torch.arange(20) % 3, classes=3)
    with pytest.raises(InputError, match="3 outputs, as Categorical reads; found 2 outputs"):
        Problem.of(data, MLP(3, [4], 2))


@pytest.mark.parametrize(
    "network",
    [nn.Flatten(0), nn.Unflatten(1, (1, 3)), nn.Sequential(nn.Linear(3, 1), nn.Flatten(0))],
)
def test_outputs_of_another_shape_are_refused(network: nn.Module) -> None:
    with pytest.raises(InputError, match="one vector per row"):
        Functional(network, torch.zeros(1, 3))


class Forward(nn.Module):
    """A linear layer and some function of it and the inputs."""

    def __init__(self, act: Callable[[nn.Module, Tensor], object]) -> None:
        super().__init__()
        self.linear, self.act = nn.Linear(3, 2), act

    def forward(self, x: Tensor) -> object:
        return self.act(self.linear, x)


MIXING: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "mean": lambda linear, x: linear(x - x.mean(0)),
    "softmax": lambda linear, x: linear(x).softmax(0),
    "norm": lambda linear, x: linear(x / x.norm()),
    "neighbour": lambda linear, x: linear(x + 0.1 * x.roll(1, 0)),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("act", MIXING.values(), ids=MIXING)
def test_a_forward_that_mixes_rows_is_refused(
    act: Callable[[nn.Module, Tensor], Tensor], dtype: torch.dtype
) -> None:
    x = normal(20, 3)
    x[1:4] = x[0]  # equal rows tell nothing
    data = table(x, torch.arange(20) % 2, classes=2)
    with pytest.raises(
        InputError, match=r"do not depend on each other; found Forward, .*first axis"
    ):
        Problem.of(data, Forward(act).to(dtype))


def test_a_table_of_equal_rows_is_no_reason_to_refuse() -> None:
    data = table(torch.ones(20, 3), torch.arange(20) % 2, classes=2)
    assert Problem.of(data, MLP(3, [4], 2)).network.outputs == 2


UNBATCHABLE: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "item": lambda linear, x: linear(x) * linear.weight.sum().item(),
    "numpy": lambda linear, x: linear(x) + torch.from_numpy(linear(x).detach().numpy()),
    "branch": lambda linear, x: linear(x) if linear(x).sum() > 0 else -linear(x),
    "random": lambda linear, x: nn.functional.dropout(linear(x)),
}


@pytest.mark.parametrize("act", UNBATCHABLE.values(), ids=UNBATCHABLE)
def test_a_forward_that_vmap_cannot_run_is_refused(
    act: Callable[[nn.Module, Tensor], Tensor],
) -> None:
    with pytest.raises(InputError, match=r"vmap can run.*found Forward, which says .*leave out"):
        Functional(Forward(act), normal(2, 3).float())


@pytest.mark.parametrize("pack", [tuple, list, lambda parts: {"logits": parts[0]}])
def test_outputs_that_are_no_tensor_are_refused(pack: Callable[[list[Tensor]], object]) -> None:
    network = Forward(lambda linear, x: pack([linear(x), x]))
    with pytest.raises(InputError, match=r"one tensor.*which returns a (tuple|list|dict)\."):
        Functional(network, normal(2, 3).float())


@pytest.mark.parametrize(
    "widths",
    [(3, 50, 2), (3, [0], 2), (3, [2.5], 2), (3, "50", 2), (0, [4], 2), (3, [4], -1), (3, None, 2)],
)
def test_widths_that_are_none_are_refused(widths: tuple) -> None:
    with pytest.raises(InputError, match=r"positive whole numbers.*found MLP\(.*write \[50\]"):
        MLP(*widths)


def test_a_network_without_parameters_is_refused() -> None:
    data = table(normal(20, 3), torch.arange(20) % 3, classes=3)
    with pytest.raises(InputError, match="parameters"):
        Problem.of(data, nn.Flatten())
