"""Masks equal to torch's, the 2:4 pattern, and what applying them does."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from components.compression.magnitude import (
    apply_masks,
    global_masks,
    layer_masks,
    layer_weights,
    two_four_masks,
)
from components.errors import RecipeError
from tests.components.compression.packages import package_of


def convnet() -> nn.Module:
    return copy.deepcopy(package_of("convnet").model)


def masks_of_torch(model: nn.Module) -> dict[str, torch.Tensor]:
    return {
        f"{name}.weight": module.weight_mask.bool()
        for name, module in model.named_modules()
        if hasattr(module, "weight_mask")
    }


def layers(model: nn.Module) -> list[tuple[nn.Module, str]]:
    found = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    return [(module, "weight") for module in found]


@pytest.mark.parametrize("amount", [0.0, 0.3, 0.777, 0.95, 1.0])
def test_global_masks_equal_those_of_torch(amount: float) -> None:
    model, other = convnet(), convnet()
    prune.global_unstructured(layers(other), prune.L1Unstructured, amount=amount)
    masks, expected = global_masks(layer_weights(model), amount), masks_of_torch(other)
    assert masks.keys() == expected.keys()
    assert all(torch.equal(masks[name], expected[name]) for name in masks)
    zeros = sum(int((~mask).sum()) for mask in masks.values())
    assert zeros == round(amount * sum(mask.numel() for mask in masks.values()))


@pytest.mark.parametrize("amount", [0.0, 0.5, 0.9])
def test_layer_masks_equal_those_of_torch(amount: float) -> None:
    model, other = convnet(), convnet()
    for module, name in layers(other):
        prune.l1_unstructured(module, name, amount)
    masks, expected = layer_masks(layer_weights(model), amount), masks_of_torch(other)
    assert masks.keys() == expected.keys()
    assert all(torch.equal(masks[name], expected[name]) for name in masks)


@pytest.mark.parametrize("amount", [-0.1, 1.1, float("nan")])
def test_an_amount_that_cannot_be_is_refused(amount: float) -> None:
    with pytest.raises(ValueError, match=f"amount {amount} is not between 0 and 1"):
        global_masks({"a": torch.ones(3)}, amount)


def test_two_of_every_four_inputs_stay_and_they_are_the_largest() -> None:
    weights = layer_weights(convnet())
    masks = two_four_masks(weights)
    # The pictures have three channels, which no four of inputs fit.
    assert weights.keys() - masks.keys() == {"features.0.0.weight"}
    for name, mask in masks.items():
        assert mask.shape == weights[name].shape
        fours = mask.movedim(1, -1).reshape(-1, 4)
        assert (fours.sum(dim=1) == 2).all()
        sizes = weights[name].detach().abs().movedim(1, -1).reshape(-1, 4)
        kept, removed = sizes[fours].view(-1, 2), sizes[~fours].view(-1, 2)
        assert (kept.amin(dim=1) >= removed.amax(dim=1)).all()
    linear = {"w": torch.tensor([[1.0, -4.0, 3.0, 2.0, 0.0, 0.5, -0.1, 0.2]])}
    assert two_four_masks(linear)["w"].tolist() == [[False, True, True, False] + [False, True] * 2]


def test_two_four_needs_one_layer_that_fits() -> None:
    with pytest.raises(RecipeError, match=r"multiple of 4 \(a has 3, b has 6\); use what: weights"):
        two_four_masks({"a": torch.ones(8, 3, 3, 3), "b": torch.ones(2, 6)})


def test_masked_weights_are_zero_and_the_others_untouched() -> None:
    model = convnet()
    before = {name: weight.clone() for name, weight in layer_weights(model).items()}
    masks = global_masks(layer_weights(model), 0.5)
    apply_masks(model, masks)
    for name, weight in layer_weights(model).items():
        # A product with the mask would leave -0.0, which no storage form gives back.
        assert not weight[~masks[name]].signbit().any()
        assert torch.equal(weight, before[name].where(masks[name], 0.0))
