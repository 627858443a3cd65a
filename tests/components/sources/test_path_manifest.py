"""Path manifests: CSV, TSV and JSON Lines say the same, and one bad row costs only itself."""

import json
import os
from pathlib import Path

import pytest

from components.records.reasons import Reason
from components.sources.config import SourceConfig
from components.sources.listing import list_source
from tests.components.sources.reading import listed, problems, refusal, rows, write


def test_an_address_of_no_filesystem_is_one_bad_record(tmp_path: Path) -> None:
    write(tmp_path, "1.png")
    (tmp_path / "list.csv").write_text("path,label\n1.png,cat\nhttp://host/2.png,cat\n")
    _, (good, bad) = listed(tmp_path, tmp_path / "list.csv")
    assert good.data == b"1.png"
    assert bad.problem is not None and bad.problem.reason is Reason.UNREADABLE


def test_csv_tsv_and_json_lines_say_the_same(tmp_path: Path) -> None:
    images = write(tmp_path / "images", "1.png", "2 é.png", "3.png")
    table = [
        ("1.png", "007", "train"),
        (str(images / "2 é.png"), "cat", "validation"),
        (f"file://{images}/3.png", "cat", ""),
        ("", "cat", ""),
        ("gone.png", "cat", ""),
        ("1.png", "", "test"),
    ]
    header = ("path", "label", "part")
    (images / "list.csv").write_text("\n".join(",".join(row) for row in [header, *table]))
    (images / "list.tsv").write_text("\n".join("\t".join(row) for row in [header, *table]))
    lines = [json.dumps(dict(zip(header, row, strict=True))) for row in table]
    (images / "list.jsonl").write_text("\n".join(lines))
    for name in ("list.csv", "list.tsv", "list.jsonl"):
        listing, records = listed(tmp_path, images / name, split_column="part")
        assert [(r.label, r.split, r.data) for r in records] == [
            ("007", "train", b"1.png"),
            ("cat", "val", "2 é.png".encode()),
            ("cat", None, b"3.png"),
            ("cat", None, None),
            ("cat", None, None),
            (None, "test", b"1.png"),
        ]
        reasons = [r.problem.reason.value if r.problem else "" for r in records]
        assert reasons == ["", "", "", "unreadable", "unreadable", "missing_label"]
        assert [r.origin for r in records] == [path for path, _, _ in table]
        assert listing.given_splits == ["train", "val", "test"]


def test_columns_that_nobody_asked_for_may_hold_anything(tmp_path: Path) -> None:
    write(tmp_path, "1.png")
    # The type of a column is guessed from the first MiB; the note that is no number lies beyond.
    lines = [f"1.png,cat,{'x' * 4096},1"] * 300
    (tmp_path / "list.csv").write_text("\n".join(["path,label,text,note", *lines, "1.png,cat,,no"]))
    listing = list_source(SourceConfig(path=str(tmp_path / "list.csv")), tmp_path)
    assert listing.num_records == 301


@pytest.mark.parametrize("name", ["list.csv", "list.jsonl"])
def test_manifest_without_the_column_names_the_nearest(tmp_path: Path, name: str) -> None:
    csv, line = "path,labels\n1.png,cat", '{"path": "1.png", "labels": "cat"}'
    (tmp_path / name).write_text(csv if name.endswith("csv") else line)
    message = refusal(tmp_path, tmp_path / name)
    assert f"{name}: no column 'label'; did you mean labels? it has path, labels" in message


@pytest.mark.parametrize(
    ("name", "text"),
    [("list.csv", "path,label\n1.png\n"), ("list.csv", ""), ("list.jsonl", '{"path": "1.p')],
)
def test_a_broken_manifest_is_refused(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert f"{name}: cannot be read as a manifest" in refusal(tmp_path, tmp_path / name)


def test_a_bad_split_costs_its_row(tmp_path: Path) -> None:
    write(tmp_path, "1.png", "2.png")
    (tmp_path / "list.csv").write_text("path,label,part\n1.png,cat,train\n2.png,cat,night\n")
    _, records = listed(tmp_path, tmp_path / "list.csv", split_column="part")
    assert problems(records) == {"2.png": Reason.BAD_SPLIT}
    assert records[1].problem is not None and "'night'" in records[1].problem.detail
    assert records[1].data == b"2.png"


def test_one_path_under_two_labels_is_read_twice(tmp_path: Path) -> None:
    write(tmp_path, "1.png")
    (tmp_path / "list.csv").write_text("path,label\n1.png,cat\n1.png,dog\n")
    _, records = listed(tmp_path, tmp_path / "list.csv")
    assert rows(records) == [("1.png", "cat", None, b"1.png"), ("1.png", "dog", None, b"1.png")]


@pytest.mark.parametrize("name", ["list.csv", "list.tsv", "list.jsonl"])
def test_a_byte_order_mark_and_windows_lines(tmp_path: Path, name: str) -> None:
    write(tmp_path, "1.png", "2.png")
    table = ["path,label", "1.png,cat", "2.png,dog"]
    if name == "list.tsv":
        table = [line.replace(",", "\t") for line in table]
    if name == "list.jsonl":
        table = ['{"path": "1.png", "label": "cat"}', '{"path": "2.png", "label": "dog"}']
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + "\r\n".join(table).encode() + b"\r\n")
    _, records = listed(tmp_path, tmp_path / name)
    assert rows(records) == [("1.png", "cat", None, b"1.png"), ("2.png", "dog", None, b"2.png")]


def test_what_is_no_file_is_never_opened(tmp_path: Path) -> None:
    write(tmp_path, "1.png")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    paths = ["1.png", "pipe", "folder", "x" * 5000, "../" + tmp_path.name + "/1.png"]
    (tmp_path / "list.jsonl").write_text(
        "\n".join(json.dumps({"path": path, "label": "cat"}) for path in [*paths, "a\0b"])
    )
    _, records = listed(tmp_path, tmp_path / "list.jsonl")
    assert list(problems(records)) == ["pipe", "folder", "x" * 5000, "a\0b"]
    assert set(problems(records).values()) == {Reason.UNREADABLE}
    assert records[4].data == b"1.png"


def test_class_names_of_a_label_column_are_merged(tmp_path: Path) -> None:
    write(tmp_path, "1.png")
    labels = ["golden retriever", "Golden_Retriever", "golden retriever", " pug", "1", "01"]
    lines = [f"1.png,{label}" for label in labels]
    (tmp_path / "list.csv").write_text("\n".join(["path,label", *lines]))
    listing, records = listed(tmp_path, tmp_path / "list.csv")
    assert [r.label for r in records] == [*["golden retriever"] * 3, " pug", "1", "01"]
    (finding,) = listing.findings
    assert (finding.origin, finding.column, finding.count) == ("list.csv", "label", 1)


def test_credentials_in_a_path_are_not_kept(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,label\nhttp://me:secret@host/2.png,cat\n")
    _, (record,) = listed(tmp_path, tmp_path / "list.csv")
    assert record.origin == "http://host/2.png"
    assert "secret" not in str(record.problem)
