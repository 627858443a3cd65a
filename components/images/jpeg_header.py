"""The header of a JPEG about which nothing is odd, read in a tenth of the time that Pillow takes.

Whatever is not plainly usual here goes to Pillow's reader, which has the last word.
"""

from typing import Literal, NamedTuple

from components.images.jpeg import JPEG_SIGNATURE

_FRAMES = (0xC0, 0xC1, 0xC2)
_SCAN, _QUANTIZATION = 0xDA, 0xDB
_APP1, _APP2 = 0xE1, 0xE2
# Huffman tables, restart interval, comments, and what applications add: JFIF, ICC, Adobe, ...
_PASSED = frozenset({0xC4, 0xDD, 0xFE, *range(0xE0, 0xF0)})
_EXIF, _XMP, _MPF = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"MPF\0"
_ORIENTATION, _SHORT = 0x0112, 3
_MODES: dict[int, Literal["L", "RGB"]] = {1: "L", 3: "RGB"}
_TABLE_BYTES = 65


class PlainJpeg(NamedTuple):
    """Size and colour form (by Pillow's name) of a JPEG that is upright and the only picture."""

    width_px: int
    height_px: int
    mode: Literal["L", "RGB"]


def plain_jpeg(data: bytes) -> PlainJpeg | None:
    """What the header says, or None where it needs a second look.

    A header is plain that has 8 bits and one or three components, Huffman coding, segment after
    segment without a gap, one frame, no further pictures, and EXIF or XMP that leave it upright.
    """
    if not data.startswith(JPEG_SIGNATURE):
        return None
    found: PlainJpeg | None = None
    num_exif, start = 0, 2
    while start + 4 <= len(data) and data[start] == 0xFF:
        code = data[start + 1]
        end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        body = data[start + 4 : end]
        if end < start + 4 or end > len(data):
            return None
        if code == _SCAN:
            return found
        if code in _FRAMES:
            mode = _MODES.get(body[5]) if len(body) > 5 and body[0] == 8 else None
            if found is not None or mode is None or len(body) != 6 + 3 * body[5]:
                return None
            height_px, width_px = (int.from_bytes(body[n : n + 2], "big") for n in (1, 3))
            found = PlainJpeg(width_px, height_px, mode)
        elif code == _QUANTIZATION:
            if len(body) % _TABLE_BYTES or any(kind >> 4 for kind in body[::_TABLE_BYTES]):
                return None
        elif code == _APP1:
            num_exif += body.startswith(_EXIF)
            if num_exif > 1 or not _leaves_upright(body):
                return None
        elif code not in _PASSED or (code == _APP2 and body.startswith(_MPF)):
            return None
        start = end
    return None


def _leaves_upright(body: bytes) -> bool:
    """True if an APP1 segment surely says nothing of an orientation, or that it is upright."""
    if body.startswith(_XMP):
        return b"rientation" not in body
    if not body.startswith(_EXIF):
        return False
    tiff = body[len(_EXIF) :]
    order: Literal["little", "big"] = "big" if tiff.startswith(b"MM") else "little"
    if tiff[:4] not in (b"II*\0", b"MM\0*"):
        return False
    start = int.from_bytes(tiff[4:8], order)
    count = int.from_bytes(tiff[start : start + 2], order)
    start += 2
    if start + 12 * count > len(tiff):
        return False
    for entry in (tiff[n : n + 12] for n in range(start, start + 12 * count, 12)):
        tag, kind, value = (int.from_bytes(entry[n : n + 2], order) for n in (0, 2, 8))
        if tag == _ORIENTATION:
            is_one = kind == _SHORT and int.from_bytes(entry[4:8], order) == 1
            if not is_one or value != 1:
                return False
    return True
