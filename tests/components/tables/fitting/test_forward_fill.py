"""Forward fill: the last known value of the same key, however the rows are divided."""

from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from components.tables.fitting.forward_fill import (
    Carry,
    carried_schema,
    carry_forward,
    partition_rows,
    write_carried,
)

CARRY = Carry(("sensor", "site"), "day", ("value", "state", "by0"))


def rows(num_rows: int = 900, seed: int = 0) -> pl.DataFrame:
    """Readings of 12 things, out of order, with equal days and gaps in everything."""
    rng = np.random.default_rng(seed)
    days = [date(2024, 1, 1) + timedelta(days=int(n)) for n in rng.integers(0, 90, num_rows)]
    frame = pl.DataFrame(
        {
            "record_id": [f"{n:032x}" for n in rng.permutation(num_rows)],
            "origin": [f"readings.csv#{n + 1}" for n in rng.permutation(num_rows)],
            "sensor": [f"s{n}" for n in rng.integers(0, 4, num_rows)],
            "site": rng.integers(0, 3, num_rows),
            "day": days,
            "value": rng.normal(20, 3, num_rows).round(2),
            "state": [("on", "off")[n] for n in rng.integers(0, 2, num_rows)],
            # Called as the pass calls its own columns.
            "by0": rng.integers(0, 1000, num_rows),
        }
    )
    holes = {"sensor": 0.02, "site": 0.02, "day": 0.02, "value": 0.4, "state": 0.3, "by0": 0.9}
    gaps = [
        pl.when(pl.Series(rng.random(num_rows) >= share)).then(pl.col(name)).alias(name)
        for name, share in holes.items()
    ]
    return frame.with_columns(gaps).sort("record_id")


def by_hand(frame: pl.DataFrame) -> pl.DataFrame:
    """Row by row, as one would explain it."""
    placed = frame.filter(pl.all_horizontal(pl.col("sensor", "site", "day").is_not_null()))
    number = pl.col("origin").str.extract(r"#(\d+)").cast(pl.Int64)
    last: dict[tuple[object, ...], object] = {}
    carried: dict[str, dict[str, object]] = {}
    for row in placed.sort("day", number).to_dicts():
        for name in CARRY.columns:
            key = (row["sensor"], row["site"], name)
            if row[name] is not None:
                last[key] = row[name]
            elif key in last:
                carried.setdefault(row["record_id"], {})[name] = last[key]
    columns = {
        f"{name}__carried": pl.Series(
            [carried.get(record, {}).get(name) for record in frame["record_id"]],
            dtype=frame[name].dtype,
        )
        for name in CARRY.columns
    }
    return frame.with_columns(**columns)


def carried_in(
    folder: Path, frame: pl.DataFrame, num_shards: int, num_partitions: int
) -> pl.DataFrame:
    """The rows as shards of one split, with what the pass carried."""
    folder.mkdir()
    ends = np.linspace(0, len(frame), num_shards + 1).astype(int)
    schema = pa.schema([field.remove_metadata() for field in frame.to_arrow().schema])
    shards, parts, keys = [], [], []
    for number, (start, end) in enumerate(pairwise(ends)):
        shards.append(folder / f"train-{number}.parquet")
        frame[start:end].write_parquet(shards[-1])
        parts.append(folder / f"rows-{number}.parquet")
        partition_rows(shards[-1], number, CARRY, num_partitions, parts[-1])
    for number in range(num_partitions):
        keys.append(folder / f"keys-{number}.parquet")
        carry_forward(parts, number, CARRY, keys[-1])
    for number, shard in enumerate(shards):
        for _ in range(2):  # a pass that was stopped is done again
            write_carried(shard, number, {CARRY: keys}, carried_schema(schema, [CARRY]), 100)
    return pl.concat([pl.read_parquet(shard) for shard in shards])


@pytest.mark.parametrize(("num_shards", "num_partitions"), [(1, 1), (3, 2), (7, 5)])
def test_it_is_the_last_known_value_however_the_rows_are_divided(
    tmp_path: Path, num_shards: int, num_partitions: int
) -> None:
    frame = rows()
    filled = carried_in(tmp_path / "shards", frame, num_shards, num_partitions)
    assert filled.equals(by_hand(frame))
    assert 200 < filled["value__carried"].len() - filled["value__carried"].null_count() < 400
    assert filled.drop(pl.selectors.ends_with("__carried")).equals(frame), "the gaps stay gaps"


def test_it_equals_pandas(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = rows(seed=1).drop_nulls(["sensor", "site", "day"])
    filled = carried_in(tmp_path / "shards", frame, 2, 2)
    number = pl.col("origin").str.extract(r"#(\d+)").cast(pl.Int64)
    ordered = frame.sort("day", number)
    theirs = pandas.DataFrame({name: ordered[name].to_list() for name in ordered.columns})
    theirs["value"] = theirs.groupby(["sensor", "site"])["value"].ffill()
    expected = pl.DataFrame({"record_id": theirs["record_id"].to_list()}).with_columns(
        value=pl.Series(theirs["value"].to_list()).fill_nan(None)
    )
    ours = filled.select("record_id", value=pl.coalesce("value", "value__carried"))
    assert ours.sort("record_id").equals(expected.sort("record_id"))


def test_of_equal_days_the_earlier_record_comes_first(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "record_id": [f"{n:032x}" for n in range(3)],
            "origin": ["a.csv#10", "a.csv#9", "a.csv#100"],
            "sensor": ["s"] * 3,
            "site": [1] * 3,
            "day": [date(2024, 1, 1)] * 3,
            "value": [None, 9.0, None],
            "state": [None, None, "on"],
            "by0": [None, None, None],
        },
        schema_overrides={"by0": pl.Int64},
    )
    filled = carried_in(tmp_path / "shards", frame, 1, 1)
    assert filled["value__carried"].to_list() == [9.0, None, 9.0]
    assert filled["state__carried"].to_list() == [None, None, None], "never backwards"
