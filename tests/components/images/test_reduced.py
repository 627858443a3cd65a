"""Stored pictures at the size that is enough: exact at full size, averaged below it."""

import cv2
import numpy as np
import pytest

from components.images.decode import decode_stored
from components.images.raw import encode_raw
from components.images.reduced import decode_reduced
from components.records.reasons import Reason, RecordRejected


def scene(height_px: int = 200, width_px: int = 300) -> np.ndarray:
    coarse = np.random.default_rng(7).integers(0, 256, (10, 15, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width_px, height_px), interpolation=cv2.INTER_CUBIC)


def jpeg(picture: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 95])[1]).ravel()


@pytest.mark.parametrize(
    ("wanted", "size"),
    [
        ((200, 300), (200, 300)),
        ((101, 100), (200, 300)),  # half would be 100 rows: too few
        ((100, 150), (100, 150)),
        ((50, 75), (50, 75)),
        ((20, 30), (25, 38)),
        ((900, 900), (200, 300)),  # a crop smaller than the input is enlarged later
    ],
)
def test_a_jpeg_is_no_larger_than_it_must_be(
    wanted: tuple[int, int], size: tuple[int, int]
) -> None:
    encoded = jpeg(scene())
    whole_HWC = decode_stored(encoded)
    found_HWC = decode_reduced(encoded, *wanted)
    assert found_HWC.shape == (*size, 3)
    if size == (200, 300):
        assert np.array_equal(found_HWC, whole_HWC)
    else:
        # Pixels at the right and lower edge may stand for fewer of the source.
        factor = 200 // size[0]
        right = size[1] * factor - 300
        whole_HWC = cv2.copyMakeBorder(whole_HWC, 0, 0, 0, right, cv2.BORDER_REPLICATE)
        averaged = cv2.resize(whole_HWC, (size[1], size[0]), interpolation=cv2.INTER_AREA)
        assert np.abs(found_HWC.astype(int) - averaged).mean() < 2.5


def test_gray_jpegs_come_as_rgb() -> None:
    found_HWC = decode_reduced(jpeg(scene()[..., 0]), 100, 150)
    assert found_HWC.shape == (100, 150, 3)
    assert np.array_equal(found_HWC[..., 0], found_HWC[..., 2])


@pytest.mark.parametrize("colour", [True, False])
def test_raw_and_png_have_their_own_size(colour: bool) -> None:
    picture = scene(40, 60) if colour else np.ascontiguousarray(scene(40, 60)[..., 0])
    raw = np.frombuffer(encode_raw(picture), np.uint8)
    png = np.asarray(cv2.imencode(".png", picture)[1]).ravel()
    for encoded in (raw, png):
        assert np.array_equal(decode_reduced(encoded, 5, 5), decode_stored(encoded))


def test_colour_that_is_raw_is_looked_at_where_it_lies() -> None:
    encoded = np.frombuffer(encode_raw(scene(40, 60)), np.uint8)
    assert np.shares_memory(decode_reduced(encoded, 5, 5), encoded)


def test_damage_is_told() -> None:
    encoded = jpeg(scene())
    for damaged in (encoded[:200], np.frombuffer(encode_raw(scene())[:-1], np.uint8)):
        with pytest.raises(RecordRejected) as refused:
            decode_reduced(damaged, 100, 150)
        assert refused.value.reason is Reason.CORRUPT
