"""The small reference network: stages of two 3 x 3 convolutions, then the mean and one layer."""

from typing import Literal

import torch
from torch import nn

from components.models.layers import initialize, norm_layer
from components.models.stages import check_stages, stem_stride


class ConvNet(nn.Module):
    """A plain convolutional classifier in the manner of VGG (Simonyan and Zisserman 2015)."""

    def __init__(
        self,
        *,
        num_classes: int,
        image_px: int,
        width: int,
        depth: int,
        norm: Literal["batch", "group"],
        dropout: float,
    ) -> None:
        """Build with fresh weights; arguments as in `ConvNetConfig` and `build_model`."""
        super().__init__()
        check_stages(image_px, depth)
        channels = [width * 2**stage for stage in range(depth)]
        stages: list[nn.Module] = []
        for stage, out in enumerate(channels):
            inside = 3 if stage == 0 else channels[stage - 1]
            stride = stem_stride(image_px) if stage == 0 else 1
            if stage > 0:
                stages.append(nn.MaxPool2d(2))
            stages += [_convolution(inside, out, stride, norm), _convolution(out, out, 1, norm)]
        self.features = nn.Sequential(*stages)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels[-1], num_classes)
        initialize(self)

    def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        """Return logits (B, K) of normalized float32 images."""
        features_BC: torch.Tensor = self.features(images_BCHW).mean(dim=(2, 3))
        logits_BK: torch.Tensor = self.head(self.dropout(features_BC))
        return logits_BK


def _convolution(
    inside: int, out: int, stride: int, norm: Literal["batch", "group"]
) -> nn.Sequential:
    # A stride of 4 needs a kernel that leaves no pixel unseen.
    kernel = 3 if stride == 1 else 2 * stride - 1
    return nn.Sequential(
        nn.Conv2d(inside, out, kernel, stride=stride, padding=kernel // 2, bias=False),
        norm_layer(norm, out),
        nn.ReLU(inplace=True),
    )
