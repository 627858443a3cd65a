"""The files of a table source: which are read, what they are, and what is refused."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.errors import DataError
from components.records.reasons import Policy, Reason
from components.sources.config import TableSourceConfig
from components.sources.tables import TableListing, list_tables, table_form
from tests.components.sources.reading import write


def tables(path: Path | str, **settings: object) -> TableListing:
    return list_tables(TableSourceConfig.model_validate({"path": str(path)} | settings))


def refusal(path: Path, **settings: object) -> str:
    with pytest.raises(DataError) as caught:
        tables(path, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "form", "compression"),
    [
        ("a.csv", "csv", None),
        ("a.TSV", "csv", None),
        ("a b.csv.gz", "csv", "gzip"),
        ("a.jsonl.zst", "jsonl", "zstd"),
        ("a.ndjson.bz2", "jsonl", "bz2"),
        ("a.parquet", "parquet", None),
        ("a.txt", "csv", None),
    ],
)
def test_a_file_of_each_form(tmp_path: Path, name: str, form: str, compression: str | None) -> None:
    listing = tables(write(tmp_path, name) / name)
    (file,) = listing.files
    assert (listing.form, file.form, file.compression) == (form, form, compression)
    assert (file.origin, file.path, file.size) == (name, str(tmp_path / name), len(name))
    assert tables(f"file://{tmp_path}/{name.replace(' ', '%20')}").files == listing.files


def test_a_folder_of_tables_and_what_lies_beside_them(tmp_path: Path) -> None:
    beside = ["README.md", "notes.txt", "_SUCCESS", "._a.csv", "model.bin"]
    hidden = [".ipynb_checkpoints/a.csv"]
    root = write(tmp_path / "set", "b.csv", "a.csv", "deep/c.csv.gz", *beside, *hidden)
    listing = tables(root)
    assert [file.origin for file in listing.files] == ["a.csv", "b.csv", "deep/c.csv.gz"]
    told = {finding.origin for finding in listing.findings}
    assert told == {*beside, ".ipynb_checkpoints"}
    assert {finding.reason for finding in listing.findings} == {Reason.JUNK_FILE}
    assert listing.num_bytes == sum(file.size for file in listing.files)
    with pytest.raises(DataError, match="junk_file"):
        list_tables(TableSourceConfig(path=str(root)), {Reason.JUNK_FILE: Policy.STOP})


def test_files_named_after_splits(tmp_path: Path) -> None:
    root = write(tmp_path / "set", "adult-train.csv", "adult-test.csv", "more.csv")
    assert {f.origin: f.split for f in tables(root).files} == {
        "adult-train.csv": "train",
        "adult-test.csv": "test",
        "more.csv": None,
    }
    for lone in ("test.csv", "train.csv"):
        assert tables(write(tmp_path / lone, lone)).files[0].split is None


def test_the_digest_follows_names_sizes_and_times(tmp_path: Path) -> None:
    root = write(tmp_path / "set", "a.csv", "b.csv")
    seen = {tables(root).sha256}
    os.utime(root / "a.csv", ns=(0, 10**18))
    seen.add(tables(root).sha256)
    assert tables(root).sha256 in seen
    (root / "a.csv").rename(root / "c.csv")
    seen.add(tables(root).sha256)
    assert len(seen) == 3


def test_rows_of_parquet_are_counted_and_of_text_guessed(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": list(range(10))}), tmp_path / "a.parquet", row_group_size=4)
    (file,) = tables(tmp_path / "a.parquet").files
    assert (file.row_groups(), file.expected_records()) == ([4, 4, 2], 10)
    (tmp_path / "a.csv").write_bytes(bytes(6400))
    (file,) = tables(tmp_path / "a.csv").files
    assert file.expected_records() == 100
    (tmp_path / "b.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match=r"b\.parquet: not a Parquet file"):
        tables(tmp_path / "b.parquet").files[0].row_groups()


def test_two_forms_in_one_folder_are_refused_unless_one_is_named(tmp_path: Path) -> None:
    root = write(tmp_path / "set", "a.csv", "b.parquet", "c.csv")
    message = refusal(root)
    assert "several forms: a.csv (csv) and b.parquet (parquet); set data.source.format" in message
    listing = tables(root, format="csv")
    assert [file.origin for file in listing.files] == ["a.csv", "c.csv"]
    assert [finding.origin for finding in listing.findings] == ["b.parquet"]


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    root = write(tmp_path / "set", "a.png")
    assert "a .png file is no known table" in refusal(root / "a.png")
    assert tables(root / "a.png", format="csv").files[0].form == "csv"
    assert "holds no CSV, JSON Lines or Parquet file" in refusal(root)
    assert "did you mean set?" in refusal(tmp_path / "sett")
    os.mkfifo(tmp_path / "pipe.csv")
    assert "is a pipe, socket or device" in refusal(tmp_path / "pipe.csv")
    (root / "gone.csv").symlink_to("nothing")
    assert refusal(root).startswith("gone.csv: a link to nothing")


def test_a_loop_of_links_is_told(tmp_path: Path) -> None:
    root = write(tmp_path / "set", "a.csv", "deep/b.csv")
    (root / "deep/up").symlink_to("..")
    listing = tables(root)
    assert [file.origin for file in listing.files] == ["a.csv", "deep/b.csv"]
    assert [(f.origin, f.reason) for f in listing.findings] == [("deep/up", Reason.UNREADABLE)]


def test_a_form_by_its_name_alone() -> None:
    assert table_form("notes.txt") == (None, None)
    assert table_form("notes.txt", alone=True) == ("csv", None)
    assert table_form("a.tar.gz") == (None, "gzip")
