"""From encoded bytes to the canonical picture: 8-bit RGB, upright, first frame, or a refusal."""

import io
import struct
import zlib
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageFile

from components.images.colours import to_rgb
from components.images.integrity import check_png, is_cut_short, lacks_end
from components.records.reasons import Reason, RecordRejected

ImageArray = npt.NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF", "JPEG2000", "PPM")
"""Formats that are read, by Pillow's names. All have a signature, so that no bytes are guessed to
be a picture, and none runs other programs (as Pillow's EPS does)."""

STORED_FLAGS = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION

# What Pillow's readers raise on damaged bytes (found by flipping bytes in each format).
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    EOFError,
    RuntimeError,
    struct.error,
    zlib.error,
    Warning,  # raised only where Python runs with -W error
)

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class DecodedImage:
    """One picture in canonical form, and what it was before."""

    image_HWC: ImageArray
    """uint8 RGB, upright; read-only."""
    source_height_px: int
    """Height as stored, before the orientation is applied."""
    source_width_px: int
    source_format: str
    """Pillow's name: JPEG, MPO (a JPEG followed by more pictures), PNG, GIF, ..."""
    source_mode: str
    """Pillow's name of the stored colour form: L, RGB, P, CMYK, I;16, ..."""
    orientation: int
    """EXIF orientation as stored, 1 to 8; 1 where it is missing or unreadable."""
    is_canonical: bool
    """True if `decode_stored` gives exactly `image_HWC` from the original bytes, which can be
    kept: an 8-bit gray or RGB JPEG or PNG, orientation 1, without transparency or animation."""


def decode_canonical(data: bytes, *, max_pixels: int) -> DecodedImage:
    """Decode one image file to 8-bit RGB with the orientation of its EXIF (or XMP) applied.

    Colours: gray is repeated; palettes are looked up; CMYK and YCCK go the way of Pillow (no ICC
    profile is applied, to any picture); transparency is laid on white; of 16 bits the high byte
    stays. Of several frames the first is taken. Bytes after the picture's end are ignored.

    A damaged PNG is always found (checksums). JPEG carries none: a flipped byte inside the coded
    data mostly decodes to other pixels without a sign (198 of 200 tried), and such a picture
    passes. What is found: damaged headers, a missing end, an end filled up with zeros, and an end
    mark set too early (grey rest). A progressive JPEG whose last scans are missing, yet which is
    closed by an end mark, is a valid file of less sharpness and passes too.

    Args:
        data: The whole file.
        max_pixels: Height x width above which the picture is refused, told from the header
            before memory is spent. Pillow's own limit (a global) plays no part, except inside
            its WebP, GIF and TIFF readers, which refuse more than 357,913,940 pixels.

    Raises:
        RecordRejected: EMPTY, NOT_AN_IMAGE, TRUNCATED, CORRUPT, UNSUPPORTED, TOO_MANY_PIXELS.
    """
    if not data:
        raise RecordRejected(Reason.EMPTY, "0 bytes")
    check_png(data)
    try:
        return _decode(data, max_pixels)
    except Image.DecompressionBombError as error:
        raise RecordRejected(Reason.TOO_MANY_PIXELS, str(error)) from error
    except _DECODER_ERRORS as error:
        raise _rejected(data, error) from error


def decode_stored(data: bytes | memoryview | ImageArray) -> ImageArray:
    """Decode canonical bytes (JPEG or PNG as `prepare` stores them); the feed's fast path.

    Equals `decode_canonical(...).image_HWC` bit for bit on canonical bytes, at half the time.
    Looks at neither orientation nor transparency: for other bytes use `decode_canonical`.

    Returns:
        uint8 RGB (H, W, 3), writable.

    Raises:
        RecordRejected: CORRUPT.
    """
    encoded = data if isinstance(data, np.ndarray) else np.frombuffer(data, np.uint8)
    try:
        image_HWC = cv2.imdecode(encoded, STORED_FLAGS)
    except cv2.error as error:
        raise RecordRejected(Reason.CORRUPT, f"{encoded.size} stored bytes: {error}") from error
    if image_HWC is None:
        raise RecordRejected(Reason.CORRUPT, f"{encoded.size} stored bytes do not decode")
    return image_HWC.astype(np.uint8, copy=False)


def _decode(data: bytes, max_pixels: int) -> DecodedImage:
    image = _open(data)
    width_px, height_px = image.size
    if width_px * height_px > max_pixels:
        size = f"{width_px} x {height_px} = {width_px * height_px} pixels, limit {max_pixels}"
        raise RecordRejected(Reason.TOO_MANY_PIXELS, size)
    # Pillow turns a TIFF upright while loading and then forgets that it did. Of a PNG the
    # orientation can follow the pixels, so there it is known only after loading.
    is_tiff = image.format == "TIFF"
    orientation = _orientation(image) if is_tiff else 1
    if is_tiff and orientation >= 5:
        width_px, height_px = height_px, width_px
    mode = image.mode
    image.load()
    rgb = to_rgb(image)
    if not is_tiff:
        orientation = _orientation(image)
    as_stored_HWC = np.asarray(rgb)
    if image.format in ("JPEG", "MPO") and is_cut_short(data, as_stored_HWC, decode_stored):
        raise RecordRejected(Reason.TRUNCATED, "the coded data end before the picture does")
    turn = None if is_tiff else _UPRIGHT.get(orientation)
    return DecodedImage(
        image_HWC=as_stored_HWC if turn is None else np.asarray(rgb.transpose(turn)),
        source_height_px=height_px,
        source_width_px=width_px,
        source_format=image.format or "",
        source_mode=mode,
        orientation=orientation,
        is_canonical=orientation == 1 and _is_plain(data, image, mode),
    )


def _open(data: bytes) -> ImageFile.ImageFile:
    """Read the header only. Not Image.open: that one consults the global pixel limit and warns."""
    Image.init()
    for name in FORMATS:
        factory, accept = Image.OPEN[name]
        if accept is not None and accept(data[:16]) is True:
            return factory(io.BytesIO(data), "")
    if data[4:8] == b"ftyp":
        brand = data[8:12].decode("ascii", "replace")
        raise RecordRejected(Reason.UNSUPPORTED, f"HEIF or video container, brand {brand!r}")
    raise RecordRejected(Reason.NOT_AN_IMAGE, f"{len(data)} bytes, starting with {data[:12]!r}")


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except _DECODER_ERRORS:  # an unreadable EXIF block: upright, as every viewer shows it
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _is_plain(data: bytes, image: ImageFile.ImageFile, mode: str) -> bool:
    if image.format in ("JPEG", "MPO"):
        return mode in ("L", "RGB")
    if image.format != "PNG" or "transparency" in image.info:
        return False
    bit_depth, colour_type = data[24], data[25]
    return bit_depth == 8 and colour_type in (0, 2) and getattr(image, "n_frames", 1) == 1


def _rejected(data: bytes, error: BaseException) -> RecordRejected:
    detail = f"{type(error).__name__}: {error}"
    if "truncated" in detail.lower() or lacks_end(data):
        return RecordRejected(Reason.TRUNCATED, detail)
    return RecordRejected(Reason.CORRUPT, detail)
