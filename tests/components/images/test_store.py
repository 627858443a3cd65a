"""What a shard keeps is exact, says its true pixels, and is never larger than asked."""

import numpy as np
import pytest

from components.images.decode import decode_canonical, decode_stored
from components.images.store import StoredImage, StoreFormat, canonical_bytes
from components.records.reasons import Reason, RecordRejected
from tests.components.images.dirty import encode, noise, odd_images, quarters

JPEG_START, PNG_START = b"\xff\xd8\xff", b"\x89PNG"
RAW_STARTS = (b"P5\n", b"P6\n")


def store(
    data: bytes, format: StoreFormat = "keep", short_side_px: int | None = None
) -> StoredImage:
    decoded = decode_canonical(data, max_pixels=10**8)
    return canonical_bytes(
        decoded, data, format=format, short_side_px=short_side_px, jpeg_quality=95
    )


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("format", ["keep", "jpeg", "png", "raw"])
def test_pixels_told_are_the_pixels_read_back(format: StoreFormat) -> None:
    """For every odd image: what statistics are fitted on is what training will decode."""
    for odd in odd_images():
        if odd.expect is not None:
            continue
        stored = store(odd.data, format)
        np.testing.assert_array_equal(decode_stored(stored.data), stored.image_HWC, odd.name)
        assert stored.image_HWC.shape == (stored.height_px, stored.width_px, 3)
        starts = {
            "jpeg": (JPEG_START,),
            "png": (PNG_START,),
            "raw": RAW_STARTS,
            "keep": (JPEG_START, PNG_START),
        }
        assert stored.data.startswith(starts[format]), odd.name
        if format == "keep":
            assert (stored.data == odd.data) == odd.canonical, odd.name


@pytest.mark.parametrize(
    ("source", "format", "kept", "start"),
    [
        ("JPEG", "keep", True, JPEG_START),
        ("PNG", "keep", True, PNG_START),
        ("BMP", "keep", False, PNG_START),
        ("JPEG", "jpeg", True, JPEG_START),
        ("JPEG", "png", False, PNG_START),
        ("PNG", "jpeg", False, JPEG_START),
    ],
)
def test_format_decides_what_is_kept(
    source: str, format: StoreFormat, kept: bool, start: bytes
) -> None:
    data = encode(noise(), source)
    stored = store(data, format)
    assert (stored.data == data) == kept
    assert stored.data.startswith(start)


def test_new_png_is_lossless_and_new_jpeg_close() -> None:
    image_HWC = noise()
    data = encode(image_HWC, "BMP")
    np.testing.assert_array_equal(store(data).image_HWC, image_HWC)
    error = np.abs(store(data, "jpeg").image_HWC.astype(int) - image_HWC)
    assert 0 < error.mean() < 2.0


@pytest.mark.parametrize(
    ("size_px", "short_side_px", "expected_px"),
    [
        ((160, 120), 60, (80, 60)),
        ((120, 160), 60, (60, 80)),
        ((161, 120), 50, (67, 50)),
        ((160, 120), 120, (160, 120)),
        ((160, 120), 500, (160, 120)),
    ],
)
def test_images_are_shrunk_to_the_short_side_and_never_enlarged(
    size_px: tuple[int, int], short_side_px: int, expected_px: tuple[int, int]
) -> None:
    data = encode(noise(*size_px), "PNG")
    stored = store(data, short_side_px=short_side_px)
    assert (stored.width_px, stored.height_px) == expected_px
    assert (stored.data == data) == (size_px == expected_px)


def test_shrinking_averages_areas() -> None:
    """A fine checkerboard becomes its mean; skipping pixels would leave black or white."""
    checks = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    stored = store(encode(np.dstack([checks] * 3), "PNG"), short_side_px=16)
    assert ((stored.image_HWC == 127) | (stored.image_HWC == 128)).all()


def test_gray_stays_exactly_gray_in_jpeg() -> None:
    gray_HW = noise()[..., 0]
    stored = store(encode(gray_HW, "BMP"), "jpeg")
    assert (stored.image_HWC == stored.image_HWC[..., :1]).all()
    assert len(stored.data) < len(store(encode(noise(), "BMP"), "jpeg").data)


def test_side_too_long_for_jpeg_is_refused_with_the_remedy() -> None:
    data = encode(quarters(width_px=65_501, height_px=1), "PNG")
    with pytest.raises(RecordRejected, match=r"set data\.store\.format: png") as caught:
        store(data, "jpeg")
    assert caught.value.reason == Reason.UNSUPPORTED


def test_same_picture_gives_the_same_bytes() -> None:
    data = encode(noise(), "WEBP")
    assert store(data, short_side_px=40).data == store(data, short_side_px=40).data
