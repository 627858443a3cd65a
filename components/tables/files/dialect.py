"""How a delimited file is written: delimiter, quotes, escapes, preamble, header.

Each candidate cuts the first lines into rows; the one wins whose rows are of one length and whose
cells look like values (pattern score x type score of van den Burg, Nazabal and Sutton, "Wrangling
messy CSV files by detecting row and type patterns", 2019, in a simpler form).
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import Field

from components.config import Config
from components.tables.files.cell_types import cell_type
from components.tables.files.logical_records import (
    LogicalRecord,
    Separation,
    escape_marks,
    split_records,
    unescape,
)

_DELIMITERS = (",", ";", "\t", "|", "||", "\x01", "\x1f", "^", "~", ":")
_SEP_LINE = re.compile('"?sep=(.)"?(?:\r\n|\r|\n)', re.IGNORECASE)
_ROWS = 200
_ONE_COLUMN = 0.15  # what a file of one column scores where each of its lines is a plain value
_WEAK = {":": 0.6, " ": 0.6, "~": 0.9, "^": 0.9}
"""Characters that are found inside values (times, names) more often than between them."""


class Dialect(Config):
    """How the records of a delimited file are written."""

    delimiter: str = ","
    """Between fields; "" for a file of one column."""
    aligned: int = 0
    """Fewest blanks between fields where columns are aligned by blanks; 0 elsewhere."""
    quote: str = '"'
    """Around fields that hold delimiters or line ends; "" where quotes are plain characters."""
    escape: str = ""
    """Before a quote or delimiter that belongs to the value; "" where quotes are doubled."""
    skip_blanks: bool = False
    """Blanks after a delimiter belong to no field."""
    comment: str = ""
    """Lines that start with it are no records."""
    trailing: bool = False
    """Every record ends with a delimiter, behind which there is no field."""
    evidence: dict[str, float] = Field(default_factory=dict)
    """Score of each delimiter that was tried, 0 to 1."""

    def separation(self) -> Separation:
        """What the records are cut by."""
        return Separation(self.delimiter, self.aligned, self.quote, self.skip_blanks)

    def described(self) -> str:
        """The delimiter in words."""
        if self.aligned:
            return f"{self.aligned} or more blanks"
        return repr(self.delimiter) if self.delimiter else "none (one column)"


@dataclass(frozen=True)
class _Reading:
    """The first lines as one candidate cuts them."""

    separation: Separation
    records: list[LogicalRecord]
    num_fields: int
    score: float


def sep_line(sample: str) -> str | None:
    """The delimiter that Excel's first line `sep=;` states; None where there is none."""
    match = _SEP_LINE.match(sample)
    return match[1] if match else None


def detect_dialect(sample: str, given: str | None = None) -> Dialect:
    """Tell how records are written.

    Args:
        sample: The first lines of the file, whole lines only, without a `sep=` line.
        given: Delimiter that the recipe pins.
    """
    head = _head(sample)
    quote = _likely_quote(head)
    escape = _likely_escape(head, quote, given)
    candidates = _candidates(head, given)
    readings = [
        _read(head, Separation(text, aligned, quote), escape) for text, aligned in candidates
    ]
    best = max(readings, key=lambda reading: reading.score)
    if best.separation.quote and _mostly_broken(best):
        plain = Separation(best.separation.delimiter, best.separation.aligned, "")
        best = _read(head, plain, escape)
    separation = best.separation
    return Dialect(
        delimiter=separation.delimiter,
        aligned=separation.aligned,
        quote=separation.quote,
        escape=escape,
        skip_blanks=_skips_blanks(head, separation),
        comment=_comment(best),
        evidence={
            f"{one.separation.delimiter}{one.separation.aligned or ''}": round(one.score, 3)
            for one in readings
            if one.score > 0
        },
    )


def _head(sample: str) -> str:
    """So many lines that the last record among the first rows is complete."""
    ends = [match.end() for match in re.finditer("\r\n|\r|\n", sample[: 512 << 10])]
    if not ends:
        return sample[: 512 << 10]
    return sample if len(ends) <= 3 * _ROWS else sample[: ends[3 * _ROWS]]


def _candidates(head: str, given: str | None) -> list[tuple[str, int]]:
    if given is not None:
        named = {"\\t": "\t", "tab": "\t", "\\x01": "\x01"}.get(given, given)
        return [(" ", 1)] if named == " " and "  " in head else [(named, 0)]
    found = [(text, 0) for text in _DELIMITERS if text in head]
    if head.count("|") == 2 * head.count("||"):
        found = [(text, aligned) for text, aligned in found if text != "|"]
    if re.search(r"\S +\S", head):
        found.append((" ", 0))
        if "  " in head:
            found += [(" ", 1), (" ", 2)]
    return [*found, ("", 0)]


def _likely_quote(head: str) -> str:
    """The quote that stands on both sides of fields."""
    edge = r"(?:^|[,;|\t\x01\x1f^~:] ?|[ ])"
    end = r"(?:$|[,;|\t\x01\x1f^~: \r])"
    single = len(re.findall(rf"{edge}'(?:[^'\n]|'')*'(?={end})", head, re.MULTILINE))
    double = len(re.findall(rf'{edge}"', head, re.MULTILINE))
    openings = len(re.findall(rf"{edge}'", head, re.MULTILINE))
    return "'" if single > double and single >= 0.8 * openings else '"'


def _likely_escape(head: str, quote: str, given: str | None) -> str:
    """A backslash, where it makes records fit that would be broken without it."""
    delimiters = [given] if given else [text for text in _DELIMITERS if text in head]
    if not any(f"\\{mark}" in head for mark in (quote, "\n", *delimiters)):
        return ""
    for_all = [*delimiters, ""] if not given else delimiters
    plain = [_read(head, Separation(text, 0, quote), "") for text in for_all]
    escaped = [_read(head, Separation(text, 0, quote), "\\") for text in for_all]
    best_plain = max(plain, key=lambda reading: reading.score)
    best_escaped = max(escaped, key=lambda reading: reading.score)
    gains = best_escaped.score > best_plain.score + 1e-9
    mends = _num_broken(best_escaped) < _num_broken(best_plain)
    return "\\" if gains or mends else ""


def _num_broken(reading: _Reading) -> int:
    return sum(record.is_broken for record in reading.records)


def _mostly_broken(reading: _Reading) -> bool:
    quote = reading.separation.quote
    opened = sum(quote in record.text for record in reading.records)
    return _num_broken(reading) > max(2, 0.5 * opened)


def _read(head: str, separation: Separation, escape: str) -> _Reading:
    text = escape_marks(head, separation, escape) if escape else head
    records, _ = split_records(text, separation, None, is_last=True)
    filled = [record for record in records if record.text.strip()][:_ROWS]
    rows = [record for record in filled if not record.text.startswith("#")] or filled
    lengths = Counter(len(record.fields) for record in rows)
    num_fields = max(lengths, key=lambda length: (lengths[length], length)) if lengths else 1
    return _Reading(separation, filled, num_fields, _score(rows, num_fields, separation))


def _score(rows: list[LogicalRecord], num_fields: int, separation: Separation) -> float:
    fitting = [row for row in rows if len(row.fields) in (num_fields, num_fields + 1)]
    exact = [row for row in rows if len(row.fields) == num_fields]
    if not exact:
        return 0.0
    if num_fields == 1:
        share = _share_of_values([row.text] for row in exact)
        return _ONE_COLUMN * (0.5 * share if separation.delimiter else 0.4 + 0.6 * share)
    pattern = len(exact) / len(rows) * (num_fields - 1) / num_fields
    score = pattern * _share_of_values(row.fields for row in fitting)
    weak = _WEAK.get(separation.delimiter, 1.0) if not separation.aligned else 0.8
    if weak < 0.8 and _are_plain_values(rows[1:]):
        return 0.0
    if len(rows[0].fields) == 1 and len(rows) > 1 and not _is_title(rows, num_fields):
        weak *= 0.2  # one name, and below it values that hold the character
    return score * weak


def _are_plain_values(rows: list[LogicalRecord]) -> bool:
    """Whether each line is one value that holds the character, as times or names do."""
    types = [cell_type(row.text) for row in rows]
    if sum(kind in ("number", "date") for kind in types) > 0.8 * len(types):
        return True
    parts = {cell_type(field) for row in rows for field in row.fields}
    return not parts & {"number", "date"}


def _is_title(rows: list[LogicalRecord], num_fields: int) -> bool:
    """Whether the first row, of one field, stands above the header and not above one column."""
    names = next((row.fields for row in rows if len(row.fields) == num_fields), [])
    if {cell_type(name) for name in names} - {"text"}:
        return False
    below = [row.fields for row in rows if len(row.fields) == num_fields][1:]
    is_typed = any(cell_type(cell) in ("number", "date") for row in below for cell in row)
    return num_fields >= 3 or is_typed


def _share_of_values(rows: Iterable[Sequence[str]]) -> float:
    total = known = 0
    for row in rows:
        for cell in row:
            total += 1
            known += cell_type(cell if cell.isascii() else unescape(cell)) != "odd"
    return known / total if total else 0.0


def _skips_blanks(head: str, separation: Separation) -> bool:
    if separation.aligned or separation.delimiter in ("", " "):
        return False
    mark = re.escape(separation.delimiter)
    lines = [line for line in head.splitlines()[:_ROWS] if separation.delimiter in line]
    spaced = sum(len(re.findall(rf"{mark} +\S", line)) for line in lines)
    tight = sum(len(re.findall(rf"{mark}[^\s]", line)) for line in lines[1:])
    quoted = (
        re.search(rf"{mark} +{re.escape(separation.quote)}", head) if separation.quote else None
    )
    return spaced > 0 and (spaced > 9 * tight or (quoted is not None and spaced > tight))


def _comment(reading: _Reading) -> str:
    """`#`, where lines that start with it do not have the fields of a record."""
    marked = [record for record in reading.records if record.text.startswith("#")]
    if not marked:
        return ""
    fitting = [record for record in marked if len(record.fields) == reading.num_fields]
    if reading.num_fields == 1:
        fitting = [] if len(marked) < 0.5 * len(reading.records) else marked
    header_only = len(fitting) == 1 and fitting[0] is marked[-1] and len(marked) > 1
    return "#" if not fitting or header_only else ""
