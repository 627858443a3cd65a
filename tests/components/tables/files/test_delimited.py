"""What Python's csv module writes comes back cell by cell; the fast path equals the careful one."""

import csv
import io
from itertools import pairwise
from typing import Any, Literal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.tables.files import delimited
from components.tables.files.delimited import Layout, read_delimited
from components.tables.files.dialect import Dialect
from components.tables.files.encoding import EncodingForm
from components.tables.files.header import find_header
from components.tables.files.ingest import inspect_file, read_frames
from components.tables.files.structure import parse_block
from components.tables.schema import RAW_EXTRA, RAW_FIELDS, RAW_LINE, RAW_RECORD

CHARACTERS = st.sampled_from(list("abXY01., ;\t|'\"\\\n\r-é€Жカ𝄞")) | st.characters(
    min_codepoint=0x250, exclude_categories=["Cs", "Cc", "Co"], exclude_characters="\ufeff"
)
CELL = st.text(CHARACTERS, max_size=12)
ROW = st.tuples(CELL, CELL, CELL)


def written(
    rows: list[tuple[str, ...]],
    *,
    delimiter: str = ",",
    quote: str | None = '"',
    quoting: Literal[0, 1, 3] = csv.QUOTE_MINIMAL,
    end: str = "\r\n",
    escape: str | None = None,
) -> str:
    stream = io.StringIO(newline="")
    writer = csv.writer(
        stream,
        delimiter=delimiter,
        quotechar=quote,
        quoting=quoting,
        lineterminator=end,
        doublequote=escape is None,
        escapechar=escape,
    )
    writer.writerow(["first", "second", "third"])
    writer.writerows(rows)
    return stream.getvalue()


def read(text: str, dialect: Dialect, encoding: str = "utf-8") -> list[tuple[Any, ...]]:
    data = text.encode(encoding)
    layout = Layout(
        dialect=dialect,
        columns=("first", "second", "third"),
        written=("first", "second", "third"),
        body_line=1,
    )
    form = EncodingForm(name=encoding)
    pieces = read_delimited(lambda: io.BytesIO(data), form, layout, "t.csv")
    return [row for piece in pieces for row in piece.frame.rows()]


@given(
    rows=st.lists(ROW, min_size=1, max_size=12),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    quote=st.sampled_from(['"', "'"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    end=st.sampled_from(["\n", "\r\n"]),
    escaped=st.booleans(),
    encoding=st.sampled_from(["utf-8", "utf-16-le", "utf-32-be", "gb18030"]),
)
def test_csv_comes_back(
    rows: list[tuple[str, ...]],
    delimiter: str,
    quote: str,
    quoting: Literal[0, 1, 3],
    end: str,
    escaped: bool,
    encoding: str,
) -> None:
    if end == "\n":  # Python 3.11 writes a carriage return without quotes there
        rows = [tuple(cell.replace("\r", "") for cell in row) for row in rows]
    escape = "\\" if escaped else None
    text = written(rows, delimiter=delimiter, quote=quote, quoting=quoting, end=end, escape=escape)
    dialect = Dialect(delimiter=delimiter, quote=quote, escape="\\" if escaped else "")
    expected = [
        tuple(cell or None for cell in row) for row in rows if any(cell.strip() for cell in row)
    ]
    expected = [row for row in expected if row != ("first", "second", "third")]
    got = read(text, dialect, encoding)
    assert [row[:3] for row in got] == expected
    assert all(row[6] == 3 and row[5] is None for row in got)
    assert all(a < b for a, b in pairwise([row[4] for row in got]))


@given(rows=st.lists(ROW, min_size=1, max_size=8))
def test_text_without_quotes_comes_back(rows: list[tuple[str, ...]]) -> None:
    text = written(rows, quoting=csv.QUOTE_NONE, escape="\\", quote=None)
    got = read(text, Dialect(quote="", escape="\\"))
    assert [row[:3] for row in got] == [
        tuple(cell or None for cell in row) for row in rows if any(cell.strip() for cell in row)
    ]


PIECE = st.sampled_from(
    [
        "a,b,c",
        "1,2,3",
        '"x, y",2,3',
        '"p\nq",2,3',
        '"say ""hi""",,',
        "",
        ",,",
        "  ",
        "1,2",
        "1,2,3,4",
        '5" x,2,3',
        '"x,2,3',
        "#n,2,3",
        "é,ß,語",
        '"a"b,2,3',
        ",2,",
    ]
)


@given(
    lines=st.lists(PIECE, min_size=1, max_size=30),
    ends=st.lists(st.sampled_from(["\n", "\r\n", "\r", "\r\r\n"]), min_size=30, max_size=30),
    many=st.booleans(),
    quote=st.sampled_from(['"', ""]),
)
def test_the_fast_path_equals_the_careful_one(
    lines: list[str], ends: list[str], many: bool, quote: str
) -> None:
    ends = ["\n"] * 30 if many else ends
    text = "first,second,third\n" + "".join(a + b for a, b in zip(lines, ends, strict=False))
    text += "7,8,9\n" * 60  # so that odd rows are few
    dialect = Dialect(quote=quote)
    fast = read(text, dialect)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited, "parse_block", lambda *_args, **_named: None)
        careful = read(text, dialect)
    assert fast == careful


def test_the_fast_path_is_taken() -> None:
    text = 'a,"b\nc",d\n' + "1,2,3\n" * 9 + "1,2\n\n"
    block = parse_block(text, Dialect().separation(), 3, "", is_last=True)
    assert block is not None
    assert block.regular.height == 10 and block.lines.tolist() == [0, *range(2, 11)]
    assert [(odd.fields, odd.line) for odd in block.odd] == [(["1", "2"], 11), ([""], 12)]
    assert (block.num_lines, block.taken) == (13, len(text))


def test_blocks_may_end_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[tuple[str, ...]] = [
        ("é" * n, f'{n}, "x"\n', "\r\n" if n % 3 else "") for n in range(1, 40)
    ]
    text = written(rows)
    whole = read(text, Dialect())
    monkeypatch.setattr("components.tables.files.encoding._BLOCK_BYTES", 97)
    # The first block must hold the header; records and characters may be cut anywhere below.
    assert read(text, Dialect()) == whole
    assert [row[:3] for row in whole] == [tuple(cell or None for cell in row) for row in rows]
    assert [row[3] for row in whole] == list(range(1, 40))


def test_a_quote_that_is_never_closed_costs_its_own_row_only() -> None:
    body = "".join(f'{n},"x{n}",{n}.5\n' for n in range(5_000))
    data = ("id,name,price\n" + body.replace('"x77"', '"x77')).encode()
    form = inspect_file(lambda: io.BytesIO(data), "t.csv")
    frame = pl.concat(piece.frame for piece in read_frames(lambda: io.BytesIO(data), form, "t.csv"))
    assert frame["name"].to_list() == [f"x{n}" for n in range(5_000)]
    assert frame[RAW_RECORD].to_list() == frame.select(pl.col(RAW_LINE) - 1).to_series().to_list()


def test_extra_fields_of_trailing_delimiters() -> None:
    text = "first,second,third,\n1,2,3,\n4,5,6,7\n8,9,10,\n1,2,3,4,5\n"
    header = find_header(text, Dialect(), given=None)
    assert not header.trailing and header.columns[3] == "column_4"
    rows = read(text.replace(",7\n", ",\n"), Dialect(trailing=True))
    assert [(row[5], row[6]) for row in rows] == [(None, 3)] * 3 + [(["4", "5"], 5)]
    assert (RAW_EXTRA, RAW_FIELDS) == ("__extra", "__fields")
