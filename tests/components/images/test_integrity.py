"""Damage is found by what the format tells; whole files pass; bombs cost no memory."""

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from components.images.decode import decode_canonical
from components.images.integrity import webp_size
from components.records.reasons import Reason, RecordRejected
from tests.components.images.dirty import encode, noise, png

MAX_PIXELS = 50_000_000
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def reason_of(data: bytes) -> Reason | None:
    try:
        decode_canonical(data, max_pixels=MAX_PIXELS)
    except RecordRejected as refused:
        return refused.reason
    return None


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunk(data: bytes, extra: bytes) -> bytes:
    """A PNG with a further chunk behind its header."""
    return data[:33] + extra + data[33:]


def photo_jpeg(**options: object) -> bytes:
    return encode(np.ascontiguousarray(load_sample_image("china.jpg")), "JPEG", **options)


@pytest.mark.parametrize("colour_type", [0, 2, 6])
def test_png_with_too_few_rows_is_truncated(colour_type: int) -> None:
    """Valid chunks, valid compression, half of the rows: Pillow shows the rest as black."""
    row_bytes = 40 * {0: 1, 2: 3, 6: 4}[colour_type]
    rows = [bytes([y % 251]) * row_bytes for y in range(24)]
    assert reason_of(png(40, 24, 8, colour_type, rows)) is None
    assert reason_of(png(40, 24, 8, colour_type, rows[:12])) is Reason.TRUNCATED
    assert reason_of(png(40, 24, 8, colour_type, [*rows, *rows])) is None


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "1", "LA"])
def test_png_whose_coded_data_are_cut_is_truncated(mode: str) -> None:
    data = encode(Image.fromarray(noise()).convert(mode), "PNG")
    start = data.index(b"IDAT") - 4
    length = int.from_bytes(data[start : start + 4], "big")
    cut = data[start + 8 : start + 8 + length // 2]
    assert reason_of(data[:start] + chunk(b"IDAT", cut) + chunk(b"IEND", b"")) is Reason.TRUNCATED


def test_interlaced_png_passes() -> None:
    adam7 = zlib.compress(b"".join(b"\0" + bytes(n) for n in (4, 4, 8, 8, 8, 16, 16, 16, 16, 16)))
    header = struct.pack(">IIBBBBB", 4, 5, 8, 6, 0, 0, 1)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", adam7) + chunk(b"IEND", b"")
    assert reason_of(SIGNATURE + parts) is None


def test_damaged_comment_does_no_harm() -> None:
    plain, comment = encode(noise(), "PNG"), chunk(b"tEXt", b"Comment\0hello")
    damaged = comment[:-1] + bytes([comment[-1] ^ 1])
    whole_HWC = decode_canonical(plain, max_pixels=MAX_PIXELS).image_HWC
    for extra in (comment, damaged):
        decoded = decode_canonical(with_chunk(plain, extra), max_pixels=MAX_PIXELS)
        np.testing.assert_array_equal(decoded.image_HWC, whole_HWC)


@pytest.mark.parametrize("size_bytes", [512, 4096])
@pytest.mark.parametrize(("progressive", "least"), [(False, 30), (True, 27)])
def test_overwritten_jpeg_is_found(size_bytes: int, progressive: bool, least: int) -> None:
    data = photo_jpeg(quality=85, progressive=progressive)
    rng = np.random.default_rng(0)
    found = 0
    for share in np.linspace(0.2, 0.8, 15):
        start = int(len(data) * share)
        for junk in (bytes(size_bytes), rng.bytes(size_bytes)):
            damaged = data[:start] + junk + data[start + size_bytes :]
            found += reason_of(damaged) in (Reason.CORRUPT, Reason.TRUNCATED)
    assert found >= least


@pytest.mark.parametrize("optimize", [False, True])
@pytest.mark.parametrize("progressive", [False, True])
def test_flat_jpeg_may_hold_zeros(optimize: bool, progressive: bool) -> None:
    """White paper with one picture on it: tables made for it code a flat block as two zero bits."""
    image_HWC = np.full((900, 1200, 3), 255, np.uint8)
    image_HWC[400:440, 500:560] = noise(60, 40)
    data = encode(image_HWC, "JPEG", optimize=optimize, progressive=progressive)
    assert reason_of(data) is None
    assert (bytes(32) in data) == (optimize or progressive)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("end", [b"", b"\xff\xd9", bytes(5000)])
@pytest.mark.parametrize("progressive", [False, True])
def test_cut_jpeg_is_truncated(share: float, end: bytes, progressive: bool) -> None:
    data = photo_jpeg(quality=85, progressive=progressive)
    assert reason_of(data[: int(len(data) * share)] + end) is Reason.TRUNCATED


def test_progressive_jpeg_without_its_last_scans_is_truncated() -> None:
    data = photo_jpeg(quality=85, progressive=True)
    scans = [n for n in range(len(data) - 1) if data[n : n + 2] == b"\xff\xda"]
    assert len(scans) >= 8
    for start in scans[1:]:
        assert reason_of(data[:start] + b"\xff\xd9") is Reason.TRUNCATED


@pytest.mark.parametrize(
    "options",
    [
        {"quality": 5},
        {"quality": 100, "subsampling": 0},
        {"optimize": True, "progressive": True},
        {"restart_marker_blocks": 3},
    ],
)
def test_whole_jpegs_pass_with_tails_and_padding(options: dict[str, object]) -> None:
    data = photo_jpeg(**options)
    assert data.endswith(b"\xff\xd9")
    assert reason_of(data) is None
    assert reason_of(data + b"tail\xff\xd8" * 99) is None
    assert reason_of(data[:-2] + bytes(7) + data[-2:]) is None


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("WEBP", {"quality": 80}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("AVIF", {}),
        ("JPEG2000", {}),
        ("GIF", {}),
        ("BMP", {}),
        ("PPM", {}),
    ],
)
def test_cut_files_of_other_formats_are_truncated(format: str, options: dict[str, object]) -> None:
    data = encode(noise(), format, **options)
    assert reason_of(data) is None
    assert reason_of(data[: len(data) // 2]) is Reason.TRUNCATED


def test_scan_header_of_zeros_does_no_harm() -> None:
    """Some phones write 0, 0, 0 where a sequential scan has 0, 63, 0."""
    data = photo_jpeg(quality=85)
    end = data.index(b"\xff\xda") + 14
    assert data[end - 3 : end] == b"\x00\x3f\x00"
    odd = data[: end - 3] + bytes(3) + data[end:]
    assert reason_of(odd) is None
    assert reason_of(odd[: len(odd) // 2] + b"\xff\xd9") is Reason.TRUNCATED


def test_webp_size_is_read_from_each_kind_of_header() -> None:
    for options in ({"lossless": True}, {"quality": 50}, {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0"}):
        assert webp_size(encode(noise(161, 77), "WEBP", **options)) == (161, 77)
    assert webp_size(encode(noise(), "PNG")) is None


def bombs() -> dict[str, bytes]:
    """Small files that claim 60,000 x 60,000 pixels, or that unpack to 100 MB of comment."""
    small, side = encode(noise(), "PNG"), 60_000
    jpeg = bytearray(encode(noise(), "JPEG"))
    frame = jpeg.index(b"\xff\xc0") + 5
    jpeg[frame : frame + 4] = struct.pack(">HH", side, side)
    gif = bytearray(encode(noise(), "GIF"))
    gif[6:10] = struct.pack("<HH", side, side)
    bmp = bytearray(encode(noise(), "BMP"))
    bmp[18:26] = struct.pack("<ii", side, side)
    tiff = bytearray(encode(noise(), "TIFF"))
    for tag in (256, 257):
        entry = tiff.index(struct.pack("<H", tag), 8)
        tiff[entry : entry + 12] = struct.pack("<HHII", tag, 4, 1, side)
    webp = bytearray(encode(noise(), "WEBP", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0"))
    webp[24:30] = (16_000).to_bytes(3, "little") * 2
    text = zlib.compress(bytes(100_000_000), 1)
    return {
        "png": png(side, side, 8, 0, [bytes(10)]),
        "rgba.png": png(side, side, 8, 6, [bytes(10)]),
        "jpeg": bytes(jpeg),
        "gif": bytes(gif),
        "bmp": bytes(bmp),
        "tiff": bytes(tiff),
        "webp": bytes(webp),
        "pgm": b"P5 60000 60000 255\n" + bytes(100),
        "ztxt": with_chunk(small, chunk(b"zTXt", b"c\0\0" + text)),
        "iccp": with_chunk(small, chunk(b"iCCP", b"c\0\0" + text)),
    }


def test_bombs_are_refused_before_memory_is_spent(tmp_path: Path) -> None:
    """In a process that may not take 200 MB more than it has once everything is imported."""
    for name, data in bombs().items():
        (tmp_path / name).write_bytes(data)
    code = f"""
import pathlib, resource
from components.images.decode import decode_canonical
from components.records.reasons import RecordRejected
files = sorted(pathlib.Path({str(tmp_path)!r}).iterdir())
data = [file.read_bytes() for file in files]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for file, item in zip(files, data):
    try:
        decode_canonical(item, max_pixels={MAX_PIXELS})
    except RecordRejected as refused:
        print(file.name, refused.reason.value)
print("grown", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    command = [sys.executable, "-W", "ignore", "-c", code]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    told = dict(line.split() for line in output.splitlines())
    kilobytes = int(told.pop("grown")) // (1024 if sys.platform == "darwin" else 1)
    assert kilobytes < 30_000
    assert told.pop("ztxt") == told.pop("iccp") == "corrupt"
    assert told == dict.fromkeys(told, "too_many_pixels")
    assert len(told) == 8
