"""Channel mean and standard deviation: exact sums that add up in any order, and what they give."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from components.errors import DataError
from components.records.fitted import FittedTransform

Triple = tuple[int, int, int]
_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]

_BAND_PIXELS = 1 << 16
MIN_STD = 1 / 255
"""Smallest standard deviation kept: one gray level. A channel that never changes would otherwise
divide by zero, and rounding noise below one level would be blown up to the size of a signal."""


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

    OpenCV makes the root of a sum of squares in float64 and squares it again: far nearer to the
    sum than 0.5, so that rounding gives the sum itself, in a fifth of the time of histograms.
    """
    image_HWC = np.ascontiguousarray(image_HWC)
    height_px, width_px = image_HWC.shape[:2]
    red, green, blue = (int(total) for total in cv2.sumElems(image_HWC)[:3])
    squares = [0, 0, 0]
    # In bands that stay in the processor's cache, and always into the same memory.
    rows_px = max(1, _BAND_PIXELS // max(1, width_px))
    planes_CN = np.empty((3, rows_px * width_px), np.uint8)
    for top in range(0, height_px, rows_px):
        band_HWC = image_HWC[top : top + rows_px]
        num_pixels = len(band_HWC) * width_px
        planes = [plane_N[:num_pixels].reshape(len(band_HWC), width_px) for plane_N in planes_CN]
        cv2.split(band_HWC, planes)
        for channel, plane_HW in enumerate(planes):
            squares[channel] += round(cv2.norm(plane_HW, cv2.NORM_L2SQR))
    return ChannelSums(
        height_px * width_px, (red, green, blue), (squares[0], squares[1], squares[2])
    )


class ChannelTransform(FittedTransform):
    """The normalization of pictures fitted on the train split.

    Applied on the device as (image / 255 - mean) / std.
    """

    kind: Literal["image_channels"] = "image_channels"
    mean: tuple[_Finite, _Finite, _Finite]
    """Mean of red, green, blue on the scale 0..1."""
    std: tuple[_Positive, _Positive, _Positive]
    """Standard deviation on the scale 0..1 (ddof 0), at least 1/255."""
    num_pixels: int = Field(ge=1)
    """Pixels of the train split that it was fitted on."""


def fit_channels(sums: ChannelSums) -> ChannelTransform:
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
    return ChannelTransform(
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
