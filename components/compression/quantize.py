"""Layers of 8-bit integers from a trained float model, after training and without it."""

import copy
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain as concatenated
from typing import NamedTuple

import torch
from torch import nn

from components.compression.calibrate import Place, Range, activation_ranges, grid_of
from components.compression.fuse import Chain, FoldedWeights, chains_of, folded_weights
from components.compression.trace import Inputs, Trace, Value, trace
from components.errors import DataError, RecipeError
from components.models.compressed import Int8Spec
from components.models.int8 import Int8Layer, QParams, make_int8
from components.models.int8_layers import is_int8, unsupported

# What a bias may be in steps of input scale times weight scale: a 32-bit integer with room.
_LARGEST_BIAS = 2.0**30
_LEAST_WEIGHT_SCALE = 1e-12
_TRACED_ROWS = 2
# What they give lies on the grid of what they are given.
_KEEP_GRID = (nn.MaxPool2d, nn.Identity, nn.Dropout, nn.Dropout2d, nn.Flatten)


class Quantized(NamedTuple):
    """A model with layers of integers, and what a package must say to build it again."""

    model: nn.Module
    spec: Int8Spec


@dataclass(frozen=True, slots=True)
class LayerSensitivity:
    """What one layer of integers alone does to the model."""

    layer: str
    score: float
    """Of the model with this one layer quantized."""
    drop: float
    """Score of the float model less `score`."""
    num_weights: int
    """Weights that the layer has: a byte each, or four if it is kept in float."""


def quantize_static(
    model: nn.Module,
    batches: Iterable[Inputs],
    *,
    percentile: float = 100.0,
    weight_bits: int = 8,
    keep_float: Collection[str] = (),
) -> Quantized:
    """Return a copy whose Conv2d and Linear compute in integers, on grids from calibration.

    Weights are symmetric with a scale for each output channel, activations have a zero point
    (Krishnamoorthi 2018, section 3). Batch norms and ReLUs behind a convolution become part of it.
    What no integer layer can do stays in float.

    Args:
        model: Trained; left as it was.
        batches: Some hundred records of the training split, prepared as for prediction.
        percentile: See `activation_ranges`; below 100 outliers are cut off.
        weight_bits: 8, or 7 for processors without VNNI instructions, which are exact with
            weights of -63..63 alone.
        keep_float: Names of layers that stay in float.

    Raises:
        DataError: There is no batch, or a value is not finite.
        RecipeError: No layer can be quantized, or `keep_float` names what is none.
        ValueError: `weight_bits` is not 7 or 8, or the model computes in integers already.
    """
    spec = static_spec(model, batches, percentile=percentile, keep_float=keep_float)
    return Quantized(with_integers(model, spec, weight_bits=weight_bits), spec)


def static_spec(
    model: nn.Module,
    batches: Iterable[Inputs],
    *,
    percentile: float = 100.0,
    keep_float: Collection[str] = (),
) -> Int8Spec:
    """Return the grids and layers of `quantize_static`, for quantization-aware training.

    Args and errors as there.
    """
    batches = iter(batches)
    first = next(batches, None)
    if first is None:
        raise DataError("calibration got no batch; give it records of the training split")
    plan = _plan(model, trace(model, [values[:_TRACED_ROWS] for values in first]), keep_float)
    ranges = activation_ranges(
        model, plan.places, concatenated([first], batches), percentile=percentile
    )
    return plan.spec(ranges)


def quantize_dynamic(
    model: nn.Module, *, weight_bits: int = 8, keep_float: Collection[str] = ()
) -> Quantized:
    """Return a copy whose Linear layers compute in integers, on a grid found for each row.

    Needs no calibration. Worth it where Linear layers are most of the work: transformers and
    multilayer perceptrons.

    Args:
        model: Trained; left as it was.
        weight_bits: 8, or 7; see `quantize_static`.
        keep_float: Names of layers that stay in float.

    Raises:
        RecipeError: The model has no Linear, or `keep_float` names what is none.
        ValueError: As `quantize_static`.
    """
    _check_kept(model, keep_float)
    # Subclasses, as that of nn.MultiheadAttention, may have their weights read by others.
    layers = {
        name: Int8Layer(op="linear", activations="dynamic")
        for name, module in model.named_modules()
        if type(module) is nn.Linear and name not in keep_float
    }
    if not layers:
        raise RecipeError(
            f"{type(model).__name__} has no Linear layer to compute in int8 with dynamic grids; "
            "use int8_static"
        )
    spec = Int8Spec(layers=layers)
    return Quantized(with_integers(model, spec, weight_bits=weight_bits), spec)


def sensitivity(
    model: nn.Module,
    batches: Iterable[Inputs],
    score: Callable[[nn.Module], float],
    *,
    percentile: float = 100.0,
    weight_bits: int = 8,
) -> list[LayerSensitivity]:
    """Quantize one layer at a time and return what each costs, the most expensive first.

    Args:
        model: Trained; left as it was.
        batches: For calibration, as `quantize_static`.
        score: Larger is better, as accuracy on the validation split; called once for the float
            model and once per layer.
        percentile: See `activation_ranges`.
        weight_bits: See `quantize_static`.

    Raises:
        DataError, RecipeError, ValueError: As `quantize_static`.
    """
    spec = static_spec(model, batches, percentile=percentile)
    before = score(model)
    costs = []
    for name, layer in spec.layers.items():
        alone = Int8Spec(layers={name: layer})
        after = score(with_integers(model, alone, weight_bits=weight_bits))
        weight = model.get_submodule(name).weight
        assert isinstance(weight, torch.Tensor)
        costs.append(LayerSensitivity(name, after, before - after, weight.numel()))
    return sorted(costs, key=lambda cost: cost.drop, reverse=True)


def with_integers(
    model: nn.Module,
    spec: Int8Spec,
    *,
    weight_bits: int = 8,
    folded: Mapping[str, FoldedWeights] | None = None,
    everywhere: bool = False,
) -> nn.Module:
    """Return a copy of the float model with the layers of `spec`, rounded to nearest.

    Args:
        model: Float; left as it was.
        spec: Of this model.
        weight_bits: 7 or 8.
        folded: Weights to use instead of the model's, by layer, with their batch norms in them.
        everywhere: See `make_int8`; for export.

    Raises:
        DataError: `spec` is of another model.
    """
    quantized = copy.deepcopy(model)
    make_int8(quantized, spec.layers, spec.outputs, everywhere=everywhere)
    for name, layer in spec.layers.items():
        module = model.get_submodule(name)
        assert isinstance(module, nn.Conv2d | nn.Linear)
        norm = model.get_submodule(layer.norm) if layer.norm is not None else None
        weights = folded[name] if folded is not None else folded_weights(module, norm)
        state = _integers(weights, layer.input, weight_bits)
        quantized.get_submodule(name).load_state_dict(state)
    return quantized


def largest_integer(weight_bits: int) -> int:
    """Return the largest weight of 7 (63) or 8 bits (127); the smallest is its negative."""
    if weight_bits not in (7, 8):
        raise ValueError(f"weight_bits {weight_bits}: weights have 7 or 8 bits")
    return int(2 ** (weight_bits - 1)) - 1


def weight_scales(
    weights: FoldedWeights, input_grid: QParams | None, weight_bits: int
) -> torch.Tensor:
    """Return the scale of each output channel, float32 (out,).

    The largest weight of a channel becomes the largest integer. Where that would make the bias
    overflow 32 bits, as in a channel whose weights are all 0, the scale is larger.
    """
    largest = weights.weight.abs().flatten(1).amax(1) / largest_integer(weight_bits)
    if input_grid is not None:
        room = weights.bias.abs() / (input_grid.scale * _LARGEST_BIAS)
        largest = torch.maximum(largest, room)
    return largest.clamp_min(_LEAST_WEIGHT_SCALE)


def bias_on_grid(
    bias: torch.Tensor, scales: torch.Tensor, input_grid: QParams | None
) -> torch.Tensor:
    """Return the bias as runtimes with integer biases have it: in steps of the sums it joins."""
    if input_grid is None:
        return bias
    steps = scales * input_grid.scale
    return bias.div(steps).round_().mul_(steps)


def _integers(
    weights: FoldedWeights, input_grid: QParams | None, weight_bits: int
) -> dict[str, torch.Tensor]:
    limit = largest_integer(weight_bits)
    scales = weight_scales(weights, input_grid, weight_bits)
    shape = (-1, *[1] * (weights.weight.ndim - 1))
    codes = weights.weight.div(scales.view(shape)).round_().clamp_(-limit, limit)
    return {
        "weight_int8": codes.to(torch.int8),
        "weight_scale": scales,
        "bias": bias_on_grid(weights.bias, scales, input_grid),
    }


@dataclass(frozen=True, slots=True)
class _Plan:
    """Which layers become integers, and where the grids between them are measured."""

    chains: Sequence[Chain]
    ops: Mapping[str, str]
    """By layer: conv2d or linear."""
    inputs: Mapping[str, Place]
    """By layer: whose range is its input's."""
    outputs: Mapping[str, Place]
    """By layer whose output is on a grid: whose range is its output's."""
    sums: Mapping[str, Place]
    """By module whose output others read too: whose range it is."""

    @property
    def places(self) -> set[Place]:
        return {*self.inputs.values(), *self.outputs.values(), *self.sums.values()}

    def spec(self, ranges: Mapping[Place, Range]) -> Int8Spec:
        grids = {place: grid_of(values) for place, values in ranges.items()}
        layers = {}
        for chain in self.chains:
            output = self.outputs.get(chain.layer)
            layers[chain.layer] = Int8Layer.model_validate(
                {
                    "op": self.ops[chain.layer],
                    "input": grids[self.inputs[chain.layer]],
                    "output": grids[output] if output is not None else None,
                    "norm": chain.norm,
                    "relu": chain.relu,
                }
            )
        return Int8Spec(
            layers=layers, outputs={name: grids[place] for name, place in self.sums.items()}
        )


def _plan(model: nn.Module, flow: Trace, keep_float: Collection[str]) -> _Plan:
    _check_kept(model, keep_float)
    found = [
        chain
        for chain in chains_of(flow)
        if chain.layer not in keep_float and not unsupported(model.get_submodule(chain.layer))
    ]
    if not found:
        raise RecipeError(
            f"{type(model).__name__} has no Conv2d or Linear layer to compute in int8; use "
            "int8_weights, or name fewer in keep_float"
        )
    maker = _makers(flow, found)
    is_conv = {c.layer: isinstance(model.get_submodule(c.layer), nn.Conv2d) for c in found}
    read_by_integers = {maker[chain.input].layer for chain in found if chain.input in maker}
    outputs = {
        chain.layer: Place(chain.last, "output")
        for chain in found
        # Runtimes compute a convolution in integers only between two grids, a Linear also without
        # one behind it; what the model puts out stays as exact as it can be.
        if chain.layer in read_by_integers
        or (is_conv[chain.layer] and chain.output not in flow.outputs)
    }
    made_by = {call.output: call.name for call in reversed(list(flow))}
    inputs, sums = {}, {}
    for chain in found:
        if chain.input in maker:
            inputs[chain.layer] = outputs[maker[chain.input].layer]
            continue
        source = made_by.get(chain.input)
        place = Place(chain.layer, "input") if source is None else Place(source, "output")
        inputs[chain.layer] = place
        num_integer_readers = sum(other.input == chain.input for other in found)
        others = flow.uses[chain.input] > num_integer_readers or chain.input in flow.outputs
        if source is not None and others:
            sums[source] = place
    ops = {name: "conv2d" if conv else "linear" for name, conv in is_conv.items()}
    return _Plan(found, ops, inputs, outputs, sums)


def _makers(flow: Trace, found: Sequence[Chain]) -> dict[Value, Chain]:
    # What lies on the grid of a layer's output: that itself, and what keeps it there.
    maker = {chain.output: chain for chain in found}
    for call in flow:
        if isinstance(call.module, _KEEP_GRID) and call.input in maker:
            maker.setdefault(call.output, maker[call.input])
    return maker


def _check_kept(model: nn.Module, keep_float: Collection[str]) -> None:
    layers = [
        name for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    for name in keep_float:
        if name not in layers:
            raise RecipeError(f"keep_float: no layer {name!r}; there are {', '.join(layers)}")
    if any(is_int8(module) for module in model.modules()):
        raise ValueError("the model computes in int8 already; quantize the float model")
