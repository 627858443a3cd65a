"""Smaller forms in which weights are stored; loading gives float32 again, bit for bit the same.

A tensor `NAME` of a form other than dense is stored as its parts: `NAME:values`, `NAME:mask` (one
bit per weight, the lowest first, set where `values` has one) and `NAME:scale` (float32, one per
output). A model computes with the decoded weights, so this saves bytes, not time.
"""

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch

from components.errors import DataError

Form = Literal["sparse", "int8", "int4", "sparse_int8"]
"""`sparse`: without the zeros; `int8`, `int4`: 255 or 15 levels per output, as in weight-only
quantization; `sparse_int8`: int8 without the zeros."""

_LARGEST = {"int8": 127, "sparse_int8": 127, "int4": 7}
_SPARSE = ("sparse", "sparse_int8")
_PARTS = {
    "sparse": ("values", "mask"),
    "int8": ("values", "scale"),
    "int4": ("values", "scale"),
    "sparse_int8": ("values", "mask", "scale"),
}
_TINY = torch.finfo(torch.float32).tiny
_INT4_ZERO = 8


def sparse_forms(tensors: Mapping[str, torch.Tensor]) -> dict[str, Form]:
    """Return the form `sparse` for every tensor that it makes smaller."""
    return {
        name: "sparse"
        for name, tensor in tensors.items()
        if tensor.dtype == torch.float32
        and 4 * int(tensor.count_nonzero()) + math.ceil(tensor.numel() / 8) < 4 * tensor.numel()
    }


def encode(
    tensors: Mapping[str, torch.Tensor], forms: Mapping[str, Form]
) -> dict[str, torch.Tensor]:
    """Return what is stored of `tensors`, those in `forms` as their parts.

    Encoding what was decoded gives the same parts: the scales have 17 significant bits, so that
    their products with levels of up to 7 bits are exact in float32.

    Args:
        tensors: By name, on the CPU.
        forms: Of float32 tensors; for int8, int4 and sparse_int8 of two dimensions or more, the
            first of which is the output.

    Raises:
        DataError: A form does not suit its tensor, or a weight is not finite.
    """
    parts = {name: tensor for name, tensor in tensors.items() if name not in forms}
    for name, form in forms.items():
        if name not in tensors:
            raise DataError(f"storage {form} of {name!r}: the model has no such weight")
        _check_form(name, form, tensors[name])
        parts |= {f"{name}:{part}": x for part, x in _encoded(name, tensors[name], form).items()}
    return parts


def decode(
    parts: Mapping[str, torch.Tensor],
    forms: Mapping[str, Form],
    like: Mapping[str, torch.Tensor],
) -> dict[str, torch.Tensor]:
    """Return the tensors of `encode`, those in `forms` as float32.

    Args:
        parts: As `encode` gave them, from a file that may be damaged.
        forms: As `encode` took them.
        like: Tensors of the same names and shapes, as the model has them: what a file says of
            sizes is not believed.

    Raises:
        DataError: A part is missing or does not fit its tensor.
    """
    tensors = dict(parts)
    for name, form in forms.items():
        if name not in like:
            raise DataError(f"storage {form} of {name!r}: the model has no such weight")
        _check_form(name, form, like[name])
        own = {part: _take(tensors, f"{name}:{part}") for part in _PARTS[form]}
        tensors[name] = _decoded(name, own, form, like[name].shape)
    return tensors


def _check_form(name: str, form: Form, tensor: torch.Tensor) -> None:
    if tensor.dtype != torch.float32 or (form in _LARGEST and tensor.ndim < 2):
        raise DataError(
            f"storage {form} does not suit {name!r}, {tensor.dtype} {tuple(tensor.shape)}; it is "
            "for float32 weights of layers"
        )


def _encoded(name: str, tensor: torch.Tensor, form: Form) -> dict[str, torch.Tensor]:
    parts, values = {}, tensor
    if form in _LARGEST:
        if not bool(tensor.isfinite().all()):
            raise DataError(
                f"weight {name!r} is not finite, so it has no {form} form; the training diverged: "
                "lower the learning rate"
            )
        parts["scale"] = _scales(tensor, _LARGEST[form])
        values = (tensor / _per_output(parts["scale"], tensor.shape)).round().to(torch.int8)
    if form in _SPARSE:
        is_kept = values != 0
        parts["mask"] = torch.from_numpy(np.packbits(is_kept.numpy().ravel(), bitorder="little"))
        values = values[is_kept]
    parts["values"] = _pack_int4(values) if form == "int4" else values.contiguous()
    return parts


def _decoded(
    name: str, parts: Mapping[str, torch.Tensor], form: Form, shape: torch.Size
) -> torch.Tensor:
    values, count = parts["values"], shape.numel()
    if form in _SPARSE:
        _expect(f"{name}:mask", parts["mask"], torch.uint8, (math.ceil(count / 8),))
        bits = np.unpackbits(parts["mask"].numpy(), count=count, bitorder="little")
        kept = int(bits.sum())
        _expect(
            f"{name}:values", values, torch.int8 if form in _LARGEST else torch.float32, (kept,)
        )
        dense = torch.zeros(shape, dtype=values.dtype)
        dense.view(-1)[torch.from_numpy(bits.astype(bool))] = values
    elif form == "int4":
        _expect(f"{name}:values", values, torch.uint8, (math.ceil(count / 2),))
        dense = _unpack_int4(values, count).view(shape)
    else:
        _expect(f"{name}:values", values, torch.int8, shape)
        dense = values
    if form not in _LARGEST:
        return dense
    scale = parts["scale"]
    _expect(f"{name}:scale", scale, torch.float32, shape[:1])
    if not bool((scale.isfinite() & (scale > 0)).all()):
        raise DataError(f"weight part '{name}:scale' must be finite and above 0; write it anew")
    return dense.float() * _per_output(scale, shape)


def _scales(tensor: torch.Tensor, largest: int) -> torch.Tensor:
    scale = (tensor.abs().flatten(1).amax(dim=1) / largest).clamp_min(_TINY)
    # Up to the next float of 17 significant bits: the last 7 of 24 become zero.
    return ((scale.view(torch.int32) + 0x7F) & ~0x7F).view(torch.float32)


def _per_output(scale: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    return scale.view(-1, *[1] * (len(shape) - 1))


def _pack_int4(levels: torch.Tensor) -> torch.Tensor:
    nibbles = (levels.flatten() + _INT4_ZERO).to(torch.uint8)
    nibbles = torch.cat([nibbles, nibbles.new_zeros(nibbles.numel() % 2)])
    return nibbles[0::2] | (nibbles[1::2] << 4)


def _unpack_int4(packed: torch.Tensor, count: int) -> torch.Tensor:
    nibbles = torch.stack([packed & 0xF, packed >> 4], dim=1).flatten()[:count]
    return nibbles.to(torch.int8) - _INT4_ZERO


def _take(tensors: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    if name not in tensors:
        raise DataError(f"weight part {name!r} is missing; write it anew")
    return tensors.pop(name)


def _expect(
    name: str, part: torch.Tensor, dtype: torch.dtype, shape: tuple[int, ...] | torch.Size
) -> None:
    if part.dtype != dtype or tuple(part.shape) != tuple(shape):
        raise DataError(
            f"weight part {name!r} is {part.dtype} {tuple(part.shape)}, expected {dtype} "
            f"{tuple(shape)}; write it anew"
        )
