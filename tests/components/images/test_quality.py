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


@pytest.mark.parametrize("size_px", [(40, 60), (300, 200), (9, 1200), (700, 900)])
def test_the_mean_spares_only_looks_that_would_find_nothing(size_px: tuple[int, int]) -> None:
    """At any limit: the notes are those of the darkest and brightest luma of each picture."""
    rng = np.random.default_rng(0)
    judged = {Reason.VERY_DARK: 0, Reason.VERY_BRIGHT: 0}
    for _ in range(60):
        middle, spread = rng.uniform(0, 255), rng.uniform(0, 60)
        grain = rng.normal(middle, spread, (*size_px, 3))
        image_HWC = np.clip(grain, 0, 255).astype(np.uint8)
        level = round(middle + rng.choice([-3, -1, 0, 1, 3]) * spread)
        level = min(max(level, 0), 255)
        measures = Measures(image_HWC)
        clean = CleanConfig(
            dark_level=level, bright_level=level, blank_contrast=0.0, blank_deviation=0.0
        )
        expected = {
            Reason.VERY_DARK: measures.brightest <= level,
            Reason.VERY_BRIGHT: measures.darkest >= level,
        }
        found = [reason for reason, _ in quality_notes(measures, clean)]
        if found == [Reason.BLANK]:
            continue
        for reason, is_so in expected.items():
            assert (reason in found) == is_so
            judged[reason] += is_so
    assert min(judged.values()) > 3


def test_detail_and_edge_are_those_of_numpy() -> None:
    measures = Measures(photo())
    gray_HW = measures.reduced_HW.astype(np.float64)
    padded_HW = np.pad(gray_HW, 1, mode="edge")
    around_HW = padded_HW[:-2, 1:-1] + padded_HW[2:, 1:-1] + padded_HW[1:-1, :-2]
    laplacian_HW = around_HW + padded_HW[1:-1, 2:] - 4 * gray_HW
    detail = (laplacian_HW.var() - 20 / 12) / gray_HW.var()
    assert measures.detail == pytest.approx(detail, rel=1e-9)
    assert measures.contrast == pytest.approx(gray_HW.std(), rel=1e-9)
    steps = (np.abs(np.diff(gray_HW, axis=axis)).ravel() for axis in (0, 1))
    steepest = max(np.sort(step)[int(np.ceil(step.size * 0.999)) - 1] for step in steps)
    assert measures.edge == pytest.approx(steepest / np.ptp(gray_HW), rel=1e-9)


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (300, 200), (256, 256), (533, 400), (3000, 9)])
def test_reduced_picture_keeps_its_shape_and_mean(shape: tuple[int, int]) -> None:
    gray_HW = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    small_HW = reduced(gray_HW)
    scale = min(1.0, REDUCED_PX / max(shape))
    assert small_HW.shape == tuple(max(1, round(side * scale)) for side in shape)
    assert abs(float(small_HW.mean()) - float(gray_HW.mean())) < 4.0
