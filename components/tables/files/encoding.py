"""In which encoding a table is written, told from all of its bytes, and its text, block by block.

What cannot be decoded stays visible: it becomes a mark, a character of a private plane that holds
the byte, which `resolve_marks` turns into the likeliest character once the cell is known.
"""

import codecs
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Literal

from components.config import Config
from components.errors import DataError
from components.tables.files.charsets import best_charset
from components.tables.files.signatures import (
    SAMPLE_BYTES,
    ByteStream,
    Compression,
    binary_kind,
    compression_of,
    read_exactly,
    unpacked,
)

Opener = Callable[[], BinaryIO]
"""Gives a fresh binary stream of the whole file."""

MARK = 0x10FF00
"""A byte that could not be decoded is the character MARK + byte; a NUL is MARK itself."""
MARKS = re.compile(f"[{chr(MARK)}-{chr(MARK + 255)}]")
_ERRORS = "headrace-marks"
_SLOPPY = "headrace-c1"
_BLOCK_BYTES = 4 << 20
_EVIDENCE_BYTES = 128 << 10
_EVIDENCE_PER_BLOCK = 16 << 10

_BOMS: tuple[tuple[bytes, str], ...] = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it starts with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (b"\x84\x31\x95\x33", "gb18030"),
)


class EncodingForm(Config):
    """How the bytes of a file become text."""

    compression: Compression = ""
    name: str = "utf-8"
    """Python's name of the encoding."""
    bom_bytes: int = 0
    """Length of the byte-order mark at the start; 0 without one."""
    told_by: Literal["ascii", "bom", "nul bytes", "utf-8", "letters", "given"] = "utf-8"
    double: bool = False
    """UTF-8 that was taken for cp1252 and written as UTF-8 once more, all over the file."""
    undecodable: int = 0
    """Bytes of the file that are not of this encoding."""

    def described(self) -> str:
        """The encoding in words, for messages and findings."""
        bom = " with byte-order mark" if self.bom_bytes else ""
        return f"{self.name}{bom}{', encoded twice' if self.double else ''}"


def _mark(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    bad = error.object[error.start : error.end]
    return "".join(chr(MARK + byte) for byte in bad), error.end


def _c1(error: UnicodeError) -> tuple[bytes, int]:
    """The five bytes that cp1252 leaves out, as all readers but strict ones take them."""
    assert isinstance(error, UnicodeEncodeError)
    bad = error.object[error.start : error.end]
    if any(char > "\xff" for char in bad):
        raise error
    return bad.encode("latin-1"), error.end


codecs.register_error(_ERRORS, _mark)
codecs.register_error(_SLOPPY, _c1)


@dataclass
class _Survey:
    """What the bytes of a whole file say about its encoding."""

    head: bytes = b""
    num_bytes: int = 0
    is_ascii: bool = True
    utf8_errors: int = 0
    utf8_characters: int = 0
    is_double: bool = True
    evidence: list[bytes] = field(default_factory=list)

    def num_evidence(self) -> int:
        return sum(map(len, self.evidence))


def detect_encoding(opener: Opener, origin: str, given: str | None = None) -> EncodingForm:
    """Tell the encoding of a file: packing, byte-order mark, NUL pattern, UTF-8, letters.

    Reads the whole file once unless a byte-order mark or NUL bytes tell: the first character that
    is not ASCII may stand on the last line.

    Args:
        opener: Gives a fresh stream.
        origin: The file, for messages.
        given: Encoding that the recipe pins; it is taken as it is.

    Raises:
        DataError: The file is empty, no text, or the given encoding is not known.
    """
    with opener() as stream:
        compression = compression_of(read_exactly(stream, 64, origin))
    with opener() as packed, unpacked(packed, compression) as stream:
        head = read_exactly(stream, SAMPLE_BYTES, origin)
        _refuse_binary(head, origin, compression)
        if given is not None:
            return _given(given, head, compression, origin)
        told = _by_first_bytes(head)
        if told is not None:
            told = told.model_copy(update={"compression": compression})
            if told.name != "utf-8":
                return told
        survey = _Survey()
        _survey(survey, stream, head, origin)
    form = _by_all_bytes(survey, origin, bom_bytes=told.bom_bytes if told else 0)
    return form.model_copy(update={"compression": compression})


def _refuse_binary(head: bytes, origin: str, compression: Compression) -> None:
    inside = f"{compression} data that hold " if compression else ""
    if not head:
        raise DataError(f"{origin}: {inside or 'the file is empty, '}0 bytes; fetch it again")
    kind = binary_kind(head)
    if kind is None and compression_of(head):
        kind = (f"{compression_of(head)} data once more", "unpack it once")
    if kind is not None:
        what, remedy = kind
        raise DataError(f"{origin}: this is {inside}{what}, not a table as text; {remedy}")
    if not head.strip(b"\x00\x1a \t\r\n\xef\xbb\xbf\xfe\xff"):
        raise DataError(f"{origin}: only blanks or NUL bytes, no table; fetch the file again")


def _given(name: str, head: bytes, compression: Compression, origin: str) -> EncodingForm:
    try:
        known = codecs.lookup(name).name
        "a".encode(known)
    except LookupError as error:
        raise DataError(
            f"{origin}: no encoding is called {name!r}; use utf-8, cp1252, utf-16, latin-1, ..."
        ) from error
    known = {"utf-8-sig": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}.get(known, known)
    bom = next((mark for mark, owner in _BOMS if owner == known and head.startswith(mark)), b"")
    other = next((owner for mark, owner in _BOMS if head.startswith(mark)), known)
    if not bom and other[:6] == known[:6]:  # utf-16 was asked for and the other order found
        known, bom = other, next((mark for mark, owner in _BOMS if owner == other), b"")
        bom = bom if head.startswith(bom) else b""
    return EncodingForm(compression=compression, name=known, bom_bytes=len(bom), told_by="given")


def _by_first_bytes(head: bytes) -> EncodingForm | None:
    for mark, name in _BOMS:
        if head.startswith(mark):
            return EncodingForm(name=name, bom_bytes=len(mark), told_by="bom")
    wide = _wide_encoding(head[: 64 << 10])
    if wide is not None:
        return EncodingForm(name=wide, told_by="nul bytes")
    if b"\x1b$" in head and head.isascii():
        return EncodingForm(name="iso2022_jp", told_by="letters")
    return None


def _wide_encoding(head: bytes) -> str | None:
    """UTF-16 or UTF-32 without a byte-order mark: line ends and digits carry NULs on one side."""
    nuls = [head[place::4].count(0) for place in range(4)]
    size = len(head) // 4
    if size == 0 or sum(nuls) < 0.02 * len(head):
        return None
    if min(nuls[1:]) > 0.9 * size and nuls[0] < 0.1 * size:
        return "utf-32-le"
    if min(nuls[:3]) > 0.9 * size and nuls[3] < 0.1 * size:
        return "utf-32-be"
    even, odd = nuls[0] + nuls[2], nuls[1] + nuls[3]
    for name, inside, outside in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        if outside < 0.05 * inside and _reads(head[: len(head) // 2 * 2], name):
            return name
    return None


def _reads(data: bytes, name: str) -> bool:
    text = codecs.getincrementaldecoder(name)("replace").decode(data)
    strange = sum(not c.isprintable() and c not in "\t\r\n\x01\x1a\x1c\x1d\x1e\x1f" for c in text)
    return strange + text.count("\ufffd") < 0.01 * len(text) + 1


def _survey(survey: _Survey, stream: ByteStream, head: bytes, origin: str) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")(_ERRORS)
    again = codecs.getincrementaldecoder("utf-8")("strict")
    block = head
    survey.head = head
    while block:
        survey.num_bytes += len(block)
        if not block.isascii():
            survey.is_ascii = False
            if survey.num_evidence() < _EVIDENCE_BYTES:
                survey.evidence.append(_high_lines(block))
        text = decoder.decode(block)
        if not text.isascii():
            _count_utf8(survey, text, again)
        if survey.utf8_errors > 1000 * (survey.utf8_characters + 1):
            return  # not UTF-8, and of what remains nothing could change that
        block = read_exactly(stream, _BLOCK_BYTES, origin)
    _count_utf8(survey, decoder.decode(b"", final=True), again)


def _count_utf8(survey: _Survey, text: str, again: codecs.IncrementalDecoder) -> None:
    num_marks = len(MARKS.findall(text))
    survey.utf8_errors += num_marks
    survey.utf8_characters += len(text) - len(text.encode("ascii", "ignore")) - num_marks
    if survey.is_double and not text.isascii():
        try:
            again.decode(text.encode("cp1252", _SLOPPY))
        except UnicodeError:
            survey.is_double = False


def _high_lines(block: bytes) -> bytes:
    lines = (line[:1024] for line in re.split(rb"[\r\n]+", block) if not line.isascii())
    return b"\n".join(lines)[:_EVIDENCE_PER_BLOCK] + b"\n"


def _by_all_bytes(survey: _Survey, origin: str, *, bom_bytes: int) -> EncodingForm:
    _refuse_noise(survey.head, origin)
    if survey.is_ascii:
        return EncodingForm(bom_bytes=bom_bytes, told_by="bom" if bom_bytes else "ascii")
    told_by: Literal["bom", "utf-8"] = "bom" if bom_bytes else "utf-8"
    if survey.utf8_errors <= survey.utf8_characters:
        double = survey.is_double and survey.utf8_characters > 0 and not survey.utf8_errors
        return EncodingForm(
            bom_bytes=bom_bytes, told_by=told_by, double=double, undecodable=survey.utf8_errors
        )
    return EncodingForm(name=best_charset(b"".join(survey.evidence)).name, told_by="letters")


def _refuse_noise(head: bytes, origin: str) -> None:
    controls = bytes(b for b in range(32) if b not in b"\x00\x01\t\n\x0b\x0c\r\x1a\x1c\x1d\x1e\x1f")
    num_controls = len(head) - len(head.translate(None, controls))
    num_nuls = head.rstrip(b"\x00\x1a").count(0)
    if num_controls > 0.01 * len(head) or num_nuls > 0.1 * len(head):
        raise DataError(
            f"{origin}: binary data ({num_controls} control and {num_nuls} NUL bytes in the first "
            f"{len(head)}, starting with {head[:8]!r}), not a table; fetch the table itself, or "
            "set data.source.encoding where it is text in a rare encoding"
        )


def text_blocks(opener: Opener, form: EncodingForm, origin: str) -> Iterator[str]:
    """The text of a file in blocks of some MiB; undecodable bytes and NULs are marks.

    NUL and Ctrl-Z bytes at the very end (padding, the old end-of-file mark) are left out.
    """
    decoder = codecs.getincrementaldecoder(form.name)(_ERRORS)
    again = codecs.getincrementaldecoder("utf-8")(_ERRORS) if form.double else None
    held = ""
    with opener() as packed, unpacked(packed, form.compression) as stream:
        read_exactly(stream, form.bom_bytes, origin)
        is_last = False
        while not is_last:
            data = read_exactly(stream, _BLOCK_BYTES, origin)
            is_last = len(data) < _BLOCK_BYTES
            text = decoder.decode(data, final=is_last)
            if again is not None:
                text = again.decode(text.encode("cp1252", _SLOPPY), final=is_last)
            text = held + text
            kept = text.rstrip("\x00\x1a")
            held = text[len(kept) :]
            if kept:
                yield kept.replace("\x00", chr(MARK))


def resolve_marks(text: str, encoding: str) -> str:
    """Text with each mark as the likeliest character: cp1252's inside words, else U+FFFD.

    A byte that is no UTF-8 inside a UTF-8 file comes from a program that wrote cp1252. NULs go.
    """

    def character(match: re.Match[str]) -> str:
        byte = ord(match[0]) - MARK
        if byte == 0:
            return ""
        likely = bytes([byte]).decode("cp1252", "replace")
        plausible = likely.isalpha() or likely in "€£°²³µ½\u2013—\u2018\u2019“”«»…©®·\u00d7\u00a0"
        return likely if encoding == "utf-8" and plausible else "\ufffd"

    return MARKS.sub(character, text)


def show_marks(text: str) -> str:
    """Text with each mark as the byte that it stands for, as `caf\\xe9`."""
    return MARKS.sub(lambda match: f"\\x{ord(match[0]) - MARK:02x}", text)


DOUBLE = re.compile("[\u00c2-\u00f4][\u0080-\u00ff\u0152-\u02dc\u2013-\u2122]")
"""Finds what UTF-8 becomes that was taken for cp1252, as in `CafÃ©`."""


def undo_double(text: str) -> str:
    """`CafÃ©` -> `Café`; the text as it is where that cannot be undone."""
    try:
        return text.encode("cp1252", _SLOPPY).decode("utf-8")
    except UnicodeError:
        return text
