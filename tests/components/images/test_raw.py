"""Raw pictures come back to the last bit, one by one and all at once, or are refused."""

import io

import cv2
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from components.images.decode import decode_canonical, decode_stored
from components.images.raw import decode_raw_batch, encode_raw
from components.images.store import canonical_bytes
from components.records.reasons import Reason, RecordRejected
from tests.components.images.dirty import encode, noise

ImageArray = np.ndarray


def gray(width_px: int, height_px: int, seed: int = 1) -> ImageArray:
    """uint8 RGB whose channels are equal."""
    return np.repeat(noise(width_px, height_px, seed)[..., :1], 3, axis=2)


def stored(image_HWC: ImageArray, short_side_px: int | None = None) -> bytes:
    """What a shard keeps of a picture that came as PNG."""
    data = encode(image_HWC, "PNG")
    kept = canonical_bytes(
        decode_canonical(data, max_pixels=10**8),
        data,
        format="raw",
        short_side_px=short_side_px,
        jpeg_quality=95,
    )
    np.testing.assert_array_equal(decode_stored(kept.data), kept.image_HWC)
    return kept.data


def column(images: list[ImageArray]) -> pa.Array:
    return pa.array([stored(image_HWC) for image_HWC in images], pa.binary())


@pytest.mark.parametrize("size_px", [(1, 1), (1, 300), (32, 32), (41, 29), (1000, 3)])
def test_pixels_come_back_and_take_their_number_of_bytes(size_px: tuple[int, int]) -> None:
    width_px, height_px = size_px
    header_bytes = len(f"P6\n{width_px} {height_px}\n255\n")
    coloured_HWC, gray_HWC = noise(*size_px), gray(*size_px)

    for image_HWC, channels in ((coloured_HWC, 3), (gray_HWC, 1)):
        data = stored(image_HWC)
        decoded_HWC = decode_stored(data)
        np.testing.assert_array_equal(decoded_HWC, image_HWC)
        assert decoded_HWC.flags.writeable and decoded_HWC.flags.c_contiguous
        assert len(data) == header_bytes + width_px * height_px * channels


@pytest.mark.parametrize("image_HWC", [noise(41, 29), gray(41, 29)], ids=["colour", "gray"])
def test_other_readers_show_the_same_picture(image_HWC: ImageArray) -> None:
    data = stored(image_HWC)
    by_opencv = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)

    np.testing.assert_array_equal(by_opencv, image_HWC)
    np.testing.assert_array_equal(Image.open(io.BytesIO(data)).convert("RGB"), image_HWC)
    np.testing.assert_array_equal(decode_canonical(data, max_pixels=10**6).image_HWC, image_HWC)


def test_large_pictures_are_shrunk_like_those_of_other_formats() -> None:
    data = encode(noise(160, 120), "PNG")
    decoded = decode_canonical(data, max_pixels=10**6)
    as_raw, as_png = (
        canonical_bytes(decoded, data, format=name, short_side_px=60, jpeg_quality=95)
        for name in ("raw", "png")
    )
    assert (as_raw.width_px, as_raw.height_px) == (80, 60)
    np.testing.assert_array_equal(decode_stored(as_raw.data), decode_stored(as_png.data))


@pytest.mark.parametrize("image_HWC", [noise(32, 24), gray(32, 24)], ids=["colour", "gray"])
def test_every_cut_and_every_other_header_is_refused(image_HWC: ImageArray) -> None:
    data = stored(image_HWC)
    cuts = [data[:length] for length in (3, 5, 13, 14, len(data) // 2, len(data) - 1)]
    longer = [
        data + b"\0",
        data.replace(b"255\n", b"65535\n", 1),
        data.replace(b"\n", b"\n# a\n", 1),
    ]
    sizes = [data.replace(b"32 24", size, 1) for size in (b"0 24", b"33 24", b"-2 24", b"9" * 40)]

    for damaged in [*cuts, *longer, *sizes]:
        with pytest.raises(RecordRejected) as caught:
            decode_stored(damaged)
        assert caught.value.reason == Reason.CORRUPT
        assert decode_raw_batch(pa.array([data, damaged])) is None
        assert decode_raw_batch(pa.array([damaged, damaged])) is None


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
@pytest.mark.parametrize("grays", ["none", "all", "some", "every other"])
def test_batch_equals_one_by_one(kind: pa.DataType, grays: str) -> None:
    chosen = {"none": (), "all": range(20), "some": (0, 7, 8, 19), "every other": range(0, 20, 2)}
    images = [(gray if n in chosen[grays] else noise)(31, 17, n) for n in range(20)]
    batch_BHWC = decode_raw_batch(column(images).cast(kind))

    assert batch_BHWC is not None and batch_BHWC.dtype == np.uint8 and batch_BHWC.flags.writeable
    np.testing.assert_array_equal(batch_BHWC, np.stack(images))


def test_batch_reads_slices_and_chunks() -> None:
    images = [(gray if n % 5 == 0 else noise)(16, 9, n) for n in range(30)]
    whole = column(images)
    chunks = pa.chunked_array([whole[3:4], whole[:0], whole[4:21]])

    for part, expected in (
        (whole[7:], images[7:]),
        (whole[29:], images[29:]),
        (chunks, images[3:21]),
    ):
        decoded_BHWC = decode_raw_batch(part)
        assert decoded_BHWC is not None
        np.testing.assert_array_equal(decoded_BHWC, np.stack(expected))


def test_batch_takes_some_in_any_order() -> None:
    images = [(gray if n % 3 == 0 else noise)(16, 9, n) for n in range(30)]
    whole = column(images)
    chunks = pa.chunked_array([whole[:11], whole[:0], whole[11:]])
    for places in ([4, 28, 0, 0, 11, 10], [7], []):
        decoded_BHWC = decode_raw_batch(chunks, np.array(places, np.int64))
        assert decoded_BHWC is not None and decoded_BHWC.shape == (len(places), 9, 16, 3)
        for place, image_HWC in zip(places, decoded_BHWC, strict=True):
            np.testing.assert_array_equal(image_HWC, images[place])


def test_batch_of_other_things_is_none() -> None:
    small, wide, tall = noise(8, 8), noise(16, 4), noise(4, 16)
    jpeg = encode(small, "JPEG")
    cases = [
        column([small, noise(9, 8)]),
        column([wide, tall]),  # as many bytes
        column([small, gray(9, 8)]),
        pa.array([stored(small), None]),
        pa.array([stored(small), jpeg]),
        pa.array([jpeg, jpeg]),
        pa.array([b"", b""]),
        pa.array([], pa.binary()),
        pa.array(["P6"]),
        pa.chunked_array([column([small]), column([wide])]),
        pa.chunked_array([column([small]), pa.array([jpeg])]),
        pa.chunked_array([], pa.binary()),
    ]
    assert [decode_raw_batch(case) is None for case in cases] == [True] * len(cases)


def test_encoded_rows_may_be_views() -> None:
    image_HWC = noise(20, 10)
    np.testing.assert_array_equal(decode_stored(encode_raw(image_HWC[::-1])), image_HWC[::-1])
