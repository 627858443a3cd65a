"""Small packages of every kind of model, as training would leave them."""

import copy
from dataclasses import replace
from functools import cache

import numpy as np
import torch
from torch import nn

from components.images.fit import ChannelTransform
from components.images.geometry import InputConfig
from components.models.compressed import CompressionSpec, fill_from_stored, to_stored
from components.models.package import ModelPackage
from components.models.registry import (
    AnyModelConfig,
    ConvNetConfig,
    MLPConfig,
    ResNetConfig,
    TransformersConfig,
    build_model,
)
from components.tasks.image_classification import ImageClassification
from components.tasks.tabular_regression import TabularRegression
from components.tasks.task import Task
from tests.components.tasks.tables import SCHEMA, rows, table

IMAGE_PX = 16
SMALL_VIT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "patch_size": 4,
}
MODELS: dict[str, AnyModelConfig] = {
    "convnet": ConvNetConfig(width=16),
    "small convnet": ConvNetConfig(width=16, depth=2),
    "resnet": ResNetConfig(name="resnet", blocks=(1, 1), width=16),
    "mlp": MLPConfig(hidden=(64, 32)),
    "vit": TransformersConfig(name="transformers", architecture="vit", config=SMALL_VIT),
    "huggingface resnet": TransformersConfig(
        name="transformers",
        architecture="resnet",
        config={"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1]},
    ),
}


def package_of(name: str) -> ModelPackage:
    """A package of `MODELS[name]` with weights and statistics that are all different."""
    package = _made(name)
    return replace(package, model=copy.deepcopy(package.model))


@cache
def _made(name: str) -> ModelPackage:
    config, task = MODELS[name], _task(name)
    model = build_model(config, task.shape, num_outputs=task.num_outputs, seed=1)
    package = ModelPackage(
        model=model,
        model_config=config,
        task=task,
        recipe_yaml="",
        metrics={},
        dataset_fingerprint="0",
    )
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.uniform_(-0.3, 0.3, generator=generator)
        # Running statistics that a fresh model does not have.
        model.train()(*inputs_of(package))
    return package


def records_of(package: ModelPackage, num_rows: int = 12) -> object:
    """What `predict` takes."""
    if package.task.name == "tabular_regression":
        return rows(num_rows, seed=5)
    shape = (num_rows, IMAGE_PX, IMAGE_PX, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def inputs_of(package: ModelPackage) -> tuple[torch.Tensor, ...]:
    """What the model takes."""
    arrays = package.task.arrays_of(records_of(package))
    return tuple(package.task.to_inputs(arrays, torch.device("cpu")))


def with_spec(package: ModelPackage, model: nn.Module, **parts: object) -> ModelPackage:
    """The package of the compressed model, its weights as a file would have them."""
    spec = CompressionSpec.model_validate({**package.compression.model_dump(), **parts})
    fill_from_stored(model, spec, to_stored(model, spec))
    return replace(package, model=model, compression=spec)


def _task(name: str) -> Task:
    if name == "mlp":
        return TabularRegression(SCHEMA, table("price").transform)
    transform = ChannelTransform(mean=(0.5, 0.5, 0.5), std=(0.3, 0.3, 0.3), num_pixels=64)
    classes = ("cat", "dog", "eel", "fox")
    return ImageClassification(
        InputConfig(image_px=IMAGE_PX, geometry="stretch"), transform, classes
    )
