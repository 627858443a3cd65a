"""Every form of source is listed in bounded pieces, and every record in it comes back once."""

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.errors import DataError, StorageError
from components.records import sources
from components.records.reasons import Reason
from components.records.sources import Entry, Listing, RawRecord, SourceConfig, list_source

Row = tuple[str, str | None, str | None, bytes | None]


def write(root: Path, *names: str) -> Path:
    """Files whose content is their own name."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def listed(tmp_path: Path, path: Path | str, **settings: object) -> tuple[Listing, list[RawRecord]]:
    """The listing of a source and all its records."""
    config = SourceConfig.model_validate({"path": str(path)} | settings)
    folder = tmp_path / f"listing-{len(list(tmp_path.glob('listing-*')))}"
    folder.mkdir()
    listing = list_source(config, folder)
    records = [
        record
        for chunk in listing.chunks
        for record in sources.read_chunk(config, listing.root, folder / chunk)
    ]
    assert listing.num_records == len(records)
    return listing, records


def rows(records: list[RawRecord]) -> list[Row]:
    return [(record.origin, record.label, record.split, record.data) for record in records]


def refusal(tmp_path: Path, path: Path | str, **settings: object) -> str:
    with pytest.raises(DataError) as caught:
        listed(tmp_path, path, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_address_of_no_filesystem_is_one_bad_record(tmp_path: Path) -> None:
    write(tmp_path, "1.png")
    (tmp_path / "list.csv").write_text("path,label\n1.png,cat\nhttp://host/2.png,cat\n")
    _, (good, bad) = listed(tmp_path, tmp_path / "list.csv")
    assert good.data == b"1.png"
    assert bad.problem is not None and bad.problem.reason is Reason.UNREADABLE


def test_a_file_name_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    write(tmp_path / "images", "cat/1.png", "dog/1.png")
    try:
        (tmp_path / "images" / "cat" / os.fsdecode(b"\xff.png")).touch()
    except OSError:
        pytest.skip("this filesystem takes only UTF-8")
    assert r"cat/\xff.png is not UTF-8" in refusal(tmp_path, tmp_path / "images")


def test_no_file_name_looks_like_a_row_group(tmp_path: Path) -> None:
    root = write(tmp_path / "images", "cat/1#1#parquet", "dog/1.png")
    _, records = listed(tmp_path, root)
    assert [record.data for record in records] == [b"cat/1#1#parquet", b"dog/1.png"]


# Class folders


def test_class_folders_however_deep(tmp_path: Path) -> None:
    root = write(tmp_path / "images", "cat/1.png", "cat/more/deep/2.png", "dog/1.png")
    listing, records = listed(tmp_path, root)
    assert rows(records) == [
        ("cat/1.png", "cat", None, b"cat/1.png"),
        ("cat/more/deep/2.png", "cat", None, b"cat/more/deep/2.png"),
        ("dog/1.png", "dog", None, b"dog/1.png"),
    ]
    assert (listing.format, listing.declared_classes, listing.given_splits) == (
        "folders",
        ["cat", "dog"],
        [],
    )
    assert listing.num_bytes == sum(len(record.data or b"") for record in records)


def test_a_uri_lists_what_the_path_lists(tmp_path: Path) -> None:
    root = write(tmp_path / "images", "cat/1.png", "dog/1.png")
    by_path, by_uri = listed(tmp_path, root), listed(tmp_path, f"file://{root}")
    assert rows(by_uri[1]) == rows(by_path[1])
    assert by_uri[0].sha256 == by_path[0].sha256


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Validation", "dev"])
def test_split_folders_by_any_of_their_names(tmp_path: Path, val: str) -> None:
    root = write(tmp_path / "images", "train/cat/1", "train/dog/1", f"{val}/cat/2", "test/dog/3")
    listing, records = listed(tmp_path, root)
    assert sorted((r.origin, r.label, r.split) for r in records) == sorted(
        [
            ("train/cat/1", "cat", "train"),
            ("train/dog/1", "dog", "train"),
            (f"{val}/cat/2", "cat", "val"),
            ("test/dog/3", "dog", "test"),
        ]
    )
    assert listing.given_splits == ["train", "val", "test"]
    assert listing.declared_classes == ["cat", "dog"]


def test_train_and_test_only(tmp_path: Path) -> None:
    root = write(tmp_path / "images", "train/cat/1", "train/dog/1", "test/dog/3")
    assert listed(tmp_path, root)[0].given_splits == ["train", "test"]


def test_one_split_name_among_classes_is_a_class(tmp_path: Path) -> None:
    root = write(tmp_path / "vehicles", "train/1", "bus/1", "tram/1")
    listing, _ = listed(tmp_path, root)
    assert (listing.declared_classes, listing.given_splits) == (["bus", "train", "tram"], [])


def test_splits_beside_another_folder_are_no_classes(tmp_path: Path) -> None:
    root = write(tmp_path / "images", "train/cat/1", "test/cat/2", "extra/3")
    message = refusal(tmp_path, root)
    assert "test, train name splits and extra does not" in message and "move extra away" in message


def test_files_outside_classes_are_records_without_a_label(tmp_path: Path) -> None:
    root = write(tmp_path / "flat", "cat/1", "loose.png")
    split = write(tmp_path / "split", "train/cat/1", "train/loose", "test/cat/2", "top.txt")
    for path, loose in ((root, {"loose.png"}), (split, {"train/loose", "top.txt"})):
        _, records = listed(tmp_path, path)
        refused = {r.origin: r.problem.reason for r in records if r.problem is not None}
        assert refused == dict.fromkeys(loose, Reason.MISSING_LABEL)


def test_a_class_without_images_is_still_declared(tmp_path: Path) -> None:
    root = write(tmp_path / "images", "cat/1")
    (root / "dog").mkdir()
    assert listed(tmp_path, root)[0].declared_classes == ["cat", "dog"]


def test_unicode_and_blanks_in_names(tmp_path: Path) -> None:
    names = ["chat noir/été 1.png", "犬/ ひ #1.png", "a%20b/x&y=z.png"]
    root = write(tmp_path / "mes images", *names)
    for path in (root, f"file://{str(root).replace(' ', '%20')}"):
        _, records = listed(tmp_path, path)
        assert {r.origin: r.data for r in records} == {name: name.encode() for name in names}


def test_a_file_that_vanished_is_a_record_with_a_problem(tmp_path: Path) -> None:
    root = write(tmp_path / "images", "cat/1", "cat/2")
    config = SourceConfig(path=str(root))
    listing = list_source(config, tmp_path)
    (root / "cat/1").unlink()
    found = list(sources.read_chunk(config, listing.root, tmp_path / listing.chunks[0]))
    problems = [record.problem.reason if record.problem else None for record in found]
    assert problems == [Reason.UNREADABLE, None]


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
    monkeypatch.setattr(sources, "_children", refuse)
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


# Parquet


def test_parquet_file_and_folder(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for number, pictures in enumerate(([b"a", b"b", b"c"], [b"d"])):
        table = pa.table({"image": pictures, "label": ["x"] * len(pictures)})
        pq.write_table(table, folder / f"part-{number}.parquet", row_group_size=2)
    listing, records = listed(tmp_path, folder)
    assert rows(records) == [
        ("part-0.parquet#0@0", "x", None, b"a"),
        ("part-0.parquet#0@1", "x", None, b"b"),
        ("part-0.parquet#1@0", "x", None, b"c"),
        ("part-1.parquet#0@0", "x", None, b"d"),
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


# Manifests


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
        assert [r.origin for r in records][::5] == ["1.png@1", "1.png@6"]
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


def test_an_unknown_split_names_the_row(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,label,part\n1.png,cat,train\n2.png,cat,night\n")
    message = refusal(tmp_path, tmp_path / "list.csv", split_column="part")
    assert message.startswith("list.csv row 2: split 'night' is none of train, val, test")


# Pieces and their digest


def chunk_sizes(sizes: list[int]) -> list[int]:
    entries = (Entry(str(n), str(n), "x", None, size, 0) for n, size in enumerate(sizes))
    return [len(chunk) for chunk in sources._chunked(entries)]


def test_a_chunk_holds_512_inputs_or_64_mib() -> None:
    mib = 1 << 20
    assert chunk_sizes([]) == []
    assert chunk_sizes([0] * 1025) == [512, 512, 1]
    assert chunk_sizes([32 * mib, 32 * mib, 1]) == [2, 1]
    assert chunk_sizes([1, 200 * mib, 1]) == [1, 1, 1]


def test_a_large_class_is_listed_in_pieces(tmp_path: Path) -> None:
    root = write(tmp_path / "images", *[f"cat/{n:04d}" for n in range(600)], "dog/1")
    listing, records = listed(tmp_path, root)
    assert listing.chunks == ["000000.parquet", "000001.parquet"]
    assert len({record.origin for record in records}) == 601


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
