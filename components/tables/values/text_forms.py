"""The form of text: blanks, control characters, Unicode forms, and UTF-8 read as cp1252."""

import re
import unicodedata

# ZWJ and ZWNJ (200C, 200D) stay: Persian and emoji need them.
_INVISIBLE = "\u200b\u200e\u200f\u2060\ufeff\u00ad"
_BLANKS = "\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f" + _INVISIBLE + "]")
_RUN_OF_BLANKS = re.compile(rf"[ \t\x0b\x0c{_BLANKS}]+")

ODD_NAME = (
    r"^\s|\s$|  |[\t\x0b\x0c\x{85}\x{1680}\x{a0}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}"
    r"\x{205f}\x{3000}]|[\x00-\x08\x0e-\x1f\x7f-\x9f\x{200b}\x{200e}\x{200f}\x{2060}\x{feff}\x{ad}]"
    r"|\p{M}|[\x{2126}\x{212a}\x{212b}\x{1100}-\x{11ff}]"
)
"""Rust regex of the names (categories, identifiers) that `tidy_name` may change."""

ODD_TEXT = (
    r"^[\s\x{a0}]|[\s\x{a0}]$"
    r"|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\x{200b}\x{200e}\x{200f}\x{2060}\x{feff}]"
)
"""Rust regex of the free texts that `tidy_text` may change."""

ODD_ENCODING = r"[ÂÃÄÅâÎÏÐÑ][^\x00-\x7f]"
"""Rust regex of the texts that `undo_cp1252` may change."""

# cp1252 leaves five bytes open; those who misread UTF-8 pass them on as C1 controls.
_BYTE_OF = {bytes([code]).decode("cp1252", "ignore") or chr(code): code for code in range(128, 256)}
_FOLLOWERS = "".join(char for char, code in _BYTE_OF.items() if 0x80 <= code <= 0xBF)
_MISREAD = re.compile(
    rf"[ÂÃÎÏÐÑ][{re.escape(_FOLLOWERS)}]"
    # A quotation mark may close a word that ends in a capital umlaut.
    rf"|[ÄÅ](?![\u201c\u201d\u2018\u2019»«])[{re.escape(_FOLLOWERS)}]"
    rf"|â[{re.escape(_FOLLOWERS)}]{{2}}"
)


def tidy_name(text: str) -> str:
    """A name in its plain form: NFC, no control characters, single blanks; lines stay."""
    composed = unicodedata.normalize("NFC", text)
    return _RUN_OF_BLANKS.sub(" ", _CONTROLS.sub("", composed)).strip()


def tidy_text(text: str) -> str:
    """Free text without control characters and blanks around it; lines and inner blanks stay."""
    return _CONTROLS.sub("", text).strip().strip("\u00a0").strip()


def undo_cp1252(text: str) -> str:
    """Text whose UTF-8 bytes were read as cp1252, as it was: `CafÃ©` becomes `Café`.

    Only what is valid UTF-8 in a Latin, Greek or Cyrillic letter or in punctuation is turned
    back; all else stays. Done twice where it happened twice.
    """
    for _ in range(2):
        mended = _MISREAD.sub(_decoded, text)
        if mended == text:
            break
        text = mended
    return text


def _decoded(misread: re.Match[str]) -> str:
    data = bytes(_BYTE_OF[char] for char in misread.group())
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return misread.group()
    return misread.group() if unicodedata.category(text) == "Cc" else text
