"""The ranges of what flows through a model, and the grids of 256 values that cover them."""

from collections.abc import Callable, Collection, Iterable
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import nn

from components.compression.trace import Inputs, evaluation
from components.errors import DataError
from components.models.int8 import QParams

_CODES = 256
# A channel that is always 0 has no range; a grid has some distance between its values.
_LEAST_SCALE = 1e-8
_BINS = 4096


class Place(NamedTuple):
    """Where in a model a value is looked at."""

    module: str
    """Name of the module."""
    side: Literal["input", "output"]
    """What it is given (first argument) or what it gives."""


class Range(NamedTuple):
    """Smallest and largest value; 0 lies between them."""

    low: float
    high: float


def activation_ranges(
    model: nn.Module,
    places: Collection[Place],
    batches: Iterable[Inputs],
    *,
    percentile: float = 100.0,
) -> dict[Place, Range]:
    """Return the range of the values at each place, over all batches; the model is left as it was.

    Args:
        model: Runs in evaluation mode.
        places: Where to look; what is seen there are floating-point tensors.
        batches: What the forward takes, batch by batch; records of the training split, prepared
            as for prediction.
        percentile: Share of the values that lie within the range on each side, in (50, 100]; 100
            is smallest and largest value. Below it, from a histogram of 8192 bins whose width
            doubles with the largest value, so wide by at most 1/2048 of that.

    Raises:
        DataError: There is no batch, or a value is not finite.
    """
    if not 50.0 < percentile <= 100.0:
        raise ValueError(f"percentile {percentile} is not in (50, 100]")
    seen = {place: _Seen() if percentile == 100.0 else _Histogram() for place in places}
    hooks = []
    for place, values in seen.items():
        module = model.get_submodule(place.module)
        if place.side == "input":
            hooks.append(module.register_forward_pre_hook(_look_at_input(values)))
        else:
            hooks.append(module.register_forward_hook(_look_at_output(values)))
    try:
        with evaluation(model):
            for inputs in batches:
                model(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return {place: _checked(place, values, percentile) for place, values in seen.items()}


def grid_of(values: Range) -> QParams:
    """Return the grid of 256 values over `values`, with 0 on it."""
    width = max((values.high - values.low) / (_CODES - 1), _LEAST_SCALE)
    scale = float(np.float32(width))
    return QParams(scale=scale, zero_point=min(max(round(-values.low / scale), 0), _CODES - 1))


class _Seen:
    """Smallest and largest value so far."""

    def __init__(self) -> None:
        self.low, self.high, self.count = 0.0, 0.0, 0

    def add(self, x: torch.Tensor) -> None:
        low, high = (float(end) for end in torch.aminmax(x))
        # Unlike min and max these let no NaN pass.
        self.low = float(np.minimum(self.low, low))
        self.high = float(np.maximum(self.high, high))
        self.count += x.numel()

    def range(self, _percentile: float) -> Range:
        return Range(self.low, self.high)


class _Histogram(_Seen):
    """Counts of values in bins from -limit to limit, a power of two that grows as needed."""

    def __init__(self) -> None:
        super().__init__()
        self.limit = 0.0
        self.counts = np.zeros(2 * _BINS, np.int64)

    def add(self, x: torch.Tensor) -> None:
        super().add(x)
        largest = max(-self.low, self.high)
        if not np.isfinite(largest) or largest == 0.0:
            self.counts[_BINS] += x.numel()
            return
        if self.limit == 0.0:
            self.limit = 2.0 ** np.ceil(np.log2(largest))
        while largest > self.limit:
            # Two bins become one, from zero outwards; half of the bins are free again.
            merged = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.pad(merged, _BINS // 2)
            self.limit *= 2.0
        counts = torch.histc(x.float(), 2 * _BINS, -self.limit, self.limit)
        self.counts += counts.cpu().numpy().astype(np.int64)

    def range(self, percentile: float) -> Range:
        width = self.limit / _BINS
        outside = self.counts.sum() * (1.0 - percentile / 100.0)
        below, above = np.cumsum(self.counts), np.cumsum(self.counts[::-1])
        low = (int(np.searchsorted(below, outside, side="right")) - _BINS) * width
        high = (_BINS - int(np.searchsorted(above, outside, side="right"))) * width
        return Range(max(self.low, min(low, 0.0)), min(self.high, max(high, 0.0)))


def _look_at_input(values: _Seen) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    def hook(_module: nn.Module, args: tuple[Any, ...]) -> None:
        values.add(args[0])

    return hook


def _look_at_output(values: _Seen) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
    def hook(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        values.add(output)

    return hook


def _checked(place: Place, values: _Seen, percentile: float) -> Range:
    if values.count == 0:
        raise DataError(
            f"calibration saw no value at the {place.side} of {place.module}; give it records"
        )
    if not np.isfinite([values.low, values.high]).all():
        raise DataError(
            f"calibration saw {values.low} to {values.high} at the {place.side} of "
            f"{place.module}; the model diverged: train it with a smaller learning rate"
        )
    return values.range(percentile)
