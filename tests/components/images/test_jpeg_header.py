"""The short way through a usual JPEG ends where Pillow's does; whatever is odd goes to Pillow."""

import io

import numpy as np
import pytest
from PIL import Image

from components.images import decode
from components.images.decode import decode_canonical
from components.images.jpeg_header import PlainJpeg, plain_jpeg
from components.records.reasons import RecordRejected
from tests.components.images.dirty import EXIF_ORIENTATION, encode, noise, odd_images

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

XMP = b"http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation='6'/>"


def with_exif(orientation: int | None) -> bytes:
    exif = Image.Exif()
    exif[0x010F] = "maker"
    if orientation is not None:
        exif[EXIF_ORIENTATION] = orientation
    return encode(noise(), "JPEG", exif=exif)


def with_segment(code: int, body: bytes) -> bytes:
    data = encode(noise(), "JPEG")
    return data[:2] + bytes([0xFF, code]) + (len(body) + 2).to_bytes(2, "big") + body + data[2:]


def outcome(data: bytes) -> tuple[object, ...]:
    try:
        found = decode_canonical(data, max_pixels=10**7)
    except RecordRejected as problem:
        return problem.reason, problem.detail
    pixels = found.image_HWC.shape, found.image_HWC.tobytes()
    stored = found.source_height_px, found.source_width_px, found.source_format, found.source_mode
    return *pixels, *stored, found.orientation, found.is_canonical, found.notes


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_usual_headers_are_read(mode: str, progressive: bool) -> None:
    image = Image.fromarray(noise(67, 41)).convert(mode)
    options = {"progressive": progressive, "comment": b"hello", "icc_profile": b"x" * 300}
    assert plain_jpeg(encode(image, "JPEG", **options)) == PlainJpeg(67, 41, mode)


@pytest.mark.parametrize(
    ("data", "is_plain"),
    [
        (with_exif(None), True),
        (with_exif(1), True),
        (with_exif(6), False),
        (with_exif(9), False),
        (with_segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\xff\xff"), False),
        (with_segment(0xE1, XMP), False),
        (with_segment(0xE1, XMP.replace(b"Orientation", b"Other")), True),
        (with_segment(0xE1, b"something else"), False),
        (with_segment(0xE2, b"MPF\0" + bytes(40)), False),
        (with_segment(0xC9, bytes(20)), False),
        (encode(Image.fromarray(noise()).convert("CMYK"), "JPEG"), False),
        (encode(noise(), "JPEG")[:200], False),
        (encode(noise(), "PNG"), False),
        (b"\xff\xd8\xff", False),
        (b"\xff\xd8\xff\xda\x00\x02", False),
    ],
)
def test_only_what_is_surely_upright_and_single_is_plain(data: bytes, is_plain: bool) -> None:
    assert (plain_jpeg(data) is not None) == is_plain


@pytest.mark.processes
def test_both_ways_end_alike_on_damaged_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    """3,000 files with bytes changed, cut out or missing: same pixels, or same words."""
    rng = np.random.default_rng(3)
    options = [{"quality": q, "progressive": p} for q in (50, 95) for p in (False, True)]
    whole = [encode(noise(40, 30), "JPEG", **chosen) for chosen in options] + [with_exif(1)]
    whole += [odd.data for odd in odd_images() if odd.name.endswith(".jpg")]
    usual = [data for data in whole if len(data) > 100 and plain_jpeg(data) is not None]
    damaged = list(usual)
    while len(damaged) < 3_000:
        data = bytearray(usual[len(damaged) % len(usual)])
        place = int(rng.integers(2, min(len(data), 700)))
        if len(damaged) % 3:
            data[place] = int(rng.integers(256))
        else:
            del data[place : place + int(rng.integers(1, 40))]
        damaged.append(bytes(data))
    plain = [data for data in damaged if plain_jpeg(data) is not None]
    assert len(plain) > 1_000
    short = [outcome(data) for data in plain]
    assert 100 < sum(len(found) == 2 for found in short) < len(short) - 100
    monkeypatch.setattr(decode, "plain_jpeg", lambda data: None)
    assert [outcome(data) for data in plain] == short


def test_turned_pictures_are_still_seen() -> None:
    assert decode_canonical(with_exif(6), max_pixels=10**7).orientation == 6
    upright = decode_canonical(with_exif(1), max_pixels=10**7)
    assert upright.is_canonical and upright.image_HWC.shape == (120, 160, 3)
    assert Image.open(io.BytesIO(with_exif(1))).size == (160, 120)
