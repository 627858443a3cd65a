"""Values of a category column crossed with the target, by folds of record ids."""

import polars as pl

from components.errors import DataError

_KEYS = ("value", "fold", "class")


def record_numbers(record_ids: pl.Series, start: int) -> pl.Series:
    """15 hex digits of each record id from `start` on, as int64: uniform, from the id alone.

    Raises:
        DataError: A record id is not 32 hex digits.
    """
    numbers = record_ids.str.slice(start, 15).str.to_integer(base=16, strict=False)
    bad = numbers.is_null() | (record_ids.str.len_bytes() != 32)
    if bad.any():
        raise DataError(f"record id {record_ids.filter(bad)[0]!r} is not 32 hex digits")
    return numbers


def record_folds(record_ids: pl.Series, num_folds: int) -> pl.Series:
    """Fold of each record, 0 to num_folds - 1, int64, from its id alone."""
    return record_numbers(record_ids, 0) % num_folds


def cross(values: pl.Series, target: pl.Series, folds: pl.Series, *, classes: bool) -> pl.DataFrame:
    """Rows per value, fold and class, and the target's mean and squared deviations there.

    Args:
        values: Category of each row; missing ones are a value of their own (null).
        target: Target of each row; rows without one are left out.
        folds: Fold of each row, int64.
        classes: Whether the target names classes: then `class` is its name and `mean` is 0;
            else `class` is null and `mean` and `m2` are those of the number.

    Returns:
        value, fold, class, count (Int64), mean, m2 (Float64); sorted. Add with `add_crosses`.
    """
    nothing = pl.lit(None, pl.String)
    rows = pl.DataFrame([values.alias("value"), folds.alias("fold"), target.alias("target")])
    rows = rows.filter(pl.col("target").is_not_null()).select(
        pl.col("value").cast(pl.String),
        pl.col("fold").cast(pl.Int64),
        (pl.col("target").cast(pl.String) if classes else nothing).alias("class"),
        (pl.lit(0.0) if classes else pl.col("target").cast(pl.Float64)).alias("number"),
    )
    groups = rows.group_by(_KEYS).agg(
        pl.len().cast(pl.Int64).alias("count"),
        pl.col("number").mean().alias("mean"),
        (pl.col("number").var(ddof=0) * pl.len()).alias("m2"),
    )
    return groups.sort(_KEYS)


def add_crosses(one: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    """Of both sets of rows (Chan, Golub and LeVeque 1979)."""
    count, mean = pl.col("count"), pl.col("mean")
    merged_mean = (mean * count).sum() / count.sum()
    # Order inside a group is that of the arguments, so that sums are reproducible.
    groups = pl.concat([one, other]).group_by(_KEYS, maintain_order=True)
    return groups.agg(
        count.sum(),
        merged_mean.alias("mean"),
        (pl.col("m2").sum() + (count * (mean - merged_mean) ** 2).sum()).alias("m2"),
    ).sort(_KEYS)
