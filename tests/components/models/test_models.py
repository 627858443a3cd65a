"""One contract for every model of the registry, and the figures of the reference networks."""

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn
from torch.nn import functional as F

from components.errors import RecipeError
from components.models.registry import (
    ConvNetConfig,
    ModelConfig,
    ResNetConfig,
    TransformersConfig,
    build_model,
    check_model,
    config_of,
    self_contained,
)
from components.models.shapes import ImageShape

torch.set_num_threads(1)
AnyModel = ConvNetConfig | ResNetConfig | TransformersConfig
SMALL_VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "patch_size": 4,
}
SMALL_RESNET = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}
MODELS = {
    "convnet": (ConvNetConfig(width=8), 8),
    "convnet group norm": (ConvNetConfig(width=16, depth=2, norm="group", dropout=0.5), 28),
    "convnet photographs": (ConvNetConfig(width=8, depth=2), 160),
    "resnet": (ResNetConfig(name="resnet", blocks=(1, 2), width=8), 16),
    "resnet group norm": (ResNetConfig(name="resnet", blocks=(1,), width=16, norm="group"), 65),
    "resnet photographs": (ResNetConfig(name="resnet", blocks=(1, 1), width=8), 129),
    "vit": (
        TransformersConfig(
            name="transformers", architecture="ViTForImageClassification", config=SMALL_VIT
        ),
        8,
    ),
    "huggingface resnet": (
        TransformersConfig(name="transformers", architecture="resnet", config=SMALL_RESNET),
        32,
    ),
}
contract = pytest.mark.parametrize(
    ("config", "image_px"),
    [
        # transformers takes seconds to import.
        pytest.param(
            *case, id=name, marks=[pytest.mark.processes] * (case[0].name == "transformers")
        )
        for name, case in MODELS.items()
    ],
)


def images(num_rows: int, image_px: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randn(num_rows, 3, image_px, image_px, generator=generator)
    return pictures.to(memory_format=torch.channels_last)


def new(config: AnyModel, image_px: int, seed: int = 0) -> nn.Module:
    return build_model(config, ImageShape(image_px), num_outputs=5, seed=seed)


@contract
def test_logits_and_gradients(config: AnyModel, image_px: int) -> None:
    model = new(config, image_px)
    assert model.training
    logits = model(images(4, image_px))
    assert type(logits) is torch.Tensor
    assert logits.shape == (4, 5) and logits.dtype == torch.float32
    # Fresh weights know nothing: the loss is near ln 5 = 1.61 and all is finite.
    loss = F.cross_entropy(logits, torch.tensor([0, 1, 2, 3]))
    assert 0.5 < loss.item() < 4.0
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@contract
def test_the_seed_decides_the_weights_and_nothing_else_moves(
    config: AnyModel, image_px: int
) -> None:
    state = torch.get_rng_state()
    first = new(config, image_px, seed=3).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(17)
    second = new(config, image_px, seed=3).state_dict()
    other = new(config, image_px, seed=4).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@contract
def test_each_picture_is_judged_alone_in_evaluation(config: AnyModel, image_px: int) -> None:
    model = new(config, image_px).eval()
    pictures = images(3, image_px)
    with torch.inference_mode():
        together = model(pictures)
        alone = torch.cat([model(pictures[row : row + 1]) for row in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert (together[0] - together[1]).abs().max() > 1e-4


@contract
def test_check_counts_what_build_builds(config: AnyModel, image_px: int) -> None:
    expected = sum(parameter.numel() for parameter in new(config, image_px).parameters())
    assert check_model(config, ImageShape(image_px), num_outputs=5) == expected


@contract
def test_self_contained_config_builds_the_same(config: AnyModel, image_px: int) -> None:
    model = new(config, image_px)
    same = self_contained(config, ImageShape(image_px), num_outputs=5)
    assert config_of(model, config) == same
    adapter: TypeAdapter[AnyModel] = TypeAdapter(ModelConfig)
    assert adapter.validate_json(adapter.dump_json(same)) == same
    first, second = model.state_dict(), new(same, image_px).state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_default_resnet_is_resnet_18() -> None:
    # The figure of torchvision's resnet18 and of He et al. 2016, table 1.
    config = ResNetConfig(name="resnet")
    assert check_model(config, ImageShape(224), num_outputs=1000) == 11_689_512


def test_convnet_parameters_by_hand() -> None:
    config = ConvNetConfig(width=8, depth=2)
    convolutions = 9 * (3 * 8 + 8 * 8 + 8 * 16 + 16 * 16)
    norms = 2 * (8 + 8 + 16 + 16)
    assert check_model(config, ImageShape(8), num_outputs=10) == convolutions + norms + 16 * 10 + 10


def test_residual_blocks_start_as_their_shortcut() -> None:
    model = new(ResNetConfig(name="resnet", blocks=(2,), width=8), 16).eval()
    features = images(1, 16)
    with torch.no_grad():
        stem = model.stem(features)
        assert torch.equal(model.stages(stem), stem)


def test_a_convnet_learns_sixteen_pictures_by_heart() -> None:
    model = new(ConvNetConfig(width=8), 8)
    pictures, labels = images(16, 8), torch.arange(16) % 5
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(30):
        loss = F.cross_entropy(model(pictures), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05
    assert (model.eval()(pictures).argmax(dim=1) == labels).all()


@pytest.mark.parametrize(
    ("config", "image_px", "message"),
    [
        (ConvNetConfig(depth=4), 8, "4 stages leave 1 pixels of a picture of 8 px, and need 2"),
        (ResNetConfig(name="resnet"), 12, "4 stages leave 1 pixels of a picture of 12 px"),
        (ConvNetConfig(depth=6), 129, "6 stages leave 1 pixels of a picture of 129 px"),
    ],
)
def test_pictures_too_small_are_refused(config: AnyModel, image_px: int, message: str) -> None:
    for refuse in (check_model, lambda *a, **k: build_model(*a, **k, seed=0)):
        with pytest.raises(RecipeError, match=message):
            refuse(config, ImageShape(image_px), num_outputs=3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "convnet", "width": 20}, "multiple of 8"),
        ({"name": "convnet", "widht": 32}, "Extra inputs are not permitted"),
        ({"name": "resnet", "blocks": []}, "at least 1 item"),
        ({"name": "resnet", "blocks": [2, 0]}, "greater than or equal to 1"),
        ({"name": "alexnet"}, "'convnet', 'resnet', 'transformers'"),
        ({"name": "transformers"}, "exactly one of architecture"),
        ({"name": "transformers", "architecture": "vit", "checkpoint": "x"}, "exactly one of"),
    ],
)
def test_settings_that_cannot_hold_are_refused(settings: dict[str, object], message: str) -> None:
    adapter: TypeAdapter[AnyModel] = TypeAdapter(ModelConfig)
    with pytest.raises(ValidationError, match=message):
        adapter.validate_python(settings)
