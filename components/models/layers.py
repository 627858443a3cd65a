"""What the two reference networks share: the norm, the stem rule and the initial weights."""

from typing import Literal

from torch import nn

from components.errors import RecipeError

_GROUP_CHANNELS = 8


def norm_layer(kind: Literal["batch", "group"], channels: int) -> nn.Module:
    """Return BatchNorm, or GroupNorm with 8 channels a group (Wu and He 2018)."""
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(channels // _GROUP_CHANNELS, channels)


def stem_stride(image_px: int) -> int:
    """Return how much the stem shrinks the picture: 1 up to 64 px, 2 up to 128 px, then 4.

    Small pictures keep their pixels, as in the CIFAR networks of He et al. 2016; photographs are
    shrunk first, as in their ImageNet networks.
    """
    if image_px <= 64:
        return 1
    return 2 if image_px <= 128 else 4


def check_stages(image_px: int, num_stages: int) -> None:
    """Refuse a picture that is gone before the last stage, which must see 2 pixels or more.

    Raises:
        RecipeError: `image_px` is too small for `num_stages`.
    """
    last_px = image_px // stem_stride(image_px) // 2 ** (num_stages - 1)
    if last_px < 2:
        raise RecipeError(
            f"model: {num_stages} stages leave {last_px} pixels of a picture of {image_px} px, "
            "and need 2; use fewer stages or raise input.image_px"
        )


def initialize(model: nn.Module) -> None:
    """Draw convolutions as He et al. 2015 (normal, fan out); norms start as identity."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
