"""Every odd file is refused with its reason or comes out in the right colours, upright."""

import numpy as np
import pytest
from PIL import Image

from components.images.decode import DecodedImage, decode_canonical, decode_stored
from components.records.reasons import REASONS, Reason, RecordRejected
from tests.components.images.dirty import (
    GRAY,
    HEIGHT_PX,
    WIDTH_PX,
    OddImage,
    encode,
    noise,
    odd_images,
    quarters,
)

MAX_PIXELS = 178_956_970
ODD = odd_images()
DECODABLE = [odd for odd in ODD if odd.expect is None]
REFUSED = [odd for odd in ODD if odd.expect is not None]

# Pillow warns of damaged EXIF and TIFF tags, which are part of these files.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


def decode(data: bytes, max_pixels: int = MAX_PIXELS) -> DecodedImage:
    return decode_canonical(data, max_pixels=max_pixels)


def name_of(odd: OddImage) -> str:
    return odd.name


@pytest.mark.parametrize("odd", DECODABLE, ids=name_of)
def test_picture_is_upright_rgb_in_the_right_colours(odd: OddImage) -> None:
    decoded = decode(odd.data)
    image_HWC = decoded.image_HWC
    height_px, width_px = image_HWC.shape[:2]

    assert image_HWC.dtype == np.uint8
    assert (width_px, height_px, image_HWC.shape[2]) == (*odd.size_px, 3)
    if odd.expect_rgb is not None:
        rows, columns = (height_px // 4, 3 * height_px // 4), (width_px // 4, 3 * width_px // 4)
        centres = [image_HWC[y, x].astype(int) for y in rows for x in columns]
        assert np.abs(np.array(centres) - np.array(odd.expect_rgb)).max() <= odd.tolerance


@pytest.mark.parametrize("odd", DECODABLE, ids=name_of)
def test_canonical_means_that_the_bytes_can_be_kept(odd: OddImage) -> None:
    decoded = decode(odd.data)

    assert decoded.is_canonical == odd.canonical
    if odd.canonical:
        np.testing.assert_array_equal(decode_stored(odd.data), decoded.image_HWC)


@pytest.mark.parametrize("odd", REFUSED, ids=name_of)
def test_unusable_file_is_refused_with_its_reason(odd: OddImage) -> None:
    with pytest.raises(RecordRejected) as caught:
        decode(odd.data)

    assert caught.value.reason == odd.expect
    assert caught.value.detail and "\n" not in caught.value.detail
    assert REASONS[caught.value.reason].remedy


def test_odd_images_cover_every_reason_of_decoding() -> None:
    assert {odd.expect for odd in REFUSED} == {
        Reason.EMPTY,
        Reason.NOT_AN_IMAGE,
        Reason.TRUNCATED,
        Reason.CORRUPT,
        Reason.TOO_MANY_PIXELS,
        Reason.UNSUPPORTED,
    }
    assert len({odd.name for odd in ODD}) == len(ODD) >= 100


def test_source_facts_are_those_before_the_turn() -> None:
    by_name = {odd.name: decode(odd.data) for odd in DECODABLE if odd.name.startswith("turn6")}

    assert len(by_name) == 5
    for decoded in by_name.values():
        stored_px = (decoded.source_width_px, decoded.source_height_px)
        assert (decoded.orientation, stored_px) == (6, (HEIGHT_PX, WIDTH_PX))
    assert by_name["turn6.jpg"].source_format == "JPEG"
    assert by_name["turn6.jpg"].source_mode == "RGB"


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF"])
def test_no_cut_file_gives_half_a_picture(format: str) -> None:
    """At 40 places in the file: refused, or (end marks and tails apart) the very same picture."""
    data = encode(noise(48, 36), format)
    whole = decode(data).image_HWC
    refused = 0
    for length in np.linspace(1, len(data) - 1, 40, dtype=int):
        try:
            np.testing.assert_array_equal(decode(data[:length]).image_HWC, whole)
        except RecordRejected:
            refused += 1
    assert refused >= 38


def test_every_flipped_byte_in_png_pixels_is_found() -> None:
    """Pillow alone showed 38 of 200 such files as other pixels."""
    data = encode(noise(), "PNG")
    rng = np.random.default_rng(0)
    for position in rng.integers(50, len(data) - 16, 200):
        damaged = bytearray(data)
        damaged[position] ^= int(rng.integers(1, 256))
        with pytest.raises(RecordRejected):
            decode(bytes(damaged))


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("shape", [(160, 120), (161, 121), (39, 33)])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_cut_jpeg_with_a_forged_end_is_found(
    share: float, shape: tuple[int, int], subsampling: int
) -> None:
    data = encode(noise(*shape), "JPEG", quality=90, subsampling=subsampling)
    start_of_scan = data.index(b"\xff\xda") + 14
    end = start_of_scan + int((len(data) - start_of_scan) * share)
    with pytest.raises(RecordRejected) as caught:
        decode(data[:end] + b"\xff\xd9")
    # Of 30 blocks the last alone cannot tell a cut from damage on the way.
    is_tiny = shape == (39, 33) and share == 0.95
    assert caught.value.reason in (Reason.TRUNCATED, *([Reason.CORRUPT] if is_tiny else []))


@pytest.mark.parametrize("size_px", [(64, 64), (17, 9), (1, 1), (8, 33)])
@pytest.mark.parametrize("progressive", [False, True])
def test_whole_jpeg_that_is_mid_gray_passes(size_px: tuple[int, int], progressive: bool) -> None:
    data = encode(quarters((GRAY,) * 4, *size_px), "JPEG", progressive=progressive)
    assert (decode(data).image_HWC == 128).all()


def test_damaged_bytes_only_ever_raise_record_rejected() -> None:
    """A thousand damaged files of all formats: no other exception may end a job."""
    rng = np.random.default_rng(5)
    outcomes = {"decoded": 0, "refused": 0}
    for odd in DECODABLE * 12:
        damaged = bytearray(odd.data)
        for _ in range(4):
            damaged[int(rng.integers(min(len(damaged), 400)))] = int(rng.integers(256))
        try:
            decode(bytes(damaged), max_pixels=1_000_000)
            outcomes["decoded"] += 1
        except RecordRejected:
            outcomes["refused"] += 1
    assert sum(outcomes.values()) > 900
    assert min(outcomes.values()) > 100


def test_pixel_limit_is_exact_and_leaves_pillow_s_own_alone() -> None:
    data, limit = encode(quarters(), "PNG"), Image.MAX_IMAGE_PIXELS

    assert decode(data, max_pixels=WIDTH_PX * HEIGHT_PX).image_HWC.shape == (24, 40, 3)
    with pytest.raises(RecordRejected, match="40 x 24 = 960 pixels, limit 959"):
        decode(data, max_pixels=WIDTH_PX * HEIGHT_PX - 1)
    assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("size_px", [(160, 120), (37, 51)])
def test_fast_decoding_equals_the_canonical_one_bit_for_bit(
    subsampling: int, progressive: bool, size_px: tuple[int, int]
) -> None:
    options = {"quality": 80, "subsampling": subsampling, "progressive": progressive}
    data = encode(noise(*size_px), "JPEG", **options)
    np.testing.assert_array_equal(decode_stored(data), decode(data).image_HWC)


@pytest.mark.parametrize("wrap", [bytes, memoryview, lambda data: np.frombuffer(data, np.uint8)])
def test_stored_bytes_decode_from_any_buffer(wrap: type) -> None:
    image_HWC = noise()
    stored_HWC = decode_stored(wrap(encode(image_HWC, "PNG")))

    np.testing.assert_array_equal(stored_HWC, image_HWC)
    assert stored_HWC.flags.writeable


@pytest.mark.parametrize("data", [b"", b"junk" * 9, encode(noise(), "PNG")[:40]])
def test_damaged_stored_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(RecordRejected) as caught:
        decode_stored(data)
    assert caught.value.reason == Reason.CORRUPT
