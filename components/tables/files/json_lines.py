"""JSON Lines, and arrays of JSON objects, to raw frames: all values as the text they were."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

import polars as pl

from components.records.findings import Action, Finding
from components.records.reasons import Reason
from components.tables.files.encoding import EncodingForm, Opener, text_blocks
from components.tables.files.mended_text import mend_text
from components.tables.files.pieces import (
    MAX_RECORDS,
    QUARANTINED_SCHEMA,
    SHOWN_CHARS,
    RawPiece,
    capped,
)
from components.tables.schema import RAW_EXTRA, RAW_FIELDS, RAW_LINE, RAW_RECORD

_BETWEEN = re.compile(r"[\s,]*")
_NEXT_OBJECT = re.compile(r"\}\s*,\s*(?=\{)")
_MAX_OBJECT_CHARS = 16 << 20


def json_kind(sample: str, ending: str) -> Literal["json_lines", "json_array"] | None:
    """Whether text is JSON Lines or an array of objects, from its start and the file's ending."""
    start = sample.lstrip()
    if re.match(r"\[\s*\{\s*[\"}]", start):
        return "json_array"
    if ending in (".jsonl", ".ndjson"):
        return "json_lines"
    if not re.match(r"\{\s*[\"}]", start):
        return None
    lines = [line.strip() for line in start.split("\n")[:20] if line.strip()]
    decoder = _Decoder()
    num_good = sum(not _parsed(line, 1, decoder).problem for line in lines)
    fewest = 1 if ending == ".json" else 0.5 * len(lines)
    return "json_lines" if num_good >= fewest else None


class _Number(str):
    """A number as it stands in the file."""


class JsonRecord(NamedTuple):
    """One record of a JSON file.

    Attributes:
        values: Key -> value as text; None for null.
        problem: Why it is no record; "" where it is one.
        twice: Keys that the object names more than once.
        line: Line on which it starts, from 1.
        text: Its start, as it was read.
    """

    values: dict[str, str | None]
    problem: str
    twice: tuple[str, ...]
    line: int
    text: str


def json_columns(
    opener: Opener, encoding: EncodingForm, origin: str, *, is_array: bool
) -> tuple[str, ...]:
    """Keys of all records in order of first appearance; reads the whole file once."""
    keys: dict[str, None] = {}
    for record in json_records(opener, encoding, origin, is_array=is_array):
        if not record.problem and not record.values.keys() <= keys.keys():
            keys.update(dict.fromkeys(record.values))
    return tuple(keys)


def read_json(
    opener: Opener, encoding: EncodingForm, columns: dict[str, str], origin: str, *, is_array: bool
) -> Iterator[RawPiece]:
    """The records of a JSON Lines file (or array of objects) in pieces of at most `MAX_RECORDS`.

    Args:
        opener: Gives a fresh stream of the file.
        encoding: How its bytes become text.
        columns: Key of the objects -> column of the frame.
        origin: Path of the file relative to the source, for findings.
        is_array: Whether the file is one JSON array.

    Yields:
        Pieces in the order of the file. Numbers keep their text, true and false are "true" and
        "false", nested values are compact JSON, a missing key and "" are null. What is no JSON
        object is quarantined, one record each.
    """
    waiting: list[JsonRecord] = []
    first = 1
    for record in json_records(opener, encoding, origin, is_array=is_array):
        waiting.append(record)
        if len(waiting) == MAX_RECORDS:
            yield _piece(waiting, columns, first, encoding, origin)
            first += len(waiting)
            waiting = []
    if waiting:
        yield _piece(waiting, columns, first, encoding, origin)


def json_records(
    opener: Opener, encoding: EncodingForm, origin: str, *, is_array: bool
) -> Iterator[JsonRecord]:
    """The records of a file one by one; blank lines are none."""
    blocks = text_blocks(opener, encoding, origin)
    if is_array:
        yield from _array_records(blocks)
        return
    decoder = _Decoder()
    for number, line in enumerate(_lines(blocks), start=1):
        stripped = line.strip(" \t\r\n\ufeff")
        if stripped:
            yield _parsed(stripped, number, decoder)


def _lines(blocks: Iterable[str]) -> Iterator[str]:
    parts: list[str] = []
    for block in blocks:
        *whole, last = block.split("\n")
        for line in whole:
            yield "".join([*parts, line])
            parts = []
        parts.append(last)
    yield "".join(parts)


class _Decoder:
    """Decodes objects one by one; `twice` holds the keys that the last one named more than once."""

    def __init__(self) -> None:
        self.twice: list[str] = []
        self.json = json.JSONDecoder(
            parse_int=_Number,
            parse_float=_Number,
            parse_constant=_Number,
            object_pairs_hook=self._pairs,
        )

    def _pairs(self, items: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(items)
        if len(found) < len(items):
            keys = [key for key, _ in items]
            self.twice.extend(key for key in found if keys.count(key) > 1)
        return found


def _parsed(text: str, line: int, decoder: _Decoder) -> JsonRecord:
    decoder.twice.clear()
    try:
        value = decoder.json.decode(text)
    except (json.JSONDecodeError, RecursionError) as error:
        return JsonRecord({}, f"no JSON: {error}", (), line, text[:SHOWN_CHARS])
    return _record(value, decoder.twice, line, text)


def _record(value: object, twice: list[str], line: int, text: str) -> JsonRecord:
    if not isinstance(value, dict):
        kind = "array" if isinstance(value, list) else "single value"
        return JsonRecord({}, f"a JSON {kind}, not an object", (), line, text[:SHOWN_CHARS])
    values = {key: _text(cell) for key, cell in value.items()}
    return JsonRecord(values, "", tuple(twice), line, text[:SHOWN_CHARS])


def _text(value: object) -> str | None:
    """A value as text: null is None, nested values are compact JSON."""
    if value is None or isinstance(value, str):
        return None if value is None else str(value)
    return _compact(value)


def _compact(value: object) -> str:
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, dict):
        inside = (
            f"{json.dumps(key, ensure_ascii=False)}:{_compact(cell)}" for key, cell in value.items()
        )
        return "{" + ",".join(inside) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_compact, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _array_records(blocks: Iterable[str]) -> Iterator[JsonRecord]:
    """The elements of one array, without holding more than some of them."""
    text, line, is_open = "", 1, False
    source = iter(blocks)
    while True:
        block = next(source, None)
        text += block or ""
        at = 0
        if not is_open:
            at = text.index("[") + 1
            is_open = True
        records, end = _elements(text, at, line, is_last=block is None)
        yield from records
        line += text.count("\n", 0, end)
        text = text[end:]
        if block is None:
            return


def _elements(text: str, at: int, line: int, *, is_last: bool) -> tuple[list[JsonRecord], int]:
    records: list[JsonRecord] = []
    decoder = _Decoder()
    counted = 0
    while True:
        between = _BETWEEN.match(text, at)
        start = between.end() if between else at
        if start >= len(text) or text[start] == "]":
            return records, start if is_last or start < len(text) else at
        line += text.count("\n", counted, start)
        counted = start
        decoder.twice.clear()
        try:
            value, at = decoder.json.raw_decode(text, start)
        except (json.JSONDecodeError, RecursionError) as error:
            after = _NEXT_OBJECT.search(text, start)
            if after is None and not is_last and len(text) - start < _MAX_OBJECT_CHARS:
                return records, start
            at = after.end() if after else len(text)
            shown = text[start:at][:SHOWN_CHARS]
            records.append(JsonRecord({}, f"no JSON: {error}", (), line, shown))
            continue
        if not is_last and at >= len(text) - 1:
            return records, start  # a number may go on in the next block
        records.append(_record(value, decoder.twice, line, text[start:at]))


def _piece(
    records: list[JsonRecord],
    columns: dict[str, str],
    first: int,
    encoding: EncodingForm,
    origin: str,
) -> RawPiece:
    numbered = list(enumerate(records, start=first))
    good = [(number, record) for number, record in numbered if not record.problem]
    bad = [(number, record) for number, record in numbered if record.problem]
    data = {
        name: pl.Series([record.values.get(key) or None for _, record in good], dtype=pl.String)
        for key, name in columns.items()
    }
    frame = pl.DataFrame(data).with_columns(
        pl.Series(RAW_RECORD, [number for number, _ in good], pl.Int64),
        pl.Series(RAW_LINE, [record.line for _, record in good], pl.Int64),
        pl.lit(None, pl.List(pl.String)).alias(RAW_EXTRA),
        pl.Series(RAW_FIELDS, [len(record.values) for _, record in good], pl.Int32),
    )
    quarantined = pl.DataFrame(
        [(number, record.line, Reason.BAD_LINE.value, record.problem) for number, record in bad],
        schema=QUARANTINED_SCHEMA,
        orient="row",
    )
    frame, mends = mend_text(frame, tuple(columns.values()), encoding)
    numbers = {record.line: number for number, record in good}
    mended = [mend.finding(origin, numbers[mend.line]) for mend in mends]
    findings = [*_findings(numbered, origin), *capped(mended, origin)]
    return RawPiece(frame, quarantined, findings)


def _findings(numbered: list[tuple[int, JsonRecord]], origin: str) -> Iterator[Finding]:
    bad = [
        Finding(
            f"{origin}#{number}",
            Reason.BAD_LINE,
            Action.QUARANTINED,
            record.problem,
            record=number,
            line=record.line,
            before=record.text,
        )
        for number, record in numbered
        if record.problem
    ]
    twice = [
        Finding(
            f"{origin}#{number}",
            Reason.COLUMN_NAME,
            Action.REPAIRED,
            "the object names the key more than once; its last value is taken",
            record=number,
            line=record.line,
            column=key,
        )
        for number, record in numbered
        for key in record.twice
    ]
    yield from capped(bad, origin)
    yield from capped(twice, origin)
