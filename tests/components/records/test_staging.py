"""Two passes: rows in = prepared + set aside + copies, and the same shards however they are cut."""

import errno
import hashlib
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.errors import DataError, StorageError
from components.images.decode import decode_stored
from components.images.inspect import CleanConfig
from components.images.prepare import (
    IMAGE_COLUMNS,
    SUM_COLUMNS,
    build_prepare,
    fit_from_totals,
)
from components.images.store import StoreConfig
from components.records import staging
from components.records.fingerprint import file_sha256
from components.records.identity import record_id
from components.records.reasons import Reason, RecordRejected
from components.records.sources import RawRecord
from components.records.split import SPLITS, Split, split_of
from components.records.staging import (
    ChunkResult,
    MergeResult,
    MergeTask,
    SplitRule,
    merge_range,
    stage_chunk,
    stratified_thresholds,
)

MakePng = Callable[[int], bytes]
SHARD = pa.schema(
    {
        "record_id": pa.string(),
        "image": pa.binary(),
        "label": pa.int32(),
        "origin": pa.string(),
        "height_px": pa.int32(),
        "width_px": pa.int32(),
    }
)
CLASSES = ["cat", "dog"]
RULE = SplitRule(seed=0, val=0.2, test=0.2)
PREPARE = build_prepare(CleanConfig(), StoreConfig())


def raw(
    origin: str, data: bytes | None, split: Split | None = None, label: str | None = None
) -> RawRecord:
    """A record whose origin begins with its label, unless that is given."""
    return RawRecord(origin, label or origin.split("/")[0], split, data)


def stage(folder: Path, chunks: list[list[RawRecord]]) -> tuple[list[ChunkResult], list[Path]]:
    paths = [folder / f"staged/{number:03d}.parquet" for number in range(len(chunks))]
    results = [
        stage_chunk(
            chunk,
            PREPARE,
            schema=IMAGE_COLUMNS,
            staged_path=path,
            quarantine_path=folder / f"quarantine/{path.name}",
        )
        for chunk, path in zip(chunks, paths, strict=True)
    ]
    return results, paths


def merge(
    folder: Path, staged: list[Path], rule: SplitRule = RULE, num_ranges: int = 1
) -> list[MergeResult]:
    return [
        merge_range(
            MergeTask(number, num_ranges, tuple(staged), folder),
            rule,
            classes=CLASSES,
            schema=SHARD,
            sum_columns=SUM_COLUMNS,
            row_group_rows=8,
        )
        for number in range(num_ranges)
    ]


def written(folder: Path, kind: str) -> list[dict[str, Any]]:
    """All rows of the shards, the quarantine or the duplicates."""
    files = sorted((folder / kind).glob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


@pytest.fixture(scope="module")
def clean(make_png: MakePng) -> list[RawRecord]:
    """60 pictures of two classes, none of them twice."""
    return [raw(f"{CLASSES[n % 2]}/{n}", make_png(n)) for n in range(60)]


# Accounting


def test_every_record_ends_up_in_one_place(tmp_path: Path, make_png: MakePng) -> None:
    good = [raw(f"cat/{n}", make_png(n)) for n in range(10)]
    unreadable = RecordRejected(Reason.UNREADABLE, "gone")
    unlabelled = RecordRejected(Reason.MISSING_LABEL, "none")
    bad = [
        raw("cat/empty", b""),
        raw("cat/text", b"no picture at all"),
        raw("cat/cut", make_png(50)[:-40]),
        RawRecord("cat/gone", "cat", None, None, unreadable),
        RawRecord("loose", None, None, make_png(51), unlabelled),
    ]
    copies = [raw("cat/z-copy", make_png(0)), raw("cat/z-copy-too", make_png(0))]
    conflict = [raw("dog/other", make_png(1))]
    chunks = [good[:4] + bad, good[4:] + copies + conflict]
    (first, second), staged = stage(tmp_path, chunks)
    (result,) = merge(tmp_path, staged)

    assert (first.read, second.read) == (9, 9)
    assert first.reasons == {
        "empty": 1,
        "not_an_image": 1,
        "truncated": 1,
        "unreadable": 1,
        "missing_label": 1,
    }
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
    stage(tmp_path, [[raw("cat/text", b"no picture"), raw("cat/large", bytes(300_000))]])
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


def test_same_bytes_under_two_labels_are_both_set_aside(tmp_path: Path, make_png: MakePng) -> None:
    records = [raw("cat/a", make_png(1)), raw("dog/b", make_png(1)), raw("cat/c", make_png(1))]
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
    assert result.examples[0] == "cat/a (labelled cat here, dog there)"


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
    tmp_path: Path, make_png: MakePng, splits: tuple[Split, Split], kept: str
) -> None:
    records = [raw(f"cat/{n}", make_png(1), split) for n, split in enumerate(splits)]
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
        found.append((digests(tmp_path / name), infos, results[0].train_sums))
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
        # A canonical PNG is kept as it is.
        assert row["image"] == source.data and row["origin"] == source.origin
        assert CLASSES[row["label"]] == source.label
        assert (row["height_px"], row["width_px"]) == (8, 9)
    for info in result.shards:
        metadata = pq.read_metadata(tmp_path / info.path)
        sizes = [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]
        assert sizes[:-1] == [8] * (len(sizes) - 1) and sum(sizes) == info.num_rows
    assert result.image_bytes == sum(len(record.data or b"") for record in clean)


def test_mean_and_std_are_those_of_the_train_pixels(tmp_path: Path, clean: list[RawRecord]) -> None:
    _, staged = stage(tmp_path, [clean[:20], clean[20:]])
    results = merge(tmp_path, staged, num_ranges=2)
    totals: Counter[str] = Counter()
    for result in results:
        totals.update(result.train_sums)
    transform = fit_from_totals(totals)
    train = [
        decode_stored(row["image"])
        for file in (tmp_path / "shards").glob("train-*")
        for row in pq.read_table(file).to_pylist()
    ]
    pixels_NC = np.concatenate([image_HWC.reshape(-1, 3) for image_HWC in train]) / 255
    assert 20 < len(train) < 60
    np.testing.assert_allclose(transform.mean, pixels_NC.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(transform.std, pixels_NC.std(axis=0), rtol=1e-12)


# Splits


def split_rows(folder: Path) -> dict[str, str]:
    """Origin -> split."""
    return {
        row["origin"]: file.name.split("-")[0]
        for file in (folder / "shards").iterdir()
        for row in pq.read_table(file).to_pylist()
    }


def test_hash_split_is_that_of_the_id(tmp_path: Path, clean: list[RawRecord]) -> None:
    _, staged = stage(tmp_path, [clean])
    merge(tmp_path, staged)
    expected = {
        record.origin: split_of(record_id(record.data or b""), 0, val=0.2, test=0.2)
        for record in clean
    }
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
    merge(tmp_path, staged, SplitRule(0, 0.2, 0.2, given=("train", "test")))
    found = split_rows(tmp_path)
    for record in given:
        identity = record_id(record.data or b"")
        expected = "test" if record.split == "test" else split_of(identity, 0, val=0.2, test=0.0)
        assert found[record.origin] == expected
    counts = Counter(found.values())
    assert counts["test"] == 15 and counts["val"] > 0 and counts["train"] + counts["val"] == 45


def test_stratified_shares_are_exact_in_every_class(tmp_path: Path, clean: list[RawRecord]) -> None:
    # 40 cats and 20 dogs.
    labels = ["cat", "cat", "dog"]
    records = [raw(r.origin, r.data, label=labels[n % 3]) for n, r in enumerate(clean)]
    _, staged = stage(tmp_path, [records[:25], records[25:]])
    rule = SplitRule(5, val=0.2, test=0.1)
    rule = SplitRule(5, 0.2, 0.1, thresholds=stratified_thresholds(staged, rule))
    (result,) = merge(tmp_path, staged, rule)
    assert result.counts == {
        "train": {"cat": 28, "dog": 14},
        "val": {"cat": 8, "dog": 4},
        "test": {"cat": 4, "dog": 2},
    }


def test_stratified_gives_a_small_class_one_of_each(tmp_path: Path, make_png: MakePng) -> None:
    records = [raw(f"cat/{n}", make_png(n)) for n in range(3)]
    _, staged = stage(tmp_path, [records])
    rule = SplitRule(0, 0.1, 0.1)
    rule = SplitRule(0, 0.1, 0.1, thresholds=stratified_thresholds(staged, rule))
    (result,) = merge(tmp_path, staged, rule)
    assert [result.counts[split]["cat"] for split in SPLITS] == [1, 1, 1]
    _, staged = stage(tmp_path / "fewer", [records[:2]])
    with pytest.raises(DataError, match="class 'cat' has 2 usable records, too few for one in"):
        stratified_thresholds(staged, RULE)


def test_stratified_carves_only_what_the_source_does_not_give(
    tmp_path: Path, clean: list[RawRecord]
) -> None:
    splits: list[Split] = ["train", "train", "test"]
    given = [raw(r.origin, r.data, splits[n // 20]) for n, r in enumerate(clean)]
    _, staged = stage(tmp_path, [given])
    rule = SplitRule(0, 0.25, 0.25, given=("train", "test"))
    rule = SplitRule(
        0, 0.25, 0.25, given=rule.given, thresholds=stratified_thresholds(staged, rule)
    )
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
    rule = SplitRule(0, 0.2, 0.2, thresholds=stratified_thresholds(staged, rule))
    (result,) = merge(tmp_path, staged, rule)
    # 30 cats, of which 5 carry two labels, and 30 dogs.
    assert {split: result.counts[split] for split in SPLITS} == {
        "train": {"cat": 15, "dog": 18},
        "val": {"cat": 5, "dog": 6},
        "test": {"cat": 5, "dog": 6},
    }


# A disk that refuses


def fill_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(table: pa.Table, where: Path, **_: object) -> None:
        Path(where).write_bytes(b"PAR1")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(staging.pq, "write_table", refuse)


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
    before = {path: hashlib.sha256(path.read_bytes()).digest() for path in staged}
    fill_the_disk(monkeypatch)
    with pytest.raises(StorageError, match="No space left on device; free some space"):
        merge(tmp_path, staged)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path: hashlib.sha256(path.read_bytes()).digest() for path in files} == before
