"""Delimited text to raw frames: all columns text, numbered records, nothing lost without a word."""

import re
from collections.abc import Iterable, Iterator
from itertools import zip_longest

import polars as pl

from components.config import Config
from components.records.findings import Action, Finding
from components.records.reasons import Reason
from components.tables.files.dialect import Dialect
from components.tables.files.encoding import EncodingForm, Opener, text_blocks
from components.tables.files.header import is_blank
from components.tables.files.logical_records import (
    LogicalRecord,
    escape_marks,
    split_records,
    unescape,
)
from components.tables.files.mended_text import Mend, mend_text
from components.tables.files.pieces import (
    MAX_RECORDS,
    QUARANTINED_SCHEMA,
    SHOWN_CHARS,
    RawPiece,
    capped,
)
from components.tables.files.structure import Block, parse_block
from components.tables.schema import RAW_EXTRA, RAW_FIELDS, RAW_LINE, RAW_RECORD


class Layout(Config):
    """Where the records of a delimited file begin and what their fields are called."""

    dialect: Dialect
    columns: tuple[str, ...]
    written: tuple[str, ...] = ()
    """The cells of the header as they stand in the file; empty without a header."""
    body_line: int = 0
    """Lines above the first record."""


def read_delimited(
    opener: Opener, encoding: EncodingForm, layout: Layout, origin: str
) -> Iterator[RawPiece]:
    """The records of a delimited file in pieces of at most `MAX_RECORDS`.

    Args:
        opener: Gives a fresh stream of the file.
        encoding: How its bytes become text.
        layout: How its records are written.
        origin: Path of the file relative to the source, for findings.

    Yields:
        Pieces in the order of the file. RAW_RECORD counts rows that are not blank, repeated
        headers included; an empty cell, quoted or not, is null; a row with too few fields is
        filled up with null; fields beyond the last column stand in RAW_EXTRA.
    """
    record, line = 1, layout.body_line
    for block in _blocks(opener, encoding, layout, origin):
        frame, blank_lines, found = _table(block, layout, encoding, line)
        findings = [*_line_findings(blank_lines, block.odd, layout.dialect, line, origin)]
        frame = frame.with_columns(pl.int_range(record, record + pl.len()).alias(RAW_RECORD))
        numbers = _numbers(frame, found, block.odd, line)
        findings += capped([mend.finding(origin, numbers[mend.line]) for mend in found], origin)
        findings += _quote_findings(block.odd, numbers, line, origin)
        record += frame.height
        line += block.num_lines
        yield from _pieces(frame, layout, findings, origin)


def _blocks(opener: Opener, encoding: EncodingForm, layout: Layout, origin: str) -> Iterator[Block]:
    """The body of the file, block by block, each of whole records."""
    separation = layout.dialect.separation()
    width = len(layout.columns) + layout.dialect.trailing
    rest = ""
    for text, is_last in _body(text_blocks(opener, encoding, origin), layout):
        rest += text
        while rest:
            block = parse_block(rest, separation, width, layout.dialect.comment, is_last=is_last)
            block = block or _careful_block(rest, layout, width, is_last)
            if block.taken == 0:
                break
            rest = rest[block.taken :]
            yield block
            if not is_last:
                break


def _careful_block(text: str, layout: Layout, width: int, is_last: bool) -> Block:
    records, taken = split_records(text, layout.dialect.separation(), width, is_last=is_last)
    num_lines = records[-1].line + records[-1].num_lines if records else 0
    empty = pl.DataFrame(schema={f"c{column}": pl.String for column in range(width)})
    return Block(empty, _NO_LINES, records, num_lines, taken)


_NO_LINES = pl.Series([], dtype=pl.Int64).to_numpy()


def _body(blocks: Iterable[str], layout: Layout) -> Iterator[tuple[str, bool]]:
    """Text below the header with escapes marked; whether it is the last of the file."""
    escape = layout.dialect.escape
    separation = layout.dialect.separation()
    held, is_first = "", True
    for block, following in _with_next(blocks):
        text = held + block
        held = ""
        if escape and following is not None:
            kept = text.rstrip(escape)
            text, held = kept, text[len(kept) :]
        if "\ufeff" in text:  # files with byte-order marks that were joined
            text = re.sub("(^|[\r\n])\ufeff", r"\1", text)
        text = escape_marks(text, separation, escape) if escape else text
        if is_first:
            text = text[line_offset(text, layout.body_line) :]
            is_first = False
        yield text, following is None


def _with_next(blocks: Iterable[str]) -> Iterator[tuple[str, str | None]]:
    previous: str | None = None
    for block in blocks:
        if previous is not None:
            yield previous, block
        previous = block
    if previous is not None:
        yield previous, None


def line_offset(text: str, num_lines: int) -> int:
    """Characters that the first lines of a text take."""
    ends = re.finditer("\r\n|\r|\n", text)
    offset = 0
    for _ in range(num_lines):
        match = next(ends, None)
        if match is None:
            return len(text)
        offset = match.end()
    return offset


def _table(
    block: Block, layout: Layout, encoding: EncodingForm, first_line: int
) -> tuple[pl.DataFrame, list[int], list[Mend]]:
    """Rows of a block in order, without blank ones; lines of the blank ones; mended cells."""
    columns = layout.columns
    frame = _regular_rows(block, layout)
    is_empty = [_is_blank(record, layout) for record in block.odd]
    comment = layout.dialect.comment
    records = [
        record
        for record, empty in zip(block.odd, is_empty, strict=True)
        if not empty and not (comment and record.text.startswith(comment))
    ]
    if records:
        frame = pl.concat([frame, _odd_rows(records, layout)]).sort(RAW_LINE)
    frame = frame.with_columns(pl.col(RAW_LINE) + first_line + 1)
    frame, mends = mend_text(frame, columns, encoding)
    frame = frame.with_columns(
        pl.when(pl.col(name) != "").then(pl.col(name)).alias(name) for name in columns
    )
    frame, blank = _without_blank(frame, columns)
    blank += [
        first_line + record.line + 1
        for record, empty in zip(block.odd, is_empty, strict=True)
        if empty
    ]
    kept = set(blank)
    return frame, sorted(blank), [mend for mend in mends if mend.line not in kept]


def _regular_rows(block: Block, layout: Layout) -> pl.DataFrame:
    width = len(layout.columns)
    extra = pl.lit(None, pl.List(pl.String))
    count = pl.lit(width, pl.Int32)
    if layout.dialect.trailing:
        last = pl.col(f"c{width}")
        is_filled = last.fill_null("") != ""
        extra = pl.when(is_filled).then(pl.concat_list(last)).otherwise(None)
        count = (width + is_filled.cast(pl.Int32)).cast(pl.Int32)
    return block.regular.select(
        *(pl.col(f"c{place}").alias(name) for place, name in enumerate(layout.columns)),
        pl.Series(RAW_LINE, block.lines, pl.Int64),
        extra.alias(RAW_EXTRA),
        count.alias(RAW_FIELDS),
    )


def _is_blank(record: LogicalRecord, layout: Layout) -> bool:
    if len(layout.columns) == 1:  # a quoted empty field is a record whose value is missing
        return not record.text.strip()
    return is_blank(record.fields)


def _odd_rows(records: list[LogicalRecord], layout: Layout) -> pl.DataFrame:
    width, trailing = len(layout.columns), layout.dialect.trailing
    rows = [record.fields for record in records]
    if trailing:
        rows = [row[:-1] if len(row) == width + 1 and not row[-1] else row for row in rows]
    by_column = list(zip_longest(*(row[:width] for row in rows), fillvalue=None))
    by_column += [(None,) * len(rows)] * (width - len(by_column))
    data = {
        name: pl.Series(cells, dtype=pl.String)
        for name, cells in zip(layout.columns, by_column, strict=True)
    }
    extra = [[unescape(cell) for cell in row[width:]] if len(row) > width else None for row in rows]
    return pl.DataFrame(
        data
        | {
            RAW_LINE: pl.Series([record.line for record in records], dtype=pl.Int64),
            RAW_EXTRA: pl.Series(extra, dtype=pl.List(pl.String)),
            RAW_FIELDS: pl.Series([len(row) for row in rows], dtype=pl.Int32),
        }
    )


def _without_blank(frame: pl.DataFrame, columns: tuple[str, ...]) -> tuple[pl.DataFrame, list[int]]:
    """The frame without rows whose cells are all empty or blanks, and their lines."""

    def is_empty(name: str) -> pl.Expr:
        return pl.col(name).fill_null("").str.strip_chars() == ""

    if len(columns) == 1:
        return frame, []
    suspects = frame.filter(is_empty(columns[0]))
    if not suspects.height:
        return frame, []
    blank = suspects.filter(
        pl.all_horizontal(is_empty(name) for name in columns) & pl.col(RAW_EXTRA).is_null()
    )[RAW_LINE]
    return frame.filter(~pl.col(RAW_LINE).is_in(blank.implode())), blank.to_list()


def _numbers(
    frame: pl.DataFrame, mends: list[Mend], odd: list[LogicalRecord], first_line: int
) -> dict[int, int]:
    """Record numbers of the lines that findings speak of."""
    wanted = {mend.line for mend in mends}
    wanted |= {first_line + record.line + 1 for record in odd if record.is_broken}
    if not wanted:
        return {}
    rows = frame.filter(pl.col(RAW_LINE).is_in(sorted(wanted))).select(RAW_LINE, RAW_RECORD)
    return dict(rows.iter_rows())


def _line_findings(
    blank_lines: list[int],
    odd: list[LogicalRecord],
    dialect: Dialect,
    first_line: int,
    origin: str,
) -> Iterator[Finding]:
    blank = [
        Finding(origin, Reason.BLANK_ROW, Action.REPAIRED, "the row is empty", line=line)
        for line in blank_lines
    ]
    comments = [
        Finding(
            origin,
            Reason.PREAMBLE,
            Action.REPAIRED,
            "a comment, no record",
            line=first_line + record.line + 1,
            before=record.text[:SHOWN_CHARS],
        )
        for record in odd
        if dialect.comment and record.text.startswith(dialect.comment)
    ]
    yield from capped(blank, origin)
    yield from capped(comments, origin)


def _quote_findings(
    odd: list[LogicalRecord], numbers: dict[int, int], first_line: int, origin: str
) -> Iterator[Finding]:
    broken = [
        Finding(
            f"{origin}#{numbers[line]}",
            Reason.BROKEN_QUOTE,
            Action.REPAIRED,
            f"a quote is not closed where a field ends; read as {len(record.fields)} fields",
            record=numbers[line],
            line=line,
            before=record.text[:SHOWN_CHARS],
            after=" | ".join(record.fields)[:SHOWN_CHARS],
        )
        for record in odd
        if record.is_broken and (line := first_line + record.line + 1) in numbers
    ]
    yield from capped(broken, origin)


def _pieces(
    frame: pl.DataFrame, layout: Layout, findings: list[Finding], origin: str
) -> Iterator[RawPiece]:
    frame, quarantined = _without_headers(frame, layout)
    repeated = [
        Finding(
            f"{origin}#{record}",
            Reason.REPEATED_HEADER,
            Action.QUARANTINED,
            detail,
            record=record,
            line=line,
        )
        for record, line, _, detail in quarantined.iter_rows()
    ]
    findings += capped(repeated, origin)
    order = [*layout.columns, RAW_RECORD, RAW_LINE, RAW_EXTRA, RAW_FIELDS]
    for start in range(0, max(frame.height, 1), MAX_RECORDS):
        is_first = start == 0
        yield RawPiece(
            frame.slice(start, MAX_RECORDS).select(order),
            quarantined if is_first else quarantined.clear(),
            findings if is_first else [],
        )


def _without_headers(frame: pl.DataFrame, layout: Layout) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The frame without rows that repeat the header, and those rows as quarantined."""
    cells = [unescape(cell).strip() for cell in layout.written][: len(layout.columns)]
    named = [(name, cell) for name, cell in zip(layout.columns, cells, strict=False) if cell]
    if not named:
        return frame, pl.DataFrame(schema=QUARANTINED_SCHEMA)
    first, cell = named[0]
    candidates = frame.filter(pl.col(first).str.strip_chars() == cell)
    repeated = candidates.filter(
        pl.all_horizontal(pl.col(name).str.strip_chars() == cell for name, cell in named)
    )
    if not repeated.height:
        return frame, pl.DataFrame(schema=QUARANTINED_SCHEMA)
    quarantined = repeated.select(
        pl.col(RAW_RECORD).alias("record"),
        pl.col(RAW_LINE).alias("line"),
        pl.lit(Reason.REPEATED_HEADER.value).alias("reason"),
        pl.lit("the row repeats the names of the columns").alias("detail"),
    )
    kept = frame.filter(~pl.col(RAW_RECORD).is_in(quarantined["record"].implode()))
    return kept, quarantined
