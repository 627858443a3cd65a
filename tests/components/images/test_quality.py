"""Bad pictures are told from odd but good ones by their measures."""

import cv2
import numpy as np
import pytest
from sklearn.datasets import load_digits, load_sample_image

from components.images.inspect import CleanConfig, quality_notes
from components.images.quality import REDUCED_PX, Measures, reduced
from components.records.reasons import Reason


def photo() -> np.ndarray:
    """A photograph of 640 x 427 px."""
    return np.ascontiguousarray(load_sample_image("china.jpg"))


def reasons(image_HWC: np.ndarray) -> list[Reason]:
    return [reason for reason, _ in quality_notes(Measures(image_HWC), CleanConfig())]


def paint(height_px: int, width_px: int, level: int) -> np.ndarray:
    return np.full((height_px, width_px, 3), level, np.uint8)


def line_art(side_px: int = 2000) -> np.ndarray:
    image_HWC = paint(side_px, side_px, 255)
    image_HWC[side_px // 3] = 0
    return image_HWC


def night_sky() -> np.ndarray:
    rng = np.random.default_rng(0)
    image_HWC = rng.integers(2, 9, (600, 800, 3), dtype=np.uint8)
    image_HWC[rng.integers(0, 600, 200), rng.integers(0, 800, 200)] = 230
    return image_HWC


def product_on_white() -> np.ndarray:
    image_HWC = paint(400, 400, 255)
    image_HWC[150:250, 150:250] = photo()[100:200, 100:200]
    return image_HWC


def mask() -> np.ndarray:
    image_HWC = paint(512, 512, 0)
    image_HWC[250:256, 250:256] = 255
    return image_HWC


def bokeh() -> np.ndarray:
    image_HWC = cv2.GaussianBlur(photo(), (0, 0), 12)
    image_HWC[150:270, 250:370] = photo()[150:270, 250:370]
    return image_HWC


def isoluminant() -> np.ndarray:
    """Red and green halves of the same luma."""
    image_HWC = paint(200, 200, 0)
    image_HWC[:, :100, 0], image_HWC[:, 100:, 1] = 196, 100
    return image_HWC


BENIGN = {
    "photo": photo,
    "soft focus": lambda: cv2.GaussianBlur(photo(), (0, 0), 1.5),
    "low key": lambda: (photo() * 0.35).astype(np.uint8),
    "high key": lambda: np.clip(photo() * 0.45 + 140, 0, 255).astype(np.uint8),
    "line art": line_art,
    "night sky": night_sky,
    "product on white": product_on_white,
    "mask": mask,
    "bokeh": bokeh,
    "isoluminant": isoluminant,
}


@pytest.mark.parametrize("name", BENIGN)
def test_good_pictures_pass(name: str) -> None:
    assert reasons(BENIGN[name]()) == []


def test_small_smooth_digits_pass() -> None:
    """The 1,797 digits of 8 x 8 px."""
    for digit_HW in load_digits().images:
        image_HWC = np.dstack([np.rint(digit_HW * 255 / 16).astype(np.uint8)] * 3)
        assert reasons(image_HWC) == []


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("noise", [0.0, 2.0])
@pytest.mark.parametrize("size_px", [(8, 8), (224, 224), (700, 900)])
def test_blank_pictures_are_told(level: int, noise: float, size_px: tuple[int, int]) -> None:
    grain = np.random.default_rng(0).normal(0, noise, (*size_px, 3))
    image_HWC = np.clip(paint(*size_px, level) + grain, 0, 255).astype(np.uint8)
    assert reasons(image_HWC) == [Reason.BLANK]


def test_dark_bright_and_blurred_pictures_are_told() -> None:
    assert reasons((photo() * 0.2).astype(np.uint8)) == [Reason.VERY_DARK]
    assert reasons(np.clip(photo() / 5 + 200, 0, 255).astype(np.uint8)) == [Reason.VERY_BRIGHT]
    assert reasons(cv2.GaussianBlur(photo(), (0, 0), 12)) == [Reason.VERY_BLURRED]


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (300, 200), (256, 256), (533, 400), (3000, 9)])
def test_reduced_picture_keeps_its_shape_and_mean(shape: tuple[int, int]) -> None:
    gray_HW = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    small_HW = reduced(gray_HW)
    scale = min(1.0, REDUCED_PX / max(shape))
    assert small_HW.shape == tuple(max(1, round(side * scale)) for side in shape)
    assert abs(float(small_HW.mean()) - float(gray_HW.mean())) < 4.0
