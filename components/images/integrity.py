"""Whether the bytes of a picture are whole, and what they claim, before anything is decoded."""

import zlib
from dataclasses import dataclass

from components.images.jpeg import lacks_end
from components.records.reasons import Reason, RecordRejected

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_LATE_EXIF = (b"eXIf", b"iTXt", b"tEXt", b"zTXt")
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Start and step of the seven passes across and down (PNG 3rd edition, 8).
_ADAM7 = ((0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4), (0, 2, 2, 4), (1, 2, 0, 2))
_ADAM7_LAST = (0, 1, 1, 2)
_INFLATED_BYTES = 1 << 20


@dataclass(frozen=True)
class PngFacts:
    """What the chunks of a PNG tell."""

    data: bytes
    """The file without damaged comments, which would stop some readers."""
    bit_depth: int
    is_plain: bool
    """8-bit gray or RGB, opaque, one frame, and no orientation behind the pixels."""
    coded: tuple[memoryview, ...]
    """The compressed pixels."""
    num_filtered: int
    """Bytes that they must unpack to."""


def check_png(data: bytes) -> PngFacts | None:
    """Check the chunks of a PNG up to its end mark; None for other bytes.

    Pillow skips the checksums of pixel data: of 200 single flipped bytes it showed 38 as other
    pixels without an error. Damage in ancillary chunks (PNG 3rd edition, 5.3) does not harm the
    picture: they are left out.

    Raises:
        RecordRejected: TRUNCATED where a chunk or the end mark is missing, CORRUPT where a
            checksum differs.
    """
    if not data.startswith(PNG_SIGNATURE):
        return None
    view, start = memoryview(data), len(PNG_SIGNATURE)
    chunks: list[tuple[bytes, memoryview]] = []
    kept: list[memoryview] = [view[:start]]
    while start + 12 <= len(data):
        end = start + 12 + int.from_bytes(view[start : start + 4], "big")
        kind = bytes(view[start + 4 : start + 8])
        if end > len(data):
            break
        if zlib.crc32(view[start + 4 : end - 4]) == int.from_bytes(view[end - 4 : end], "big"):
            chunks.append((kind, view[start + 8 : end - 4]))
            kept.append(view[start:end])
        elif not kind[0] & 0x20:
            raise RecordRejected(Reason.CORRUPT, f"PNG chunk {kind!r} at byte {start}: checksum")
        if kind == b"IEND":
            is_whole = len(chunks) == len(kept) - 1 and sum(map(len, kept)) == end
            return _png_facts(data if is_whole else b"".join(kept), chunks)
        start = end
    raise RecordRejected(Reason.TRUNCATED, f"PNG of {len(data)} bytes without its end")


def check_rows(png: PngFacts) -> None:
    """Refuse a PNG whose pixels end early: Pillow shows the missing rows as black.

    Unpacks in pieces and keeps nothing; costs a third of decoding. Only after the size was weighed.

    Raises:
        RecordRejected: TRUNCATED, CORRUPT.
    """
    inflate, seen = zlib.decompressobj(), 0
    try:
        for part in (*png.coded, memoryview(b"")):
            waiting = bytes(part)
            while seen < png.num_filtered:
                unpacked = inflate.decompress(waiting, _INFLATED_BYTES)
                waiting = inflate.unconsumed_tail
                seen += len(unpacked)
                if not unpacked and not waiting:
                    break
    except zlib.error as error:
        raise RecordRejected(Reason.CORRUPT, f"PNG pixels: {error}") from error
    if seen < png.num_filtered:
        detail = f"PNG with {seen} of {png.num_filtered} bytes of pixels"
        raise RecordRejected(Reason.TRUNCATED, detail)


def webp_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a WebP from its header; None for other bytes.

    Pillow's reader takes memory for the whole canvas when it opens the file.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(data) < 30:
        return None
    if data[12:16] == b"VP8X":
        return _little(data[24:27]) + 1, _little(data[27:30]) + 1
    if data[12:16] == b"VP8L":
        bits = _little(data[21:25])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return _little(data[26:28]) & 0x3FFF, _little(data[28:30]) & 0x3FFF


def ends_early(data: bytes) -> bool:
    """True if the file states that it goes on beyond its last byte, or lacks its end mark."""
    if data[:4] == b"RIFF":
        return _little(data[4:8]) + 8 > len(data)
    if data[:4] in (b"II*\0", b"MM\0*"):
        order: tuple[bytes, ...] = (data[4:8], data[7:3:-1])
        return _little(order[data[:2] == b"MM"]) >= len(data)
    if data[4:8] == b"ftyp":
        return _boxes_end(data) > len(data)
    if data[4:8] == b"jP  ":
        return not data.endswith(b"\xff\xd9")
    return lacks_end(data)


def _png_facts(data: bytes, chunks: list[tuple[bytes, memoryview]]) -> PngFacts:
    kinds = [kind for kind, _ in chunks]
    header = next((body for kind, body in chunks if kind == b"IHDR"), memoryview(b""))
    if len(header) != 13:
        raise RecordRejected(Reason.CORRUPT, "PNG without a header of 13 bytes")
    bit_depth, colour_type, is_interlaced = header[8], header[9], header[12]
    late = kinds[kinds.index(b"IDAT") :] if b"IDAT" in kinds else []
    is_plain = (
        bit_depth == 8
        and colour_type in (0, 2)
        and not {b"tRNS", b"acTL"} & set(kinds)
        and not set(_LATE_EXIF) & set(late)
    )
    size_px = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    row_bits = bit_depth * _CHANNELS.get(colour_type, 0)
    num_filtered = _filtered_bytes(*size_px, row_bits, interlaced=bool(is_interlaced))
    coded = tuple(body for kind, body in chunks if kind == b"IDAT")
    return PngFacts(data, bit_depth, is_plain, coded, num_filtered)


def _filtered_bytes(width_px: int, height_px: int, bits_per_px: int, *, interlaced: bool) -> int:
    """Bytes of all rows, each with its filter byte."""
    passes = (*_ADAM7, _ADAM7_LAST) if interlaced else ((0, 1, 0, 1),)
    total = 0
    for left, across, top, down in passes:
        columns, rows = (
            (width_px - left + across - 1) // across,
            (height_px - top + down - 1) // down,
        )
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits_per_px + 7) // 8)
    return total


def _boxes_end(data: bytes) -> int:
    """Where the last top-level box of an ISO media file says that it ends."""
    start = 0
    while start + 8 <= len(data):
        size = int.from_bytes(data[start : start + 4], "big")
        if size == 1:
            size = int.from_bytes(data[start + 8 : start + 16], "big")
        if size < 8:  # 0: up to the end of the file
            return len(data)
        start += size
    return start


def _little(value: bytes) -> int:
    return int.from_bytes(value, "little")
