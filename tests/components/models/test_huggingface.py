"""Transformers models: names, settings, and checkpoints from a local folder."""

import logging
from pathlib import Path

import pytest
import torch
from transformers import ViTConfig, ViTForImageClassification, ViTModel

from components.errors import RecipeError
from components.models.registry import (
    TransformersConfig,
    build_model,
    check_model,
    config_of,
    self_contained,
)
from components.models.shapes import ImageShape

# transformers takes seconds to import.
pytestmark = pytest.mark.processes
torch.set_num_threads(1)
SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "patch_size": 4,
}


def check(image_px: int = 8, **settings: object) -> int:
    config = TransformersConfig.model_validate({"name": "transformers", **settings})
    return check_model(config, ImageShape(image_px), num_outputs=3)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A folder as save_pretrained writes it: 7 classes, half precision, 8 px."""
    torch.manual_seed(5)
    model = ViTForImageClassification(ViTConfig(**SMALL, image_size=8, num_labels=7))
    model.half().save_pretrained(tmp_path / "vit")
    return tmp_path / "vit"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"architecture": "ViTForImageClasification"}, "did you mean 'ViTForImageClassification'"),
        ({"architecture": "convnxt"}, "did you mean 'convnext'"),
        ({"architecture": "BertModel"}, "'BertModel' is no image classifier of transformers"),
        ({"architecture": "vit", "config": {"hiden_size": 16}}, "did you mean 'hidden_size'"),
        ({"architecture": "vit", "config": {"num_labels": 4}}, "follows from the data"),
        ({"architecture": "vit", "config": {"hidden_size": "a"}}, "expected int, got str"),
        (
            {"architecture": "vit", "config": SMALL | {"image_size": 16}},
            "ViTForImageClassification cannot classify pictures of 8 px: .*change input.image_px",
        ),
        ({"architecture": "swin", "image_px": 96}, "cannot classify pictures of 96 px"),
        ({"architecture": "timm_wrapper"}, "requires the timm library"),
        ({"checkpoint": "/nowhere"}, "no config.json in /nowhere; give a local folder"),
    ],
)
def test_what_does_not_exist_or_fit_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        check(**settings)  # swin's windows of 7 do not fit 96 px in torch either
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "architecture", ["convnext", "pvt", "mobilenet_v2", "dinov2", "siglip", "regnet"]
)
def test_large_architectures_fit_by_name_at_other_sizes(architecture: str) -> None:
    # Only tried out, without memory; millions of parameters show that it is the real one.
    assert check(image_px=96, architecture=architecture) > 2_000_000


def test_parameters_without_influence_are_frozen() -> None:
    # DDP stops with an error, or waits, where a trainable parameter gets no gradient.
    config = TransformersConfig(
        name="transformers",
        architecture="dinov2",
        config={k: SMALL[k] for k in SMALL if k[0] != "i"},
    )
    model = build_model(config, ImageShape(8), num_outputs=3, seed=0)
    model(torch.randn(2, 3, 8, 8)).sum().backward()
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert frozen == ["network.dinov2.embeddings.mask_token"]
    assert all((p.grad is not None) == p.requires_grad for p in model.parameters())


def test_checkpoint_keeps_the_body_and_gets_a_new_head(
    checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = TransformersConfig(name="transformers", checkpoint=str(checkpoint))
    with caplog.at_level(logging.WARNING):
        model = build_model(config, ImageShape(8), num_outputs=3, seed=1)
    assert "new weights for classifier.bias, classifier.weight" in caplog.text
    assert model.training
    stored = ViTForImageClassification.from_pretrained(checkpoint, dtype=torch.float32)
    weights = {name.removeprefix("network."): w for name, w in model.named_parameters()}
    for name, weight in stored.named_parameters():
        if name.startswith("vit."):
            assert weights[name].dtype == torch.float32
            assert torch.equal(weights[name], weight), name
    assert weights["classifier.weight"].shape == (3, 16)
    same, other = (build_model(config, ImageShape(8), num_outputs=3, seed=s) for s in (1, 2))
    heads = [m.network.classifier.weight for m in (model, same, other)]
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])


def test_checkpoint_with_the_same_classes_gives_the_same_logits(checkpoint: Path) -> None:
    config = TransformersConfig(name="transformers", checkpoint=str(checkpoint))
    model = build_model(config, ImageShape(8), num_outputs=7, seed=1).eval()
    stored = ViTForImageClassification.from_pretrained(checkpoint, dtype=torch.float32).eval()
    pictures = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(model(pictures), stored(pixel_values=pictures).logits)


def test_self_contained_needs_no_folder(checkpoint: Path) -> None:
    config = TransformersConfig(name="transformers", checkpoint=str(checkpoint))
    model = build_model(config, ImageShape(8), num_outputs=3, seed=1)
    stated = self_contained(config, ImageShape(8), num_outputs=3)
    for path in checkpoint.iterdir():
        path.unlink()
    alone = config_of(model, config)
    assert alone == stated
    assert isinstance(alone, TransformersConfig)
    assert alone.checkpoint is None and alone.architecture == "ViTForImageClassification"
    assert alone.config.items() >= (SMALL | {"image_size": 8}).items()
    assert build_model(alone, ImageShape(8), num_outputs=3, seed=0)(torch.zeros(1, 3, 8, 8)).numel()


def test_body_without_a_head_is_taken(tmp_path: Path) -> None:
    ViTModel(ViTConfig(**SMALL, image_size=8)).save_pretrained(tmp_path)
    config = TransformersConfig(name="transformers", checkpoint=str(tmp_path))
    model = build_model(config, ImageShape(8), num_outputs=3, seed=1)
    assert model(torch.zeros(1, 3, 8, 8)).shape == (1, 3)


def test_checkpoint_that_does_not_fit_is_refused(checkpoint: Path) -> None:
    def build(image_px: int = 8, **settings: object) -> None:
        config = TransformersConfig.model_validate(
            {"name": "transformers", "checkpoint": str(checkpoint), **settings}
        )
        build_model(config, ImageShape(image_px), num_outputs=3, seed=1)

    with pytest.raises(RecipeError, match="cannot classify pictures of 16 px"):
        build(image_px=16)
    with pytest.raises(RecipeError, match="weights of ViTForImageClassification are missing in"):
        build(config={"num_hidden_layers": 2})
    with pytest.raises(RecipeError, match="weights of ViTForImageClassification are missing in"):
        build(image_px=16, config={"image_size": 16})
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    with pytest.raises(RecipeError, match="cannot be read"):
        build()
    weights.rename(checkpoint / "pytorch_model.bin")
    with pytest.raises(RecipeError, match=r"no \*.safetensors .* can run code when read"):
        build()
    (checkpoint / "config.json").write_text("{")
    weights.touch()
    with pytest.raises(RecipeError, match=r"config.json cannot be read"):
        build()


def test_a_model_without_a_classifier_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(RecipeError, match="holds a 'bert' model, which has no image classifier"):
        check(checkpoint=str(tmp_path))
