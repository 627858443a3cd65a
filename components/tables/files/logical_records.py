"""Lines to records: quotes, quoted line ends, and quotes that are broken.

This is the reference that the fast path (`structure.py`) must equal. Python's csv module gives the
same on well-formed text; on a quote that is never closed it swallows the rest of the file without
a word, which is why it is not used here.
"""

import csv
import io
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

MAX_RECORD_CHARS = 4 << 20
"""A quoted field that runs on for longer is taken for a quote that was never closed."""

_CSV_LIMIT = 100_000  # below csv.field_size_limit()

ESCAPED = 0x10FE00
"""An escaped character c (as in `\\"`) is the character ESCAPED + c until the cells are cut."""
ESCAPES = re.compile(f"[{chr(ESCAPED)}-{chr(ESCAPED + 127)}]")
ESCAPED_LINE_ENDS = (chr(ESCAPED + 10), chr(ESCAPED + 13))
"""A line end that is part of a field without quotes, as MySQL writes it."""


@dataclass(frozen=True, slots=True)
class Separation:
    """What separates fields.

    Attributes:
        delimiter: Between fields; "" where a line is one field.
        aligned: Fewest blanks that separate fields where columns are aligned by blanks, else 0.
        quote: Character around fields; "" where quotes mean nothing.
        skip_blanks: Blanks after a delimiter belong to no field.
    """

    delimiter: str
    aligned: int = 0
    quote: str = '"'
    skip_blanks: bool = False


class LogicalRecord(NamedTuple):
    """One record.

    Attributes:
        fields: Its fields, without their quotes.
        line: Line on which it starts, counted from 0.
        num_lines: Lines that it spans.
        is_broken: Whether quotes had to be mended.
        text: The record as it was read, without its line end.
    """

    fields: list[str]
    line: int
    num_lines: int
    is_broken: bool
    text: str


def escape_marks(text: str, separation: Separation, escape: str) -> str:
    """Text in which each escaped character is a mark that no delimiter or quote equals."""
    special = {escape, separation.delimiter, separation.quote, "\n", "\r"}

    def mark(match: re.Match[str]) -> str:
        char = match[1]
        return chr(ESCAPED + ord(char)) if char in special and char < "\x80" else match[0]

    return re.sub(re.escape(escape) + "(.)", mark, text, flags=re.DOTALL)


def unescape(text: str) -> str:
    """Text with marks of escaped characters as those characters."""
    return ESCAPES.sub(lambda match: chr(ord(match[0]) - ESCAPED), text)


def split_records(
    text: str, separation: Separation, expected: int | None, *, is_last: bool
) -> tuple[list[LogicalRecord], int]:
    """Cut text into records.

    A quote that does not close where a field can end is mended inside its own line: nothing that
    follows is swallowed.

    Args:
        text: Whole lines, and maybe the start of another.
        separation: What separates fields.
        expected: Fields of a record, where that is known.
        is_last: Whether the file ends with this text.

    Returns:
        The records (blank lines among them, as one empty field), and how many characters they
        took: what is left is the start of a record that is not complete.
    """
    lines = io.StringIO(text, newline="").readlines()
    if not is_last and lines and not _is_complete(lines[-1]):
        lines.pop()
    records: list[LogicalRecord] = []
    line_number = at = taken = 0
    has_escapes = any(mark in text for mark in ESCAPED_LINE_ENDS)
    while at < len(lines):
        count = 1
        if separation.quote and separation.quote in lines[at]:
            record, count = _quoted_record(lines, at, line_number, separation, expected, is_last)
            if record is None:
                break
        else:
            content = _content(lines[at])
            record = LogicalRecord(
                _plain_fields(content, separation), line_number, 1, False, content
            )
        records.append(record)
        for line in lines[at : at + count]:
            taken += len(line)
            if has_escapes:
                line_number += sum(line.count(mark) for mark in ESCAPED_LINE_ENDS)
        line_number += count
        at += count
        if at < len(lines) and lines[at] == "\r\n" and lines[at - 1].endswith("\r"):
            taken += 2  # \r\r\n is one line end, written by a program that added its own \r
            at += 1
    return records, taken


def _is_complete(line: str) -> bool:
    # After \r a \n may follow in the next block.
    return line.endswith("\n")


def _content(line: str) -> str:
    if line.endswith("\r\n"):
        return line[:-2]
    return line[:-1] if line.endswith(("\n", "\r")) else line


def _plain_fields(content: str, separation: Separation) -> list[str]:
    if separation.aligned:
        return re.split(_run(separation.aligned), content.strip(" \t"))
    if not separation.delimiter:
        return [content]
    fields = content.split(separation.delimiter)
    return [field.lstrip(" ") for field in fields] if separation.skip_blanks else fields


def _run(fewest: int) -> str:
    return rf"(?: {{{fewest},}}|[ ]*\t[ \t]*)"


@lru_cache(maxsize=64)
def _patterns(separation: Separation) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """A field that ends with its quote as it should, and one that ends with the first likely."""
    quote = re.escape(separation.quote)
    if separation.aligned:
        end = rf"(?:{_run(separation.aligned)}|\Z)"
    else:
        end = rf"(?:{re.escape(separation.delimiter)}|\Z)" if separation.delimiter else r"\Z"
    lead = " *" if separation.skip_blanks else ""
    plain = rf"(?P<plain>.*?)(?P<end>{end})"
    inside = rf"(?P<inside>[^{quote}]*+(?:{quote}{quote}[^{quote}]*+)*+)"
    proper = rf"{lead}{quote}{inside}{quote} *(?P<close>{end})|{plain}"
    lenient = rf"{lead}{quote}(?P<inside>.*?){quote} *(?P<close>{end})|{plain}"
    return re.compile(proper, re.DOTALL), re.compile(lenient, re.DOTALL)


def _fields(
    content: str, separation: Separation, pattern: re.Pattern[str]
) -> tuple[list[str], bool, bool]:
    """Fields of a record; whether an opening quote is left open; whether quotes stand inside."""
    quote = separation.quote
    fields: list[str] = []
    at, is_open, has_inner = 0, False, False
    while True:
        match = pattern.match(content, at)
        assert match is not None  # the plain field takes anything
        inside = match["inside"]
        if inside is not None:
            fields.append(inside.replace(quote + quote, quote))
            end = match["close"]
        else:
            plain, end = match["plain"], match["end"]
            plain = plain.lstrip(" ") if separation.skip_blanks else plain
            is_open = is_open or plain.startswith(quote)
            has_inner = has_inner or quote in plain
            fields.append(plain)
        at = match.end()
        if not end:
            return fields, is_open, has_inner


def _quoted_record(
    lines: list[str],
    at: int,
    line_number: int,
    separation: Separation,
    expected: int | None,
    is_last: bool,
) -> tuple[LogicalRecord | None, int]:
    """The record that starts on a line with quotes, and how many lines it takes."""
    content = _content(lines[at])
    plain = _by_csv(content, separation)
    if plain is not None:
        return LogicalRecord(plain, line_number, 1, False, content), 1
    proper, _ = _patterns(separation)
    trimmed = content.strip(" \t") if separation.aligned else content
    fields, is_open, _ = _fields(trimmed, separation, proper)
    if not is_open:
        return LogicalRecord(fields, line_number, 1, False, content), 1
    count = _closing_line(lines, at, separation.quote, is_last)
    if count is None:
        return None, 0
    if count > 1:
        whole = _content("".join(lines[at : at + count]))
        fields, is_open, has_inner = _fields(whole, separation, proper)
        swallowed = has_inner or _swallows(lines[at : at + count], fields, separation, expected)
        if not swallowed:
            return LogicalRecord(fields, line_number, count, False, whole), count
    return LogicalRecord(_mended(content, separation, expected), line_number, 1, True, content), 1


def _by_csv(content: str, separation: Separation) -> list[str] | None:
    """Fields of a line whose quotes are as they should be, by the csv module, for its speed."""
    if separation.aligned or separation.skip_blanks or len(separation.delimiter) != 1:
        return None
    if len(content) >= _CSV_LIMIT or not _well_formed(separation).fullmatch(content):
        return None
    reader = csv.reader([content], delimiter=separation.delimiter, quotechar=separation.quote)
    return next(reader)


@lru_cache(maxsize=64)
def _well_formed(separation: Separation) -> re.Pattern[str]:
    quote, delimiter = re.escape(separation.quote), re.escape(separation.delimiter)
    quoted = rf"{quote}[^{quote}]*+(?:{quote}{quote}[^{quote}]*+)*+{quote}"
    field = rf"(?:{quoted}|(?!{quote})[^{delimiter}]*+)"
    return re.compile(rf"{field}(?:{delimiter}{field})*+", re.DOTALL)


def _closing_line(lines: list[str], at: int, quote: str, is_last: bool) -> int | None:
    """Lines until the quotes are even; 1 where they never are, None where it is not yet known."""
    num_quotes = num_chars = 0
    for place in range(at, len(lines)):
        num_quotes += lines[place].count(quote)
        num_chars += len(lines[place])
        if num_quotes % 2 == 0:
            return place - at + 1
        if num_chars > MAX_RECORD_CHARS:
            return 1
    return 1 if is_last else None


def _swallows(
    lines: list[str], fields: list[str], separation: Separation, expected: int | None
) -> bool:
    """Whether lines that quotes join are records of their own: each has all fields by itself."""
    if expected is None or expected < 2:
        return False
    if len(lines) < 4 and len(fields) == expected:
        return False
    # With their quotes, or a delimiter within them makes up for a field that the row lacks.
    _, lenient = _patterns(separation)
    alone = [len(_fields(_content(line), separation, lenient)[0]) == expected for line in lines]
    return all(alone) or (len(fields) != expected and alone[0])


def _mended(content: str, separation: Separation, expected: int | None) -> list[str]:
    """Fields of a line with broken quotes: a quote closes only where a field can end."""
    _, lenient = _patterns(separation)
    fields, _, _ = _fields(content, separation, lenient)
    if expected is not None and len(fields) != expected:
        plain = _plain_fields(content, separation)
        fields = plain if len(plain) == expected else fields
    return [_unquoted(field, separation.quote) for field in fields]


def _unquoted(field: str, quote: str) -> str:
    """A field without the one quote that was not closed, or with both gone."""
    if len(field) > 1 and field.startswith(quote) and field.endswith(quote):
        return field[1:-1].replace(quote + quote, quote)
    return field[1:] if field.startswith(quote) else field
