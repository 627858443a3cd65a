"""What a file really is, from its first bytes, and how it is unpacked."""

import bz2
import gzip
import lzma
import zlib
from types import TracebackType
from typing import BinaryIO, Literal, Protocol, Self

import pyarrow as pa

from components.errors import DataError

Compression = Literal["", "gzip", "bz2", "xz", "zstd"]


class ByteStream(Protocol):
    """What is read from: a file, an Arrow stream, an unpacked one."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most `size`."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> bool | None: ...


SAMPLE_BYTES = 1 << 20
"""How much of a file's head is looked at."""

_PACKED: tuple[tuple[bytes, Compression], ...] = (
    (b"\x1f\x8b", "gzip"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
)

_REMEDY_SHEET = "save the sheet as CSV"
_REMEDY_UNPACK = "unpack it"
_REMEDY_FETCH = "fetch the table itself"

# (offset, bytes, what it is, what to do about it)
_SIGNATURES: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"PAR1", "a Parquet file", "name it .parquet"),
    (0, b"ARROW1", "an Arrow file", "save it as Parquet"),
    (0, b"FEA1", "a Feather file", "save it as Parquet"),
    (0, b"ORC", "an ORC file", "save it as Parquet"),
    (0, b"Obj\x01", "an Avro file", "save it as Parquet"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file", "save the table as Parquet"),
    (0, b"SQLite format 3\x00", "an SQLite database", "save the table as CSV or Parquet"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel or Office file", _REMEDY_SHEET),
    (0, b"\x93NUMPY", "a NumPy array", "save it as CSV or Parquet"),
    (0, b"RDX", "an R data file", "save it as CSV or Parquet"),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG picture", _REMEDY_FETCH),
    (0, b"\xff\xd8\xff", "a JPEG picture", _REMEDY_FETCH),
    (0, b"GIF8", "a GIF picture", _REMEDY_FETCH),
    (0, b"II*\x00", "a TIFF picture", _REMEDY_FETCH),
    (0, b"MM\x00*", "a TIFF picture", _REMEDY_FETCH),
    (8, b"WEBP", "a WebP picture", _REMEDY_FETCH),
    (8, b"WAVE", "a WAV sound", _REMEDY_FETCH),
    (4, b"ftyp", "a video or HEIF picture", _REMEDY_FETCH),
    (0, b"%PDF-", "a PDF document", "save the table as CSV"),
    (0, b"%!PS", "a PostScript document", "save the table as CSV"),
    (0, b"{\\rtf", "an RTF document", "save the table as CSV"),
    (0, b"\x7fELF", "a program", _REMEDY_FETCH),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _REMEDY_UNPACK),
    (0, b"Rar!\x1a\x07", "a RAR archive", _REMEDY_UNPACK),
    (0, b"\x04\x22\x4d\x18", "an LZ4 archive", _REMEDY_UNPACK),
    (257, b"ustar", "a tar archive", _REMEDY_UNPACK),
)
_PRINTED = (b"%PDF-", b"%!PS", b"{\\rtf")
_MARKUP: tuple[tuple[bytes, str], ...] = (
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<?xml", "an XML file"),
)


def binary_kind(head: bytes) -> tuple[str, str] | None:
    """What a file is that is no table as text, and what to do about it; None for others.

    Args:
        head: The first bytes of the file, some thousands at least where it has them.
    """
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip_kind(head)
    # A column may well be called PAR1 or ORCID: a mark of letters needs binary bytes beside it.
    is_binary = any(byte < 9 for byte in head[:512])
    for offset, mark, what, remedy in _SIGNATURES:
        if head.startswith(mark, offset) and (is_binary or mark in _PRINTED):
            return what, remedy
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "a Python pickle", "save the table as CSV or Parquet"
    if head[:2] == b"BM" and b"\x00" in head[6:10]:
        return "a BMP picture", _REMEDY_FETCH
    start = head[:4096].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for mark, what in _MARKUP:
        if start.startswith(mark):
            return what, "fetch the table itself; this may be the page of an error"
    return None


def _zip_kind(head: bytes) -> tuple[str, str]:
    if b"xl/" in head or b"workbook" in head:
        return "an Excel workbook (.xlsx)", _REMEDY_SHEET
    if b"opendocument.spreadsheet" in head:
        return "an OpenDocument sheet (.ods)", _REMEDY_SHEET
    if b"[Content_Types].xml" in head or b"word/" in head:
        return "an Office document (an Excel workbook?)", _REMEDY_SHEET
    return "a ZIP archive", _REMEDY_UNPACK


def compression_of(head: bytes) -> Compression:
    """How a file is packed, from its first bytes; "" where it is not."""
    if head.startswith(b"BZh") and head[4:10] == b"1AY&SY":  # head[3] is the level
        return "bz2"
    return next((name for mark, name in _PACKED if head.startswith(mark)), "")


def unpacked(stream: BinaryIO, compression: Compression) -> ByteStream:
    """The stream's content as it was before it was packed."""
    if compression == "gzip":
        return gzip.GzipFile(fileobj=stream)
    if compression == "bz2":
        return bz2.BZ2File(stream)
    if compression == "xz":
        return lzma.LZMAFile(stream)
    if compression == "zstd":
        content: ByteStream = pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd")
        return content
    return stream


def read_exactly(stream: ByteStream, num_bytes: int, origin: str) -> bytes:
    """The next bytes of a stream, fewer only at its end: blocks do not depend on short reads.

    Raises:
        DataError: A packed file is damaged or cut short.
    """
    parts: list[bytes] = []
    missing = num_bytes
    while missing > 0:
        try:
            part = stream.read(missing)
        except (EOFError, OSError, lzma.LZMAError, zlib.error, pa.ArrowInvalid) as error:
            raise DataError(
                f"{origin}: cannot be read to its end ({error}); fetch the file again"
            ) from error
        if not part:
            break
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)
