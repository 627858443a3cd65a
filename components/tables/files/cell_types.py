"""What a cell looks like, from its text alone: enough to tell data from headers and delimiters."""

import re
from typing import Literal

CellType = Literal["empty", "number", "date", "boolean", "text", "odd"]

_MISSING = frozenset(
    {"", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "-", "--", "?", ".", "\\n", "missing"}
)
_BOOLEAN = frozenset({"true", "false", "yes", "no", "y", "n", "t", "f"})
_NUMBER = re.compile(
    r"[-+(]?[$€£¥]? ?"
    r"(?:\d{1,3}(?:([., '\u00a0\u202f])\d{3})(?:\1\d{3})*(?:[.,]\d+)?|\d*[.,]?\d+|\d+[.,])"
    r"(?:[eE][-+]?\d+)? ?(?:%|[$€£¥]|°?[A-Za-z]{1,4}|[A-Za-z]{1,3}/[A-Za-z]{1,3})?\)?"
    r"|[-+]?inf(?:inity)?",
    re.IGNORECASE,
)
_DATE = re.compile(
    r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}"
    r"(?:[T ]\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)? ?(?:[AaPp][Mm]|Z|[A-Z]{3,4}|[-+]\d{2}:?\d{2})?)?"
    r"|\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?: ?[AaPp][Mm])?"
    r"|\d{1,2}[- .]?(?:\d|[A-Za-z]){3,9}[- ,.]+\d{2,4}"
    r"|[A-Za-z]{3,9}\.? \d{1,2},? \d{4}"
    r"|\d{4}-\d{2}"
)
_TEXT = re.compile(
    r"[^\W_](?:[\w .'\u2019&()\[\]{}/+#@%°*!?=<>$€£-]|, |: |; |://|\r?\n)*"
    r"|[#@<>(\[*_][\w .'<>=()\[\]/-]+"
)


def cell_type(cell: str) -> CellType:
    """What a cell looks like; `odd` where it may be several cells that are not cut apart."""
    stripped = cell.strip()
    lower = stripped.lower()
    if lower in _MISSING:
        return "empty"
    if _NUMBER.fullmatch(stripped):
        return "number"
    if _DATE.fullmatch(stripped):
        return "date"
    if lower in _BOOLEAN:
        return "boolean"
    return "text" if _TEXT.fullmatch(stripped) else "odd"
