"""What can be told from the pixels alone: brightness, contrast and sharpness of a picture."""

from functools import cached_property

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


class Measures:
    """Brightness, contrast and sharpness of one picture; levels are 0..255.

    Each is worked out when it is first asked for: most pictures are judged by three of them.
    """

    def __init__(self, image_HWC: ImageArray) -> None:
        """Reduce a picture, uint8 RGB."""
        self._image_HWC = image_HWC
        self._gray_HW = luma(image_HWC)
        self.reduced_HW = reduced(self._gray_HW)
        """Luma, uint8, longest side at most `REDUCED_PX`: what is measured below."""
        self._mean, self._luma_contrast = _mean_std(self.reduced_HW)
        low, high, _, _ = cv2.minMaxLoc(self.reduced_HW)
        self._low, self._high = int(low), int(high)

    @property
    def mean(self) -> float:
        """Mean luma."""
        return self._mean

    @property
    def contrast(self) -> float:
        """Largest standard deviation of luma, red, green and blue.

        Colours are looked at only where luma hardly varies.
        """
        return max(contrast for contrast, _ in self._spreads)

    @property
    def deviation(self) -> float:
        """Farthest that any pixel lies from the mean, in the same channels."""
        return max(deviation for _, deviation in self._spreads)

    @cached_property
    def darkest(self) -> int:
        """Luma that all but 0.01 % of the pixels reach.

        Of the whole picture where the reduced one is all dark or all bright.
        """
        return int(np.searchsorted(self._shares_V, _TAIL_BELOW, side="right"))

    @cached_property
    def brightest(self) -> int:
        """Luma that all but 0.002 % of the pixels do not pass; as above."""
        return int(np.searchsorted(self._shares_V, 1.0 - _TAIL_ABOVE))

    @cached_property
    def detail(self) -> float:
        """Variance of the Laplacian (4 neighbours) over that of luma, less what rounding adds.

        Below 0.005: no fine detail anywhere. 1 where luma varies too little to tell.
        """
        if self._luma_contrast < _MIN_CONTRAST:
            return 1.0
        laplacian = cv2.Laplacian(
            self.reduced_HW, cv2.CV_16S, ksize=1, borderType=cv2.BORDER_REPLICATE
        )
        # From both sums: cv2.meanStdDev takes four times as long on 16 bits.
        mean = cv2.sumElems(laplacian)[0] / laplacian.size
        variance = cv2.norm(laplacian, cv2.NORM_L2SQR) / laplacian.size - mean**2
        return max(0.0, variance - _ROUNDING_VARIANCE) / self._luma_contrast**2

    @cached_property
    def edge(self) -> float:
        """Step between neighbouring pixels that 0.1 % exceed, across or down, over luma's range.

        0.1: the steepest edges are some 10 px wide. 1 where luma varies too little to tell.
        """
        if self._luma_contrast < _MIN_CONTRAST:
            return 1.0
        gray_HW = self.reduced_HW
        across = _steepest(gray_HW[:, 1:], gray_HW[:, :-1])
        down = _steepest(gray_HW[1:], gray_HW[:-1])
        return max(across, down) / (self._high - self._low)

    @cached_property
    def _spreads(self) -> list[tuple[float, float]]:
        """Contrast and deviation of luma, and of the colours where that hardly varies."""
        deviation = max(self._high - self._mean, self._mean - self._low)
        spreads = [(self._luma_contrast, deviation)]
        if deviation < _EVEN_LEVELS:
            planes = (np.ascontiguousarray(self._image_HWC[..., c]) for c in range(3))
            spreads += [_spread(reduced(plane_HW)) for plane_HW in planes]
        return spreads

    @cached_property
    def _shares_V(self) -> npt.NDArray[np.float64]:
        """Share of the pixels with at most each luma.

        Averages never lie beyond the values that they are made of, so the whole picture is looked
        at only where the reduced one is all dark or all bright.
        """
        is_even = not self._low < _MIDDLE < self._high
        pixels_HW = self._gray_HW if is_even else self.reduced_HW
        counts_V = cv2.calcHist([pixels_HW], [0], None, [256], [0, 256]).ravel()
        return np.cumsum(counts_V, dtype=np.float64) / pixels_HW.size


def luma(image_HWC: ImageArray) -> ImageArray:
    """Luma of a picture, uint8 (H, W)."""
    return np.asarray(cv2.cvtColor(image_HWC, cv2.COLOR_RGB2GRAY), np.uint8)


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


def _spread(gray_HW: ImageArray) -> tuple[float, float]:
    """Standard deviation, and the farthest that a pixel lies from the mean."""
    mean, std = _mean_std(gray_HW)
    low, high, _, _ = cv2.minMaxLoc(gray_HW)
    return std, max(high - mean, mean - low)


def _mean_std(gray_HW: ImageArray) -> tuple[float, float]:
    mean, std = cv2.meanStdDev(gray_HW)
    return float(mean[0, 0]), float(std[0, 0])


def _steepest(after: ImageArray, before: ImageArray) -> int:
    if after.size == 0:
        return 0
    counts = cv2.calcHist([cv2.absdiff(after, before)], [0], None, [256], [0, 256]).ravel()
    shares = np.cumsum(counts, dtype=np.float64) / after.size
    return int(np.searchsorted(shares, 1.0 - _EDGE_SHARE))
