"""Removed channels are as channels of zero, targets are met, and what cannot be is named."""

import copy
import gc
import weakref

import pytest
import torch
from torch import nn

from components.compression.budget import flops, outputs_of
from components.compression.channels import prune_channels
from components.errors import RecipeError
from components.models.registry import ConvNetConfig, ResNetConfig, build_model
from components.models.shapes import ImageShape
from components.models.structure import resize
from tests.components.compression.packages import inputs_of, package_of

torch.set_num_threads(1)


def kept_channels(original: nn.Module, pruned: nn.Module, norm: str) -> list[int]:
    """Which channels of a batch norm are left: its weights are all different."""
    before = original.get_submodule(norm).weight.tolist()
    return [before.index(value) for value in pruned.get_submodule(norm).weight.tolist()]


def norms(model: nn.Module) -> list[str]:
    return [name for name, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)]


@pytest.mark.parametrize("name", ["small convnet", "resnet"])
def test_removed_channels_are_as_channels_of_zero(name: str) -> None:
    package = package_of(name)
    original = package.model.double().eval()
    inputs = tuple(part.double() for part in inputs_of(package))
    pruned = prune_channels(original, inputs, max_flops=0.5, round_to=4)
    masked, removed = copy.deepcopy(original), 0
    with torch.no_grad():
        for norm in norms(original):
            kept = kept_channels(original, pruned.model, norm)
            assert kept == sorted(kept) and len(kept) % 4 == 0
            gone = sorted(set(range(original.get_submodule(norm).num_features)) - set(kept))
            masked.get_submodule(norm).weight[gone] = 0.0
            masked.get_submodule(norm).bias[gone] = 0.0
            removed += len(gone)
        assert removed > 20
        torch.testing.assert_close(pruned.model(*inputs), masked(*inputs), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("max_flops", [0.3, 0.8])
def test_flops_are_at_most_what_was_asked_and_not_far_below(max_flops: float) -> None:
    package = package_of("small convnet")
    inputs = inputs_of(package)
    pruned = prune_channels(package.model, inputs, max_flops=max_flops, round_to=1)
    found = flops(pruned.model, inputs) / flops(package.model, inputs)
    assert found == pruned.flops_share
    assert max_flops - 0.03 < found <= max_flops
    assert pruned.model.head.out_features == package.model.head.out_features
    assert pruned.model.training
    rebuilt = package_of("small convnet").model
    resize(rebuilt, pruned.sizes)
    rebuilt.load_state_dict(pruned.model.state_dict())
    assert torch.equal(outputs_of(rebuilt.eval(), inputs), outputs_of(pruned.model.eval(), inputs))


def test_flops_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Flatten(), nn.Linear(8 * 16, 5))
    # A multiplication and an addition for each weight and place.
    by_hand = 2 * (4 * 4 * 9 * 3 * 8 + 8 * 16 * 5)
    assert flops(model, (torch.zeros(1, 3, 4, 4),)) == by_hand
    assert flops(model, (torch.zeros(7, 3, 4, 4),)) == 7 * by_hand


def test_the_least_important_channels_leave() -> None:
    package = package_of("small convnet")
    with torch.no_grad():
        # Channels that nothing comes from and nothing reads.
        package.model.get_submodule("features.3.0").weight[::2] *= 1e-6
        package.model.get_submodule("features.3.1").weight[::2] *= 1e-6
        package.model.get_submodule("features.4.0").weight[:, ::2] *= 1e-6
    for importance, max_flops in (("l1", 0.6), ("l2", 0.5)):
        pruned = prune_channels(
            package.model,
            inputs_of(package),
            max_flops=max_flops,
            round_to=2,
            importance=importance,
        )
        kept = kept_channels(package.model, pruned.model, "features.3.1")
        assert len(kept) >= 16 and set(range(1, 32, 2)) <= set(kept)


def test_frozen_parameters_stay_frozen_and_nothing_is_kept_alive() -> None:
    package = package_of("resnet")
    package.model.requires_grad_(False)
    package.model.head.requires_grad_(True)
    pruned = prune_channels(package.model, inputs_of(package), max_flops=0.6)
    trainable = {name for name, p in pruned.model.named_parameters() if p.requires_grad}
    assert trainable == {"head.weight", "head.bias"} and pruned.flops_share <= 0.6
    watched = weakref.ref(pruned.model)
    del pruned
    gc.collect()
    assert watched() is None


def test_what_cannot_be_is_refused_with_its_layer() -> None:
    package = package_of("small convnet")
    x = inputs_of(package)
    with pytest.raises(
        RecipeError,
        match=r"0\.3 of the FLOPs cannot be reached with at most 90 % off a layer: "
        r"least is 0\.63; lower round_to \(now 16\) or raise max_flops",
    ):
        prune_channels(package.model, x, max_flops=0.3, round_to=16)
    for max_flops in (0.0, 1.5):
        with pytest.raises(RecipeError, match=f"max_flops {max_flops} is not above 0"):
            prune_channels(package.model, x, max_flops=max_flops)
    with pytest.raises(RecipeError, match="round_to 0 is below 1"):
        prune_channels(package.model, x, max_flops=0.5, round_to=0)
    group = build_model(
        ResNetConfig(name="resnet", blocks=(1,), width=16, norm="group"),
        ImageShape(16),
        num_outputs=4,
        seed=0,
    )
    with pytest.raises(
        RecipeError, match=r"^stem\.1: channels .* group normalization .*norm: batch"
    ):
        prune_channels(group, x, max_flops=0.5)
    grouped = nn.Sequential(nn.Conv2d(3, 12, 3), nn.Conv2d(12, 12, 3, groups=4))
    with pytest.raises(RecipeError, match=r"^1: channels of a convolution in 4 groups cannot be"):
        prune_channels(grouped, x, max_flops=0.5)
    headless = nn.Sequential(nn.Conv2d(3, 12, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(RecipeError, match="no linear layer gives the 12 outputs"):
        prune_channels(headless, x, max_flops=0.5)


def test_a_diverged_model_is_refused_and_layers_of_zeros_are_not() -> None:
    package = package_of("small convnet")
    weight = package.model.get_submodule("features.1.0").weight
    with torch.no_grad():
        weight.zero_()
        prune_channels(package.model, inputs_of(package), max_flops=0.5)
        weight[3] = float("nan")
    with pytest.raises(RecipeError, match=r"^features\.\d\.0: weights are not finite, so none"):
        prune_channels(package.model, inputs_of(package), max_flops=0.5)


class Scaled(nn.Module):
    """Has a parameter outside of every layer, one for each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(16, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale


class Fixed(nn.Module):
    """Takes a number of channels for granted."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(len(x), 4, 4, *x.shape[2:]).flatten(1, 2)


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        (Scaled(), r"^1: (a Scaled cannot be rebuilt with a smaller scale|does not work)"),
        (Fixed(), r"does not work with fewer channels|cannot be followed"),
    ],
)
def test_models_that_break_are_refused(inside: nn.Module, message: str) -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3), inside, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4)
    )
    with pytest.raises(RecipeError, match=message) as raised:
        prune_channels(model, (torch.randn(2, 3, 8, 8),), max_flops=0.5, round_to=4)
    assert "\n" not in str(raised.value)
    assert str(raised.value).endswith("use what: weights")


def test_round_to_of_8_is_the_default() -> None:
    package = package_of("small convnet")
    pruned = prune_channels(package.model, inputs_of(package), max_flops=0.5)
    widths = [sizes["num_features"] for sizes in pruned.sizes.values() if "num_features" in sizes]
    assert widths and all(width % 8 == 0 for width in widths)
    assert package.model_config == ConvNetConfig(width=16, depth=2)
