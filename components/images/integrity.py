"""Whether the bytes of a picture are whole: what PNG checksums and JPEG markers can tell."""

import re
import zlib
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from components.records.reasons import Reason, RecordRejected

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_SIGNATURE = b"\xff\xd8\xff"
_JPEG_END = b"\xff\xd9"
# In coded data 0xFF is followed by 0x00 (a literal 0xFF), a restart marker or fill bytes.
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_PADDING = bytes(range(1, 255)) * 16
_LUMA = np.array([0.299, 0.587, 0.114])


def check_png(data: bytes) -> None:
    """Check the chunks of a PNG up to its end mark; other bytes pass unseen.

    Pillow skips the checksums of pixel data: of 200 single flipped bytes it showed 38 as other
    pixels without an error. Only critical chunks are checked (PNG 3rd edition, 5.3): a damaged
    comment does not harm the picture.

    Raises:
        RecordRejected: TRUNCATED where a chunk or the end mark is missing, CORRUPT where a
            checksum differs.
    """
    if not data.startswith(_PNG_SIGNATURE):
        return
    view, start = memoryview(data), len(_PNG_SIGNATURE)
    while start + 12 <= len(data):
        end = start + 12 + int.from_bytes(view[start : start + 4], "big")
        kind = bytes(view[start + 4 : start + 8])
        if end > len(data):
            break
        is_critical = not kind[0] & 0x20
        if is_critical and zlib.crc32(view[start + 4 : end - 4]) != int.from_bytes(
            view[end - 4 : end], "big"
        ):
            raise RecordRejected(Reason.CORRUPT, f"PNG chunk {kind!r} at byte {start}: checksum")
        if kind == b"IEND":
            return
        start = end
    raise RecordRejected(Reason.TRUNCATED, f"PNG of {len(data)} bytes without its end")


def lacks_end(data: bytes) -> bool:
    """True for JPEG bytes without any end marker."""
    return data.startswith(_JPEG_SIGNATURE) and _JPEG_END not in data


def is_cut_short(
    data: bytes,
    image_HWC: npt.NDArray[np.uint8],
    decode: Callable[[bytes], npt.NDArray[np.uint8]],
) -> bool:
    """True for a JPEG whose coded data end before the picture does, although closed by an end mark.

    libjpeg only warns then and leaves the rest mid-gray. So where the last block of luma is just
    that gray, more bytes are put before the end mark: a whole picture ignores them, an unfinished
    one changes.

    Args:
        data: JPEG bytes.
        image_HWC: The picture as decoded from them, before any turn.
        decode: Decoder of JPEG bytes to RGB.
    """
    height_px, width_px = image_HWC.shape[:2]
    last_block_HWC = image_HWC[-(height_px % 8 or 8) :, -(width_px % 8 or 8) :]
    if (np.abs(last_block_HWC @ _LUMA - 128) > 2).any():
        return False
    end = _end_of_last_scan(data)
    if end is None:
        return False
    padded = data[:end] + _PADDING + _JPEG_END
    return not np.array_equal(decode(data[:end] + _JPEG_END), decode(padded))


def _end_of_last_scan(data: bytes) -> int | None:
    """Offset of the marker that ends the first picture's last scan; None if there is none."""
    position, in_scan = 2, False
    while (marker := _NEXT_MARKER.search(data, position)) is not None:
        code = data[marker.start() + 1]
        if code == 0xD9:
            return marker.start() if in_scan else None
        position = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
        in_scan = in_scan or code == 0xDA
    return None
