"""Layers smaller than their model builds them: what channel pruning leaves, told as sizes."""

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import nn

from components.errors import DataError

Sizes = Mapping[str, Mapping[str, int]]
"""By the name of a layer, all its sizes: `{"features.0.1": {"num_features": 16}}`."""

_Layer = TypeVar("_Layer", bound=nn.Module)
_Resizable = nn.Conv2d | nn.Linear | nn.BatchNorm2d | nn.LayerNorm


def layer_at(model: nn.Module, name: str, kind: type[_Layer]) -> _Layer:
    """Return the layer called `name`.

    Raises:
        DataError: There is none, or it is of another kind.
    """
    try:
        layer = model.get_submodule(name)
    except AttributeError as error:
        raise DataError(f"the model has no layer {name!r}; write it anew") from error
    if not isinstance(layer, kind):
        raise wrong_kind(name, layer, kind.__name__)
    return layer


def wrong_kind(name: str, layer: nn.Module, wanted: str) -> DataError:
    """Return the error that a layer is not what was said of it."""
    return DataError(
        f"layer {name!r} of the model is a {type(layer).__name__}, not a {wanted}; write it anew"
    )


def sizes_of(model: nn.Module) -> Sizes:
    """Return the sizes of every layer that `resize` can change."""
    return {
        name: _sizes(layer)
        for name, layer in model.named_modules()
        if isinstance(layer, _Resizable)
    }


def changed_sizes(original: nn.Module, pruned: nn.Module) -> Sizes:
    """Return the sizes of the layers of `pruned` that differ from those of `original`.

    What changes a second time is written over: `{**first, **second}` leads from the first model
    to the last.
    """
    before = sizes_of(original)
    return {name: sizes for name, sizes in sizes_of(pruned).items() if sizes != before[name]}


def resize(model: nn.Module, sizes: Sizes) -> None:
    """Give the named layers these sizes, in place; their weights are then undefined.

    Layers only shrink, so that what is read from a file cannot ask for more memory than the model
    takes.

    Raises:
        DataError: A layer does not exist, is of another kind, or cannot have these sizes.
    """
    for name, wanted in sizes.items():
        layer = layer_at(model, name, nn.Module)
        if not isinstance(layer, _Resizable):
            raise wrong_kind(name, layer, "Conv2d, Linear, BatchNorm2d or LayerNorm")
        _check(name, _sizes(layer), wanted)
        for field, value in wanted.items():
            setattr(layer, field, (value,) if field == "normalized_shape" else value)
        _reshape(layer)


def _sizes(layer: _Resizable) -> dict[str, int]:
    if isinstance(layer, nn.Conv2d):
        return {
            "in_channels": layer.in_channels,
            "out_channels": layer.out_channels,
            "groups": layer.groups,
        }
    if isinstance(layer, nn.Linear):
        return {"in_features": layer.in_features, "out_features": layer.out_features}
    if isinstance(layer, nn.BatchNorm2d):
        return {"num_features": layer.num_features}
    return {"normalized_shape": layer.normalized_shape[-1]}


def _check(name: str, built: Mapping[str, int], wanted: Mapping[str, int]) -> None:
    if built.keys() != wanted.keys():
        raise DataError(
            f"layer {name!r} has the sizes {', '.join(built)}, not {', '.join(wanted)}; "
            "write it anew"
        )
    for field, size in wanted.items():
        if not 1 <= size <= built[field]:
            raise DataError(
                f"{field} {size} of layer {name!r} is not between 1 and {built[field]}, which the "
                "model builds; write it anew"
            )
    groups = wanted.get("groups", 1)
    if any(size % groups for size in wanted.values() if size != groups):
        raise DataError(
            f"layer {name!r} cannot have {groups} groups with {wanted['in_channels']} channels in "
            f"and {wanted['out_channels']} out; write it anew"
        )


def _reshape(layer: _Resizable) -> None:
    if isinstance(layer, nn.Conv2d):
        inside = layer.in_channels // layer.groups
        shape: tuple[int, ...] = (layer.out_channels, inside, *layer.kernel_size)
    elif isinstance(layer, nn.Linear):
        shape = (layer.out_features, layer.in_features)
    else:
        shape = tuple(_sizes(layer).values())
    for name, parameter in list(layer.named_parameters(recurse=False)):
        empty = parameter.new_empty(shape if name == "weight" else shape[:1])
        setattr(layer, name, nn.Parameter(empty, requires_grad=parameter.requires_grad))
    for name, buffer in list(layer.named_buffers(recurse=False)):
        if buffer.dim():
            setattr(layer, name, torch.empty(shape, dtype=buffer.dtype, device=buffer.device))
