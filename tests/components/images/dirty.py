"""Odd, damaged and hostile image files with what must become of each; used by many tests."""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from components.records.reasons import Reason

WIDTH_PX, HEIGHT_PX = 40, 24
RED, GREEN, BLUE, YELLOW = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)
WHITE, GRAY = (255, 255, 255), (128, 128, 128)
CORNERS = (RED, GREEN, BLUE, YELLOW)
"""Top left, top right, bottom left, bottom right of the upright test picture."""
EXIF_ORIENTATION = 274


@dataclass(frozen=True)
class OddImage:
    """One file: refused for a reason, or decoded to these colours in its four quarters."""

    name: str
    data: bytes
    expect: Reason | None = None
    expect_rgb: tuple[tuple[int, int, int], ...] | None = None
    """Colours at the centres of the quarters: top left, top right, bottom left, bottom right."""
    tolerance: int = 0
    canonical: bool = False
    size_px: tuple[int, int] = (WIDTH_PX, HEIGHT_PX)
    """Width and height in canonical form."""


def quarters(
    corners: tuple[tuple[int, int, int], ...] = CORNERS,
    width_px: int = WIDTH_PX,
    height_px: int = HEIGHT_PX,
) -> np.ndarray:
    """uint8 RGB picture of four plain quarters."""
    image_HWC = np.empty((height_px, width_px, 3), np.uint8)
    top, left = height_px // 2, width_px // 2
    image_HWC[:top, :left], image_HWC[:top, left:] = corners[0], corners[1]
    image_HWC[top:, :left], image_HWC[top:, left:] = corners[2], corners[3]
    return image_HWC


def noise(width_px: int = 160, height_px: int = 120, seed: int = 1) -> np.ndarray:
    """uint8 RGB picture that no codec shrinks to nothing: smooth random colours."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return cv2.resize(small, (width_px, height_px))


def encode(image: Image.Image | np.ndarray, format: str, **options: object) -> bytes:
    """Encode with Pillow."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def odd_images() -> list[OddImage]:
    """All odd files, made anew; names are unique."""
    return [*_colour_forms(), *_orientations(), *_frames_and_tails(), *_refused()]


def png(
    width_px: int, height_px: int, bit_depth: int, colour_type: int, rows: list[bytes]
) -> bytes:
    """A PNG by hand, for forms that Pillow does not write."""
    header = struct.pack(">IIBBBBB", width_px, height_px, bit_depth, colour_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def ycck_jpeg(cmyk_HWC: np.ndarray) -> bytes:
    """An Adobe YCCK JPEG: CMY stored as YCbCr, K as it is, all inverted, transform flag 2."""
    ycc = Image.fromarray(np.ascontiguousarray(cmyk_HWC[..., :3])).convert("YCbCr")
    stored = np.dstack([255 - np.asarray(ycc), cmyk_HWC[..., 3]])
    data = encode(_mode_image("CMYK", stored), "JPEG", quality=100, subsampling=0)
    flag = data.index(b"Adobe") + 11
    return data[:flag] + b"\x02" + data[flag + 1 :]


def _colour_forms() -> list[OddImage]:
    rgb = quarters()
    gray_HW = quarters(((0,) * 3, (85,) * 3, (170,) * 3, (255,) * 3))[..., 0]
    grays = tuple((v, v, v) for v in (0, 85, 170, 255))
    deep_HW = gray_HW.astype(np.uint16) * 257
    cmyk_HWC = np.dstack([255 - rgb, np.zeros(rgb.shape[:2], np.uint8)])
    jpeg = {"quality": 100, "subsampling": 0}
    palette = Image.fromarray(rgb).quantize(4)
    one_bit = Image.fromarray(quarters(((0,) * 3, WHITE, WHITE, (0,) * 3))).convert("1")
    black_white = ((0, 0, 0), WHITE, WHITE, (0, 0, 0))
    deep_rgb = [(rgb[y].astype(">u2") * 257).tobytes() for y in range(HEIGHT_PX)]
    deep_la = [
        np.dstack([deep_HW[y], np.full(WIDTH_PX, 65535)]).astype(">u2").tobytes()
        for y in range(HEIGHT_PX)
    ]
    size = (WIDTH_PX, HEIGHT_PX)
    return [
        OddImage("rgb.png", encode(rgb, "PNG"), None, CORNERS, canonical=True),
        OddImage("rgb.jpg", encode(rgb, "JPEG", **jpeg), None, CORNERS, 2, canonical=True),
        OddImage(
            "progressive.jpg",
            encode(rgb, "JPEG", progressive=True, **jpeg),
            None,
            CORNERS,
            2,
            canonical=True,
        ),
        OddImage("gray.png", encode(gray_HW, "PNG"), None, grays, canonical=True),
        OddImage("gray.jpg", encode(gray_HW, "JPEG", quality=100), None, grays, 1, canonical=True),
        OddImage("one_bit.png", encode(one_bit, "PNG"), None, black_white),
        OddImage("palette.png", encode(palette, "PNG"), None, CORNERS),
        OddImage("palette_hole.png", *_palette_with_hole()),
        OddImage("rgb_key.png", encode(rgb, "PNG", transparency=RED), None, (WHITE, *CORNERS[1:])),
        OddImage("rgba.png", *_half_transparent("PNG", "RGBA")),
        OddImage("gray_alpha.png", *_half_transparent("PNG", "LA")),
        OddImage(
            "opaque_rgba.png", encode(Image.fromarray(rgb).convert("RGBA"), "PNG"), None, CORNERS
        ),
        OddImage("rgba.webp", *_half_transparent("WEBP", "RGBA", lossless=True)),
        OddImage("gray16.png", encode(deep_HW, "PNG"), None, grays),
        OddImage("gray16_shifted.png", encode(deep_HW & 0xFF00, "PNG"), None, grays),
        OddImage("rgb16.png", png(*size, 16, 2, deep_rgb), None, CORNERS),
        OddImage("gray_alpha16.png", png(*size, 16, 4, deep_la), None, grays),
        OddImage("gray16.tif", encode(deep_HW, "TIFF"), None, grays),
        OddImage("gray16.pgm", _deep_pgm(deep_HW), None, grays),
        OddImage("gray32.tif", encode(deep_HW.astype(np.int32), "TIFF"), None, grays),
        OddImage("float.tif", encode((gray_HW / 255).astype(np.float32), "TIFF"), None, grays),
        OddImage(
            "cmyk.jpg", encode(_mode_image("CMYK", cmyk_HWC), "JPEG", **jpeg), None, CORNERS, 2
        ),
        OddImage("ycck.jpg", ycck_jpeg(cmyk_HWC), None, CORNERS, 3),
        OddImage("cmyk.tif", encode(_mode_image("CMYK", cmyk_HWC), "TIFF"), None, CORNERS),
        OddImage("rgb.bmp", encode(rgb, "BMP"), None, CORNERS),
        OddImage("rgb.gif", encode(rgb, "GIF"), None, CORNERS),
        OddImage("rgb.jp2", encode(rgb, "JPEG2000"), None, CORNERS),
        OddImage(
            "rgb.avif", encode(rgb, "AVIF", quality=100, subsampling="4:4:4"), None, CORNERS, 4
        ),
    ]


def _orientations() -> list[OddImage]:
    """The same upright picture stored in the eight orientations of EXIF (6.4.A of the standard)."""
    upright = quarters()
    stored: dict[int, Callable[[np.ndarray], np.ndarray]] = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }
    images = []
    for orientation, lay in stored.items():
        pixels, exif = np.ascontiguousarray(lay(upright)), Image.Exif()
        exif[EXIF_ORIENTATION] = orientation
        jpeg = encode(pixels, "JPEG", quality=100, subsampling=0, exif=exif)
        plain = encode(pixels, "PNG", exif=exif)
        is_upright = orientation == 1
        images += [
            OddImage(f"turn{orientation}.jpg", jpeg, None, CORNERS, 2, canonical=is_upright),
            OddImage(f"turn{orientation}.png", plain, None, CORNERS, canonical=is_upright),
            OddImage(
                f"turn{orientation}.webp",
                encode(pixels, "WEBP", lossless=True, exif=exif),
                None,
                CORNERS,
            ),
        ]
        for compression in ("raw", "tiff_lzw"):
            data = encode(
                pixels, "TIFF", compression=compression, tiffinfo={EXIF_ORIENTATION: orientation}
            )
            images.append(OddImage(f"turn{orientation}_{compression}.tif", data, None, CORNERS))
    return images


def _frames_and_tails() -> list[OddImage]:
    first, second = Image.fromarray(quarters()), Image.fromarray(quarters(CORNERS[::-1]))
    many = {"save_all": True, "append_images": [second]}
    jpeg = encode(first, "JPEG", quality=100, subsampling=0)
    broken_exif = encode(
        first, "JPEG", quality=100, subsampling=0, exif=b"Exif\0\0II*\0\xff\xff\xff\0"
    )
    wild = Image.Exif()
    wild[EXIF_ORIENTATION] = 77
    return [
        OddImage("two_frames.gif", encode(first, "GIF", **many), None, CORNERS),
        OddImage("two_frames.png", encode(first, "PNG", **many), None, CORNERS),
        OddImage("two_frames.tif", encode(first, "TIFF", **many), None, CORNERS),
        OddImage("two_frames.webp", encode(first, "WEBP", lossless=True, **many), None, CORNERS),
        OddImage(
            "two_pictures.mpo",
            encode(first, "MPO", quality=100, subsampling=0, **many),
            None,
            CORNERS,
            2,
            canonical=True,
        ),
        OddImage("tail.jpg", jpeg + b"\0" * 999, None, CORNERS, 2, canonical=True),
        OddImage("tail.png", encode(first, "PNG") + b"junk" * 99, None, CORNERS, canonical=True),
        OddImage("broken_exif.jpg", broken_exif, None, CORNERS, 2, canonical=True),
        OddImage(
            "orientation77.png", encode(first, "PNG", exif=wild), None, CORNERS, canonical=True
        ),
        OddImage(
            "flat_gray.jpg",
            encode(quarters((GRAY,) * 4), "JPEG"),
            None,
            (GRAY,) * 4,
            canonical=True,
        ),
        OddImage(
            "one_pixel.png",
            encode(quarters((RED,) * 4, 1, 1), "PNG"),
            None,
            None,
            canonical=True,
            size_px=(1, 1),
        ),
    ]


def _refused() -> list[OddImage]:
    jpeg, lossless = encode(noise(), "JPEG", quality=90), encode(noise(), "PNG")
    half = len(jpeg) // 2
    damaged = bytearray(lossless)
    damaged[len(lossless) // 2] ^= 0x40
    truncated = {
        "half.jpg": jpeg[:half],
        "no_end.jpg": jpeg[:-2],
        "zero_tail.jpg": jpeg[:half] + bytes(len(jpeg) - half),
        "forged_end.jpg": jpeg[:half] + b"\xff\xd9",
        "header_only.jpg": jpeg[:100],
        "half.png": lossless[: len(lossless) // 2],
        "no_end.png": lossless[:-5],
        "signature_only.png": lossless[:8],
        "half.gif": encode(noise(), "GIF")[:3000],
        "half.bmp": encode(noise(), "BMP")[:3000],
    }
    no_image = {
        "text.jpg": b"not an image at all",
        "page.png": b"<!DOCTYPE html><html>",
        "zeros.jpg": bytes(500),
        "two_bytes.jpg": b"\xff\xd8",
    }
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64)
    wide = quarters()[..., 0].astype(np.float32)
    return [
        OddImage("empty.jpg", b"", Reason.EMPTY),
        *[OddImage(name, data, Reason.TRUNCATED) for name, data in truncated.items()],
        *[OddImage(name, data, Reason.NOT_AN_IMAGE) for name, data in no_image.items()],
        OddImage("flipped_bit.png", bytes(damaged), Reason.CORRUPT),
        OddImage("bad_header.jpg", jpeg[:25] + b"\xff" * 200 + jpeg[225:], Reason.CORRUPT),
        OddImage("bomb.png", png(60_000, 60_000, 8, 0, [bytes(10)]), Reason.TOO_MANY_PIXELS),
        OddImage("photo.heic", heic, Reason.UNSUPPORTED),
        OddImage("float255.tif", encode(wide, "TIFF"), Reason.UNSUPPORTED),
        OddImage("lab.tif", encode(Image.new("LAB", (9, 9)), "TIFF"), Reason.UNSUPPORTED),
    ]


def _half_transparent(
    format: str, mode: str, **options: object
) -> tuple[bytes, None, tuple[tuple[int, int, int], ...], int]:
    """Black with alpha 0, 85, 170, 255 in its quarters: on white it is 255, 170, 85, 0."""
    alpha_HW = quarters(((0,) * 3, (85,) * 3, (170,) * 3, (255,) * 3))[..., 0]
    image = Image.new(mode, (WIDTH_PX, HEIGHT_PX))
    image.putalpha(Image.fromarray(alpha_HW))
    colours = tuple((v, v, v) for v in (255, 170, 85, 0))
    return encode(image, format, exact=True, **options), None, colours, 0


def _palette_with_hole() -> tuple[bytes, None, tuple[tuple[int, int, int], ...]]:
    image = Image.fromarray(quarters()).quantize(4)
    hole = image.getpixel((0, 0))
    return encode(image, "PNG", transparency=hole), None, (WHITE, *CORNERS[1:])


def _deep_pgm(deep_HW: np.ndarray) -> bytes:
    return b"P5 %d %d 65535\n" % deep_HW.shape[::-1] + deep_HW.astype(">u2").tobytes()


def _mode_image(mode: str, array_HWC: np.ndarray) -> Image.Image:
    size = (array_HWC.shape[1], array_HWC.shape[0])
    return Image.frombytes(mode, size, np.ascontiguousarray(array_HWC).tobytes())


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
