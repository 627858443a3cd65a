"""A package predicts what the trained model predicted, and nothing in it can change unseen."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from components.errors import DataError, StorageError
from components.images.fit import ChannelTransform
from components.images.geometry import InputConfig
from components.models.package import ModelPackage, load_package, save_package
from components.models.registry import (
    ConvNetConfig,
    ResNetConfig,
    TransformersConfig,
    build_model,
)
from components.models.shapes import ImageShape
from components.tasks.image_classification import ImageClassification
from tests.full_disk import files_of_at_most

torch.set_num_threads(1)
CLASSES = ("cat", "dog", "naïve ✓")
TRANSFORM = ChannelTransform(mean=(0.1, 0.4, 0.7), std=(0.2, 0.3, 0.1), num_pixels=64)
TASK = ImageClassification(InputConfig(image_px=8, geometry="stretch"), TRANSFORM, CLASSES)
VIT = TransformersConfig(
    name="transformers",
    architecture="vit",
    config={
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "patch_size": 4,
    },
)
RESNET = ResNetConfig(name="resnet", blocks=(1,), width=8)
FILES = {
    "model.safetensors",
    "model.json",
    "compression.json",
    "transform.json",
    "schema.json",
    "classes.json",
    "recipe.yaml",
    "metrics.json",
}


def new_package(config: ConvNetConfig | ResNetConfig | TransformersConfig) -> ModelPackage:
    model = build_model(config, ImageShape(8), num_outputs=3, seed=1)
    # Running statistics that a fresh model does not have must travel too.
    model.train()(torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    return ModelPackage(
        model=model,
        model_config=config,
        task=TASK,
        recipe_yaml="train:\n  epochs: 3\n",
        metrics={"val": {"accuracy": 0.5, "loss": math.nan}},
        dataset_fingerprint="0123456789abcdef",
        git_commit="abc",
        versions={"torch": "2"},
    )


def pictures(num_rows: int = 5) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num_rows, 8, 8, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "config",
    # transformers takes seconds to import.
    [ConvNetConfig(width=8), RESNET, pytest.param(VIT, marks=pytest.mark.processes)],
    ids=lambda c: c.name,
)
def test_round_trip(
    config: ConvNetConfig | ResNetConfig | TransformersConfig, tmp_path: Path
) -> None:
    package = new_package(config)
    loaded = load_package(save_package(tmp_path / "package", package))
    assert np.array_equal(loaded.predict(pictures()), package.predict(pictures()))
    assert not loaded.model.training
    assert {p.name for p in (tmp_path / "package").iterdir()} == FILES | {"package.json"}
    assert loaded.classes == CLASSES and loaded.task == TASK
    assert loaded.task.transform_hash == TRANSFORM.hash
    assert loaded.recipe_yaml == package.recipe_yaml
    assert loaded.metrics["val"]["accuracy"] == 0.5 and math.isnan(loaded.metrics["val"]["loss"])
    assert loaded.dataset_fingerprint == "0123456789abcdef"
    assert (loaded.git_commit, loaded.versions) == ("abc", {"torch": "2"})


def test_predict_normalizes_with_the_packages_own_transform() -> None:
    package = new_package(RESNET)
    mean, std = np.array(TRANSFORM.mean), np.array(TRANSFORM.std)
    normalized = ((pictures() / 255.0 - mean) / std).transpose(0, 3, 1, 2)
    with torch.no_grad():
        logits = package.model.eval()(torch.tensor(normalized, dtype=torch.float32))
    expected = logits.softmax(dim=1).numpy()
    np.testing.assert_allclose(package.predict(pictures()), expected, atol=1e-5)
    other_transform = TRANSFORM.model_copy(update={"mean": (0.9, 0.9, 0.9)})
    other = replace(package, task=replace(TASK, transform=other_transform))
    assert np.abs(other.predict(pictures()) - expected).max() > 1e-3


def test_predict_shapes_and_batches() -> None:
    package = new_package(RESNET)
    images = pictures(7)
    images.flags.writeable = False
    probabilities = package.predict(images)
    assert probabilities.shape == (7, 3) and probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(package.predict(images, batch_size=3), probabilities, atol=1e-5)
    assert package.predict(images[:0]).shape == (0, 3)
    for wrong in (images.astype(np.float32), images[:, :4], images[..., :1], images[0]):
        with pytest.raises(ValueError, match=r"expected uint8 \(B, 8, 8, 3\)"):
            package.predict(wrong)


def test_same_package_same_bytes(tmp_path: Path) -> None:
    package = new_package(RESNET)
    first, second = (save_package(tmp_path / name, package) for name in ("a", "b"))
    for name in FILES | {"package.json"}:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


class Tied(nn.Module):
    """Three layers that share one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])
        for layer in self.layers:
            layer.weight = self.layers[2].weight


def test_shared_tensors_are_stored_once_and_stay_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("components.models.package.build_model", lambda *_, **__: Tied())
    package = replace(new_package(RESNET), model=Tied())
    folders = [save_package(tmp_path / str(index), package) for index in range(8)]
    assert len({(folder / "model.safetensors").read_bytes() for folder in folders}) == 1
    loaded = load_package(folders[0]).model
    state, expected = loaded.state_dict(), package.model.state_dict()
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    assert len({tensor.data_ptr() for name, tensor in state.items() if "weight" in name}) == 1


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_changed_or_missing_file_is_told(name: str, tmp_path: Path) -> None:
    folder = save_package(tmp_path / "package", new_package(RESNET))
    content = bytearray((folder / name).read_bytes())
    content[-2] ^= 1
    (folder / name).write_bytes(bytes(content))
    with pytest.raises(DataError, match=f"{name} was changed after it was written"):
        load_package(folder)
    (folder / name).unlink()
    with pytest.raises(DataError, match=f"{name} is missing; copy the whole folder"):
        load_package(folder)


def test_no_or_another_package_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no model package at .* \(package.json is missing\)"):
        load_package(tmp_path)
    folder = save_package(tmp_path / "package", new_package(RESNET))
    index = json.loads((folder / "package.json").read_text())
    (folder / "package.json").write_text(json.dumps(index | {"format_version": 1}))
    with pytest.raises(DataError, match="has format 1, this version reads 2"):
        load_package(folder)
    for damaged in ("{", "[]", "{}"):
        (folder / "package.json").write_text(damaged)
        with pytest.raises(DataError, match=r"package.json is damaged"):
            load_package(folder)


def test_an_older_package_is_replaced_whole(tmp_path: Path) -> None:
    save_package(tmp_path / "package", new_package(RESNET))
    (tmp_path / "package" / "stray").touch()
    package = replace(new_package(RESNET), git_commit="later")
    assert load_package(save_package(tmp_path / "package", package)).git_commit == "later"
    assert [path.name for path in tmp_path.iterdir()] == ["package"]
    assert not (tmp_path / "package" / "stray").exists()


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    package = new_package(RESNET)
    refused = pytest.raises(StorageError, match=r"could not be written: .*; free space")
    with refused, files_of_at_most(1000):
        save_package(tmp_path / "package", package)
    assert list(tmp_path.iterdir()) == []
