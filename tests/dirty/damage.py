"""Bytes that are broken, hostile or no picture at all."""

import io
import re
import struct
import zipfile
import zlib

import numpy as np

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_END = b"\xff\xd9"


def cut(data: bytes, share: float) -> bytes:
    """The first part of a file."""
    return data[: int(len(data) * share)]


def cut_and_closed(data: bytes, share: float) -> bytes:
    """A JPEG cut in its coded data, with an end marker again: decoders show a grey rest."""
    return cut(data, share).rstrip(b"\xff") + JPEG_END


def cut_in_last_scan(data: bytes, share: float) -> bytes:
    """A progressive JPEG cut within its last scan and closed by an end marker."""
    start = data.rindex(b"\xff\xda")
    return data[: start + int((len(data) - start) * share)].rstrip(b"\xff") + JPEG_END


def cut_in_first_scan(data: bytes, share: float) -> bytes:
    """A progressive JPEG cut within its first scan and closed by an end marker."""
    scans = [match.start() for match in re.finditer(rb"\xff\xda", data)]
    length = int((scans[1] - scans[0]) * share)
    return data[: scans[0] + length].rstrip(b"\xff") + JPEG_END


def zero_filled(data: bytes, share: float) -> bytes:
    """A file of full length whose rest was never written."""
    kept = int(len(data) * share)
    return data[:kept] + bytes(len(data) - kept)


def overwritten(data: bytes, block: bytes, place: float = 0.5) -> bytes:
    """Damaged in the middle: a block of other bytes, the length unchanged."""
    start = int(len(data) * place)
    return data[:start] + block + data[start + len(block) :]


def flipped(data: bytes, place: float = 0.5) -> bytes:
    """One byte changed in the middle."""
    return overwritten(data, bytes([data[int(len(data) * place)] ^ 0x5A]), place)


def without_png_data(data: bytes, share: float) -> bytes:
    """A PNG cut short in its pixel data, with an end chunk again."""
    return cut(data, share) + _chunk(b"IEND", b"")


def png_bomb(width_px: int, height_px: int) -> bytes:
    """A PNG that claims a huge size and holds the data of a small part of it."""
    return png_file(width_px, height_px, 8, zlib.compress(bytes(2_000_000), 9))


def full_png_bomb(width_px: int, height_px: int) -> bytes:
    """A 1-bit PNG of that size with all of its (black) pixels."""
    packer, packed = zlib.compressobj(6), []
    left = (1 + (width_px + 7) // 8) * height_px
    while left > 0:
        packed.append(packer.compress(bytes(min(left, 4 << 20))))
        left -= 4 << 20
    return png_file(width_px, height_px, 1, b"".join([*packed, packer.flush()]))


def gif_bomb(side_px: int) -> bytes:
    """A GIF that claims side x side pixels and holds a handful."""
    screen = struct.pack("<HHBBB", side_px, side_px, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    frame = b"," + struct.pack("<HHHHB", 0, 0, side_px, side_px, 0) + b"\x02\x02\x4c\x01\0;"
    return b"GIF89a" + screen + frame


def bmp_bomb(width_px: int, height_px: int) -> bytes:
    """A BMP header that claims that size, and 4 KB of pixels."""
    info = struct.pack("<IiiHHIIiiII", 40, width_px, height_px, 1, 24, 0, 0, 2835, 2835, 0, 0)
    return b"BM" + struct.pack("<IHHI", 4150, 0, 0, 54) + info + bytes(4096)


def tiff_bomb(side_px: int) -> bytes:
    """A TIFF of one deflated strip that claims side x side pixels."""
    strip = zlib.compress(bytes(1_000_000), 9)
    tags = [(256, 4, side_px), (257, 4, side_px), (258, 3, 8), (259, 3, 8), (262, 3, 1)]
    tags += [(273, 4, 8), (277, 3, 1), (278, 4, side_px), (279, 4, len(strip))]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(strip)) + strip + directory


def jpeg_bomb(data: bytes, side_px: int) -> bytes:
    """A small baseline JPEG whose frame header claims side x side pixels."""
    place = data.index(b"\xff\xc0") + 5
    return data[:place] + struct.pack(">HH", side_px, side_px) + data[place + 4 :]


def apple_double() -> bytes:
    """What macOS leaves beside a file as ._name."""
    header = b"\0\x05\x16\x07\0\x02\0\0Mac OS X        \0\x02"
    return header + struct.pack(">IIIIII", 9, 50, 3760, 2, 3810, 286) + bytes(4034)


def ds_store() -> bytes:
    """What macOS leaves in a folder."""
    return b"\0\0\0\x01Bud1\0\0\x10\0\0\0\x08\0\0\0\x10\0\0\0\x02\x09" + bytes(6100)


def thumbs_db() -> bytes:
    """What Windows leaves in a folder: an OLE container."""
    return bytes.fromhex("d0cf11e0a1b11ae1") + bytes(16) + b"\x3e\0\x03\0\xfe\xff" + bytes(7000)


def pdf() -> bytes:
    """A document."""
    body = b"1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Count 0>>endobj\n"
    return b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n" + body * 12 + b"trailer<</Root 1 0 R>>\n%%EOF\n"


def html() -> bytes:
    """What a server sends instead of a picture."""
    return (
        b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head>\n<body><h1>Not Found"
        b"</h1><p>The requested URL /img/a.jpg was not found.</p></body></html>\n" * 3
    )


def archive() -> bytes:
    """A zip with a text in it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(zipfile.ZipInfo("readme.txt", (2024, 3, 5, 0, 0, 0)), "pictures " * 200)
    return buffer.getvalue()


def random_bytes(rng: np.random.Generator, length: int) -> bytes:
    """Noise that begins like no known format."""
    return b"\x01\x02" + rng.integers(0, 256, length, dtype=np.uint8).tobytes()


def png_16_bit(values_HWC: np.ndarray) -> bytes:
    """A 16-bit PNG, gray (H, W) or RGB (H, W, 3), which Pillow writes only in part."""
    height_px, width_px = values_HWC.shape[:2]
    rows = b"".join(b"\0" + values_HWC[y].astype(">u2").tobytes() for y in range(height_px))
    colour = 2 if values_HWC.ndim == 3 else 0
    return png_file(width_px, height_px, 16, zlib.compress(rows), colour)


def png_file(
    width_px: int, height_px: int, bits: int, packed: bytes, colour: int = 0, interlace: int = 0
) -> bytes:
    """A PNG of packed rows, with any header."""
    header = struct.pack(">IIBBBBB", width_px, height_px, bits, colour, 0, 0, interlace)
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")
    return PNG_SIGNATURE + chunks


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
