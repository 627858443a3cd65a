"""JSON Lines and arrays: values keep their text, bad lines are set aside one by one."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.errors import DataError
from components.records.reasons import Reason
from components.tables.files.ingest import FileForm, inspect_file, read_frames
from components.tables.files.pieces import RawPiece
from components.tables.schema import RAW_LINE, RAW_RECORD

Rows = list[tuple[str | None, ...]]


def read(data: bytes, name: str = "t.jsonl") -> tuple[FileForm, list[RawPiece]]:
    form = inspect_file(lambda: io.BytesIO(data), name)
    return form, list(read_frames(lambda: io.BytesIO(data), form, name))


def cells(form: FileForm, pieces: list[RawPiece]) -> Rows:
    return [row for piece in pieces for row in piece.frame.select(form.columns).rows()]


LINES = b"""{"id": 1, "x": 1.50, "on": true, "tags": ["a", 2.0], "note": null}

{"id": 12345678901234567890, "x": 1e5, "on": false, "deep": {"k": "\xc3\xa9"}, "note": ""}
{"x": NaN, "id": "007"}
"""


def test_values_keep_their_text() -> None:
    form, (piece,) = read(LINES)
    assert form.columns == ("id", "x", "on", "tags", "note", "deep")
    assert cells(form, [piece]) == [
        ("1", "1.50", "true", '["a",2.0]', None, None),
        ("12345678901234567890", "1e5", "false", None, None, '{"k":"é"}'),
        ("007", "NaN", None, None, None, None),
    ]
    assert piece.frame.select(RAW_RECORD, RAW_LINE).rows() == [(1, 1), (2, 3), (3, 4)]
    assert piece.findings == []


def test_bad_lines_are_set_aside_one_by_one() -> None:
    data = b'{"a": 1}\n{"a": 2\n[1, 2]\n{"a": 3}\n7\n{"a": 4, "a": 5}\n{"a": '
    form, (piece,) = read(data)
    assert cells(form, [piece]) == [("1",), ("3",), ("5",)]
    assert piece.frame[RAW_RECORD].to_list() == [1, 4, 6]
    assert piece.quarantined.select("record", "line", "reason").rows() == [
        (2, 2, "bad_line"),
        (3, 3, "bad_line"),
        (5, 5, "bad_line"),
        (7, 7, "bad_line"),
    ]
    assert piece.num_read == 7
    twice = [f for f in piece.findings if f.reason == Reason.COLUMN_NAME]
    assert [(f.origin, f.column) for f in twice] == [("t.jsonl#6", "a")]


def test_an_array_of_objects() -> None:
    data = b'\xef\xbb\xbf[\n  {"a": 1, "b": [1, {"c": 2}]},\n  {"a": 2},\n'
    data += b'  {"a": oops},\n  {"a": 4}\n]\n'
    form, (piece,) = read(data, "t.json")
    assert cells(form, [piece]) == [("1", '[1,{"c":2}]'), ("2", None), ("4", None)]
    assert piece.frame.select(RAW_RECORD, RAW_LINE).rows() == [(1, 2), (2, 3), (4, 5)]
    assert piece.quarantined["record"].to_list() == [3]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_encodings(encoding: str) -> None:
    form, pieces = read('{"a": "Chloé"}\n{"a": "Dörte"}\n{"a": "José"}\n'.encode(encoding))
    assert cells(form, pieces) == [("Chloé",), ("Dörte",), ("José",)]


def test_json_under_another_name_is_read_and_found() -> None:
    form, pieces = read(LINES, "t.csv")
    assert form.kind == "json_lines" and len(cells(form, pieces)) == 3
    assert [f.reason for f in pieces[-1].findings] == [Reason.WRONG_EXTENSION]


def test_a_file_without_any_object_is_refused() -> None:
    with pytest.raises(DataError, match=r"t\.json: no JSON Lines"):
        read(b"1\n2\n", "t.json")
    with pytest.raises(DataError, match="no line is a JSON object with a key"):
        read(b"1\n2\n")
    with pytest.raises(DataError, match="no line is a JSON object with a key"):
        read(b"{}\n{}\n")


VALUE = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(
        st.characters(
            codec="utf-8",
            exclude_characters="\x00\x1a",
            exclude_categories=["Co"],
            min_codepoint=0x250,
        ),
        min_size=1,
    )
)


@given(
    objects=st.lists(st.dictionaries(st.sampled_from("abc"), VALUE, min_size=1), min_size=1),
    as_array=st.booleans(),
    block_bytes=st.integers(40, 200),
)
def test_objects_come_back(
    objects: list[dict[str, object]], as_array: bool, block_bytes: int
) -> None:
    text = (
        json.dumps(objects, ensure_ascii=False)
        if as_array
        else "\n".join(json.dumps(one, ensure_ascii=False) for one in objects)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("components.tables.files.encoding._BLOCK_BYTES", block_bytes)
        form, pieces = read(text.encode())
    keys = list(dict.fromkeys(key for one in objects for key in one))
    plain = {None: None, True: "true", False: "false"}
    expected = [
        tuple(
            plain[value] if isinstance(value := one.get(key), bool) or value is None else str(value)
            for key in keys
        )
        for one in objects
    ]
    assert list(form.columns) == keys
    assert cells(form, pieces) == expected
