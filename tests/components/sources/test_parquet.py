"""Image Parquet: rows are found by their number, and a damaged group costs only itself."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from components.records.reasons import Reason
from tests.components.sources.reading import listed, problems, refusal, rows, write


def test_parquet_file_and_folder(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for number, pictures in enumerate(([b"a", b"b", b"c"], [b"d"])):
        table = pa.table({"image": pictures, "label": ["x"] * len(pictures)})
        pq.write_table(table, folder / f"part-{number}.parquet", row_group_size=2)
    listing, records = listed(tmp_path, folder)
    assert rows(records) == [
        ("part-0.parquet#1", "x", None, b"a"),
        ("part-0.parquet#2", "x", None, b"b"),
        ("part-0.parquet#3", "x", None, b"c"),
        ("part-1.parquet#1", "x", None, b"d"),
    ]
    assert listing.format == "parquet"
    _, of_file = listed(tmp_path, folder / "part-1.parquet")
    assert rows(of_file) == rows(records)[3:]


def test_parquet_struct_numbers_and_gaps(tmp_path: Path) -> None:
    pictures = [{"bytes": b"a", "path": "a.png"}, {"bytes": None, "path": "b.png"}, None]
    path = tmp_path / "a#1.parquet"
    table = {
        "picture": [*pictures, {"bytes": b"d", "path": None}],
        "digit": [7, 7, 7, None],
        "part": ["train", "validation", "test", None],
    }
    pq.write_table(pa.table(table), path)
    _, records = listed(
        tmp_path, path, image_column="picture", label_column="digit", split_column="part"
    )
    assert [(r.label, r.split, r.data) for r in records] == [
        ("7", "train", b"a"),
        ("7", "val", None),
        ("7", "test", None),
        (None, None, b"d"),
    ]
    reasons = [r.problem.reason if r.problem else None for r in records]
    assert reasons == [None, Reason.EMPTY, Reason.EMPTY, Reason.MISSING_LABEL]


def test_a_damaged_row_group_costs_its_rows_and_no_others(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"image": [b"a", b"b", b"c", b"d"], "label": ["x", "y", "x", "y"]})
    pq.write_table(table, path, row_group_size=2, use_dictionary=False)
    start = pq.read_metadata(path).row_group(0).column(0).data_page_offset
    data = bytearray(path.read_bytes())
    data[start : start + 20] = bytes(20)
    path.write_bytes(data)
    _, records = listed(tmp_path, path)
    assert [record.problem.reason for record in records if record.problem] == [
        Reason.UNREADABLE,
        Reason.UNREADABLE,
    ]
    assert [record.data for record in records] == [None, None, b"c", b"d"]


def test_parquet_without_the_column_names_the_nearest(tmp_path: Path) -> None:
    pq.write_table(pa.table({"images": [b"a"], "label": ["x"]}), tmp_path / "a.parquet")
    message = refusal(tmp_path, tmp_path / "a.parquet")
    assert "a.parquet: no column 'image'; did you mean images?" in message
    assert "it has images, label; set data.source.image_column" in message


def test_what_is_not_parquet_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "set", "a.parquet")
    assert "a.parquet: not a Parquet file" in refusal(tmp_path, tmp_path / "set")


def test_a_bad_split_costs_its_row(tmp_path: Path) -> None:
    table = {"image": [b"a", b"b"], "label": ["x", "y"], "part": ["night", "test"]}
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    _, records = listed(tmp_path, tmp_path / "a.parquet", split_column="part")
    assert problems(records) == {"a.parquet#1": Reason.BAD_SPLIT}
    assert rows(records) == [("a.parquet#1", "x", None, b"a"), ("a.parquet#2", "y", "test", b"b")]


def test_class_names_of_a_label_column_are_merged(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for number, labels in enumerate((["Cat", "dog", None], ["cat ", "cat", "cat"])):
        table = pa.table({"image": [b"a"] * 3, "label": labels})
        pq.write_table(table, folder / f"{number}.parquet")
    listing, records = listed(tmp_path, folder)
    assert [r.label for r in records] == ["cat", "dog", None, "cat", "cat", "cat"]
    found = [(f.origin, f.column, f.before, f.after, f.count) for f in listing.findings]
    assert found == [(".", "label", "Cat", "cat", 1), (".", "label", "cat ", "cat", 1)]


def test_classes_of_only_one_split_are_seen_in_columns_too(tmp_path: Path) -> None:
    table = {
        "image": [b"a"] * 5,
        "label": ["x", "y", "x", "y", "z"],
        "part": ["train", "train", "test", "test", "test"],
    }
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    listing, _ = listed(tmp_path, tmp_path / "a.parquet", split_column="part")
    (finding,) = listing.findings
    assert (finding.reason, finding.before, finding.count) == (Reason.CLASS_IN_ONE_SPLIT, "z", 1)
    assert finding.detail == "class 'z' is only in test, not in train"


def test_what_macos_leaves_beside_a_file_is_no_parquet(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [b"a"], "label": ["x"]}), tmp_path / "a.parquet")
    (tmp_path / "._a.parquet").write_bytes(b"\0\5\x16\7")
    _, records = listed(tmp_path, tmp_path, format="parquet")
    assert [record.origin for record in records] == ["a.parquet#1"]


def test_labels_that_are_no_names_are_not_compared(tmp_path: Path) -> None:
    table = pa.table({"image": [b"a", b"b"], "label": [[1], [2]]})
    pq.write_table(table, tmp_path / "a.parquet")
    listing, records = listed(tmp_path, tmp_path / "a.parquet")
    assert ([r.label for r in records], listing.findings) == (["[1]", "[2]"], [])
