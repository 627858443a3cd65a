"""Every form of a table that is met: the exact cells come out, or one clear line refuses it."""

import bz2
import gzip
import io
import lzma
import pickle
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import polars as pl
import pyarrow as pa
import pytest

from components.errors import DataError
from components.records.findings import Finding
from components.records.reasons import Reason
from components.tables.files.ingest import (
    FileForm,
    inspect_file,
    parquet_frames,
    parquet_rows,
    read_frames,
)
from components.tables.files.pieces import RawPiece
from components.tables.schema import RAW_EXTRA, RAW_FIELDS, RAW_LINE, RAW_RECORD

Rows = list[tuple[str | None, ...]]

HEAD = ("id", "name", "price")
PLAIN = "id,name,price\n1,Anna,2.50\n2,Bob,13\n3,Chloé,0.75\n4,Dörte,1\n"
ROWS: Rows = [
    ("1", "Anna", "2.50"),
    ("2", "Bob", "13"),
    ("3", "Chloé", "0.75"),
    ("4", "Dörte", "1"),
]
ASCII = PLAIN.replace("é", "e").replace("ö", "o")
ASCII_ROWS: Rows = [
    ("1", "Anna", "2.50"),
    ("2", "Bob", "13"),
    ("3", "Chloe", "0.75"),
    ("4", "Dorte", "1"),
]
RUSSIAN = "имя,город|Иван,Москва|Ольга,Казань|Сергей,Тула|".replace("|", "\n")
JAPANESE = "名前,都市\n田中さん,東京\n鈴木さん,大阪\nさくら,カナガワ\n"
CHINESE = "姓名,城市\n张伟,北京\n王芳,上海\n李娜,广州\n"
CZECH = "jméno,město\nDvořák,Plzeň\nŽižka,Děčín\nkůň,Příbram\n"


def rows_of(text: str, delimiter: str = ",") -> tuple[tuple[str, ...], Rows]:
    lines = [tuple(line.split(delimiter)) for line in text.splitlines()]
    return lines[0], [tuple(cell or None for cell in line) for line in lines[1:]]


def opener(data: bytes) -> Callable[[], BinaryIO]:
    return lambda: io.BytesIO(data)


def read(
    data: bytes,
    name: str = "t.csv",
    *,
    encoding: str | None = None,
    delimiter: str | None = None,
    header: bool | None = None,
) -> tuple[FileForm, list[RawPiece]]:
    form = inspect_file(opener(data), name, encoding=encoding, delimiter=delimiter, header=header)
    form = FileForm.model_validate_json(form.model_dump_json())
    return form, list(read_frames(opener(data), form, name))


def cells(form: FileForm, pieces: list[RawPiece]) -> Rows:
    return [row for piece in pieces for row in piece.frame.select(form.columns).rows()]


def found(pieces: list[RawPiece], reason: Reason) -> list[Finding]:
    return [f for piece in pieces for f in piece.findings if f.reason == reason]


ENCODINGS = {
    "utf-8": (PLAIN.encode(), PLAIN, "utf-8"),
    "utf-8 with mark": (PLAIN.encode("utf-8-sig"), PLAIN, "utf-8 with byte-order mark"),
    "utf-16 le with mark": (
        b"\xff\xfe" + PLAIN.encode("utf-16-le"),
        PLAIN,
        "utf-16-le with byte-order mark",
    ),
    "utf-16 be with mark": (
        b"\xfe\xff" + PLAIN.encode("utf-16-be"),
        PLAIN,
        "utf-16-be with byte-order mark",
    ),
    "utf-16 le": (PLAIN.encode("utf-16-le"), PLAIN, "utf-16-le"),
    "utf-16 be": (PLAIN.encode("utf-16-be"), PLAIN, "utf-16-be"),
    "utf-16 le chinese": (CHINESE.encode("utf-16-le"), CHINESE, "utf-16-le"),
    "utf-32 with mark": (PLAIN.encode("utf-32"), PLAIN, "utf-32-le with byte-order mark"),
    "utf-32 le": (PLAIN.encode("utf-32-le"), PLAIN, "utf-32-le"),
    "utf-32 be": (PLAIN.encode("utf-32-be"), PLAIN, "utf-32-be"),
    "cp1252": (PLAIN.encode("cp1252"), PLAIN, "cp1252"),
    "cp1252 with its signs": (
        "a,b\n“x”,5 €\nit\u2019s,7 €\n".encode("cp1252"),
        "a,b\n“x”,5 €\nit\u2019s,7 €\n",
        "cp1252",
    ),
    "latin-1": (
        "a,b\nÅse,Malmö\nSøren,Århus\n".encode("latin-1"),
        "a,b\nÅse,Malmö\nSøren,Århus\n",
        "cp1252",
    ),
    "iso-8859-15": (
        "a,b\ncœur,5 €\nsœur,été\n".encode("iso8859_15"),
        "a,b\ncœur,5 €\nsœur,été\n",
        "iso8859_15",
    ),
    "cp1250": (CZECH.encode("cp1250"), CZECH, "cp1250"),
    "iso-8859-2": (CZECH.encode("iso8859_2"), CZECH, "iso8859_2"),
    "cp1251": (RUSSIAN.encode("cp1251"), RUSSIAN, "cp1251"),
    "koi8-r": (RUSSIAN.encode("koi8_r"), RUSSIAN, "koi8_r"),
    "mac roman": (PLAIN.encode("mac_roman"), PLAIN, "mac_roman"),
    "cp850": (
        "a,b\nMüller,Köln\nDaß,für\nÉva,é\n".encode("cp850"),
        "a,b\nMüller,Köln\nDaß,für\nÉva,é\n",
        "cp850",
    ),
    "shift-jis": (JAPANESE.encode("cp932"), JAPANESE, "cp932"),
    "euc-jp": (JAPANESE.encode("euc_jp"), JAPANESE, "euc_jp"),
    "gb18030": (CHINESE.encode("gb18030"), CHINESE, "gb18030"),
    "encoded twice": (PLAIN.encode().decode("cp1252").encode(), PLAIN, "utf-8, encoded twice"),
}


@pytest.mark.parametrize("case", ENCODINGS)
def test_an_encoding_is_told_and_the_text_is_exact(case: str) -> None:
    data, text, described = ENCODINGS[case]
    form, pieces = read(data)
    columns, rows = rows_of(text)
    assert (form.columns, cells(form, pieces)) == (columns, rows)
    assert form.encoding.described() == described
    named = found(pieces, Reason.ENCODING)
    if case == "utf-8":
        assert named == []
    else:
        assert [(f.before, f.count) for f in named] == [(described, len(rows))]


FORMS: dict[str, tuple[str, tuple[str, ...], Rows]] = {
    "comma": (ASCII, HEAD, ASCII_ROWS),
    "semicolon": (ASCII.replace(",", ";"), HEAD, ASCII_ROWS),
    "tab": (ASCII.replace(",", "\t"), HEAD, ASCII_ROWS),
    "bar": (ASCII.replace(",", "|"), HEAD, ASCII_ROWS),
    "two bars": (ASCII.replace(",", "||"), HEAD, ASCII_ROWS),
    "colon": (ASCII.replace(",", ":"), HEAD, ASCII_ROWS),
    "caret": (ASCII.replace(",", "^"), HEAD, ASCII_ROWS),
    "ctrl-a": (ASCII.replace(",", "\x01"), HEAD, ASCII_ROWS),
    "one blank": (ASCII.replace(",", " "), HEAD, ASCII_ROWS),
    "aligned": (
        "id  name   price\n1   Anna    2.50\n2   Bob    13\n10  Chloe   0.75\n",
        HEAD,
        [("1", "Anna", "2.50"), ("2", "Bob", "13"), ("10", "Chloe", "0.75")],
    ),
    "aligned, blanks inside": (
        "city         pop   area\nNew York     8000  783\n"
        "Los Angeles  4000  1213\nRome         2800  1285\n",
        ("city", "pop", "area"),
        [("New York", "8000", "783"), ("Los Angeles", "4000", "1213"), ("Rome", "2800", "1285")],
    ),
    "sep line": ("sep=;\nid;name\n1;a,b\n2;c,d\n", ("id", "name"), [("1", "a,b"), ("2", "c,d")]),
    "decimal commas": (
        "id;x;y\n1;1,5;2,25\n2;2,5;3,75\n",
        ("id", "x", "y"),
        [("1", "1,5", "2,25"), ("2", "2,5", "3,75")],
    ),
    "commas in semicolons": (
        "name;city\nSmith, John;Rome\nDoe, Jane;Oslo\n",
        ("name", "city"),
        [("Smith, John", "Rome"), ("Doe, Jane", "Oslo")],
    ),
    "commas in tabs": (
        "name\tpay\nSmith, John\t1,000\nDoe, Jane\t2,500\n",
        ("name", "pay"),
        [("Smith, John", "1,000"), ("Doe, Jane", "2,500")],
    ),
    "quoted delimiter": ('a,b\n1,"x, y"\n2,z\n', ("a", "b"), [("1", "x, y"), ("2", "z")]),
    "quoted line end": (
        'a,b\n1,"x\ny"\n2,"p\r\nq"\n',
        ("a", "b"),
        [("1", "x\ny"), ("2", "p\r\nq")],
    ),
    "doubled quotes": (
        'a,b\n1,"say ""hi"""\n2,""""\n',
        ("a", "b"),
        [("1", 'say "hi"'), ("2", '"')],
    ),
    "escaped quotes": (
        'a,b\n1,"say \\"hi\\", he"\n2,"x"\n',
        ("a", "b"),
        [("1", 'say "hi", he'), ("2", "x")],
    ),
    "escaped delimiter": (
        "a,b\n1,x\\,y\n2,z\n3,w\n",
        ("a", "b"),
        [("1", "x,y"), ("2", "z"), ("3", "w")],
    ),
    "escaped delimiter in every row": (
        "id,stage,n\n1,Adult\\, 1 Egg,5\n2,Adult\\, 2 Eggs,6\n3,Adult\\, 1 Egg,7\n",
        ("id", "stage", "n"),
        [("1", "Adult, 1 Egg", "5"), ("2", "Adult, 2 Eggs", "6"), ("3", "Adult, 1 Egg", "7")],
    ),
    "backslashes": ("a,b\n1,C:\\new\n2,D:\\x\n", ("a", "b"), [("1", "C:\\new"), ("2", "D:\\x")]),
    "single quotes": ("a,b\n1,'x, y'\n2,'it''s'\n", ("a", "b"), [("1", "x, y"), ("2", "it's")]),
    "apostrophes": (
        "a,b\nO'Neil,'tis\nD'Arcy,x\n",
        ("a", "b"),
        [("O'Neil", "'tis"), ("D'Arcy", "x")],
    ),
    "inches": ('a,b\n1,5" pipe\n2,7" pipe\n', ("a", "b"), [("1", '5" pipe'), ("2", '7" pipe')]),
    "all quoted": ('"a","b"\n"1","x"\n"2",""\n', ("a", "b"), [("1", "x"), ("2", None)]),
    "blanks after": (
        'a, b, c\n1, 2, "x, y"\n3, 4, z\n',
        ("a", "b", "c"),
        [("1", "2", "x, y"), ("3", "4", "z")],
    ),
    "cell of blanks": ("a,b\n1,  \n2,x\n", ("a", "b"), [("1", "  "), ("2", "x")]),
    "crlf": (ASCII.replace("\n", "\r\n"), HEAD, ASCII_ROWS),
    "cr": (ASCII.replace("\n", "\r"), HEAD, ASCII_ROWS),
    "cr cr lf": (ASCII.replace("\n", "\r\r\n"), HEAD, ASCII_ROWS),
    "mixed line ends": (
        "id,name,price\r\n1,Anna,2.50\n2,Bob,13\r3,Chloe,0.75\r\n4,Dorte,1",
        HEAD,
        ASCII_ROWS,
    ),
    "no last line end": (ASCII[:-1], HEAD, ASCII_ROWS),
    "trailing delimiters": (ASCII.replace("\n", ",\n"), HEAD, ASCII_ROWS),
    "trailing delimiters below": (
        ASCII.replace("\n", ",\n").replace("price,", "price"),
        HEAD,
        ASCII_ROWS,
    ),
    "trailing delimiter above": (ASCII.replace("price", "price,"), HEAD, ASCII_ROWS),
    "comments": ("# made by x\n# on 2020-01-01, at 9\n" + ASCII, HEAD, ASCII_ROWS),
    "comments inside": (ASCII.replace("2,Bob", "# a note\n2,Bob"), HEAD, ASCII_ROWS),
    "title": ("Sales of 2024\n" + ASCII, HEAD, ASCII_ROWS),
    "title and blank": ("Sales of 2024\n\n" + ASCII, HEAD, ASCII_ROWS),
    "padded title": ("Sales of 2024,,\n,,\n" + ASCII, HEAD, ASCII_ROWS),
    "metadata": (
        "Station,Oslo\nUnit,C\n\nday,a,b\n1,2,3\n2,3,4\n3,5,5\n",
        ("day", "a", "b"),
        [("1", "2", "3"), ("2", "3", "4"), ("3", "5", "5")],
    ),
    "metadata as wide": (
        "Station,Oslo\nUnit,C\n\nday,temp\n1,2\n2,3\n3,5\n4,5\n",
        ("day", "temp"),
        [("1", "2"), ("2", "3"), ("3", "5"), ("4", "5")],
    ),
    "no header": (
        "1,Anna,2.50\n2,Bob,13\n",
        ("column_1", "column_2", "column_3"),
        [("1", "Anna", "2.50"), ("2", "Bob", "13")],
    ),
    "no header, one row": (
        "1,Anna,2.50\n",
        ("column_1", "column_2", "column_3"),
        [("1", "Anna", "2.50")],
    ),
    "hash header": ("#id,name\n1,x\n2,y\n", ("id", "name"), [("1", "x"), ("2", "y")]),
    "units below": (
        "t,x,n\nC,mm,kg\n1,2,3\n2,4,5\n3,6,7\n",
        ("t", "x", "n"),
        [("1", "2", "3"), ("2", "4", "5"), ("3", "6", "7")],
    ),
    "two headers": (
        "2019,,2020,\nQ1,Q2,Q1,Q2\n1,2,3,4\n5,6,7,8\n9,1,1,1\n",
        ("2019 Q1", "2019 Q2", "2020 Q1", "2020 Q2"),
        [("1", "2", "3", "4"), ("5", "6", "7", "8"), ("9", "1", "1", "1")],
    ),
    "years": (
        "land,1990,1991,1992\nA,1.5,2,3\nB,4,5,6\n",
        ("land", "1990", "1991", "1992"),
        [("A", "1.5", "2", "3"), ("B", "4", "5", "6")],
    ),
    "all text": (
        "name,city\nAnna,Rome\nBob,Oslo\n",
        ("name", "city"),
        [("Anna", "Rome"), ("Bob", "Oslo")],
    ),
    "same names": (
        "a,a,a_2,b\n1,2,3,4\n5,6,7,8\n",
        ("a", "a_3", "a_2", "b"),
        [("1", "2", "3", "4"), ("5", "6", "7", "8")],
    ),
    "nameless": (
        ",a,,b\n1,2,3,4\n5,6,7,8\n",
        ("column_1", "a", "column_3", "b"),
        [("1", "2", "3", "4"), ("5", "6", "7", "8")],
    ),
    "blanks around names": (" a , b\n1,2\n3,4\n", ("a", "b"), [("1", "2"), ("3", "4")]),
    "row names of R": (
        '"a","b"\n"r1",1,2\n"r2",3,4\n',
        ("column_1", "a", "b"),
        [("r1", "1", "2"), ("r2", "3", "4")],
    ),
    "one column": ("id\n1\n2\n", ("id",), [("1",), ("2",)]),
    "one column of names": (
        "name\nAnna Lee\nBob Ray\nCleo Fox\n",
        ("name",),
        [("Anna Lee",), ("Bob Ray",), ("Cleo Fox",)],
    ),
    "one column of times": (
        "time\n12:30\n13:45\n14:00\n",
        ("time",),
        [("12:30",), ("13:45",), ("14:00",)],
    ),
    "one column, decimal commas": (
        "price\n1,5\n2,75\n3,25\n",
        ("price",),
        [("1,5",), ("2,75",), ("3,25",)],
    ),
    "one column of places": (
        "address\nElm St, Rome\nOak St, Oslo\n",
        ("address",),
        [("Elm St, Rome",), ("Oak St, Oslo",)],
    ),
    "one row": ("a,b\n1,2\n", ("a", "b"), [("1", "2")]),
    "blank lines": ("a,b\n\n1,2\n   \n3,4\n\n\n", ("a", "b"), [("1", "2"), ("3", "4")]),
    "empty rows": (
        "a,b,c\n1,2,3\n,,\n4,5,6\n , ,\n",
        ("a", "b", "c"),
        [("1", "2", "3"), ("4", "5", "6")],
    ),
    "ctrl-z": (ASCII + "\x1a", HEAD, ASCII_ROWS),
    "nul at the end": (ASCII + "\0" * 512, HEAD, ASCII_ROWS),
    "nul inside": (ASCII.replace("Bob", "B\0ob\0"), HEAD, ASCII_ROWS),
    "joined marks": (ASCII.replace("2,Bob", "\ufeff2,Bob"), HEAD, ASCII_ROWS),
    "times": (
        "ts,v\n2020-01-01 12:00:00,5\n2020-01-01 13:00:00,6\n",
        ("ts", "v"),
        [("2020-01-01 12:00:00", "5"), ("2020-01-01 13:00:00", "6")],
    ),
    "long field": (
        f"a,b\n1,{'x' * 300_000}\n2,y\n",
        ("a", "b"),
        [("1", "x" * 300_000), ("2", "y")],
    ),
    "unclosed quote": (
        'id,name,price\n1,"Anna,2.50\n2,Bob,13\n3,Chloe,0.75\n4,Dorte,1\n',
        HEAD,
        ASCII_ROWS,
    ),
    "unclosed quote among quoted": (
        'id,name,price\n1,"Anna",2.50\n2,"Bob,13\n3,"Chloe",0.75\n4,"Dorte",1\n',
        HEAD,
        ASCII_ROWS,
    ),
    "two unclosed quotes far apart": (
        'id,name,price\n1,"Anna,2.50\n2,Bob,13\n3,Chloe,0.75\n4,Dorte",1\n',
        HEAD,
        [*ASCII_ROWS[:3], ("4", 'Dorte"', "1")],
    ),
    "quotes inside quotes": (
        'a,b\n1,"say "hi" to me"\n2,"x"\n',
        ("a", "b"),
        [("1", 'say "hi" to me'), ("2", "x")],
    ),
}


@pytest.mark.parametrize("case", FORMS)
def test_a_form_gives_exact_cells(case: str) -> None:
    text, columns, rows = FORMS[case]
    form, pieces = read(text.encode())
    assert form.columns == columns
    assert cells(form, pieces) == rows
    assert [n for p in pieces for n in p.frame[RAW_RECORD]] == list(range(1, len(rows) + 1))


def sqlite_file() -> bytes:
    connection = sqlite3.connect(":memory:")
    connection.execute("create table t (a, b)")
    return connection.serialize()


def sheet() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return stream.getvalue()


def parquet_file() -> bytes:
    stream = io.BytesIO()
    pl.DataFrame({"a": [1, 2]}).write_parquet(stream)
    return stream.getvalue()


REFUSED: dict[str, tuple[str, bytes, str]] = {
    "empty": ("t.csv", b"", "the file is empty, 0 bytes"),
    "blank lines": ("t.csv", b"\n\n  \n", "only blank"),
    "nul bytes": ("t.csv", b"\0" * 4096, "only blanks or NUL bytes"),
    "header only": ("t.csv", b"id,name,price\n", "no rows below the header"),
    "header and blank lines": ("t.csv", b"id,name,price\r\n\r\n\r\n", "no rows below the header"),
    "png": ("t.csv", b"\x89PNG\r\n\x1a\n" + bytes(64), "a PNG picture"),
    "jpeg": ("t.csv", b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(64), "a JPEG picture"),
    "xlsx": ("t.csv", sheet(), "an Excel workbook"),
    "xls": ("t.csv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512), "old Excel"),
    "sqlite": ("t.csv", sqlite_file(), "an SQLite database"),
    "parquet": ("t.csv", parquet_file(), "a Parquet file"),
    "pickle": ("t.csv", pickle.dumps({"a": [1, 2]}), "a Python pickle"),
    "pdf": ("t.csv", b"%PDF-1.7\n1 0 obj", "a PDF document"),
    "html": ("t.csv", b"<!DOCTYPE html>\n<html><body>404</body></html>\n", "an HTML page"),
    "xml": ("t.csv", b"\xef\xbb\xbf<?xml version='1.0'?><t/>", "an XML file"),
    "png in gzip": (
        "t.csv.gz",
        gzip.compress(b"\x89PNG\r\n\x1a\n" + bytes(64)),
        "gzip data that hold a PNG",
    ),
    "noise": ("t.csv", bytes((n * n * 7 + n * 31) % 256 for n in range(5000)), "binary data"),
    "cut gzip": ("t.csv.gz", gzip.compress(ASCII.encode() * 500)[:60], "cannot be read to its end"),
    "lines quoted as a whole": (
        "t.csv",
        b'"id,name"\n"1,x"\n"2,y"\n',
        "each line is quoted as a whole",
    ),
    "one json object": ("t.json", b'{\n "a": 1,\n "b": [\n1,\n2\n]\n}\n', "no JSON Lines"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_table_is_refused_by_its_name_in_one_line(case: str) -> None:
    name, data, said = REFUSED[case]
    with pytest.raises(DataError) as error:
        read(data, name)
    message = str(error.value)
    assert message.startswith(f"{name}: ") and said in message and "\n" not in message


@pytest.mark.parametrize(
    ("name", "pack", "finds"),
    [
        ("t.csv.gz", gzip.compress, False),
        ("t.csv.bz2", bz2.compress, False),
        ("t.csv.xz", lzma.compress, False),
        ("t.csv.zst", lambda data: pa.compress(data, "zstd", asbytes=True), False),
        ("t.csv", gzip.compress, True),
    ],
)
def test_packed_files_are_unpacked(name: str, pack: Callable[[bytes], bytes], finds: bool) -> None:
    form, pieces = read(pack(PLAIN.encode()), name)
    assert cells(form, pieces) == ROWS
    assert [f.detail for f in found(pieces, Reason.WRONG_EXTENSION)] == (
        ["this is packed by gzip"] if finds else []
    )


def test_several_gzip_members_are_one_file() -> None:
    data = gzip.compress(b"a,b\n1,2\n") + gzip.compress(b"3,4\n")
    form, pieces = read(data, "t.csv.gz")
    assert cells(form, pieces) == [("1", "2"), ("3", "4")]


def test_blank_rows_are_found_by_their_line_and_take_no_number() -> None:
    _, pieces = read(b"a,b\n\n1,2\n,\n3,4\n  \n")
    assert [f.line for f in found(pieces, Reason.BLANK_ROW)] == [2, 4, 6]
    assert pieces[0].frame.select(RAW_RECORD, RAW_LINE).rows() == [(1, 3), (2, 5)]


def test_repeated_headers_are_set_aside_and_counted() -> None:
    _, pieces = read(b"id,name\n1,x\nid,name\n2,y\n\xef\xbb\xbfid,name\n3,z\n")
    (piece,) = pieces
    assert piece.frame[RAW_RECORD].to_list() == [1, 3, 5]
    assert piece.quarantined.select("record", "line", "reason").rows() == [
        (2, 3, "repeated_header"),
        (4, 5, "repeated_header"),
    ]
    assert piece.num_read == 5
    assert [f.origin for f in found(pieces, Reason.REPEATED_HEADER)] == ["t.csv#2", "t.csv#4"]


def test_ragged_rows_lose_nothing() -> None:
    _, (piece,) = read(b"a,b,c\n1,2,3\n1,2\n1,2,3,4,5\n1,2,3\n7\n")
    assert piece.frame.rows() == [
        ("1", "2", "3", 1, 2, None, 3),
        ("1", "2", None, 2, 3, None, 2),
        ("1", "2", "3", 3, 4, ["4", "5"], 5),
        ("1", "2", "3", 4, 5, None, 3),
        ("7", None, None, 5, 6, None, 1),
    ]
    assert piece.frame.schema[RAW_EXTRA] == pl.List(pl.String)
    assert piece.frame.schema[RAW_FIELDS] == pl.Int32


def test_bytes_that_are_no_utf8_are_mended_and_found_cell_by_cell() -> None:
    data = "name,n\nChloé,1\nDörte,2\nÅse,3\n".encode() + b"caf\xe9,4\nx\x81y,5\n"
    form, pieces = read(data)
    assert cells(form, pieces)[3:] == [("café", "4"), ("x\ufffdy", "5")]
    kept = [f for f in found(pieces, Reason.ENCODING) if f.record]
    assert [(f.origin, f.line, f.column, f.before, f.after, f.action.value) for f in kept] == [
        ("t.csv#4", 5, "name", "caf\\xe9", "café", "repaired"),
        ("t.csv#5", 6, "name", "x\\x81y", "x\ufffdy", "kept"),
    ]


def test_single_cells_that_were_encoded_twice_are_mended_and_found() -> None:
    form, pieces = read("name,n\nChloé,1\nRenÃ©,2\nSÃO,3\n".encode())
    assert cells(form, pieces) == [("Chloé", "1"), ("René", "2"), ("SÃO", "3")]
    assert [(f.record, f.before, f.after) for f in found(pieces, Reason.ENCODING)] == [
        (2, "RenÃ©", "René")
    ]


def test_the_first_strange_byte_may_stand_on_the_last_line() -> None:
    data = b"name,n\n" + b"Anna,1\n" * 400_000 + "Chloé,2\n".encode("cp1252")
    form, pieces = read(data)
    assert form.encoding.name == "cp1252"
    assert pieces[-1].frame.row(-1)[:3] == ("Chloé", "2", 400_001)
    assert sum(piece.num_read for piece in pieces) == 400_001
    assert max(piece.frame.height for piece in pieces) == 65_536


def test_broken_quotes_are_found() -> None:
    _, pieces = read(b'id,name\n1,"Anna\n2,Bob\n')
    assert [(f.origin, f.line, f.before, f.after) for f in found(pieces, Reason.BROKEN_QUOTE)] == [
        ("t.csv#1", 2, '1,"Anna', "1 | Anna")
    ]


def test_lines_above_and_names_are_found() -> None:
    _, pieces = read(b"Sales\n\n id ,name,name\n1,x,y\n2,z,w\n")
    assert [f.before for f in found(pieces, Reason.PREAMBLE)] == ["Sales"]
    assert [(f.column, f.before) for f in found(pieces, Reason.COLUMN_NAME)] == [
        ("id", " id "),
        ("name_2", "name"),
    ]
    assert pieces[0].frame[RAW_LINE].to_list() == [4, 5]


def test_a_plain_file_has_no_findings() -> None:
    _, pieces = read(PLAIN.encode())
    assert pieces[0].findings == [] and pieces[0].quarantined.height == 0


def test_the_recipe_pins() -> None:
    data = "1;2,5\n3;4,5\n".encode("utf-16")
    form, pieces = read(data, encoding="utf-16", delimiter=",", header=False)
    assert cells(form, pieces) == [("1;2", "5"), ("3;4", "5")]
    form, pieces = read(b"x,y\nz,w\n", header=False)
    assert cells(form, pieces) == [("x", "y"), ("z", "w")]
    form, pieces = read(b"1,2\n3,4\n", header=True)
    assert form.columns == ("1", "2")
    with pytest.raises(DataError, match="no encoding is called 'utf8000'"):
        read(b"a,b\n1,2\n", encoding="utf8000")


def test_parquet_groups_are_read_by_themselves(tmp_path: Path) -> None:
    path = str(tmp_path / "t.parquet")
    pl.DataFrame({"a": range(10), "b": list("abcdefghij")}).write_parquet(path, row_group_size=4)
    assert parquet_rows(path) == [4, 4, 2]
    (frame,) = parquet_frames(path, range(1, 2))
    assert frame.rows() == [(4, "e", 5), (5, "f", 6), (6, "g", 7), (7, "h", 8)]
    assert pl.concat(parquet_frames(path))[RAW_RECORD].to_list() == list(range(1, 11))
    (tmp_path / "u.parquet").write_bytes(b"a,b\n")
    with pytest.raises(DataError, match="no Parquet file"):
        parquet_rows(str(tmp_path / "u.parquet"))
