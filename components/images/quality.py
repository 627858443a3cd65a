"""What can be told from the pixels alone: brightness, contrast and sharpness of a picture."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

ImageArray = npt.NDArray[np.uint8]

REDUCED_PX = 256
"""Longest side at which contrast and sharpness are measured and pictures are compared."""

# Share of the pixels that may lie beyond the ends of the luma range: hot pixels and ringing, but
# not the thinnest line of a drawing nor the stars of a night sky.
_TAIL_BELOW, _TAIL_ABOVE = 0.0001, 0.00002
_EDGE_SHARE = 0.001
_EVEN_LEVELS = 32
_MIDDLE = 128
_MIN_CONTRAST = 2.0
# Variance that rounding to whole levels (1/12) leaves after the Laplacian (weights 1, 1, 1, 1, -4).
_ROUNDING_VARIANCE = 20 / 12


@dataclass(frozen=True)
class Measures:
    """Brightness, contrast and sharpness of one picture; levels are 0..255."""

    darkest: int
    """Luma that all but 0.01 % of the pixels reach; of the whole picture where that is all dark or
    all bright, else of the reduced one."""
    brightest: int
    """Luma that all but 0.002 % of the pixels do not pass; as above."""
    mean: float
    """Mean luma of the reduced picture."""
    contrast: float
    """Largest standard deviation of luma, red, green and blue; of the reduced picture. Colours are
    looked at only where luma hardly varies."""
    deviation: float
    """Farthest that any pixel lies from the mean, in the same channels; of the reduced picture."""
    detail: float
    """Variance of the Laplacian (4 neighbours) over the variance of luma, less what rounding adds;
    of the reduced picture. Below 0.005: no fine detail anywhere."""
    edge: float
    """Step between neighbouring pixels that 0.1 % of them exceed, across or down, over the range
    of luma; of the reduced picture. 0.1: the steepest edges are some 10 px wide."""


def measure(image_HWC: ImageArray) -> tuple[Measures, ImageArray]:
    """Measure one picture.

    Args:
        image_HWC: uint8 RGB.

    Returns:
        The measures, and the reduced luma (H, W) that they were taken from.
    """
    gray_HW = _luma(image_HWC)
    reduced_HW = reduced(gray_HW)
    contrast, deviation = _spread(reduced_HW)
    detail, edge = _sharpness(reduced_HW, contrast)
    darkest, brightest = _ends(gray_HW, reduced_HW)
    mean = float(np.asarray(cv2.mean(reduced_HW))[0])
    if deviation < _EVEN_LEVELS:
        spreads = [_spread(reduced(np.ascontiguousarray(image_HWC[..., c]))) for c in range(3)]
        contrast = max(contrast, *(spread[0] for spread in spreads))
        deviation = max(deviation, *(spread[1] for spread in spreads))
    return Measures(darkest, brightest, mean, contrast, deviation, detail, edge), reduced_HW


def reduced(gray_HW: ImageArray) -> ImageArray:
    """A gray picture whose longest side is at most `REDUCED_PX`.

    By the mean of whole blocks and then by interpolation, which takes a tenth of the time of
    OpenCV's area averages over parts of pixels.
    """
    height_px, width_px = gray_HW.shape
    longest_px = max(height_px, width_px)
    if longest_px <= REDUCED_PX:
        return gray_HW
    block_px = longest_px // REDUCED_PX
    rows, columns = max(1, height_px // block_px), max(1, width_px // block_px)
    top, left = (height_px % block_px) // 2, (width_px % block_px) // 2
    whole_HW = gray_HW[top : top + rows * block_px, left : left + columns * block_px]
    blocks_HW = cv2.resize(whole_HW, (columns, rows), interpolation=cv2.INTER_AREA)
    scale = REDUCED_PX / longest_px
    size_px = (max(1, round(width_px * scale)), max(1, round(height_px * scale)))
    return np.asarray(cv2.resize(blocks_HW, size_px, interpolation=cv2.INTER_LINEAR), np.uint8)


def _luma(image_HWC: ImageArray) -> ImageArray:
    return np.asarray(cv2.cvtColor(image_HWC, cv2.COLOR_RGB2GRAY), np.uint8)


def _ends(gray_HW: ImageArray, reduced_HW: ImageArray) -> tuple[int, int]:
    """Darkest and brightest luma without the tails.

    Averages never lie beyond the values that they are made of, so the whole picture is looked at
    only where the reduced one is all dark or all bright.
    """
    low, high, _, _ = cv2.minMaxLoc(reduced_HW)
    pixels_HW = reduced_HW if low < _MIDDLE < high else gray_HW
    counts_V = cv2.calcHist([pixels_HW], [0], None, [256], [0, 256]).ravel()
    shares_V = np.cumsum(counts_V, dtype=np.float64) / pixels_HW.size
    darkest = int(np.searchsorted(shares_V, _TAIL_BELOW, side="right"))
    return darkest, int(np.searchsorted(shares_V, 1.0 - _TAIL_ABOVE))


def _spread(gray_HW: ImageArray) -> tuple[float, float]:
    """Standard deviation, and the farthest that a pixel lies from the mean."""
    mean, std = cv2.meanStdDev(gray_HW)
    low, high, _, _ = cv2.minMaxLoc(gray_HW)
    middle = float(mean[0, 0])
    return float(std[0, 0]), max(high - middle, middle - low)


def _sharpness(gray_HW: ImageArray, contrast: float) -> tuple[float, float]:
    """Detail and edge, see `Measures`; 1 where luma varies too little to tell."""
    if contrast < _MIN_CONTRAST:
        return 1.0, 1.0
    laplacian = cv2.Laplacian(gray_HW, cv2.CV_16S, ksize=1, borderType=cv2.BORDER_REPLICATE)
    variance = float(cv2.meanStdDev(laplacian)[1][0, 0]) ** 2 - _ROUNDING_VARIANCE
    low, high, _, _ = cv2.minMaxLoc(gray_HW)
    edges = [_steepest(gray_HW[:, 1:], gray_HW[:, :-1]), _steepest(gray_HW[1:], gray_HW[:-1])]
    return max(0.0, variance) / contrast**2, max(edges) / (high - low)


def _steepest(after: ImageArray, before: ImageArray) -> int:
    if after.size == 0:
        return 0
    counts = cv2.calcHist([cv2.absdiff(after, before)], [0], None, [256], [0, 256]).ravel()
    shares = np.cumsum(counts, dtype=np.float64) / after.size
    return int(np.searchsorted(shares, 1.0 - _EDGE_SHARE))
