"""Tables as they are met: what a file is, how it is written, and its records as raw frames.

`inspect_file` reads the head (and, to be sure of the encoding, all bytes) of a CSV, TSV, other
delimited or JSON Lines file and says how it is written; `read_frames` streams its records. A file
that is no table is refused with one line that names what it is.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from components.config import Config
from components.errors import DataError
from components.records.findings import Action, Finding
from components.records.reasons import Reason
from components.tables.files.delimited import Layout, line_offset, read_delimited
from components.tables.files.dialect import detect_dialect, sep_line
from components.tables.files.encoding import EncodingForm, Opener, detect_encoding, text_blocks
from components.tables.files.header import find_header, unique_names
from components.tables.files.json_lines import json_columns, json_kind, read_json
from components.tables.files.logical_records import escape_marks
from components.tables.files.pieces import MAX_RECORDS, SHOWN_CHARS, RawPiece
from components.tables.schema import RAW_RECORD

_SAMPLE_CHARS = 512 << 10
_JSON_ENDS = (".json", ".jsonl", ".ndjson")
_PACKED_ENDS = (".gz", ".bz2", ".xz", ".zst", ".zstd")
_MAX_PREAMBLE_SHOWN = 20


class FileForm(Config):
    """How a table file is written; what `read_frames` needs."""

    kind: Literal["delimited", "json_lines", "json_array"]
    encoding: EncodingForm
    columns: tuple[str, ...]
    """Names of the columns of the raw frames, each once."""
    layout: Layout | None = None
    """Of a delimited file."""
    keys: tuple[str, ...] = ()
    """Of a JSON file: the key behind each column."""
    preamble: tuple[str, ...] = ()
    """The first lines that are no records, shortened."""
    num_preamble: int = 0
    """How many such lines there are."""
    wrong_extension: str = ""
    """What the file is, where its name says otherwise."""


def inspect_file(
    opener: Opener,
    name: str,
    *,
    encoding: str | None = None,
    delimiter: str | None = None,
    header: bool | None = None,
) -> FileForm:
    """Tell how a table file is written.

    Args:
        opener: Gives a fresh binary stream of the file.
        name: Its path relative to the source; for messages and its extension.
        encoding: Encoding, where the recipe pins it.
        delimiter: Delimiter, where the recipe pins it; "" for one column.
        header: Whether there is a header, where the recipe says so.

    Raises:
        DataError: The file is empty, holds no record, is binary or no table.
    """
    form = detect_encoding(opener, name, encoding)
    sample, is_whole = _sample(opener, form, name)
    if not sample.strip():
        raise DataError(f"{name}: only blank lines, no table; fetch the file again")
    kind = json_kind(sample, _ending(name)) if delimiter is None else None
    if kind is None and _ending(name) in _JSON_ENDS:
        raise DataError(
            f"{name}: no JSON Lines: the first line is {sample.split(chr(10))[0][:60]!r}; each "
            "line must be an object, or the file one array of objects"
        )
    if kind is not None:
        return _json_form(opener, form, name, kind)
    return _delimited_form(form, name, sample, is_whole, delimiter, header)


def read_frames(opener: Opener, form: FileForm, origin: str) -> Iterator[RawPiece]:
    """The records of a file in pieces of at most 65,536, in the order of the file.

    Args:
        opener: Gives a fresh binary stream of the file.
        form: What `inspect_file` said of it.
        origin: Path of the file relative to the source; records are `origin#N`.

    Yields:
        Pieces; what concerns the whole file is found in the last one.

    Raises:
        DataError: A packed file is damaged.
    """
    if form.layout is not None:
        pieces = read_delimited(opener, form.encoding, form.layout, origin)
    else:
        columns = dict(zip(form.keys, form.columns, strict=True))
        pieces = read_json(
            opener, form.encoding, columns, origin, is_array=form.kind == "json_array"
        )
    num_read = 0
    held: RawPiece | None = None
    for piece in pieces:
        num_read += piece.num_read
        if held is not None:
            yield held
        held = piece
    if held is not None:
        findings = [*held.findings, *file_findings(form, origin, num_read)]
        yield replace(held, findings=findings)


def parquet_rows(path: str, filesystem: fs.FileSystem | None = None) -> list[int]:
    """Rows of each row group of a Parquet file.

    Raises:
        DataError: It is no Parquet file.
    """
    try:
        metadata = pq.read_metadata(path, filesystem=filesystem)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: no Parquet file ({error}); fetch the file again") from error
    return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]


def parquet_frames(
    path: str, groups: range | None = None, filesystem: fs.FileSystem | None = None
) -> Iterator[pl.DataFrame]:
    """Records of a Parquet file as stored, in frames of at most 65,536.

    Args:
        path: The file.
        groups: Row groups to read; all where None. Each can be read by itself.
        filesystem: Where the file lies; the local one where None.

    Yields:
        The columns as stored and RAW_RECORD, the row number in the whole file from 1.

    Raises:
        DataError: It is no Parquet file, or damaged.
    """
    rows = parquet_rows(path, filesystem)
    groups = range(len(rows)) if groups is None else groups
    with pq.ParquetFile(path, filesystem=filesystem) as file:
        for group in groups:
            record = sum(rows[:group]) + 1
            try:
                for batch in file.iter_batches(batch_size=MAX_RECORDS, row_groups=[group]):
                    frame = pl.DataFrame(pl.from_arrow(batch))
                    numbers = pl.int_range(record, record + pl.len(), dtype=pl.Int64)
                    yield frame.with_columns(numbers.alias(RAW_RECORD))
                    record += batch.num_rows
            except (pa.ArrowInvalid, OSError) as error:
                raise DataError(
                    f"{path}: row group {group} cannot be read ({error}); fetch the file again"
                ) from error


def file_findings(form: FileForm, origin: str, num_read: int) -> Iterator[Finding]:
    """What concerns the whole file: encoding, names, lines that are no records."""
    encoding = form.encoding
    if encoding.described() != "utf-8":
        yield Finding(
            origin,
            Reason.ENCODING,
            Action.REPAIRED,
            f"{encoding.described()}, told by {encoding.told_by}",
            before=encoding.described(),
            after="utf-8",
            count=max(num_read, 1),
        )
    if form.wrong_extension:
        yield Finding(
            origin, Reason.WRONG_EXTENSION, Action.KEPT, f"this is {form.wrong_extension}"
        )
    for line in form.preamble[:_MAX_PREAMBLE_SHOWN]:
        yield Finding(
            origin, Reason.PREAMBLE, Action.REPAIRED, "a line above the records", before=line
        )
    if form.num_preamble > _MAX_PREAMBLE_SHOWN:
        rest = form.num_preamble - _MAX_PREAMBLE_SHOWN
        yield Finding(origin, Reason.PREAMBLE, Action.REPAIRED, f"{rest} more lines", count=rest)
    yield from _name_findings(form, origin)


def _name_findings(form: FileForm, origin: str) -> Iterator[Finding]:
    written = form.keys if form.layout is None else form.layout.written
    if form.layout is not None and not written:
        yield Finding(
            origin,
            Reason.COLUMN_NAME,
            Action.REPAIRED,
            "there is no header; the columns are called column_1, column_2, ...",
            count=len(form.columns),
        )
        return
    shift = len(form.columns) > len(written)
    cells = ["", *written] if shift else list(written)
    for name, cell in zip(form.columns, cells, strict=False):
        if name != cell:
            yield Finding(
                origin,
                Reason.COLUMN_NAME,
                Action.REPAIRED,
                "the name was empty, not the only one, or not plain",
                column=name,
                before=cell[:SHOWN_CHARS],
                after=name,
            )


def _sample(opener: Opener, form: EncodingForm, name: str) -> tuple[str, bool]:
    """The first whole lines of a file; whether they are all of it."""
    blocks = text_blocks(opener, form, name)
    text = ""
    for block in blocks:
        text += block
        if len(text) > _SAMPLE_CHARS:
            break
    else:
        return text, True
    text = text[:_SAMPLE_CHARS]
    end = max(text.rfind("\n"), text.rfind("\r", 0, -1))
    return text[: end + 1] or text, False


def _ending(name: str) -> str:
    lower = name.lower()
    for packed in _PACKED_ENDS:
        lower = lower.removesuffix(packed)
    return lower[lower.rfind(".") :] if "." in lower else ""


def _json_form(
    opener: Opener, encoding: EncodingForm, name: str, kind: Literal["json_lines", "json_array"]
) -> FileForm:
    keys = json_columns(opener, encoding, name, is_array=kind == "json_array")
    if not keys:
        raise DataError(f"{name}: no line is a JSON object with a key; no record can be read")
    columns = unique_names(" ".join(key.split()) for key in keys)
    ending = _ending(name)
    wrong = "JSON" if ending not in ("", ".txt", *_JSON_ENDS) else ""
    return FileForm(kind=kind, encoding=encoding, columns=columns, keys=keys, wrong_extension=wrong)


def _delimited_form(
    encoding: EncodingForm,
    name: str,
    sample: str,
    is_whole: bool,
    delimiter: str | None,
    has_header: bool | None,
) -> FileForm:
    stated = sep_line(sample)
    body = sample[line_offset(sample, 1) :] if stated else sample
    dialect = detect_dialect(body, delimiter if delimiter is not None else stated)
    marked = escape_marks(body, dialect.separation(), dialect.escape) if dialect.escape else body
    header = find_header(marked, dialect, given=has_header)
    if not header.has_rows and is_whole:
        raise DataError(
            f"{name}: no rows below the header ({', '.join(header.columns[:5])}); "
            "fetch the table, or set data.source.header=false where the line is a record"
        )
    _refuse_quoted_lines(header.written, body, name)
    return FileForm(
        kind="delimited",
        encoding=encoding,
        columns=header.columns,
        layout=Layout(
            dialect=dialect.model_copy(update={"trailing": header.trailing}),
            columns=header.columns,
            written=header.written,
            body_line=header.body_line + (1 if stated else 0),
        ),
        preamble=header.preamble[:_MAX_PREAMBLE_SHOWN],
        num_preamble=len(header.preamble),
        wrong_extension=_packed_extension(encoding, name),
    )


def _refuse_quoted_lines(written: tuple[str, ...], body: str, name: str) -> None:
    """Lines that are quoted as a whole would become one column that holds all others.

    Raises:
        DataError: They are.
    """
    if len(written) != 1 or not body.startswith('"'):
        return
    for mark in (",", ";", "\t", "|"):
        number = written[0].count(mark)
        if number and all(line.count(mark) == number for line in body.splitlines()[1:20] if line):
            raise DataError(
                f"{name}: each line is quoted as a whole, as {body.splitlines()[0][:60]!r}; "
                "take the outer quotes away"
            )


def _packed_extension(encoding: EncodingForm, name: str) -> str:
    packed = name.lower().endswith(_PACKED_ENDS)
    if encoding.compression and not packed:
        return f"packed by {encoding.compression}"
    return "" if encoding.compression or not packed else "not packed"
