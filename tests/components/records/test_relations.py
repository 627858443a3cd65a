"""Near duplicates: pairs without comparing all, groups, and what is done about leaks."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest

from components.errors import DataError
from components.records.identity import record_id
from components.records.reasons import Policy, Reason
from components.records.relations import PairTask, Similarity, find_pairs, group_pairs
from components.records.split import Split
from tests.components.records.test_staging import stage_hashed

Row = tuple[str, bytes, Split | None]


def keys(values: Sequence[bytes]) -> npt.NDArray[np.int64]:
    """Numbers are near one another where they differ by one; neighbours share a key."""
    numbers = np.array([int(value) for value in values])
    return np.stack([numbers // 2, (numbers + 1) // 2 + 1000], axis=1)


def near(one: Sequence[bytes], other: Sequence[bytes]) -> npt.NDArray[np.bool_]:
    pairs = zip(one, other, strict=True)
    return np.array([abs(int(left) - int(right)) <= 1 for left, right in pairs], bool)


def relate(
    folder: Path,
    rows: list[Row],
    policy: dict[Reason, Policy] | None = None,
    num_partitions: int = 3,
) -> tuple[dict[str, tuple[str | None, str | None, str | None]], list[dict[str, object]]]:
    """Related records by origin as (origin of the group's first, reason, other), and findings."""
    staged = stage_hashed(folder, rows)
    tasks = [PairTask(n, num_partitions, (staged,), folder) for n in range(num_partitions)]
    for task in tasks:
        find_pairs(task, Similarity(keys, near))
    group_pairs([task.output for task in tasks], [staged], folder, policy or {})
    origin = {record_id(origin.encode()): origin for origin, _, _ in rows}
    related = pq.read_table(folder / "related.parquet").to_pylist()
    path = folder / "findings/near.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return {
        origin[row["record_id"]]: (origin.get(row["group"]), row["reason"], row["other"])
        for row in related
    }, [json.loads(line) for line in lines]


def many(number: int) -> list[Row]:
    """Records that are near to none."""
    return [(f"far/{n}", str(1000 + 10 * n).encode(), None) for n in range(number)]


def test_near_records_are_one_group_also_by_way_of_others(tmp_path: Path) -> None:
    rows: list[Row] = [("cat/a", b"1", None), ("cat/b", b"2", None), ("cat/c", b"3", None)]
    rows += [("dog/d", b"7", None), ("dog/e", b"8", None), *many(20)]
    related, findings = relate(tmp_path, rows)
    assert set(related) == {"cat/a", "cat/b", "cat/c", "dog/d", "dog/e"}
    assert len({related[name][0] for name in ("cat/a", "cat/b", "cat/c")}) == 1
    assert len({group for group, _, _ in related.values()}) == 2
    others = {row["origin"]: row["other"] for row in findings}
    assert others["cat/b"] == ["cat/a", "cat/c"] and others["cat/a"] == ["cat/b"]
    assert {(row["reason"], row["action"]) for row in findings} == {("near_duplicate", "kept")}


def test_the_number_of_partitions_changes_nothing(tmp_path: Path) -> None:
    rows: list[Row] = [(f"cat/{n}", str(n * 3 // 2).encode(), None) for n in range(40)]
    found = [relate(tmp_path / str(n), rows, num_partitions=n) for n in (1, 2, 5)]
    assert found[0] == found[1] == found[2] and len(found[0][0]) > 10


def test_what_the_source_holds_out_is_not_learned_from(tmp_path: Path) -> None:
    rows: list[Row] = [
        ("cat/train", b"1", "train"),
        ("cat/test", b"2", "test"),
        ("cat/val", b"11", "val"),
        ("cat/train-too", b"12", "train"),
        ("cat/far", b"50", "train"),
    ]
    related, findings = relate(tmp_path, rows + many(20))
    assert related["cat/train"][1:] == ("split_leak", "cat/test")
    assert related["cat/train-too"][1:] == ("split_leak", "cat/val")
    assert related["cat/test"][1:] == (None, None)
    assert {row["origin"] for row in findings} == {"cat/test", "cat/val"}
    related, findings = relate(tmp_path / "kept", rows, {Reason.SPLIT_LEAK: Policy.KEEP})
    assert {reason for _, reason, _ in related.values()} == {None}
    assert {(r["origin"], r["reason"]) for r in findings} >= {("cat/train", "split_leak")}


def test_copies_are_set_aside_where_the_recipe_says_so(tmp_path: Path) -> None:
    rows: list[Row] = [("cat/a", b"1", None), ("cat/b", b"2", None), ("cat/c", b"3", None)]
    related, _ = relate(tmp_path, rows + many(20), {Reason.NEAR_DUPLICATE: Policy.QUARANTINE})
    # c is near b, but b is gone already.
    assert [related[f"cat/{n}"][1:] for n in "abc"] == [
        (None, None),
        ("near_duplicate", "cat/a"),
        (None, None),
    ]
    with pytest.raises(DataError, match="near_duplicate: nearly the same picture as cat/b"):
        relate(tmp_path / "stop", rows, {Reason.NEAR_DUPLICATE: Policy.STOP})


def test_nearly_the_same_under_two_labels_is_told(tmp_path: Path) -> None:
    rows: list[Row] = [("cat/a", b"1", None), ("dog/a", b"2", None), *many(20)]
    _, findings = relate(tmp_path, rows)
    told = {(row["origin"], row["reason"], row["action"]) for row in findings}
    assert ("cat/a", "label_conflict", "kept") in told
    assert ("dog/a", "near_duplicate", "kept") in told


def test_records_that_are_all_alike_are_no_group(tmp_path: Path) -> None:
    rows: list[Row] = [(f"cat/{n:03d}", str(n).encode(), None) for n in range(60)]
    related, _ = relate(tmp_path, rows)
    assert {group for group, _, _ in related.values()} == {None} and len(related) == 60
