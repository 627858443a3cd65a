"""Channel mean and standard deviation: exact sums that add up in any order, and what they give."""

import hashlib
import json
import math
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from components.config import Config
from components.errors import DataError

Triple = tuple[int, int, int]
_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]

MIN_STD = 1 / 255
"""Smallest standard deviation kept: one gray level. A channel that never changes would otherwise
divide by zero, and rounding noise below one level would be blown up to the size of a signal."""

_VALUES = np.arange(256, dtype=np.int64)
# calcHist returns counts as float32, which are exact up to 2**24.
_PIXELS_PER_HISTOGRAM = 1 << 24


@dataclass(frozen=True)
class ChannelSums:
    """Sums over the pixels of many uint8 RGB images: Python integers, exact at any size."""

    num_pixels: int
    sums: Triple
    sums_of_squares: Triple

    @classmethod
    def zero(cls) -> Self:
        """The sums of no image."""
        return cls(0, (0, 0, 0), (0, 0, 0))

    def __add__(self, other: "ChannelSums") -> "ChannelSums":
        """Sums over both sets of images; exact, so order and grouping do not matter."""
        return ChannelSums(
            self.num_pixels + other.num_pixels,
            _add(self.sums, other.sums),
            _add(self.sums_of_squares, other.sums_of_squares),
        )


def channel_sums(image_HWC: npt.NDArray[np.uint8]) -> ChannelSums:
    """Sum values and squares of one uint8 RGB image, exactly.

    By way of the histograms, which OpenCV makes 10 times faster than numpy adds up squares.
    (OpenCV's own `norm(NORM_L2SQR)` is faster still, but was seen to be off by one.)
    """
    pixels_1NC = np.ascontiguousarray(image_HWC).reshape(1, -1, 3)
    counts_CV = np.zeros((3, 256), np.int64)
    for start in range(0, pixels_1NC.shape[1], _PIXELS_PER_HISTOGRAM):
        block = pixels_1NC[:, start : start + _PIXELS_PER_HISTOGRAM]
        for channel, counts_V in enumerate(counts_CV):
            counts = cv2.calcHist([block], [channel], None, [256], [0, 256])
            counts_V += counts.ravel().astype(np.int64)
    red, green, blue = (counts_CV @ _VALUES).tolist()
    red_squares, green_squares, blue_squares = (counts_CV @ _VALUES**2).tolist()
    return ChannelSums(
        pixels_1NC.shape[1], (red, green, blue), (red_squares, green_squares, blue_squares)
    )


class FittedTransform(Config):
    """The normalization fitted on the train split; travels in the manifest and the model package.

    Applied on the device as (image / 255 - mean) / std.
    """

    kind: Literal["image_channels"] = "image_channels"
    mean: tuple[_Finite, _Finite, _Finite]
    """Mean of red, green, blue on the scale 0..1."""
    std: tuple[_Positive, _Positive, _Positive]
    """Standard deviation on the scale 0..1 (ddof 0), at least 1/255."""
    num_pixels: int = Field(ge=1)
    """Pixels of the train split that it was fitted on."""

    @property
    def hash(self) -> str:
        """16 hex digits (SHA-256 of `to_json`) that name this transform."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces, floats in full precision."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read back what `to_json` wrote, bit for bit.

        Raises:
            pydantic.ValidationError: The text is no fitted transform.
        """
        return cls.model_validate_json(text)


def fit_channels(sums: ChannelSums) -> FittedTransform:
    """Mean and standard deviation (ddof 0) per channel from the sums over the train split.

    Equals `numpy.mean` and `numpy.std` over all pixels to 1e-12; the variance is computed in
    integers, so that nothing cancels.

    Raises:
        DataError: The sums hold no pixel.
    """
    if sums.num_pixels == 0:
        raise DataError(
            "no pixels to fit channel mean and std on: the train split has 0 images; "
            "lower split.val and split.test or add data"
        )
    stats = [
        _mean_std(sums.num_pixels, total, squares)
        for total, squares in zip(sums.sums, sums.sums_of_squares, strict=True)
    ]
    return FittedTransform(
        mean=(stats[0][0], stats[1][0], stats[2][0]),
        std=(stats[0][1], stats[1][1], stats[2][1]),
        num_pixels=sums.num_pixels,
    )


def _mean_std(count: int, total: int, squares: int) -> tuple[float, float]:
    mean = total / (255 * count)
    variance = (count * squares - total * total) / (255 * 255 * count * count)
    return mean, max(math.sqrt(variance), MIN_STD)


def _add(one: Triple, other: Triple) -> Triple:
    return (one[0] + other[0], one[1] + other[1], one[2] + other[2])
