"""The order in which parts leave, by hand; and the budget that ends it."""

import copy

import pytest
import torch
from torch import nn

from components.compression.budget import Removal, RemovalOrder, outputs_of, prune_to_flops
from components.errors import RecipeError


def test_layers_lose_the_same_share_and_the_unimportant_first() -> None:
    scores = {
        "wide": torch.tensor([8.0, 1.0, 5.0, 2.0, 7.0, 3.0, 6.0, 4.0]),
        "even": torch.tensor([1.0, 1.0, 1.0, 1.0]),
        "odd": torch.tensor([9.0, 0.5, 9.0, 0.5, 9.0]),
    }
    order = RemovalOrder(scores, {"wide": 2, "even": 2, "odd": 2})
    # Shares of the steps: odd 1/5 and 3/5; wide 1/4, 1/2, 3/4; even 1/2. Of the two halves that of
    # wide holds 10 of 36, that of even 2 of 4.
    assert len(order) == 6
    assert order.first(0) == {}
    assert order.first(1) == {"odd": [1]}
    assert order.first(2) == {"odd": [1], "wide": [1, 3]}
    assert order.first(3) == {"odd": [1], "wide": [1, 3, 5, 7]}
    assert order.first(4) == {"odd": [1], "wide": [1, 3, 5, 7], "even": [0, 1]}
    assert order.first(5) == {"odd": [1, 3, 0], "wide": [1, 3, 5, 7], "even": [0, 1]}
    assert order.first(6)["wide"] == [1, 3, 5, 7, 2, 6]


@pytest.mark.parametrize(("count", "size", "most"), [(10, 1, 9), (40, 1, 36), (8, 8, 0), (3, 1, 2)])
def test_a_tenth_of_each_layer_stays(count: int, size: int, most: int) -> None:
    order = RemovalOrder({"a": torch.zeros(count)}, {"a": size})
    assert len(order) == most
    assert len(order.first(len(order)).get("a", [])) == most


def cut(model: nn.Module, removal: Removal) -> nn.Module:
    smaller = copy.deepcopy(model)
    first, second = smaller
    kept = [unit for unit in range(10) if unit not in removal.get("0", [])]
    first.out_features = second.in_features = len(kept)
    first.weight, first.bias = (nn.Parameter(p.detach()[kept]) for p in first.parameters())
    second.weight = nn.Parameter(second.weight.detach()[:, kept])
    return smaller


@pytest.mark.parametrize(
    ("max_flops", "units"), [(1.0, 10), (0.99, 9), (0.9, 9), (0.55, 5), (0.5, 5), (0.1, 1)]
)
def test_the_fewest_steps_that_suffice(max_flops: float, units: int) -> None:
    model = nn.Sequential(nn.Linear(6, 10), nn.Linear(10, 6))
    order = RemovalOrder({"0": torch.arange(10.0)}, {"0": 1})
    pruned = prune_to_flops(
        model,
        (torch.ones(2, 6),),
        order,
        lambda removal: cut(model, removal),
        max_flops=max_flops,
        remedy="raise it",
    )
    assert pruned.model[0].out_features == units
    assert pruned.flops_share == pytest.approx(units / 10)
    assert pruned.sizes.keys() == (set() if units == 10 else {"0", "1"})
    assert torch.equal(pruned.model[0].weight, model[0].weight[10 - units :])
    with pytest.raises(RecipeError, match=r"0\.05 of the FLOPs .* least is 0\.10; raise it"):
        prune_to_flops(
            model,
            (torch.ones(2, 6),),
            order,
            lambda removal: cut(model, removal),
            max_flops=0.05,
            remedy="raise it",
        )


def test_the_layer_that_fails_is_named() -> None:
    model = nn.Sequential(nn.Linear(6, 10), nn.Sequential(nn.ReLU(), nn.Linear(9, 6)))
    with pytest.raises(
        RecipeError, match=r"^1\.1: does not work with fewer channels \(mat1"
    ) as told:
        outputs_of(model, (torch.ones(2, 6),))
    assert "\n" not in str(told.value)
    assert not any(module._forward_hooks for module in model.modules())
