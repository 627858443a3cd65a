"""What the two reference networks share: the norm and the initial weights."""

from typing import Literal

from torch import nn

_GROUP_CHANNELS = 8


def norm_layer(kind: Literal["batch", "group"], channels: int) -> nn.Module:
    """Return BatchNorm, or GroupNorm with 8 channels a group (Wu and He 2018)."""
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(channels // _GROUP_CHANNELS, channels)


def initialize(model: nn.Module) -> None:
    """Draw convolutions as He et al. 2015 (normal, fan out); norms start as identity.

    On the meta device there is nothing to draw, and to ask for it imports torch's compiler: 1.5 s.
    """
    if any(parameter.is_meta for parameter in model.parameters()):
        return
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
