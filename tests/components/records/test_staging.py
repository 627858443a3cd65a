"""Two passes: rows in = prepared + set aside + copies, and the same shards however they are cut."""

import errno
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.errors import DataError, StorageError
from components.records import merging, staging
from components.records.cuts import class_cuts, time_cuts
from components.records.fingerprint import file_sha256
from components.records.identity import record_id
from components.records.merging import (
    RELATED_SCHEMA,
    MergeResult,
    MergeSettings,
    MergeTask,
    merge_range,
)
from components.records.reasons import Policy, Reason, RecordRejected
from components.records.split import SPLITS, Split, SplitRule
from components.records.staging import ChunkResult, PreparedRecord, stage_records
from components.sources.record import RawRecord

COLUMNS = pa.schema({"image": pa.binary(), "size": pa.int64()})
SHARD = pa.schema(
    {
        "record_id": pa.string(),
        "image": pa.binary(),
        "label": pa.int32(),
        "origin": pa.string(),
        "size": pa.int64(),
    }
)
CLASSES = ("cat", "dog")
RULE = SplitRule(seed=0, val=0.2, test=0.2)


def prepare(data: bytes, origin: str) -> PreparedRecord:
    """A modality of the simplest kind: what a record is follows from its letters alone."""
    if not data:
        raise RecordRejected(Reason.EMPTY, "0 bytes")
    if data.startswith(b"no "):
        raise RecordRejected(Reason.NOT_AN_IMAGE, "no picture")
    notes = ((Reason.TRANSPARENCY, "laid on white"),) if data.isupper() else ()
    letters = data.lower()
    return PreparedRecord(record_id(letters), {"image": letters, "size": len(letters)}, notes)


def picture(number: int) -> bytes:
    return f"picture {number}".encode()


def raw(
    origin: str, data: bytes | None, split: Split | None = None, label: str | None = None
) -> RawRecord:
    """A record whose origin begins with its label, unless that is given."""
    return RawRecord(origin, label or origin.split("/")[0], split, data)


def stage(
    folder: Path, chunks: list[list[RawRecord]], policy: dict[Reason, Policy] | None = None
) -> tuple[list[ChunkResult], list[Path]]:
    results = [
        stage_records(
            chunk, prepare, schema=COLUMNS, policy=policy or {}, folder=folder, name=f"{number:03d}"
        )
        for number, chunk in enumerate(chunks)
    ]
    return results, [folder / "staged" / part for result in results for part in result.parts]


def stage_hashed(folder: Path, rows: list[tuple[str, bytes, Split | None]]) -> Path:
    """Staged rows (origin, similarity hash, split of the source); the origin is all they hold."""
    folder.mkdir(exist_ok=True)
    table = pa.table(
        {
            "record_id": [record_id(origin.encode()) for origin, _, _ in rows],
            "origin": [origin for origin, _, _ in rows],
            "__label": [origin.split("/")[0] for origin, _, _ in rows],
            "__split": pa.array([split for _, _, split in rows], pa.string()),
            "similarity_hash": [value for _, value, _ in rows],
        }
    )
    pq.write_table(table, folder / "staged.parquet")
    return folder / "staged.parquet"


def add_up_sizes(rows: pa.Table, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(str(sum(rows.column("size").to_pylist())))


def merge(
    folder: Path,
    staged: list[Path],
    rule: SplitRule = RULE,
    num_ranges: int = 1,
    policy: dict[Reason, Policy] | None = None,
    related: Path | None = None,
) -> list[MergeResult]:
    settings = MergeSettings(
        rule, SHARD, CLASSES, Reason.LABEL_CONFLICT, policy or {}, 8, fit=add_up_sizes
    )
    return [
        merge_range(MergeTask(number, num_ranges, tuple(staged), folder, related), settings)
        for number in range(num_ranges)
    ]


def written(folder: Path, kind: str) -> list[dict[str, Any]]:
    """All rows of the shards, the quarantine or the duplicates."""
    files = sorted((folder / kind).glob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def told(folder: Path) -> list[dict[str, Any]]:
    """All findings."""
    files = sorted((folder / "findings").glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


@pytest.fixture(scope="module")
def clean() -> list[RawRecord]:
    """60 pictures of two classes, none of them twice."""
    return [raw(f"{CLASSES[n % 2]}/{n}", picture(n)) for n in range(60)]


# Accounting


def test_every_record_ends_up_in_one_place(tmp_path: Path) -> None:
    good = [raw(f"cat/{n}", picture(n)) for n in range(10)]
    unreadable = RecordRejected(Reason.UNREADABLE, "gone")
    unlabelled = RecordRejected(Reason.MISSING_LABEL, "none")
    bad = [
        raw("cat/empty", b""),
        raw("cat/text", b"no picture at all"),
        RawRecord("cat/gone", "cat", None, None, unreadable),
        RawRecord("loose", None, None, picture(51), unlabelled),
    ]
    copies = [raw("cat/z-copy", picture(0)), raw("cat/z-same-picture", picture(0).upper())]
    conflict = [raw("dog/other", picture(1))]
    chunks = [good[:4] + bad, good[4:] + copies + conflict]
    (first, second), staged = stage(tmp_path, chunks)
    (result,) = merge(tmp_path, staged)

    assert (first.read, second.read) == (8, 9)
    assert first.reasons == {"empty": 1, "not_an_image": 1, "unreadable": 1, "missing_label": 1}
    assert second.reasons == {} and result.reasons == {"label_conflict": 2}
    num_prepared = sum(counts.total() for counts in result.counts.values())
    assert (num_prepared, result.duplicates) == (9, 2)
    set_aside = written(tmp_path, "quarantine")
    assert first.read + second.read == num_prepared + len(set_aside) + result.duplicates
    assert Counter(row["reason"] for row in set_aside) == first.reasons + result.reasons
    kinds = ("shards", "quarantine", "duplicates")
    origins = [row["origin"] for kind in kinds for row in written(tmp_path, kind)]
    assert sorted(origins) == sorted(record.origin for chunk in chunks for record in chunk)
    assert first.labels == {"cat": 4} and second.labels == {"cat": 8, "dog": 1}


def test_the_quarantine_tells_what_why_and_shows_it(tmp_path: Path) -> None:
    stage(tmp_path, [[raw("cat/text", b"no picture"), raw("cat/large", b"no " + bytes(300_000))]])
    small, large = written(tmp_path, "quarantine")
    assert small["record_id"] == record_id(b"no picture")
    assert (small["origin"], small["reason"]) == ("cat/text", "not_an_image")
    assert small["detail"] and small["preview"] == b"no picture"
    assert large["preview"] is None


def test_examples_are_few_however_many_are_refused(tmp_path: Path) -> None:
    (result,), _ = stage(tmp_path, [[raw(f"cat/{n}", b"") for n in range(40)]])
    assert result.reasons == {"empty": 40} and len(result.examples) == 5
    assert result.examples[0].startswith("cat/0 (empty: ")


def test_a_chunk_with_nothing_good_in_it(tmp_path: Path, clean: list[RawRecord]) -> None:
    _, staged = stage(tmp_path, [[raw("cat/x", b"")], [], clean])
    (result,) = merge(tmp_path, staged)
    assert sum(counts.total() for counts in result.counts.values()) == 60
    assert not (tmp_path / "quarantine/001.parquet").exists()


def test_staged_rows_lie_in_the_order_of_their_ids(tmp_path: Path, clean: list[RawRecord]) -> None:
    # A range then reads only the row groups that hold its ids.
    _, (path,) = stage(tmp_path, [clean])
    ids = pq.read_table(path).column("record_id").to_pylist()
    assert ids == sorted(ids) and len(ids) == 60


# Copies


def test_same_bytes_under_two_labels_are_both_set_aside(tmp_path: Path) -> None:
    records = [raw("cat/a", picture(1)), raw("dog/b", picture(1)), raw("cat/c", picture(1))]
    _, staged = stage(tmp_path, [records[:1], records[1:]])
    (result,) = merge(tmp_path, staged)
    assert result.reasons == {"label_conflict": 3} and result.shards == []
    found = {
        row["origin"]: (row["detail"], row["other"]) for row in written(tmp_path, "quarantine")
    }
    assert found == {
        "cat/a": ("labelled cat here, dog there", "cat/c"),
        "dog/b": ("labelled dog here, cat there", "cat/a"),
        "cat/c": ("labelled cat here, dog there", "cat/a"),
    }
    assert result.examples[0] == "cat/a (label_conflict: labelled cat here, dog there)"


@pytest.mark.parametrize(
    ("splits", "kept"),
    [
        (("train", "test"), "cat/1"),
        (("test", "train"), "cat/0"),
        (("train", "val"), "cat/1"),
        (("val", "test"), "cat/1"),
        (("train", "train"), "cat/0"),
    ],
)
def test_of_copies_the_one_in_test_is_kept(
    tmp_path: Path, splits: tuple[Split, Split], kept: str
) -> None:
    records = [raw(f"cat/{n}", picture(1), split) for n, split in enumerate(splits)]
    _, staged = stage(tmp_path, [[record] for record in records])
    rule = SplitRule(0, 0.0, 0.0, given=SPLITS)
    (result,) = merge(tmp_path, staged, rule)
    assert [row["origin"] for row in written(tmp_path, "shards")] == [kept]
    (duplicate,) = written(tmp_path, "duplicates")
    assert (duplicate["kept_origin"], result.duplicates) == (kept, 1)
    strongest = next(split for split in ("test", "val", "train") if split in splits)
    assert {split: counts.total() for split, counts in result.counts.items() if counts} == {
        strongest: 1
    }


# What comes out does not depend on how the work is cut


def digests(folder: Path) -> dict[str, str]:
    return {file.name: file_sha256(file) for file in (folder / "shards").iterdir()}


def test_shards_are_the_same_bytes_however_chunked(tmp_path: Path, clean: list[RawRecord]) -> None:
    shuffled = [clean[n] for n in np.random.default_rng(0).permutation(60)]
    cuts = {
        "one": [clean],
        "three": [clean[:10], clean[10:45], clean[45:]],
        "shuffled": [shuffled[:33], shuffled[33:]],
    }
    found = []
    for name, chunks in cuts.items():
        _, staged = stage(tmp_path / name, chunks)
        results = merge(tmp_path / name, staged, num_ranges=3)
        infos = [info for result in results for info in result.shards]
        assert {Path(info.path).name: info.sha256 for info in infos} == digests(tmp_path / name)
        found.append((digests(tmp_path / name), infos))
    assert len(found[0][0]) > 3
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("num_ranges", [1, 2, 7])
def test_ranges_share_the_ids_between_them(
    tmp_path: Path, clean: list[RawRecord], num_ranges: int
) -> None:
    _, staged = stage(tmp_path, [clean])
    results = merge(tmp_path, staged, num_ranges=num_ranges)
    rows = written(tmp_path, "shards")
    assert sorted(row["record_id"] for row in rows) == sorted(
        record_id(record.data or b"") for record in clean
    )
    for number, result in enumerate(results):
        low, high = MergeTask(number, num_ranges, (), tmp_path).bounds
        for info in result.shards:
            ids = pq.read_table(tmp_path / info.path).column("record_id").to_pylist()
            assert ids == sorted(ids) and low <= ids[0] and ids[-1] < high
            assert info.num_rows == len(ids)
            assert info.num_bytes == (tmp_path / info.path).stat().st_size


def test_bounds_cover_all_ids_without_a_gap() -> None:
    bounds = [MergeTask(number, 3, (), Path()).bounds for number in range(3)]
    assert bounds[0][0] == "0" * 32 and bounds[-1][1] > "f" * 32
    assert [high for _, high in bounds[:-1]] == [low for low, _ in bounds[1:]]


def test_a_shard_holds_the_pictures_and_row_groups_that_it_should(
    tmp_path: Path, clean: list[RawRecord]
) -> None:
    _, staged = stage(tmp_path, [clean])
    (result,) = merge(tmp_path, staged)
    sources = {record_id(record.data or b""): record for record in clean}
    for row in written(tmp_path, "shards"):
        source = sources[row["record_id"]]
        assert row["image"] == source.data and row["origin"] == source.origin
        assert CLASSES[row["label"]] == source.label
        assert row["size"] == len(source.data or b"")
    for info in result.shards:
        metadata = pq.read_metadata(tmp_path / info.path)
        sizes = [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]
        assert sizes[:-1] == [8] * (len(sizes) - 1) and sum(sizes) == info.num_rows


def test_pictures_lie_in_a_shard_as_they_are(tmp_path: Path, clean: list[RawRecord]) -> None:
    """No packing, dictionary or statistics: reading them is little more than copying them."""
    _, staged = stage(tmp_path, [clean])
    (result,) = merge(tmp_path, staged)
    group = pq.read_metadata(tmp_path / result.shards[0].path).row_group(0)
    columns = {group.column(n).path_in_schema: group.column(n) for n in range(group.num_columns)}
    image = columns.pop("image")
    assert (image.compression, image.is_stats_set) == ("UNCOMPRESSED", False)
    assert set(image.encodings) <= {"PLAIN", "RLE"}
    assert {column.compression for column in columns.values()} == {"LZ4"}


def test_statistics_are_of_train_alone(tmp_path: Path, clean: list[RawRecord]) -> None:
    _, staged = stage(tmp_path, [clean[:20], clean[20:]])
    merge(tmp_path, staged, num_ranges=2)
    train = [
        row["size"]
        for file in (tmp_path / "shards").glob("train-*")
        for row in pq.read_table(file).to_pylist()
    ]
    assert 20 < len(train) < 60
    found = [int(path.read_text()) for path in (tmp_path / "statistics").iterdir()]
    assert sum(found) == sum(train)


# Splits


def split_rows(folder: Path) -> dict[str, str]:
    """Origin -> split."""
    return {
        row["origin"]: file.name.split("-")[0]
        for file in (folder / "shards").iterdir()
        for row in pq.read_table(file).to_pylist()
    }


def assigned(records: list[RawRecord], rule: SplitRule) -> dict[str, str]:
    """Origin -> split by the record's id alone."""
    keys = pl.DataFrame(
        {
            "key": [record_id(record.data or b"") for record in records],
            "given": pl.Series([record.split for record in records], dtype=pl.String),
        }
    )
    return dict(zip([r.origin for r in records], rule.assign(keys).to_list(), strict=True))


def test_hash_split_is_that_of_the_id(tmp_path: Path, clean: list[RawRecord]) -> None:
    _, staged = stage(tmp_path, [clean])
    merge(tmp_path, staged)
    expected = assigned(clean, RULE)
    assert split_rows(tmp_path) == expected
    assert set(expected.values()) == set(SPLITS)


def test_splits_that_the_source_gives_hold(tmp_path: Path, clean: list[RawRecord]) -> None:
    given = [
        raw(record.origin, record.data, SPLITS[number % 3]) for number, record in enumerate(clean)
    ]
    _, staged = stage(tmp_path, [given])
    merge(tmp_path, staged, SplitRule(0, 0.4, 0.4, given=SPLITS))
    assert split_rows(tmp_path) == {record.origin: record.split for record in given}


def test_val_is_carved_out_of_train_where_only_test_is_given(
    tmp_path: Path, clean: list[RawRecord]
) -> None:
    splits: list[Split] = ["train", "train", "train", "test"]
    given = [raw(r.origin, r.data, splits[n // 15]) for n, r in enumerate(clean)]
    _, staged = stage(tmp_path, [given])
    rule = SplitRule(0, 0.2, 0.2, given=("train", "test"))
    merge(tmp_path, staged, rule)
    found = split_rows(tmp_path)
    assert found == assigned(given, rule)
    counts = Counter(found.values())
    assert counts["test"] == 15 and counts["val"] > 0 and counts["train"] + counts["val"] == 45


def test_stratified_shares_are_exact_in_every_class(tmp_path: Path, clean: list[RawRecord]) -> None:
    # 40 cats and 20 dogs.
    labels = ["cat", "cat", "dog"]
    records = [raw(r.origin, r.data, label=labels[n % 3]) for n, r in enumerate(clean)]
    _, staged = stage(tmp_path, [records[:25], records[25:]])
    rule = SplitRule(5, val=0.2, test=0.1)
    rule = SplitRule(5, 0.2, 0.1, cuts=class_cuts(staged, rule))
    (result,) = merge(tmp_path, staged, rule)
    assert result.counts == {
        "train": {"cat": 28, "dog": 14},
        "val": {"cat": 8, "dog": 4},
        "test": {"cat": 4, "dog": 2},
    }


def test_stratified_gives_a_small_class_one_of_each(tmp_path: Path) -> None:
    records = [raw(f"cat/{n}", picture(n)) for n in range(3)]
    _, staged = stage(tmp_path, [records])
    rule = SplitRule(0, 0.1, 0.1)
    rule = SplitRule(0, 0.1, 0.1, cuts=class_cuts(staged, rule))
    (result,) = merge(tmp_path, staged, rule)
    assert [result.counts[split]["cat"] for split in SPLITS] == [1, 1, 1]
    _, staged = stage(tmp_path / "fewer", [records[:2]])
    with pytest.raises(DataError, match="class 'cat' has 2 usable records, too few for one in"):
        class_cuts(staged, RULE)


def test_stratified_carves_only_what_the_source_does_not_give(
    tmp_path: Path, clean: list[RawRecord]
) -> None:
    splits: list[Split] = ["train", "train", "test"]
    given = [raw(r.origin, r.data, splits[n // 20]) for n, r in enumerate(clean)]
    _, staged = stage(tmp_path, [given])
    rule = SplitRule(0, 0.25, 0.25, given=("train", "test"))
    rule = SplitRule(0, 0.25, 0.25, given=rule.given, cuts=class_cuts(staged, rule))
    (result,) = merge(tmp_path, staged, rule)
    assert {split: result.counts[split] for split in SPLITS} == {
        "train": {"cat": 15, "dog": 15},
        "val": {"cat": 5, "dog": 5},
        "test": {"cat": 10, "dog": 10},
    }


def test_copies_and_conflicts_do_not_spoil_the_stratified_shares(
    tmp_path: Path, clean: list[RawRecord]
) -> None:
    copies = [raw(f"{r.origin}-copy", r.data) for r in clean[:20]]
    conflicts = [raw(f"dog/other-{n}", clean[n].data) for n in range(20, 30, 2)]
    _, staged = stage(tmp_path, [clean, copies + conflicts])
    rule = SplitRule(0, 0.2, 0.2)
    rule = SplitRule(0, 0.2, 0.2, cuts=class_cuts(staged, rule))
    (result,) = merge(tmp_path, staged, rule)
    # 30 cats, of which 5 carry two labels, and 30 dogs.
    assert {split: result.counts[split] for split in SPLITS} == {
        "train": {"cat": 15, "dog": 18},
        "val": {"cat": 5, "dog": 6},
        "test": {"cat": 5, "dog": 6},
    }


def test_the_splits_of_a_time_are_cut_between_equal_times(tmp_path: Path) -> None:
    table = pa.table({"__split_time": [5, 1, 2, 2, 3, 4, 4, 6, None, 7]})
    pq.write_table(table, tmp_path / "times.parquet")
    # 9 times: the last 2 are test, the 2 before them val.
    assert time_cuts([tmp_path / "times.parquet"], SplitRule(0, 0.25, 0.2)) == (4, 6)
    pq.write_table(pa.table({"__split_time": [3, 3, 3, 3]}), tmp_path / "same.parquet")
    with pytest.raises(DataError, match="too few for a split by time"):
        time_cuts([tmp_path / "same.parquet"], SplitRule(0, 0.25, 0.25))


# Policies and findings


def test_findings_tell_what_was_repaired_dropped_and_set_aside(tmp_path: Path) -> None:
    chunk = [
        raw("cat/a", picture(1)),
        raw("cat/b", picture(1)),
        raw("cat/c", picture(1).upper()),
        raw("cat/d", b""),
        raw("cat/e", picture(2), "train"),
        raw("cat/f", picture(2), "test"),
    ]
    (result,), staged = stage(tmp_path, [chunk])
    (merged,) = merge(tmp_path, staged, SplitRule(0, 0.0, 0.0, given=("train", "test")))
    found = {(row["origin"], row["reason"], row["action"], *row["other"]) for row in told(tmp_path)}
    assert found == {
        ("cat/c", "transparency", "repaired"),
        ("cat/d", "empty", "quarantined"),
        ("cat/b", "duplicate", "dropped", "cat/a"),
        ("cat/c", "duplicate_pixels", "dropped", "cat/a"),
        ("cat/e", "split_leak", "dropped", "cat/f"),
    }
    counts = result.findings + merged.findings
    assert counts == Counter(f"{row['reason']}/{row['action']}" for row in told(tmp_path))
    assert {row["severity"] for row in told(tmp_path)} == {"info", "error"}


def test_a_policy_of_stop_stops_and_names_the_record(tmp_path: Path) -> None:
    stop = {Reason.EMPTY: Policy.STOP}
    with pytest.raises(DataError, match=r"cat/d: empty: 0 bytes; .*policy.empty = stop"):
        stage(tmp_path, [[raw("cat/d", b"")]], stop)
    _, staged = stage(tmp_path / "two", [[raw("cat/a", b"x"), raw("cat/b", b"x")]])
    with pytest.raises(DataError, match=r"cat/b: duplicate: a copy of cat/a"):
        merge(tmp_path / "two", staged, policy={Reason.DUPLICATE: Policy.STOP})


def test_a_conflict_that_is_kept_keeps_the_first(tmp_path: Path) -> None:
    records = [raw("dog/b", b"x"), raw("cat/a", b"x"), raw("cat/c", b"y")]
    _, staged = stage(tmp_path, [records])
    (result,) = merge(tmp_path, staged, policy={Reason.LABEL_CONFLICT: Policy.KEEP})
    assert sorted(row["origin"] for row in written(tmp_path, "shards")) == ["cat/a", "cat/c"]
    assert (result.duplicates, result.reasons) == (1, {})
    assert [row["reason"] for row in told(tmp_path)] == ["label_conflict"]


def test_records_of_a_group_lie_on_one_side_and_leaks_are_set_aside(tmp_path: Path) -> None:
    records = [raw(f"cat/{n:02d}", picture(n)) for n in range(40)]
    _, staged = stage(tmp_path, [records])
    ids = [record_id(picture(n)) for n in range(40)]
    rows = [
        {"record_id": ids[n], "group": ids[n - n % 2], "reason": None, "other": None}
        for n in range(38)
    ]
    leak = {"group": None, "reason": "split_leak", "other": "cat/38"}
    rows.append({"record_id": ids[39], **leak})
    pq.write_table(pa.Table.from_pylist(rows, RELATED_SCHEMA), tmp_path / "related.parquet")
    results = merge(
        tmp_path, staged, SplitRule(0, 0.3, 0.3), 3, related=tmp_path / "related.parquet"
    )
    found = split_rows(tmp_path)
    assert all(found[f"cat/{n:02d}"] == found[f"cat/{n + 1:02d}"] for n in range(0, 38, 2))
    assert set(found.values()) == set(SPLITS) and len(found) == 39
    (aside,) = written(tmp_path, "quarantine")
    assert (aside["origin"], aside["reason"], aside["other"]) == ("cat/39", "split_leak", "cat/38")
    assert sum((result.reasons for result in results), Counter()) == {"split_leak": 1}


# A disk that refuses


def fill_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(table: pa.Table, where: Path, **_: object) -> None:
        Path(where).write_bytes(b"PAR1")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for module in (staging, merging):
        monkeypatch.setattr(module.pq, "write_table", refuse)


def test_a_full_disk_while_staging_leaves_nothing(
    tmp_path: Path, clean: list[RawRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_the_disk(monkeypatch)
    with pytest.raises(StorageError, match=r"cannot write to .*staged: No space left on device"):
        stage(tmp_path, [clean[:3]])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_full_disk_while_merging_leaves_no_shard(
    tmp_path: Path, clean: list[RawRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, staged = stage(tmp_path, [clean])
    fill_the_disk(monkeypatch)
    with pytest.raises(StorageError, match="No space left on device; free some space"):
        merge(tmp_path, staged)
    assert list((tmp_path / "shards").iterdir()) == []
