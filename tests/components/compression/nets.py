"""Small nets with statistics in their norms, and pictures for them."""

import torch
from torch import nn

from components.models.registry import ConvNetConfig, ResNetConfig, build_model
from components.models.shapes import ImageShape

IMAGE_PX = 16
CONFIGS = {
    "convnet": ConvNetConfig(width=8, depth=2),
    "resnet": ResNetConfig(name="resnet", blocks=(1, 1), width=8),
}


def pictures(num_rows: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    images_BCHW = torch.randn(num_rows, 3, IMAGE_PX, IMAGE_PX, generator=generator)
    return images_BCHW.contiguous(memory_format=torch.channels_last)


def net(name: str, seed: int = 0) -> nn.Module:
    """A net whose layers all do something: a fresh ResNet's last norms are zero."""
    model = build_model(CONFIGS[name], ImageShape(IMAGE_PX), num_outputs=5, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.uniform_(-0.3, 0.3, generator=generator)
        for step in range(3):
            model(pictures(16, seed=step))
    return model.eval()
