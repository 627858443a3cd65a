"""JPEG pixels, and what libjpeg-turbo says about damage: it goes on after every warning."""

import re
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import simplejpeg

from components.records.reasons import Reason, RecordRejected

ImageArray = npt.NDArray[np.uint8]

JPEG_SIGNATURE = b"\xff\xd8\xff"
_JPEG_END = b"\xff\xd9"
# In coded data 0xFF is followed by 0x00 (a literal 0xFF), a restart marker or fill bytes.
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
# Bytes overwritten in the middle: one value again and again, and something else after it.
_OVERWRITTEN = re.compile(rb"([\x00-\xfe])\1{15,}(?=[^\xff])", re.DOTALL)
_EXTRANEOUS = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_START_OF_SCAN, _END_OF_IMAGE, _PROGRESSIVE_FRAME, _HUFFMAN_TABLES = 0xDA, 0xD9, 0xC2, 0xC4
_PROGRESSIVE_MARKER = b"\xff\xc2"
_END_OF_BLOCK = 0x00
_BLOT = bytes(32)
_LUMA = np.array([0.299, 0.587, 0.114])
# What libjpeg warns of in headers that other readers take as they are.
_HARMLESS = (
    "Warning: unknown JFIF revision number",
    "Unknown Adobe color transform code",
)
# Some phones write zeros there, which no reader minds.
_ODD_SCAN_HEADER, _SEQUENTIAL_SCAN = "Invalid SOS parameters", b"\x00\x3f\x00"
# Damage in the middle shifts the rest by some blocks; less gray than this is taken for that.
_MIN_CUT_SHARE = 0.005


def decode_jpeg(data: bytes, *, width_px: int, height_px: int, colours: str = "RGB") -> ImageArray:
    """Decode a JPEG, or refuse it where libjpeg-turbo warns of damaged or missing data.

    Pillow and OpenCV swallow these warnings and show a picture with a shifted or gray rest. Same
    pixels as theirs (accurate DCT, smooth upsampling), bit for bit. Warnings about headers, and
    one byte value repeated before the end mark (padding), are no damage.

    Args:
        data: JPEG bytes; what follows the first picture is ignored.
        width_px: Width that the header was read to state, against which memory was weighed.
        height_px: Its height.
        colours: `RGB` for gray and YCbCr, `CMYK` for CMYK and YCCK (as stored).

    Raises:
        RecordRejected: TRUNCATED, CORRUPT.
    """
    try:
        stated_px = simplejpeg.decode_jpeg_header(data, strict=False)[:2]
        if stated_px != (height_px, width_px):
            detail = f"two sizes: {width_px} x {height_px} and {stated_px[1]} x {stated_px[0]} px"
            raise RecordRejected(Reason.CORRUPT, f"JPEG of {detail}")
        image_HWC = jpeg_pixels(data, colours, strict=True)
    except ValueError as error:
        if str(error).startswith(_ODD_SCAN_HEADER):
            usual = _with_usual_scan_header(data)
            if usual != data:
                return decode_jpeg(usual, width_px=width_px, height_px=height_px, colours=colours)
        image_HWC = _decoded_with_warning(data, colours, str(error))
    if (missing := _missing_scans(data)) is not None:
        raise RecordRejected(Reason.TRUNCATED, missing)
    if _is_blotted(data):
        raise RecordRejected(Reason.CORRUPT, f"{len(_BLOT)} zero bytes within the coded data")
    return image_HWC


def lacks_end(data: bytes) -> bool:
    """True for JPEG bytes without any end marker."""
    return data.startswith(JPEG_SIGNATURE) and _JPEG_END not in data


def jpeg_pixels(
    data: bytes | ImageArray, colours: str = "RGB", *, strict: bool = False
) -> ImageArray:
    """Decode a JPEG as libjpeg-turbo does; strict makes an error of its warnings.

    Same pixels as OpenCV's, in five sixths of the time.

    Raises:
        ValueError: It cannot be decoded.
    """
    image_HWC = simplejpeg.decode_jpeg(
        data, colours, fastdct=False, fastupsample=False, strict=strict
    )
    return np.asarray(image_HWC, np.uint8)


def _decoded_with_warning(data: bytes, colours: str, message: str) -> ImageArray:
    if message.startswith("Premature end of JPEG") or not _has_end_after_scan(data):
        raise RecordRejected(Reason.TRUNCATED, f"{message}; no end mark")
    if not (message.startswith(_HARMLESS) or _is_padding(data, message)):
        is_short = "premature end" in message
        if is_short and _is_cut(data, colours):
            raise RecordRejected(Reason.TRUNCATED, "the coded data end before the picture does")
        raise RecordRejected(Reason.CORRUPT, message)
    try:
        return jpeg_pixels(data, colours, strict=False)
    except ValueError as error:
        raise RecordRejected(Reason.CORRUPT, str(error)) from error


def _with_usual_scan_header(data: bytes) -> bytes:
    """The same JPEG, whose first scan states the range of a sequential one."""
    for code, _, end in _segments(data):
        if code == _START_OF_SCAN:
            return data[: end - 3] + _SEQUENTIAL_SCAN + data[end:]
    return data


def _is_blotted(data: bytes) -> bool:
    """True for a run of zeros in the coded data of a sequential JPEG that no encoder writes.

    Zero bits are the first code of each Huffman table. Where that is not the end of a block, as for
    luma in the tables of the standard (ITU T.81, K.3), the run would mean coefficients all of one
    value over a whole block. Tables made for a flat picture may begin with the end of a block.
    """
    if (blot := data.find(_BLOT)) < 0:
        return False
    scans: list[int] = []
    first_values: list[int] = []
    for code, start, end in _segments(data):
        if code == _PROGRESSIVE_FRAME:
            return False
        if code == _START_OF_SCAN:
            scans.append(end)
        elif code == _HUFFMAN_TABLES:
            first_values += _first_ac_values(data[start:end])
        elif code == _END_OF_IMAGE and scans:
            blot = data.find(_BLOT, scans[0], start - 2)
    # Padding before the end mark is no damage.
    is_within = blot >= 0 and bool(data[blot : _end_mark(data)].strip(b"\0"))
    has_detail = any(value != _END_OF_BLOCK for value in first_values)
    return len(scans) == 1 and is_within and has_detail


def _first_ac_values(tables: bytes) -> list[int]:
    """Value of the shortest code of each table for AC coefficients in a segment."""
    values, start = [], 0
    while start + 17 < len(tables):
        if tables[start] >> 4 == 1:
            values.append(tables[start + 17])
        start += 17 + sum(tables[start + 1 : start + 17])
    return values


def _is_padding(data: bytes, message: str) -> bool:
    """True if the bytes that the decoder skipped before the end mark are all the same."""
    found, end = _EXTRANEOUS.search(message), _end_mark(data)
    if found is None:
        return False
    return len(set(data[max(0, end - int(found[1])) : end])) == 1


def _is_cut(data: bytes, colours: str) -> bool:
    """True if the coded data were cut off; False if they were damaged somewhere on the way."""
    if _missing_scans(data) is not None:
        return True
    scans = [start - 4 for code, start, _ in _segments(data) if code == _START_OF_SCAN]
    if not scans or _OVERWRITTEN.search(data, scans[0]) is not None:
        return False
    if len(scans) > 1:  # cut off means that all scans but the last are whole
        return _is_whole(data[: scans[-1]] + _JPEG_END, colours)
    try:
        image_HWC = jpeg_pixels(data, "RGB", strict=False)
    except ValueError:
        return False
    return _gray_rest(image_HWC) >= _MIN_CUT_SHARE


def _is_whole(data: bytes, colours: str) -> bool:
    try:
        jpeg_pixels(data, colours, strict=True)
    except ValueError:
        return False
    return True


def _gray_rest(image_HWC: ImageArray) -> float:
    """Share of the picture, from its end backwards along rows of blocks, that was left mid-gray."""
    is_gray_HW = np.abs(image_HWC @ _LUMA - 128) <= 2
    height_px, width_px = is_gray_HW.shape
    gray_px: int = 0
    for top in range((height_px - 1) // 8 * 8, -1, -8):
        strip_HW = is_gray_HW[top : top + 8]
        columns_W = strip_HW.all(0)[::-1]
        run_px = width_px if columns_W.all() else int(np.argmin(columns_W))
        if run_px == 0:
            break
        gray_px += run_px * len(strip_HW)
    return gray_px / float(height_px * width_px)


def _missing_scans(data: bytes) -> str | None:
    """What a progressive JPEG lacks, in words; None for one that is complete or sequential.

    Each scan brings bits of some coefficients of some components (ITU T.81, G.1); in the end every
    coefficient must have been sent down to its last bit. A file cut between two scans and closed
    by an end mark decodes without a warning, less sharp.
    """
    if _PROGRESSIVE_MARKER not in data:
        return None
    components: list[int] = []
    sent: set[tuple[int, int]] = set()
    for code, start, end in _segments(data):
        body = data[start:end]
        if code == _PROGRESSIVE_FRAME and len(body) >= 6:
            components = list(body[6 : 6 + 3 * body[5] : 3])
        elif code == _START_OF_SCAN:
            if not components:
                return None
            first, last, bits = body[-3:]
            if bits & 0x0F == 0:
                scanned = body[1 : 1 + 2 * body[0] : 2]
                sent.update((c, k) for c in scanned for k in range(first, last + 1))
    missing = [c for c in components if any((c, k) not in sent for k in range(64))]
    return f"progressive JPEG without its last scans (components {missing})" if missing else None


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Code, start and end of body of each marker of the first picture, up to its end mark."""
    position = 2
    while (marker := _NEXT_MARKER.search(data, position)) is not None:
        code, start = data[marker.start() + 1], marker.end()
        if code == _END_OF_IMAGE:
            yield code, start, start
            return
        position = start + int.from_bytes(data[start : start + 2], "big")
        yield code, start + 2, position


def _has_end_after_scan(data: bytes) -> bool:
    scan = next((end for code, _, end in _segments(data) if code == _START_OF_SCAN), len(data))
    return data.find(_JPEG_END, scan) >= 0


def _end_mark(data: bytes) -> int:
    """Offset of the end mark of the first picture; the number of bytes if there is none."""
    starts = (start - 2 for code, start, _ in _segments(data) if code == _END_OF_IMAGE)
    return next(starts, len(data))
