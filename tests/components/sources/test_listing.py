"""Every form of source is listed in bounded pieces, and every record in it comes back once."""

import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from components.errors import StorageError
from components.sources.chunks import chunked
from components.sources.config import SourceConfig
from components.sources.listing import list_source
from components.sources.record import Entry
from tests.components.sources.reading import listed, refusal, write


def test_no_file_name_looks_like_a_row_group(tmp_path: Path) -> None:
    root = write(tmp_path / "images", "cat/1#1#parquet", "dog/1.png")
    _, records = listed(tmp_path, root)
    assert [record.data for record in records] == [b"cat/1#1#parquet", b"dog/1.png"]


# What is refused


def test_a_missing_source_names_its_neighbour(tmp_path: Path) -> None:
    write(tmp_path / "images", "cat/1")
    assert refusal(tmp_path, tmp_path / "imges").endswith("does not exist; did you mean images?")
    assert "set data.source.path to your images" in refusal(tmp_path, tmp_path / "zzz/qqq")


def test_an_empty_source_is_refused(tmp_path: Path) -> None:
    (tmp_path / "images/cat").mkdir(parents=True)
    assert "holds no records (read as folders)" in refusal(tmp_path, tmp_path / "images")


def test_an_unknown_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "data.zip")
    assert "a .zip file is no known source" in refusal(tmp_path, tmp_path / "data.zip")


def test_the_wrong_format_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "images", "cat/1")
    (tmp_path / "list.csv").write_text("path,label\n")
    message = refusal(tmp_path, tmp_path / "list.csv", format="folders")
    assert "is a file; class folders need a directory" in message
    message = refusal(tmp_path, tmp_path / "images", format="manifest")
    assert "cannot be read" in message


def test_a_folder_that_may_not_be_read_is_named_as_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    root = write(tmp_path / "images", "cat/1")
    monkeypatch.setattr(os, "scandir", refuse)
    message = refusal(tmp_path, root, format="folders")
    assert message.startswith("data.source.path = ") and "Permission denied" in message


def test_a_full_disk_while_listing_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    root = write(tmp_path / "images", "cat/1")
    monkeypatch.setattr(pq, "write_table", refuse)
    with pytest.raises(StorageError, match="No space left on device"):
        list_source(SourceConfig(path=str(root)), tmp_path)


# Pieces and their digest


def chunk_sizes(sizes: list[int]) -> list[int]:
    entries = (Entry(str(n), str(n), "x", None, size, 0) for n, size in enumerate(sizes))
    return [len(chunk) for chunk in chunked(entries)]


def test_chunks_grow_with_the_source_up_to_512_inputs_or_64_mib() -> None:
    mib = 1 << 20
    assert chunk_sizes([]) == []
    assert chunk_sizes([0] * 129) == [64, 64, 1]
    sizes = chunk_sizes([0] * 20_000)
    assert sum(sizes) == 20_000
    assert sizes[:17] == [64] * 17 and sizes[17] == 17 * 64 // 16
    assert set(sizes[-20:-1]) == {512}
    # However many processes share them, the last ones are a small part of the whole.
    for count in (840, 3_360, 8_000):
        assert max(chunk_sizes([0] * count)) <= max(64, count / 16)
    assert chunk_sizes([32 * mib, 32 * mib, 1]) == [2, 1]
    assert chunk_sizes([1, 200 * mib, 1]) == [1, 1, 1]


def test_a_large_class_is_listed_in_pieces(tmp_path: Path) -> None:
    root = write(tmp_path / "images", *[f"cat/{n:04d}" for n in range(100)], "dog/1")
    listing, records = listed(tmp_path, root)
    assert listing.chunks == ["000000.parquet", "000001.parquet"]
    assert len({record.origin for record in records}) == 101


def test_the_digest_follows_size_time_and_label(tmp_path: Path) -> None:
    def digest(root: Path) -> str:
        return listed(tmp_path, root)[0].sha256

    def make(name: str, order: list[str]) -> Path:
        root = write(tmp_path / name, *order)
        for file in order:
            os.utime(root / file, ns=(0, 10**18))
        return root

    one = make("one", ["cat/1", "cat/2", "dog/1"])
    before = digest(one)
    # Another folder, filled in another order, with the same inputs.
    assert digest(make("two", ["dog/1", "cat/2", "cat/1"])) == before
    seen = {before}
    os.utime(one / "cat/2", ns=(0, 10**18 + 1))
    seen.add(digest(one))
    (one / "cat/2").write_bytes(b"larger than it was")
    os.utime(one / "cat/2", ns=(0, 10**18 + 1))
    seen.add(digest(one))
    (one / "cat").rename(one / "lion")
    seen.add(digest(one))
    assert len(seen) == 4


def test_the_digest_follows_the_columns_of_a_manifest(tmp_path: Path) -> None:
    write(tmp_path, "1.png")
    os.utime(tmp_path / "1.png", ns=(0, 10**18))
    seen = set()
    for label, part in (("cat", "train"), ("dog", "train"), ("dog", "test")):
        (tmp_path / "list.csv").write_text(f"path,label,part\n1.png,{label},{part}\n")
        seen.add(listed(tmp_path, tmp_path / "list.csv", split_column="part")[0].sha256)
    assert len(seen) == 3
