"""Layers whose weights and inputs are 8-bit integers.

A static layer takes its input on a grid that calibration chose, adds up integers, and may put its
output on a grid too. oneDNN computes them (the operators that `torch.compile` lowers quantized
graphs to, here called directly), or plain torch where these are missing or inexact: on other
devices, on old processors, in a graph that is exported. The two differ by one step of a grid where
a value lies on the border between two.

The layers are for prediction alone: they have no parameters and no gradients.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple, Self

import torch
from torch import nn
from torch.nn import functional as F

from components.errors import DataError

_MAX_CODE = 255
# What eight bits hold on both sides of zero, and seven: two products of the latter fit 16 bits.
_LARGEST_WEIGHT = 127
_LARGEST_7_BIT = 63
_FLOAT_OUT: tuple[Any, ...] = (1.0, 0, torch.float32, "none", [], "")
_Packed = tuple[Callable[..., Any], tuple[Any, ...]]
"""An operator of oneDNN, and what it is given after the codes."""


class Grid(NamedTuple):
    """256 values: `scale * (code - zero_point)` of the codes 0 to 255."""

    scale: float
    """Distance between neighbours, > 0."""
    zero_point: int
    """The code of 0."""


def quantize(x: torch.Tensor, scale: float, zero_point: int) -> torch.Tensor:
    """Return the nearest codes, uint8: clamp(round(x / scale) + zero_point, 0, 255).

    Equal to ONNX QuantizeLinear: a division, ties to even, rounded before the zero point is added.

    Args:
        x: float32, any shape; memory format is kept.
        scale: Distance between two codes, > 0.
        zero_point: Code of 0, 0..255.
    """
    codes = x.div(scale).round_()
    if zero_point:
        codes.add_(zero_point)
    return codes.clamp_(0, _MAX_CODE).to(torch.uint8)


def dequantize(codes: torch.Tensor, scale: float, zero_point: int) -> torch.Tensor:
    """Return the values of uint8 codes, float32: (code - zero_point) * scale."""
    if zero_point:
        return codes.sub(float(zero_point)).mul_(scale)
    return codes.mul(scale)


def on_grid(x: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Return the values of `grid` nearest to x, float32; nothing changes if x is on it already."""
    codes = x.div(grid.scale).round_()
    low, high = -grid.zero_point, _MAX_CODE - grid.zero_point
    return codes.clamp_(low, high).mul_(grid.scale)


class _Int8Module(nn.Module, ABC):
    """Weights of one layer as integers, one scale per output channel; the bias is float32."""

    weight_int8: torch.Tensor
    """int8, as large as the float layer's; symmetric, -127..127."""
    weight_scale: torch.Tensor
    """float32 (out,): what one step of each channel's integers stands for, > 0."""
    bias: torch.Tensor
    """float32 (out,)."""

    def __init__(self, shape: torch.Size) -> None:
        super().__init__()
        self.register_buffer("weight_int8", torch.zeros(shape, dtype=torch.int8))
        self.register_buffer("weight_scale", torch.ones(shape[0]))
        self.register_buffer("bias", torch.zeros(shape[0]))
        self.reference = False
        """Compute in plain torch even where oneDNN could."""
        self._packed: dict[tuple[int, ...], _Packed] = {}
        self._exact: bool | None = None
        self._channel_totals: torch.Tensor | None = None

    @property
    def weight(self) -> torch.Tensor:
        """The weights as float32; models of transformers read their dtype and device."""
        shape = (-1, *[1] * (self.weight_int8.ndim - 1))
        return self.weight_int8 * self.weight_scale.view(shape)

    def _fast(self, x: torch.Tensor) -> bool:
        # Where a graph is traced, plain torch is what other runtimes understand.
        if self.reference or not x.is_cpu or torch.compiler.is_compiling():
            return False
        if self._exact is None:
            largest = (
                int(self.weight_int8.to(torch.int16).abs().amax())
                if self.weight_int8.numel()
                else 0
            )
            self._exact = onednn_is_exact(seven_bits=largest <= _LARGEST_7_BIT)
        return self._exact

    def _onednn(self, codes: torch.Tensor) -> torch.Tensor:
        # The layout depends on the picture's size: without it oneDNN reorders at every call.
        size = codes.shape[2:]
        if size not in self._packed:
            self._packed = {size: self._pack(codes)}
        operator, arguments = self._packed[size]
        y: torch.Tensor = operator(codes, *arguments)
        return y

    @abstractmethod
    def _pack(self, codes: torch.Tensor) -> _Packed: ...

    def _scales(self) -> tuple[torch.Tensor, torch.Tensor]:
        # Of the weights, and their zero points.
        return self.weight_scale, torch.zeros_like(self.weight_scale, dtype=torch.int64)

    def _forget_packed(self) -> None:
        self._packed, self._exact, self._channel_totals = {}, None, None

    def __getstate__(self) -> dict[str, Any]:
        # Packed weights are opaque to copy and pickle, and quickly made again.
        return {**self.__dict__, "_packed": {}, "_exact": None, "_channel_totals": None}

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        self._forget_packed()
        moved: Self = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return moved

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        # Copying would turn floats into integers in silence.
        weight = state_dict.get(f"{prefix}weight_int8")
        if weight is not None and weight.dtype != torch.int8:
            raise DataError(f"weights of {prefix[:-1]} are {weight.dtype}, not int8; export anew")
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        self._forget_packed()
        scale = self.weight_scale
        if not bool((torch.isfinite(scale) & (scale > 0)).all()):
            bad = float(scale[~(torch.isfinite(scale) & (scale > 0))][0])
            raise DataError(f"scale {bad} of the int8 weights of {prefix[:-1]}; export them anew")
        if not bool(torch.isfinite(self.bias).all()):
            raise DataError(f"bias of {prefix[:-1]} is not finite; export the package anew")


class _StaticInt8(_Int8Module):
    """An integer layer between two grids that are known before it sees an input."""

    def __init__(self, shape: torch.Size, input: Grid, output: Grid | None, relu: bool) -> None:
        super().__init__(shape)
        self.input, self.output, self.relu = input, output, relu
        self.gives_codes = False
        """Hand uint8 codes on, to a next layer that takes them on the same grid."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return float32 (or codes, see `gives_codes`) of float32 or of codes on `input`."""
        if x.dtype != torch.uint8:
            x = quantize(x, self.input.scale, self.input.zero_point)
        y = self._onednn(x) if self._fast(x) else self._plain(x)
        if self.output is None or self.gives_codes:
            return y
        return dequantize(y, self.output.scale, self.output.zero_point)

    def _plain(self, codes: torch.Tensor) -> torch.Tensor:
        # Integers as floats: exact sums up to 2**24, as the integers of oneDNN.
        sums = self._sums(codes.sub(float(self.input.zero_point)), self.weight_int8.float())
        shape = (-1, *[1] * (self.weight_int8.ndim - 2))
        y = sums.mul_((self.weight_scale * self.input.scale).view(shape)).add_(
            self.bias.view(shape)
        )
        if self.relu:
            y.relu_()
        return y if self.output is None else quantize(y, self.output.scale, self.output.zero_point)

    def _epilogue(self) -> tuple[Any, ...]:
        # Output scale, zero point and dtype, then what is done before: the ReLU.
        relu = "relu" if self.relu else "none"
        if self.output is None:
            return (1.0, 0, torch.float32, relu, [], "")
        return (self.output.scale, self.output.zero_point, torch.uint8, relu, [], "")

    @abstractmethod
    def _sums(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor: ...


class Int8Conv2d(_StaticInt8):
    """A Conv2d with zero padding in integers; (B, C, H, W), fastest in channels_last.

    Attributes of the same name as those of `nn.Conv2d` have the same meaning: code around a layer
    may read them.
    """

    def __init__(self, conv: nn.Conv2d, *, input: Grid, output: Grid | None, relu: bool) -> None:
        """Take the sizes of `conv`; the weights are zeros until a state is loaded.

        Args:
            conv: The float layer; `unsupported(conv)` is "".
            input: Grid of the input.
            output: Grid of the output, after `relu`; None leaves it in float32.
            relu: Whether negative outputs become 0.
        """
        super().__init__(conv.weight.shape, input, output, relu)
        self.in_channels, self.out_channels = conv.in_channels, conv.out_channels
        self.kernel_size, self.stride = conv.kernel_size, conv.stride
        self.padding, self.dilation = _int_padding(conv), conv.dilation
        self.groups = conv.groups

    def extra_repr(self) -> str:
        """Name the sizes, as nn.Conv2d does."""
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, padding={self.padding}, groups={self.groups}, relu={self.relu}"
        )

    def _sums(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, weight, None, self.stride, self.padding, self.dilation, self.groups)

    def _pack(self, codes: torch.Tensor) -> _Packed:
        grid, where = self.input, (self.stride, self.padding, self.dilation, self.groups)
        packed = torch.ops.onednn.qconv_prepack(
            self.weight_int8, self.weight_scale, *grid, *where, list(codes.shape)
        )
        arguments = (*grid, packed, *self._scales(), self.bias, *where, *self._epilogue())
        return torch.ops.onednn.qconv2d_pointwise.default, arguments


class Int8Linear(_StaticInt8):
    """A Linear in integers; (..., in) -> (..., out)."""

    def __init__(self, linear: nn.Linear, *, input: Grid, output: Grid | None, relu: bool) -> None:
        """Take the sizes of `linear`; the weights are zeros until a state is loaded.

        Args:
            linear: The float layer.
            input: Grid of the input.
            output: Grid of the output, after `relu`; None leaves it in float32.
            relu: Whether negative outputs become 0.
        """
        super().__init__(linear.weight.shape, input, output, relu)
        self.in_features, self.out_features = linear.in_features, linear.out_features

    def extra_repr(self) -> str:
        """Name the sizes, as nn.Linear does."""
        return f"{self.in_features}, {self.out_features}, relu={self.relu}"

    def _sums(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return F.linear(x, weight)

    def _pack(self, codes: torch.Tensor) -> _Packed:
        packed = torch.ops.onednn.qlinear_prepack(self.weight_int8, None)
        arguments = (*self.input, packed, *self._scales(), self.bias, *self._epilogue())
        return torch.ops.onednn.qlinear_pointwise.default, arguments


class Int8DynamicLinear(_Int8Module):
    """A Linear with integer weights whose inputs find their grid at every call; (..., in).

    Every row has a grid of its own, so what a record gets does not depend on the others of its
    batch. Equal to torch.ao's dynamic Linear but for that (one grid for the whole batch there).
    """

    def __init__(self, linear: nn.Linear) -> None:
        """Take the sizes of `linear`; the weights are zeros until a state is loaded."""
        super().__init__(linear.weight.shape)
        self.in_features, self.out_features = linear.in_features, linear.out_features

    def extra_repr(self) -> str:
        """Name the sizes, as nn.Linear does."""
        return f"{self.in_features}, {self.out_features}"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return float32 (..., out) of float32."""
        rows_NI = x.reshape(-1, self.in_features)
        low_N1, high_N1 = torch.aminmax(rows_NI, dim=1, keepdim=True)
        low_N1, high_N1 = low_N1.clamp_max(0.0), high_N1.clamp_min(0.0)
        scale_N1 = ((high_N1 - low_N1) / _MAX_CODE).clamp_min(torch.finfo(torch.float32).tiny)
        zero_N1 = low_N1.neg().div_(scale_N1).round_()
        codes_NI = rows_NI.div(scale_N1).round_().add_(zero_N1).clamp_(0, _MAX_CODE)
        if self._fast(x):
            # The operator knows one zero point, not one per row: their part is taken off after.
            sums_NO = self._onednn(codes_NI.to(torch.uint8))
            sums_NO.sub_(zero_N1 * self._totals())
        else:
            sums_NO = F.linear(codes_NI.sub_(zero_N1), self.weight_int8.float()).mul_(
                self.weight_scale
            )
        y_NO = sums_NO.mul_(scale_N1).add_(self.bias)
        return y_NO.view(*x.shape[:-1], self.out_features)

    def _pack(self, codes: torch.Tensor) -> _Packed:
        packed = torch.ops.onednn.qlinear_prepack(self.weight_int8, None)
        arguments = (1.0, 0, packed, *self._scales(), None, *_FLOAT_OUT)
        return torch.ops.onednn.qlinear_pointwise.default, arguments

    def _totals(self) -> torch.Tensor:
        if self._channel_totals is None:
            sums_O = self.weight_int8.sum(dim=1, dtype=torch.int32)
            self._channel_totals = sums_O * self.weight_scale
        return self._channel_totals


@cache
def onednn_is_exact(*, seven_bits: bool) -> bool:
    """Whether this processor adds up the products of codes and weights without overflow.

    Those without VNNI instructions add pairs of products in 16 bits, where two of 255 * 127 do not
    fit; weights of seven bits (-63..63) do. Where it is not exact, plain torch computes: slowly,
    but the same.
    """
    largest = _LARGEST_7_BIT if seven_bits else _LARGEST_WEIGHT
    ones = Grid(1.0, 0)
    of_sizes = nn.Conv2d(64, 16, 3, padding=1, device="meta"), nn.Linear(64, 16, device="meta")
    conv = Int8Conv2d(of_sizes[0], input=ones, output=None, relu=False)
    linear = Int8Linear(of_sizes[1], input=ones, output=None, relu=False)
    codes = torch.full((1, 64, 4, 4), _MAX_CODE, dtype=torch.uint8)
    with torch.inference_mode():
        for module in (conv, linear):
            module.weight_int8.fill_(largest)
        try:
            of_conv = conv._onednn(codes.contiguous(memory_format=torch.channels_last))
            of_linear = linear._onednn(codes[:, :, 0, 0])
        except (AttributeError, RuntimeError):
            # Built without oneDNN, or for a processor that it does not know.
            return False
    product = _MAX_CODE * largest * 64.0
    # In the middle of the picture all nine pixels of the kernel count.
    return bool((of_conv[..., 1:3, 1:3] == 9 * product).all() and (of_linear == product).all())


def unsupported(module: nn.Module) -> str:
    """Return why `module` cannot become a layer of integers, or "" if it can."""
    if isinstance(module, nn.Linear):
        return ""
    if not isinstance(module, nn.Conv2d):
        return f"a {type(module).__name__} is neither Conv2d nor Linear"
    if module.padding_mode != "zeros":
        return f"its padding is {module.padding_mode}, not zeros"
    if module.padding == "same" and any(
        d * (k - 1) % 2 for d, k in zip(module.dilation, module.kernel_size, strict=True)
    ):
        return "its padding differs between left and right"
    return ""


def _int_padding(conv: nn.Conv2d) -> tuple[int, ...]:
    if conv.padding == "valid":
        return (0, 0)
    if conv.padding == "same":
        return tuple(d * (k - 1) // 2 for d, k in zip(conv.dilation, conv.kernel_size, strict=True))
    assert not isinstance(conv.padding, str)
    return conv.padding


def use_reference(model: nn.Module, reference: bool = True) -> None:
    """Let the integer layers of `model` compute in plain torch, or again as fast as they can."""
    for module in model.modules():
        if isinstance(module, _Int8Module):
            module.reference = reference


def is_int8(module: nn.Module) -> bool:
    """Whether this one module is a layer of integers."""
    return isinstance(module, _Int8Module)
