"""The models that a recipe can name: their settings and the one place that builds them."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from components.config import Config
from components.errors import RecipeError
from components.models.shapes import ImageShape, InputShape, TableShape

if TYPE_CHECKING:
    from torch import nn

    from components.models.huggingface import Architecture

Norm = Literal["batch", "group"]


class ConvNetConfig(Config):
    """The small reference network: plain 3 x 3 convolutions, two per stage."""

    name: Literal["convnet"] = "convnet"
    """Which model this is."""
    width: int = Field(32, ge=8, multiple_of=8)
    """Channels of the first stage; each later stage has twice as many."""
    depth: int = Field(3, ge=1, le=6)
    """Stages; each after the first halves the picture, which must stay at least 2 pixels wide."""
    norm: Norm = "batch"
    """`batch` learns fastest; `group` (8 channels a group) is independent of the batch and of
    how it is split over workers."""
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    """Share of the features that is set to zero before the last layer, in training."""


class ResNetConfig(Config):
    """Residual network of basic blocks; the default is ResNet-18 (He et al. 2016)."""

    name: Literal["resnet"]
    """Which model this is."""
    blocks: tuple[Annotated[int, Field(ge=1)], ...] = Field((2, 2, 2, 2), min_length=1)
    """Blocks of two convolutions in each stage; each stage after the first halves the picture."""
    width: int = Field(64, ge=8, multiple_of=8)
    """Channels of the first stage; each later stage has twice as many."""
    norm: Norm = "batch"
    """`batch` learns fastest; `group` (8 channels a group) is independent of the batch and of
    how it is split over workers."""


class TransformersConfig(Config):
    """Any image classifier of Hugging Face transformers, by name or from a local folder."""

    name: Literal["transformers"]
    """Which model this is."""
    architecture: str | None = None
    """Class name (`ViTForImageClassification`) or model type (`vit`), with fresh weights."""
    checkpoint: str | None = None
    """Local folder with config.json and safetensors weights; the head is replaced where the
    number of classes differs. Nothing is downloaded."""
    config: dict[str, Any] = Field(default_factory=dict)
    """Settings of the architecture that differ from its defaults, as `{hidden_size: 192}`."""

    @model_validator(mode="after")
    def _exactly_one_origin(self) -> Self:
        if (self.architecture is None) == (self.checkpoint is None):
            raise ValueError(
                "give exactly one of architecture (fresh weights) and checkpoint (local folder), "
                f"not architecture {self.architecture!r} and checkpoint {self.checkpoint!r}"
            )
        return self


class LinearConfig(Config):
    """Linear (for numbers) or logistic (for classes) regression on the encoded columns."""

    name: Literal["linear"]
    """Which model this is."""


class MLPConfig(Config):
    """Multilayer perceptron on the encoded columns, with embeddings of the codes."""

    name: Literal["mlp"] = "mlp"
    """Which model this is."""
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = Field((128, 64), min_length=1)
    """Width of each hidden layer."""
    norm: Literal["layer", "none"] = "layer"
    """Normalization after each hidden layer; `layer` is independent of the batch and of how it is
    split over workers."""
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    """Share of each hidden layer that is set to zero, in training."""


ImageModelConfig = Annotated[
    ConvNetConfig | ResNetConfig | TransformersConfig, Field(discriminator="name")
]
"""Any model of pictures, told apart by `name`."""

TableModelConfig = Annotated[LinearConfig | MLPConfig, Field(discriminator="name")]
"""Any model of tables, told apart by `name`."""

AnyModelConfig = ConvNetConfig | ResNetConfig | TransformersConfig | LinearConfig | MLPConfig
ModelConfig = Annotated[AnyModelConfig, Field(discriminator="name")]
"""Any model, told apart by `name`."""


def build_model(
    config: AnyModelConfig, shape: InputShape, *, num_outputs: int, seed: int
) -> "nn.Module":
    """Build the model with weights drawn from `seed`, on the CPU, in training mode.

    The global random state is left as it was.

    Args:
        config: Which model.
        shape: What it takes: pictures, or encoded rows of a table.
        num_outputs: Width K of what it puts out: the number of classes, or 1 for a value.
        seed: Of the initial weights (of the new head only, for a checkpoint).

    Returns:
        A module whose forward takes images_BCHW (float32, normalized), or features_BF (float32)
        and codes_BE (int64), and gives (B, K).

    Raises:
        RecipeError: The settings do not fit the shape, or do not exist.
    """
    import torch

    # Only the CPU generator is touched: torch.manual_seed would also seed those of the devices.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return _build(config, shape, num_outputs)


def _build(config: AnyModelConfig, shape: InputShape, num_outputs: int) -> "nn.Module":
    if isinstance(config, LinearConfig | MLPConfig):
        return _build_for_tables(config, _table_shape(config, shape), num_outputs)
    return _build_for_images(config, _image_px(config, shape), num_outputs)


def _build_for_tables(
    config: LinearConfig | MLPConfig, shape: TableShape, num_outputs: int
) -> "nn.Module":
    from components.models.tabular import MLP, Linear

    if isinstance(config, LinearConfig):
        return Linear(
            num_outputs=num_outputs,
            num_features=shape.num_features,
            cardinalities=shape.cardinalities,
        )
    return MLP(
        num_outputs=num_outputs,
        num_features=shape.num_features,
        cardinalities=shape.cardinalities,
        hidden=config.hidden,
        norm=config.norm,
        dropout=config.dropout,
    )


def _table_shape(config: AnyModelConfig, shape: InputShape) -> TableShape:
    if not isinstance(shape, TableShape):
        raise RecipeError(f"model {config.name} takes encoded tables, not pictures of {shape}")
    if not shape.num_features and not shape.cardinalities:
        raise RecipeError(
            f"model {config.name} has nothing to learn from: no column became a feature; look at "
            "data.encode and at the kinds of the columns"
        )
    return shape


def _image_px(config: AnyModelConfig, shape: InputShape) -> int:
    if not isinstance(shape, ImageShape):
        raise RecipeError(f"model {config.name} takes pictures, not {shape}")
    return shape.image_px


def _build_for_images(
    config: ConvNetConfig | ResNetConfig | TransformersConfig, image_px: int, num_classes: int
) -> "nn.Module":
    if isinstance(config, ConvNetConfig):
        from components.models.convnet import ConvNet

        return ConvNet(
            num_classes=num_classes,
            image_px=image_px,
            width=config.width,
            depth=config.depth,
            norm=config.norm,
            dropout=config.dropout,
        )
    if isinstance(config, ResNetConfig):
        from components.models.resnet import ResNet

        return ResNet(
            num_classes=num_classes,
            image_px=image_px,
            blocks=config.blocks,
            width=config.width,
            norm=config.norm,
        )
    from components.models.huggingface import build_classifier

    return build_classifier(
        architecture=config.architecture,
        checkpoint=config.checkpoint,
        overrides=config.config,
        num_classes=num_classes,
        image_px=image_px,
    )


def check_model(config: AnyModelConfig, shape: InputShape, *, num_outputs: int) -> int:
    """Return the number of parameters of what `build_model` would build, at no cost in memory.

    Raises:
        RecipeError: As `build_model`; here before anything was started.
    """
    import torch

    if isinstance(config, TransformersConfig):
        return _resolve(config, _image_px(config, shape), num_outputs).num_parameters
    with torch.device("meta"):
        model = _build(config, shape, num_outputs)
    return sum(parameter.numel() for parameter in model.parameters())


def self_contained(
    config: AnyModelConfig, shape: InputShape, *, num_outputs: int
) -> AnyModelConfig:
    """Return a config of the same architecture that needs no checkpoint folder.

    Raises:
        RecipeError: The checkpoint folder is gone, or as `build_model`.
    """
    if not isinstance(config, TransformersConfig):
        return config
    from components.models.huggingface import settings_of

    resolved = _resolve(config, _image_px(config, shape), num_outputs)
    return TransformersConfig(
        name="transformers", architecture=resolved.class_name, config=settings_of(resolved.config)
    )


def config_of(model: "nn.Module", built_from: AnyModelConfig) -> AnyModelConfig:
    """Return `self_contained(built_from)` from the model itself; the folder may be gone.

    Args:
        model: As `build_model(built_from, ...)` gave it, not wrapped in DDP.
        built_from: Its config.
    """
    if not isinstance(built_from, TransformersConfig):
        return built_from
    from components.models.huggingface import HuggingFaceClassifier, settings_of

    if not isinstance(model, HuggingFaceClassifier):
        raise TypeError(f"a {type(model).__name__} was not built from a transformers config")
    return TransformersConfig(
        name="transformers",
        architecture=type(model.network).__name__,
        config=settings_of(model.network.config),
    )


def _resolve(config: TransformersConfig, image_px: int, num_classes: int) -> "Architecture":
    from components.models.huggingface import resolve_architecture

    return resolve_architecture(
        architecture=config.architecture,
        checkpoint=config.checkpoint,
        overrides=config.config,
        num_classes=num_classes,
        image_px=image_px,
    )
