"""The evaluation view: size, field of view, filters."""

import numpy as np
import pytest

from components.images.geometry import Geometry, resize, to_input
from tests.components.images.dirty import BLUE, GREEN, RED, noise


@pytest.mark.parametrize("geometry", ["crop", "stretch"])
@pytest.mark.parametrize("size_px", [(8, 8), (400, 533), (533, 400), (1, 1), (3, 300), (224, 224)])
@pytest.mark.parametrize("image_px", [1, 32, 224])
def test_result_has_the_input_size(
    geometry: Geometry, size_px: tuple[int, int], image_px: int
) -> None:
    view = to_input(noise(*size_px), image_px=image_px, geometry=geometry)
    assert (view.shape, view.dtype) == ((image_px, image_px, 3), np.uint8)
    assert view.flags.c_contiguous


def three_stripes() -> np.ndarray:
    """Red, green, blue from left to right; the green one is the centred square."""
    return np.concatenate([np.full((30, 30, 3), c, np.uint8) for c in (RED, GREEN, BLUE)], axis=1)


def test_crop_keeps_the_centred_square_and_stretch_keeps_all() -> None:
    for stripes, axis in ((three_stripes(), 1), (three_stripes().transpose(1, 0, 2), 0)):
        crop = to_input(stripes, image_px=15, geometry="crop")
        stretch = to_input(stripes, image_px=15, geometry="stretch")
        assert (crop == GREEN).all()
        bands = [np.take(stretch, i, axis).mean(0).tolist() for i in (2, 7, 12)]
        assert bands == [list(RED), list(GREEN), list(BLUE)]


def test_crop_equals_resizing_the_short_side_and_cropping_then() -> None:
    image_HWC = noise(96, 64)
    resized = resize(image_HWC, height_px=32, width_px=48)[:, 8:40]
    np.testing.assert_array_equal(to_input(image_HWC, image_px=32, geometry="crop"), resized)


def test_image_of_the_right_size_is_unchanged() -> None:
    image_HWC = noise(32, 32)
    view = to_input(image_HWC, image_px=32, geometry="crop")
    assert np.shares_memory(view, image_HWC)
    np.testing.assert_array_equal(view, image_HWC)


def test_shrinking_averages_areas_and_growing_interpolates() -> None:
    checks = np.repeat((np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)[..., None], 3, 2)
    assert set(np.unique(resize(checks, height_px=16, width_px=16))) <= {127, 128}
    edge = np.repeat(np.array([[0, 200]], np.uint8)[..., None], 3, 2)
    assert resize(edge, height_px=1, width_px=4)[0, :, 0].tolist() == [0, 50, 150, 200]


def test_side_that_shrinks_is_averaged_also_when_the_other_grows() -> None:
    stripes = np.zeros((4, 64, 3), np.uint8)
    stripes[:, ::2] = 254
    mixed = resize(stripes, height_px=8, width_px=16)
    assert mixed.shape == (8, 16, 3)
    assert (mixed == 127).all()
