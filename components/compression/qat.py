"""Quantization-aware training: float weights that learn what rounding will do to them."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from components.compression.fuse import FoldedWeights, folded_weights
from components.compression.quantize import (
    Quantized,
    largest_integer,
    weight_scales,
    with_integers,
)
from components.models.compressed import Int8Spec
from components.models.int8 import Int8Layer, QParams, handing_codes_on

_MAX_CODE = 255
_LARGEST_BIAS_CODE = 2.0**31


def prepare_qat(model: nn.Module, spec: Int8Spec, *, weight_bits: int = 8) -> nn.Module:
    """Return a copy that computes in float what its integer layers will compute, and can learn.

    Values are rounded as `quantize_static` rounds them, in the same order, so that the simulation
    is what comes out of `convert_qat`. Gradients pass through the rounding as if it were not there
    and stop where a value was cut off (straight-through estimator, Bengio et al. 2013; as in Jacob
    et al. 2018). Batch norms are in the weights from the start; the grids stay as calibrated.

    Args:
        model: Trained, float; left as it was.
        spec: What `static_spec` gave for it.
        weight_bits: 7 or 8.

    Raises:
        ValueError: A layer of `spec` is dynamic, or `weight_bits` is not 7 or 8.
    """
    largest_integer(weight_bits)
    hand_on = handing_codes_on(model, spec.layers, spec.outputs)
    simulated = copy.deepcopy(model)
    for name, layer in spec.layers.items():
        if layer.input is None:
            raise ValueError(f"layer {name} has dynamic grids: there is nothing to simulate")
        module = model.get_submodule(name)
        norm = model.get_submodule(layer.norm) if layer.norm is not None else None
        if name not in hand_on:
            layer = layer.model_copy(update={"output": None})
        simulated.set_submodule(name, _simulated(module, norm, layer, weight_bits))
        for absorbed in (layer.norm, layer.relu):
            if absorbed is not None:
                simulated.set_submodule(absorbed, nn.Identity())
    return simulated


def convert_qat(model: nn.Module, simulated: nn.Module, spec: Int8Spec) -> Quantized:
    """Return the model of integers that `simulated` has learned to be.

    Args:
        model: The float model that `prepare_qat` was given; left as it was.
        simulated: What `prepare_qat` gave, trained; not wrapped in DDP; left as it was.
        spec: As given to `prepare_qat`.
    """
    learned = copy.deepcopy(model)
    layers = {name: simulated.get_submodule(name) for name in spec.layers}
    rest = {
        name: tensor
        for name, tensor in simulated.state_dict().items()
        if name.rpartition(".")[0] not in layers
    }
    learned.load_state_dict(rest, strict=False)
    folded, bits = {}, 8
    for name, layer in layers.items():
        assert isinstance(layer, SimulatedConv2d | SimulatedLinear)
        assert layer.bias is not None
        folded[name] = FoldedWeights(layer.weight.detach(), layer.bias.detach())
        bits = layer.weight_bits
    return Quantized(with_integers(learned, spec, weight_bits=bits, folded=folded), spec)


class SimulatedConv2d(nn.Conv2d):
    """A Conv2d with its batch norm in the weights that rounds as Int8Conv2d will."""

    int8: Int8Layer
    weight_bits: int

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return what the integer layer gives for float32 (B, C, H, W), float32."""
        assert self.bias is not None
        return _simulate(
            lambda x, weight: self._conv_forward(x, weight, None),
            FoldedWeights(self.weight, self.bias),
            input,
            self.int8,
            self.weight_bits,
        )


class SimulatedLinear(nn.Linear):
    """A Linear that rounds as Int8Linear will."""

    int8: Int8Layer
    weight_bits: int

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return what the integer layer gives for float32 (..., in), float32."""
        weights = FoldedWeights(self.weight, self.bias)
        return _simulate(F.linear, weights, input, self.int8, self.weight_bits)


def _simulated(
    module: nn.Module, norm: nn.Module | None, layer: Int8Layer, weight_bits: int
) -> nn.Module:
    assert isinstance(module, nn.Conv2d | nn.Linear)
    weights = folded_weights(module, norm)
    # A copy has all settings of the layer, whatever they are; only its forward is another.
    simulated = copy.deepcopy(module)
    simulated.__class__ = SimulatedConv2d if isinstance(module, nn.Conv2d) else SimulatedLinear
    assert isinstance(simulated, SimulatedConv2d | SimulatedLinear)
    simulated.weight, simulated.bias = nn.Parameter(weights.weight), nn.Parameter(weights.bias)
    simulated.int8, simulated.weight_bits = layer, weight_bits
    return simulated


def _simulate(
    linear: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    weights: FoldedWeights,
    x: torch.Tensor,
    layer: Int8Layer,
    weight_bits: int,
) -> torch.Tensor:
    assert layer.input is not None  # Checked by prepare_qat.
    limit = float(largest_integer(weight_bits))
    scales = weight_scales(
        FoldedWeights(weights.weight.detach(), weights.bias.detach()), layer.input, weight_bits
    )
    per_output = (-1, *[1] * (weights.weight.ndim - 1))
    codes = _rounded(x, layer.input.scale, *_ends(layer.input))
    weight_codes = _rounded(weights.weight, scales.view(per_output), -limit, limit)
    steps = scales * layer.input.scale
    bias = _rounded(weights.bias, steps, -_LARGEST_BIAS_CODE, _LARGEST_BIAS_CODE) * steps
    y = linear(codes, weight_codes) * steps.view(per_output[:-1]) + bias.view(per_output[:-1])
    if layer.relu is not None:
        y = y.relu()
    if layer.output is not None:
        y = _rounded(y, layer.output.scale, *_ends(layer.output)) * layer.output.scale
    return y


def _ends(grid: QParams) -> tuple[float, float]:
    return float(-grid.zero_point), float(_MAX_CODE - grid.zero_point)


def _rounded(x: torch.Tensor, scale: torch.Tensor | float, low: float, high: float) -> torch.Tensor:
    rounded: torch.Tensor = _Rounded.apply(x, scale, low, high)  # type: ignore[no-untyped-call]
    return rounded


class _Rounded(torch.autograd.Function):
    """clamp(round(x / scale), low, high), with the gradient of x / scale inside the ends."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, scale: torch.Tensor | float, low: float, high: float
    ) -> torch.Tensor:
        codes = x.div(scale).round_()
        ctx.save_for_backward((codes >= low) & (codes <= high))
        ctx.scale = scale
        return codes.clamp_(low, high)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[torch.Tensor, None, None, None]:
        (inside,) = ctx.saved_tensors
        return gradients[0] * inside / ctx.scale, None, None, None
