"""Sizes lead from the model that is built to the one that is left, and to no other."""

import copy

import pytest
import torch
from torch import nn

from components.errors import DataError
from components.models.structure import changed_sizes, layer_at, resize, sizes_of


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3),
        nn.BatchNorm2d(16),
        nn.Conv2d(16, 16, 3, groups=16, bias=False),
        nn.Flatten(),
        nn.Linear(16, 8),
        nn.LayerNorm(8),
        nn.Sequential(nn.Linear(8, 4, bias=False), nn.BatchNorm2d(4, affine=False)),
    )


SMALLER = {
    "0": {"in_channels": 3, "out_channels": 6, "groups": 1},
    "1": {"num_features": 6},
    "2": {"in_channels": 6, "out_channels": 6, "groups": 6},
    "4": {"in_features": 6, "out_features": 5},
    "5": {"normalized_shape": 5},
    "6.0": {"in_features": 5, "out_features": 4},
}


def test_resized_layers_are_those_of_the_smaller_model() -> None:
    model = network().requires_grad_(False)
    state = torch.get_rng_state()
    resize(model, SMALLER)
    assert torch.equal(torch.get_rng_state(), state)
    expected = nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.BatchNorm2d(6),
        nn.Conv2d(6, 6, 3, groups=6, bias=False),
        nn.Flatten(),
        nn.Linear(6, 5),
        nn.LayerNorm(5),
        nn.Sequential(nn.Linear(5, 4, bias=False), nn.BatchNorm2d(4, affine=False)),
    ).eval()
    shapes = {name: tensor.shape for name, tensor in expected.state_dict().items()}
    assert {name: tensor.shape for name, tensor in model.state_dict().items()} == shapes
    assert str(model) == str(expected)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    model.load_state_dict(expected.state_dict())
    x = torch.randn(5, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    parts = (model[:3].eval(), expected[:3])
    assert torch.equal(parts[0](x), parts[1](x))


def test_changes_are_what_differs_and_add_up() -> None:
    first, second = network(), network()
    assert changed_sizes(first, second) == {}
    resize(second, SMALLER)
    assert changed_sizes(first, second) == SMALLER
    third = copy.deepcopy(second)
    resize(third, {"4": {"in_features": 6, "out_features": 2}, "5": {"normalized_shape": 2}})
    both = {**changed_sizes(first, second), **changed_sizes(second, third)}
    resize(first, both)
    assert sizes_of(first) == sizes_of(third)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"9": {"num_features": 2}}, "the model has no layer '9'"),
        ({"3": {"num_features": 2}}, "layer '3' of the model is a Flatten, not a Conv2d, Linear"),
        ({"": {"num_features": 2}}, "layer '' of the model is a Sequential"),
        ({"1": {"num_features": 17}}, "num_features 17 of layer '1' is not between 1 and 16"),
        ({"1": {"num_features": 0}}, "num_features 0 of layer '1' is not between 1 and 16"),
        ({"1": {"in_features": 3}}, "layer '1' has the sizes num_features, not in_features"),
        ({"4": {"in_features": 3}}, "has the sizes in_features, out_features, not in_features"),
        (
            {"2": {"in_channels": 6, "out_channels": 6, "groups": 4}},
            "layer '2' cannot have 4 groups with 6 channels in and 6 out",
        ),
    ],
)
def test_sizes_of_another_model_are_refused(sizes: dict[str, dict[str, int]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        resize(network(), sizes)


def test_a_layer_is_found_by_name_and_kind() -> None:
    model = network()
    assert layer_at(model, "6.0", nn.Linear) is model[6][0]
    with pytest.raises(DataError, match=r"layer '6\.0' of the model is a Linear, not a Conv2d"):
        layer_at(model, "6.0", nn.Conv2d)
    with pytest.raises(DataError, match=r"the model has no layer '6\.0\.weight'"):
        layer_at(model, "6.0.weight", nn.Linear)
