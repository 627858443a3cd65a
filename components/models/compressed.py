"""What compression made of a model, as data: enough to build it again without the tools."""

from typing import Annotated

import torch
from pydantic import Field, FiniteFloat, JsonValue
from torch import nn

from components.config import Config
from components.errors import DataError
from components.models.int8 import Int8Layer, QParams, make_int8
from components.models.low_rank import make_low_rank
from components.models.shapes import ImageShape, InputShape
from components.models.storage import Form, decode, encode
from components.models.structure import layer_at, resize
from components.models.weights import fill, tensors_of

_Size = Annotated[int, Field(strict=True, ge=1)]
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Int8Spec(Config):
    """What of a model is computed in 8-bit integers; the arguments of `make_int8`."""

    layers: dict[str, Int8Layer] = Field(default_factory=dict)
    """By name of the float layer."""
    outputs: dict[str, QParams] = Field(default_factory=dict)
    """By name of the module whose output is put on a grid."""


class LineageStep(Config):
    """One step that led to a package."""

    kind: str
    """As the recipe calls it: distill, prune, factorize, fold, quantize."""
    settings: dict[str, JsonValue]
    """Of the step, complete with defaults."""
    base_sha256: _Sha256 | None = None
    """Of the package.json that the step began with, which names every byte of that package; None
    where the model was not packed before."""
    teacher_sha256: _Sha256 | None = None
    """Of the package.json, or of the weights, of the teacher; None where there was none."""
    metrics: dict[str, FiniteFloat | None] = Field(default_factory=dict)
    """Measured at the end of the step on what loading gives; None where a value was not finite."""


class CompressionSpec(Config):
    """The content of compression.json; all empty for a model that is as `build_model` builds it.

    The parts are applied in the order in which they stand here.
    """

    structure: dict[str, dict[str, _Size]] = Field(default_factory=dict)
    """Sizes of the layers that are smaller than built, as `changed_sizes` gives them."""
    low_rank: dict[str, _Size] = Field(default_factory=dict)
    """Ranks of the layers that became two."""
    folded: dict[str, str] = Field(default_factory=dict)
    """By name of a convolution, the batch norm that went into its weights and is gone."""
    int8: Int8Spec = Int8Spec()
    """Layers of integers."""
    storage: dict[str, Form] = Field(default_factory=dict)
    """By name of a weight, the form in which its file has it."""
    lineage: tuple[LineageStep, ...] = ()
    """What was done, first to last."""


def rebuild(model: nn.Module, spec: CompressionSpec) -> None:
    """Turn what `build_model` gave into the compressed model, in place, with undefined weights.

    Args:
        model: Not wrapped in DDP.
        spec: What became of it.

    Raises:
        DataError: `spec` is of another model: a layer does not exist or cannot be so.
    """
    resize(model, spec.structure)
    make_low_rank(model, spec.low_rank)
    fold_away(model, spec.folded)
    make_int8(model, spec.int8.layers, spec.int8.outputs)


def fold_away(model: nn.Module, folded: dict[str, str]) -> None:
    """Give each convolution a bias and take its batch norm away, in place.

    The biases are then undefined.

    Args:
        model: Not wrapped in DDP.
        folded: By name of a Conv2d, the BatchNorm2d behind it.

    Raises:
        DataError: A layer does not exist, is of another kind, or has other channels.
    """
    for name, norm_name in folded.items():
        conv = layer_at(model, name, nn.Conv2d)
        norm = layer_at(model, norm_name, nn.BatchNorm2d)
        if norm.num_features != conv.out_channels:
            raise DataError(
                f"layer {norm_name!r} has {norm.num_features} channels and {name!r} "
                f"{conv.out_channels}, so it was not folded into it; write it anew"
            )
        if conv.bias is None:
            conv.bias = nn.Parameter(conv.weight.new_empty(conv.out_channels))
        model.set_submodule(norm_name, nn.Identity())


def to_stored(model: nn.Module, spec: CompressionSpec) -> dict[str, torch.Tensor]:
    """Return what is stored of the model's weights, on the CPU.

    Raises:
        DataError: A form of `spec.storage` does not suit its weight, or a weight is not finite.
    """
    return encode(tensors_of(model), spec.storage)


def fill_from_stored(
    model: nn.Module, spec: CompressionSpec, stored: dict[str, torch.Tensor]
) -> None:
    """Copy what `to_stored` gave into the model, in place.

    With its own `to_stored` the model's weights become what a package of it will have: measure
    a quantized form only after that.

    Raises:
        DataError: What is stored is damaged or of another model.
    """
    fill(model, decode(stored, spec.storage, model.state_dict()))


def check_layers_fit(model: nn.Module, shape: InputShape) -> None:
    """Pass one record of zeros through the model: sizes may be possible and yet not fit together.

    Not on torch's meta device: its first use in a process takes more than a second.

    Args:
        model: On the CPU; left as it is.
        shape: What it takes.

    Raises:
        DataError: A layer cannot take what it gets.
    """
    was_training = model.training
    try:
        with torch.inference_mode():
            model.eval()(*_zeros(shape))
    except (RuntimeError, ValueError, IndexError) as error:
        raise DataError(
            f"the sizes of the layers do not fit together "
            f"({' '.join(str(error).split())[:200]}); write it anew"
        ) from error
    finally:
        model.train(was_training)


def _zeros(shape: InputShape) -> tuple[torch.Tensor, ...]:
    if isinstance(shape, ImageShape):
        return (torch.zeros(1, 3, shape.image_px, shape.image_px),)
    codes_BE = torch.zeros(1, len(shape.cardinalities), dtype=torch.int64)
    return torch.zeros(1, shape.num_features), codes_BE
