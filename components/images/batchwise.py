"""Random augmentation of whole batches: the transforms that most policies are made of.

Albumentations draws and applies picture by picture, in Python: for a small picture that costs many
times its pixels. Here the numbers of all pictures of a batch are drawn at once, each picture's from
(seed, epoch, record id) alone; pixels are worked on by OpenCV in place; a crop is drawn before its
picture is decoded, so that a JPEG can be decoded at the size that the crop needs.

What is drawn is distributed as by albumentations 2.0.8 with the same arguments, and what is done
with it gives the same pixels but for rounding (tests/components/images/test_batchwise.py says how
far); pictures shrink as `components/images/geometry.py` says.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from components.images.geometry import view_resize

ImageArray = npt.NDArray[np.uint8]
Draws = npt.NDArray[np.float64]
"""Uniform in [0, 1), (N, k): k numbers for each of N pictures."""
Interval = tuple[float, float]

_CROP_ATTEMPTS = 10
_LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class RandomCrop:
    """A rectangle of random area and shape, resized to the model's input (Szegedy et al. 2015).

    Attributes:
        scale: Share of the picture's area.
        ratio: Width over height.
    """

    scale: Interval
    ratio: Interval
    num_draws = 2 * _CROP_ATTEMPTS + 2

    def rectangles(
        self, draws: Draws, heights_px: npt.NDArray[np.int64], widths_px: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """Top, left, height and width of each picture's crop, (N, 4).

        Where none of ten tries fits into the picture, the largest centred crop of an allowed shape.
        """
        areas = (heights_px * widths_px)[:, None] * _between(draws[:, :_CROP_ATTEMPTS], self.scale)
        logs = math.log(self.ratio[0]), math.log(self.ratio[1])
        ratios = np.exp(_between(draws[:, _CROP_ATTEMPTS:-2], logs))
        tried_w = np.rint(np.sqrt(areas * ratios)).astype(np.int64)
        tried_h = np.rint(np.sqrt(areas / ratios)).astype(np.int64)
        fits = (tried_w > 0) & (tried_h > 0)
        fits &= (tried_w <= widths_px[:, None]) & (tried_h <= heights_px[:, None])
        first, rows = fits.argmax(1), np.arange(len(draws))
        height, width = tried_h[rows, first], tried_w[rows, first]
        top = ((heights_px - height + 1) * draws[:, -2]).astype(np.int64)
        left = ((widths_px - width + 1) * draws[:, -1]).astype(np.int64)
        for row in np.flatnonzero(~fits.any(1)).tolist():
            height[row], width[row] = self._largest(int(heights_px[row]), int(widths_px[row]))
            top[row] = (heights_px[row] - height[row]) // 2
            left[row] = (widths_px[row] - width[row]) // 2
        return np.stack([top, left, height, width], axis=1)

    def _largest(self, height_px: int, width_px: int) -> tuple[int, int]:
        shape = width_px / height_px
        if shape < self.ratio[0]:
            return max(1, min(height_px, round(width_px / self.ratio[0]))), width_px
        if shape > self.ratio[1]:
            return height_px, max(1, min(width_px, round(height_px * self.ratio[1])))
        return height_px, width_px


class Change(Protocol):
    """One random change of pictures that have the model's size already."""

    @property
    def num_draws(self) -> int:
        """Uniform numbers that each picture needs."""
        ...

    def __call__(self, images_BHWC: ImageArray, draws: Draws) -> None:
        """Change uint8 RGB pictures (B, H, W, 3) in place."""
        ...


@dataclass(frozen=True)
class Flip:
    """Mirrors pictures.

    Attributes:
        axis: 1 exchanges left and right, 0 top and bottom.
        p: Share of the pictures that are mirrored.
    """

    axis: int
    p: float
    num_draws = 1

    def __call__(self, images_BHWC: ImageArray, draws: Draws) -> None:
        """Mirror in place."""
        for row in np.flatnonzero(draws[:, 0] < self.p).tolist():
            cv2.flip(images_BHWC[row], self.axis, dst=images_BHWC[row])


@dataclass(frozen=True)
class Warp:
    """Scales, turns, shears and moves pictures about their centre, bilinear.

    Attributes:
        scale_x: Factor, as `scale_y`; drawn once for both with `keep_ratio`.
        scale_y: Factor.
        keep_ratio: Whether both factors are the same.
        rotate: Degrees.
        shear_x: Degrees.
        shear_y: Degrees.
        move_x: Share of the width.
        move_y: Share of the height.
        border: OpenCV's border mode.
        fill: RGB outside the picture, where the border mode is constant.
        p: Share of the pictures that are changed.
    """

    scale_x: Interval
    scale_y: Interval
    keep_ratio: bool
    rotate: Interval
    shear_x: Interval
    shear_y: Interval
    move_x: Interval
    move_y: Interval
    border: int
    fill: tuple[float, float, float]
    p: float
    num_draws = 8

    def __call__(self, images_BHWC: ImageArray, draws: Draws) -> None:
        """Warp in place."""
        height_px, width_px = images_BHWC.shape[1:3]
        matrices = self.matrices(draws, height_px, width_px)
        for row in np.flatnonzero(draws[:, 0] < self.p).tolist():
            images_BHWC[row] = cv2.warpAffine(
                images_BHWC[row],
                matrices[row],
                (width_px, height_px),
                flags=cv2.INTER_LINEAR,
                borderMode=self.border,
                borderValue=self.fill,
            )

    def matrices(self, draws: Draws, height_px: int, width_px: int) -> npt.NDArray[np.float64]:
        """From source to result coordinates, (N, 2, 3)."""
        _, u_x, u_y, u_rotate, u_shear_x, u_shear_y, u_move_x, u_move_y = draws.T
        scale_x = _between(u_x, self.scale_x)
        scale_y = scale_x if self.keep_ratio else _between(u_y, self.scale_y)
        angle = np.deg2rad(_between(u_rotate, self.rotate))
        shear_x = np.tan(np.deg2rad(-_between(u_shear_x, self.shear_x)))
        shear_y = np.tan(np.deg2rad(-_between(u_shear_y, self.shear_y)))
        cos, sin = np.cos(angle), np.sin(angle)
        turned = np.array([[cos * scale_x, sin * scale_y], [-sin * scale_x, cos * scale_y]])
        ones = np.ones_like(shear_x)
        sheared = np.array([[ones, shear_x], [shear_y, ones]])
        linear = np.einsum("ijn,jkn->nik", sheared, turned)
        # Whole pixels, towards zero, as albumentations moves.
        move = np.stack(
            [
                np.trunc(_between(u_move_x, self.move_x) * width_px),
                np.trunc(_between(u_move_y, self.move_y) * height_px),
            ],
            axis=1,
        )
        centre = np.array([width_px / 2 - 0.5, height_px / 2 - 0.5])
        offset = centre + move - linear @ centre
        return np.concatenate([linear, offset[:, :, None]], axis=2)


@dataclass(frozen=True)
class ColourChange:
    """Changes brightness, contrast, saturation and hue, in random order.

    The first three are linear in red, green and blue: those before the hue are one matrix, and so
    are those after it, in place of a pass over the pixels each. What is rounded and clipped less
    often is all that differs from albumentations.

    Attributes:
        brightness: Factor.
        contrast: Factor of the distance from the mean gray.
        saturation: Factor of the distance from gray.
        hue: Share of the full circle.
        p: Share of the pictures that are changed.
    """

    brightness: Interval
    contrast: Interval
    saturation: Interval
    hue: Interval
    p: float
    num_draws = 9

    def __call__(self, images_BHWC: ImageArray, draws: Draws) -> None:
        """Change colours in place."""
        rows = np.flatnonzero(draws[:, 0] < self.p).tolist()
        ranges = (self.brightness, self.contrast, self.saturation, self.hue)
        drawn = [_between(draws[rows, 1 + n], interval) for n, interval in enumerate(ranges)]
        factors, hues = np.stack(drawn[:3], axis=1), drawn[3].tolist()
        # The place of each of the four; what comes before the hue is done before it.
        places = draws[rows, 5:9].argsort(axis=1).argsort(axis=1)
        for late in (False, True):
            chosen = (places[:, :3] > places[:, 3:]) == late
            _apply_linear(images_BHWC, rows, factors, np.where(chosen, places[:, :3], -1))
            if not late and self.hue != (0, 0):
                for row, hue in zip(rows, hues, strict=True):
                    turn_hue(images_BHWC[row], hue)


def _apply_linear(
    images_BHWC: ImageArray,
    rows: list[int],
    factors: npt.NDArray[np.float64],
    places: npt.NDArray[np.int64],
) -> None:
    """Change brightness, contrast and saturation where their place is not -1."""
    some = np.flatnonzero((places >= 0).any(1)).tolist()
    needs_mean = (places[:, 1] >= 0).tolist()
    means = [cv2.mean(images_BHWC[rows[n]])[:3] if needs_mean[n] else (0.0,) * 3 for n in some]
    matrices = colour_matrices(factors[some], places[some], np.reshape(means, (-1, 3)))
    for n, matrix in zip(some, matrices, strict=True):
        cv2.transform(images_BHWC[rows[n]], matrix, dst=images_BHWC[rows[n]])


def colour_matrices(
    factors: npt.NDArray[np.float64],
    places: npt.NDArray[np.int64],
    means: npt.NDArray[np.float64],
) -> npt.NDArray[np.float32]:
    """Changes of colour that are linear in red, green and blue, as matrices.

    Args:
        factors: Of brightness, contrast and saturation, (N, 3).
        places: Which of them comes first, second ..., (N, 3); -1 where it does not.
        means: Mean red, green, blue of each picture, (N, 3); what contrast is measured from.

    Returns:
        (N, 3, 4): what red, green, blue and 1 are multiplied with.
    """
    count = len(factors)
    total = np.tile(np.eye(4), (count, 1, 1))
    identity, gray = np.eye(3), np.ones((3, 1)) * _LUMA
    with_one = np.concatenate([means, np.ones((count, 1))], axis=1)
    for place in range(4):
        for at in range(3):
            mine = np.flatnonzero(places[:, at] == place)
            factor = factors[mine, at][:, None, None]
            step = np.tile(np.eye(4), (len(mine), 1, 1))
            step[:, :3, :3] = factor * identity + (1 - factor) * (gray if at == 2 else 0)
            if at == 1:
                mean_gray = total[mine, :3] @ with_one[mine][:, :, None]
                step[:, :3, 3] = (1 - factor[:, 0]) * (_LUMA @ mean_gray)
            total[mine] = step @ total[mine]
    return total[:, :3].astype(np.float32)


def turn_hue(image_HWC: ImageArray, hue: float) -> None:
    """Turn the hue of HSV in place, without going there: 8-bit arithmetic on planes alone.

    Around the circle each channel rises, stays, falls and stays, by the chroma C per sixth. Turned
    by s sixths it falls by what s * C exceeds the way of the next channel to the maximum, and
    rises by what it exceeds that channel's way to the minimum; that holds up to half a sixth, and
    whole thirds exchange the channels. Faster than OpenCV's way to HSV and back, and without its
    180 steps of hue.

    Args:
        image_HWC: uint8 RGB (H, W, 3).
        hue: Share of the full circle, any sign.
    """
    thirds = round(hue * 3)
    sixths = 6 * hue - 2 * thirds
    red, green, blue = cv2.split(image_HWC)
    planes = [red, green, blue]
    high = cv2.max(cv2.max(red, green), blue)
    low = cv2.min(cv2.min(red, green), blue)
    num_turns = 2 if abs(sixths) > 0.5 else 1
    way = cv2.convertScaleAbs(cv2.subtract(high, low), alpha=abs(sixths) / num_turns)
    # Forward, red follows green: it falls once green has risen.
    after = 1 if sixths > 0 else -1
    for _ in range(num_turns):
        turned = []
        for channel, plane in enumerate(planes):
            other = planes[(channel + after) % 3]
            fall = cv2.subtract(way, cv2.subtract(high, other))
            rise = cv2.subtract(way, cv2.subtract(other, low))
            fallen = cv2.max(low, cv2.subtract(plane, fall))
            turned.append(cv2.min(high, cv2.add(fallen, rise)))
        planes = turned
    cv2.merge([planes[(channel - thirds) % 3] for channel in range(3)], dst=image_HWC)


@dataclass(frozen=True)
class Gray:
    """Takes the colour out of some pictures.

    Attributes:
        p: Share of the pictures.
    """

    p: float
    num_draws = 1

    def __call__(self, images_BHWC: ImageArray, draws: Draws) -> None:
        """Make gray in place."""
        for row in np.flatnonzero(draws[:, 0] < self.p).tolist():
            gray_HW = cv2.cvtColor(images_BHWC[row], cv2.COLOR_RGB2GRAY)
            cv2.cvtColor(gray_HW, cv2.COLOR_GRAY2RGB, dst=images_BHWC[row])


@dataclass(frozen=True)
class Holes:
    """Blacks out rectangles (DeVries and Taylor 2017).

    Attributes:
        count: Fewest and most rectangles.
        height: Share of the picture's height, from and to.
        width: Share of the picture's width, from and to.
        fill: RGB inside them.
        p: Share of the pictures.
    """

    count: tuple[int, int]
    height: Interval
    width: Interval
    fill: tuple[float, float, float]
    p: float

    @property
    def num_draws(self) -> int:
        """Uniform numbers that each picture needs."""
        return 2 + 4 * self.count[1]

    def __call__(self, images_BHWC: ImageArray, draws: Draws) -> None:
        """Fill rectangles in place."""
        height_px, width_px = images_BHWC.shape[1:3]
        least, most = self.count
        counts = least + (draws[:, 1] * (most - least + 1)).astype(np.int64)
        for row in np.flatnonzero(draws[:, 0] < self.p).tolist():
            for hole in range(int(counts[row])):
                u_h, u_w, u_top, u_left = draws[row, 2 + 4 * hole : 6 + 4 * hole]
                tall = max(1, int(_between(u_h, self.height) * height_px))
                wide = max(1, int(_between(u_w, self.width) * width_px))
                top, left = int(u_top * (height_px - tall + 1)), int(u_left * (width_px - wide + 1))
                images_BHWC[row, top : top + tall, left : left + wide] = self.fill


@dataclass(frozen=True)
class BatchAugmenter:
    """Turns pictures into their random versions for one epoch.

    Attributes:
        crop: How a picture comes to the model's size; None where that is not random.
        changes: What happens to it then, in order.
        image_px: Side of the result.
    """

    crop: RandomCrop | None
    changes: tuple[Change, ...]
    image_px: int

    @property
    def num_draws(self) -> int:
        """Uniform numbers that each picture needs."""
        return self._crop_draws + sum(change.num_draws for change in self.changes)

    @property
    def _crop_draws(self) -> int:
        return self.crop.num_draws if self.crop else 0

    def fill(
        self,
        images_BHWC: ImageArray,
        decode: Callable[[int, int, int], ImageArray],
        heights_px: npt.NDArray[np.int64],
        widths_px: npt.NDArray[np.int64],
        draws: Draws,
    ) -> None:
        """Fill a batch with random crops; only where there is a crop.

        Args:
            images_BHWC: Where they go.
            decode: Called with a row and the height and width in pixels at which the whole picture
                is needed at least; gives uint8 RGB (H, W, 3) of its own size, or of a half, a
                quarter or an eighth of it, rounded up, that is at least that large.
            heights_px: Of the stored pictures, (B,).
            widths_px: Of the stored pictures, (B,).
            draws: (B, num_draws).
        """
        assert self.crop is not None
        side_px = self.image_px
        rectangles = self.crop.rectangles(draws[:, : self._crop_draws], heights_px, widths_px)
        for row, (top, left, height, width) in enumerate(rectangles.tolist()):
            full_h, full_w = int(heights_px[row]), int(widths_px[row])
            image_HWC = decode(row, -(-full_h * side_px // height), -(-full_w * side_px // width))
            if image_HWC.shape[:2] != (full_h, full_w):
                # A half, a quarter or an eighth: the last row and column may cover less than that.
                exact = max(full_h, full_w) / max(image_HWC.shape[:2])
                factor = 1 << (math.ceil(exact) - 1).bit_length()
                top, height = round(top / factor), max(1, round(height / factor))
                left, width = round(left / factor), max(1, round(width / factor))
            cropped_HWC = image_HWC[top : top + height, left : left + width]
            view_resize(cropped_HWC, images_BHWC[row])

    def change(self, images_BHWC: ImageArray, draws: Draws) -> None:
        """Change pictures of the model's size in place; draws are those of `fill`."""
        at = self._crop_draws
        for change in self.changes:
            change(images_BHWC, draws[:, at : at + change.num_draws])
            at += change.num_draws


def _between(uniform: Draws, interval: Interval) -> Draws:
    return interval[0] + (interval[1] - interval[0]) * uniform
