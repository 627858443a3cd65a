"""From a picture of any size to the square that the model sees."""

from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from components.config import Config

ImageArray = npt.NDArray[np.uint8]
Geometry = Literal["crop", "stretch"]


class InputConfig(Config):
    """Size and geometry of the model's input."""

    image_px: int = Field(224, ge=1, le=8192)
    """Side of the model's square input in pixels."""
    geometry: Geometry = "crop"
    """How a picture becomes square. `crop`: the largest centred square is kept, shapes stay true,
    the long side loses its ends. `stretch`: the whole picture is kept, shapes are distorted."""


def to_input(image_HWC: ImageArray, *, image_px: int, geometry: Geometry) -> ImageArray:
    """Bring a picture to the model's input size: the view of evaluation, without randomness.

    `crop` takes the centred square before it resizes, which shows the same field of view as
    resizing the short side and cropping then, at the cost of the square alone.

    Args:
        image_HWC: uint8 (H, W, 3).
        image_px: Side of the result.
        geometry: `crop` or `stretch`, see `InputConfig`.

    Returns:
        uint8 (image_px, image_px, 3), contiguous; shares memory with an input of
        that size already.
    """
    if geometry == "crop":
        height_px, width_px = image_HWC.shape[:2]
        side_px = min(height_px, width_px)
        top, left = (height_px - side_px) // 2, (width_px - side_px) // 2
        image_HWC = image_HWC[top : top + side_px, left : left + side_px]
    if image_HWC.shape[:2] == (image_px, image_px):
        return np.ascontiguousarray(image_HWC)
    viewed_HWC = np.empty((image_px, image_px, 3), np.uint8)
    view_resize(image_HWC, viewed_HWC)
    return viewed_HWC


def view_resize(image_HWC: ImageArray, into_HWC: ImageArray) -> None:
    """Resize a picture for the model, in a tenth of the time of `resize` where it shrinks a little.

    Bilinear up to a factor of two, where it still weighs every pixel of the source; area averages
    from there on.

    Args:
        image_HWC: uint8 (H, W, 3).
        into_HWC: Where the result goes, of its size.
    """
    height_px, width_px = into_HWC.shape[:2]
    if image_HWC.shape[0] > 2 * height_px or image_HWC.shape[1] > 2 * width_px:
        into_HWC[...] = resize(image_HWC, height_px=height_px, width_px=width_px)
    else:
        cv2.resize(image_HWC, (width_px, height_px), dst=into_HWC, interpolation=cv2.INTER_LINEAR)


def resize(image_HWC: ImageArray, *, height_px: int, width_px: int) -> ImageArray:
    """Resize by area averages where a side shrinks (no aliasing), bilinear where it grows.

    Where one side shrinks and the other grows, each takes its own way: OpenCV's INTER_AREA falls
    back to another filter for both.
    """
    shrunk_px = (min(height_px, image_HWC.shape[0]), min(width_px, image_HWC.shape[1]))
    if shrunk_px != image_HWC.shape[:2]:
        image_HWC = _resize(image_HWC, shrunk_px, cv2.INTER_AREA)
    if shrunk_px != (height_px, width_px):
        image_HWC = _resize(image_HWC, (height_px, width_px), cv2.INTER_LINEAR)
    return np.ascontiguousarray(image_HWC)


def _resize(image_HWC: ImageArray, size_px: tuple[int, int], interpolation: int) -> ImageArray:
    resized = cv2.resize(image_HWC, (size_px[1], size_px[0]), interpolation=interpolation)
    return resized.astype(np.uint8, copy=False)
