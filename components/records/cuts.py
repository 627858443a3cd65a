"""Where exact splits are cut: by class for stratification, by time for a split in time."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from components.errors import DataError
from components.records.split import Cut, SplitRule, split_positions

_END = 1 << 64


def class_cuts(
    staged: Iterable[Path], rule: SplitRule, related: Path | None = None
) -> dict[str, Cut]:
    """Exact shares in every class: where on the split axis its test and val lie.

    Reads ids, labels and splits, about 100 bytes per record.

    Args:
        staged: Files of the first pass.
        rule: Shares, folds and seed.
        related: Groups of near duplicates, where they were looked for.

    Raises:
        DataError: A class is too small to have a record in each split.
    """
    columns = ["record_id", "__content", "__label", "__split", "__split_key"]
    rows = pl.concat(pl.read_parquet(path, columns=columns) for path in staged)
    rows = rows.rename(lambda name: name.removeprefix("__"))
    held_out = pl.col("split").is_in(["val", "test"]).fill_null(False)
    # Nothing is divided where copies contradict one another or the source put one elsewhere.
    same = pl.col("record_id")
    usable = (pl.col("content").n_unique().over(same) == 1) & ~held_out.any().over(same)
    rows = rows.filter(usable).unique("record_id")
    if related is not None:
        groups = pl.read_parquet(related, columns=["record_id", "group", "reason"])
        rows = rows.join(groups, on="record_id", how="left").filter(pl.col("reason").is_null())
        rows = rows.with_columns(pl.coalesce("split_key", "group", "record_id").alias("key"))
    else:
        rows = rows.with_columns(pl.coalesce("split_key", "record_id").alias("key"))
    positions = split_positions(rows["key"], rule.seed)
    said = "train" if rule.given else None
    frame = rows.select("label", pl.Series("position", positions)).sort("label", "position")
    return {
        str(label[0]): _class_cut(str(label[0]), part["position"].to_numpy(), rule, said)
        for label, part in frame.group_by("label", maintain_order=True)
    }


def _class_cut(
    label: str, positions: npt.NDArray[np.uint64], rule: SplitRule, said: str | None
) -> Cut:
    """Cut of one class.

    Args:
        label: Name of the class.
        positions: Of its records on the split axis, sorted.
        rule: Shares and folds.
        said: What the source says of these records.
    """
    count = len(positions)
    val, test = rule.open_shares(said)
    places = rule.cut(count, said)
    num_test = _at_least_one(places.test_end, test)
    start, end = places.val_start, places.val_end
    if rule.folds is None:
        start, end = num_test, num_test + _at_least_one(end - places.test_end, val)
    num_val = end - start
    if num_test + num_val >= count or (rule.folds is not None and num_val == 0):
        raise DataError(
            f"class {label!r} has {count} usable records, too few for one in each of "
            "train, val and test; add some or lower data.split.val and data.split.test"
        )
    ends = [*positions.tolist(), _END]
    return Cut(ends[num_test] if num_test else 0, ends[start], ends[end])


def _at_least_one(count: int, share: float) -> int:
    return max(1, count) if share > 0 else 0


def time_cuts(staged: Iterable[Path], rule: SplitRule) -> tuple[int, int]:
    """First time of val and first time of test; equal times stay together.

    Raises:
        DataError: Fewer than three records have a time, or all have the same.
    """
    times = pl.concat(pl.read_parquet(path, columns=["__split_time"]) for path in staged)
    known = np.sort(times["__split_time"].drop_nulls().to_numpy())
    places = rule.cut(len(known), "train" if rule.given else None)
    # On the axis of time the shares lie at the end: train, val, test.
    num_test = places.test_end
    num_val = places.val_end - places.val_start
    if len(known) < 3 or num_test + num_val >= len(known) or known[0] == known[-1]:
        raise DataError(
            f"{len(known)} records have a time and {len(np.unique(known))} of the times differ; "
            "too few for a split by time: choose another data.split.column or method"
        )
    ends = [*known.tolist(), int(known[-1]) + 1]
    return ends[len(known) - num_test - num_val], ends[len(known) - num_test]
