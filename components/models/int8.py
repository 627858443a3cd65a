"""How a model gets layers of 8-bit integers: what a package says of them, and their places."""

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import pairwise
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import nn

from components.config import Config
from components.errors import DataError
from components.models.int8_layers import (
    Grid,
    Int8Conv2d,
    Int8DynamicLinear,
    Int8Linear,
    on_grid,
    unsupported,
)


class QParams(Config):
    """A grid of 256 values: `scale * (code - zero_point)` of the codes 0 to 255."""

    scale: float = Field(gt=0.0, allow_inf_nan=False)
    """Distance between neighbours; a float32 value, so that every runtime reads the same."""
    zero_point: int = Field(ge=0, le=255)
    """The code of 0, which is always on the grid: padding is exact."""

    @model_validator(mode="after")
    def _is_float32(self) -> Self:
        if float(np.float32(self.scale)) != self.scale:
            raise ValueError(f"scale {self.scale!r} is not a float32 value; round it first")
        return self

    @property
    def grid(self) -> Grid:
        """The same as plain values."""
        return Grid(self.scale, self.zero_point)


class Int8Layer(Config):
    """One layer of a model that is computed in 8-bit integers."""

    op: Literal["conv2d", "linear"]
    """What the layer is in the float model."""
    activations: Literal["static", "dynamic"] = "static"
    """`static`: the grids below, from calibration; `dynamic` (linear only): a grid for each row,
    from its own smallest and largest value."""
    input: QParams | None = None
    """Grid of the input; static layers have one."""
    output: QParams | None = None
    """Grid of the output, after `relu`; None where it stays in float32 in every runtime."""
    norm: str | None = None
    """Name of the batch norm that is folded into the weights and disappears."""
    relu: str | None = None
    """Name of the ReLU that the layer does itself and that disappears."""

    @model_validator(mode="after")
    def _grids_fit_activations(self) -> Self:
        if self.activations == "static" and self.input is None:
            raise ValueError("a static layer needs the grid of its input")
        alone = self.op == "linear" and not (self.input or self.output or self.norm or self.relu)
        if self.activations == "dynamic" and not alone:
            raise ValueError("a dynamic layer is linear, without grids, norm or relu")
        return self


def make_int8(
    model: nn.Module,
    layers: Mapping[str, Int8Layer],
    outputs: Mapping[str, QParams],
    *,
    everywhere: bool = False,
) -> None:
    """Put integer layers in the place of `layers`, in place; the weights come by load_state_dict.

    Args:
        model: The float model, its sizes as they will be; not wrapped in DDP.
        layers: What each named layer becomes. Its `norm` and `relu` become Identity.
        outputs: Other modules whose output has a grid: the sums that several layers read.
        everywhere: Round to all grids, as runtimes must that do a whole graph in integers: an
            ONNX runtime gives what this gives. Otherwise values are rounded only on their way from
            one integer layer to the next, which is faster here and nearer to the float model.

    Raises:
        DataError: A name is unknown or of another kind of module, or is named twice.
    """
    _check_names(model, layers, outputs)
    hand_on = handing_codes_on(model, layers, outputs)
    for name, layer in layers.items():
        module = _int8_module(
            model.get_submodule(name), layer, has_output=everywhere or name in hand_on
        )
        if isinstance(module, Int8Conv2d | Int8Linear):
            module.gives_codes = name in hand_on
        model.set_submodule(name, module)
        for absorbed in (layer.norm, layer.relu):
            if absorbed is not None:
                model.set_submodule(absorbed, nn.Identity())
    if everywhere:
        for name, grid in outputs.items():
            hook = partial(_output_on_grid, grid=grid.grid)
            model.get_submodule(name).register_forward_hook(hook)


def handing_codes_on(
    model: nn.Module, layers: Mapping[str, Int8Layer], outputs: Mapping[str, QParams]
) -> set[str]:
    """Return the layers whose output goes on as integers, to a next one with the same grid.

    Only inside nn.Sequential, where nothing else can see what passes from one layer to the next.

    Args:
        model: Before or after `make_int8`.
        layers: As there.
        outputs: As there.
    """
    names = {module: name for name, module in model.named_modules()}
    gone = {name for layer in layers.values() for name in (layer.norm, layer.relu)}

    def in_line(sequence: nn.Sequential) -> Iterator[str]:
        for module in sequence:
            name = names[module]
            if type(module) is nn.Sequential and name not in outputs:
                yield from in_line(module)
            elif name not in gone and (type(module) is not nn.Identity or name in outputs):
                yield name

    return {
        name
        for sequence in model.modules()
        if type(sequence) is nn.Sequential
        for name, following in pairwise(in_line(sequence))
        if name in layers
        and following in layers
        and layers[name].output is not None
        and layers[name].output == layers[following].input
    }


def _int8_module(module: nn.Module, layer: Int8Layer, *, has_output: bool) -> nn.Module:
    assert isinstance(module, nn.Conv2d | nn.Linear)  # Checked before.
    if layer.input is None:
        assert isinstance(module, nn.Linear)
        return Int8DynamicLinear(module)
    output = layer.output.grid if layer.output is not None and has_output else None
    relu = layer.relu is not None
    if isinstance(module, nn.Conv2d):
        return Int8Conv2d(module, input=layer.input.grid, output=output, relu=relu)
    return Int8Linear(module, input=layer.input.grid, output=output, relu=relu)


def _output_on_grid(
    _module: nn.Module, _args: tuple[Any, ...], y: torch.Tensor, *, grid: Grid
) -> torch.Tensor:
    return on_grid(y, grid)


_KINDS = {"conv2d": nn.Conv2d, "linear": nn.Linear}


def _check_names(
    model: nn.Module, layers: Mapping[str, Int8Layer], outputs: Mapping[str, QParams]
) -> None:
    modules = dict(model.named_modules())
    taken: set[str] = set()
    for name, expected, width in _named(layers, modules):
        module = modules.get(name)
        if not isinstance(module, expected):
            found = "no such layer" if module is None else f"a {type(module).__name__}"
            raise DataError(
                f"int8 layer {name}: expected a {expected.__name__}, the model has {found}; "
                "use the package with the model that it was made of"
            )
        if isinstance(module, nn.BatchNorm2d) and module.num_features != width:
            raise DataError(
                f"int8 norm {name} has {module.num_features} channels, its layer {width}; "
                "use the package with the model that it was made of"
            )
        if name in taken:
            raise DataError(f"int8 layer {name} is named twice; export the package anew")
        if expected in _KINDS.values() and (reason := unsupported(module)):
            raise DataError(f"int8 layer {name} cannot be computed in int8: {reason}")
        taken.add(name)
    for name in outputs:
        if name not in modules or name in taken:
            found = "no such module" if name not in modules else "it is an int8 layer"
            raise DataError(f"int8 output {name}: {found}; export the package anew")


def _named(
    layers: Mapping[str, Int8Layer], modules: Mapping[str, nn.Module]
) -> Iterator[tuple[str, type[nn.Module], int]]:
    # Every name with the kind that it must be of and the channels of its layer.
    for name, layer in layers.items():
        yield name, _KINDS[layer.op], 0
        if layer.norm is not None:
            yield layer.norm, nn.BatchNorm2d, getattr(modules.get(name), "out_channels", 0)
        if layer.relu is not None:
            yield layer.relu, nn.ReLU, 0
