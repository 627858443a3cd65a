"""Residual networks of basic blocks (He et al. 2016), with a stem that suits the picture size."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from components.models.layers import initialize, norm_layer
from components.models.stages import check_stages, stem_stride

Norm = Literal["batch", "group"]


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut."""

    def __init__(self, inside: int, out: int, *, stride: int, norm: Norm) -> None:
        """Build a block from `inside` to `out` channels that shrinks the picture by `stride`."""
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inside, out, 3, stride=stride, padding=1, bias=False),
            norm_layer(norm, out),
            nn.ReLU(inplace=True),
            nn.Conv2d(out, out, 3, padding=1, bias=False),
            norm_layer(norm, out),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inside != out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inside, out, 1, stride=stride, bias=False), norm_layer(norm, out)
            )

    def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        """Return relu(body + shortcut)."""
        return torch.relu(self.body(images_BCHW) + self.shortcut(images_BCHW))


class ResNet(nn.Module):
    """A residual classifier; with blocks (2, 2, 2, 2) and width 64 it is ResNet-18."""

    def __init__(
        self, *, num_classes: int, image_px: int, blocks: Sequence[int], width: int, norm: Norm
    ) -> None:
        """Build with fresh weights; arguments as in `ResNetConfig` and `build_model`."""
        super().__init__()
        check_stages(image_px, len(blocks))
        self.stem = _stem(width, stem_stride(image_px), norm)
        stages: list[nn.Module] = []
        inside = width
        for stage, num_blocks in enumerate(blocks):
            out = width * 2**stage
            for block in range(num_blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                stages.append(BasicBlock(inside, out, stride=stride, norm=norm))
                inside = out
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(inside, num_classes)
        initialize(self)
        _zero_last_norms(self)

    def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        """Return logits (B, K) of normalized float32 images."""
        features_BC: torch.Tensor = self.stages(self.stem(images_BCHW)).mean(dim=(2, 3))
        logits_BK: torch.Tensor = self.head(features_BC)
        return logits_BK


def _stem(width: int, shrink: int, norm: Norm) -> nn.Sequential:
    # Up to 64 px the CIFAR stem (3 x 3, nothing lost); above it the ImageNet stem (7 x 7, stride
    # 2), and the max pool only where the picture is large enough to be shrunk by 4.
    kernel, stride = (3, 1) if shrink == 1 else (7, 2)
    layers: list[nn.Module] = [
        nn.Conv2d(3, width, kernel, stride=stride, padding=kernel // 2, bias=False),
        norm_layer(norm, width),
        nn.ReLU(inplace=True),
    ]
    if shrink == 4:
        layers.append(nn.MaxPool2d(3, stride=2, padding=1))
    return nn.Sequential(*layers)


def _zero_last_norms(model: nn.Module) -> None:
    # Each block starts as its shortcut, which trains deep networks from the first step on
    # (Goyal et al. 2017, section 5.1).
    for module in model.modules():
        if isinstance(module, BasicBlock):
            last = module.body[-1]
            if isinstance(last, nn.BatchNorm2d | nn.GroupNorm):
                nn.init.zeros_(last.weight)
