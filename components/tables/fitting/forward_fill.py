"""Forward fill: the last known value of the same key stands in for a missing one.

A value depends on other rows, so it cannot be part of the transform of single rows: prepare carries
it, inside one split only, and writes it beside the column as `NAME__carried`. The column itself
keeps its gap, which is what the export shows and what `NAME:missing` tells.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from components.config import Config
from components.records.files import atomic_path
from components.records.identity import leading_words
from components.tables.fitting.impute import ImputerName
from components.tables.identity import row_digests

_GROUP_ROWS = 1 << 16
_UNIQUE = ("record_id", "origin")


class ForwardFill(Config):
    """The last known value of the same key, in the order of a column, inside one split.

    Of equal places in the order the one that stands first in the source comes first. A row without
    a key or a place neither gives nor takes. What has no earlier value gets `then`; so does
    every row to be predicted, as it comes alone.
    """

    method: Literal["forward"]
    """What tells it from the imputers that are a name alone."""
    by: tuple[str, ...] = Field(min_length=1)
    """Columns that name the thing that is followed, as [sensor]."""
    order: str
    """Column of dates or numbers that says what came before, as time."""
    then: ImputerName | None = None
    """What stands in where there is no earlier value; default: data.encode.impute for numbers,
    for categories and dates the rule of their encoder."""


@dataclass(frozen=True)
class Carry:
    """Columns that are carried along one key in one order."""

    by: tuple[str, ...]
    order: str
    columns: tuple[str, ...]


def carried_name(name: str) -> str:
    """The column of the shards that holds what is carried into the gaps of another."""
    return f"{name}__carried"


def carried_schema(schema: pa.Schema, carries: Sequence[Carry]) -> pa.Schema:
    """Columns of shards with what was carried, which comes last."""
    names = [name for carry in carries for name in carry.columns]
    fields = [schema.field(name).with_name(carried_name(name)) for name in names]
    return pa.schema([*schema, *fields])


def partition_rows(shard: Path, number: int, carry: Carry, num_partitions: int, path: Path) -> None:
    """Write what is needed of a shard's rows, sorted by the partition of their key.

    Args:
        shard: Parquet file.
        number: Its place among the shards of its split.
        carry: What is carried.
        num_partitions: Parts that the keys are divided into, by their digest.
        path: File to write.
    """
    keys, values = _names("by", carry.by), _names("value", carry.columns)
    rows = (
        pl.scan_parquet(shard, glob=False)
        .select(
            pl.row_index("row").cast(pl.Int64),
            "origin",
            pl.col(carry.order).alias("order"),
            *[pl.col(name).alias(alias) for alias, name in {**keys, **values}.items()],
        )
        .filter(pl.all_horizontal(pl.col("order", *keys).is_not_null()))
        .collect()
    )
    words = leading_words(row_digests(rows, list(keys)))
    partition = pl.Series("partition", (words % num_partitions).astype("int32"))
    parted = rows.with_columns(partition, pl.lit(number, pl.Int32).alias("shard"))
    with atomic_path(path) as partial:
        parted.sort("partition", maintain_order=True).write_parquet(
            partial, compression="lz4", row_group_size=_GROUP_ROWS
        )


def carry_forward(parts: Sequence[Path], partition: int, carry: Carry, path: Path) -> None:
    """Write the values that stand in for missing ones, of all keys of one partition.

    Args:
        parts: Files of `partition_rows`, of all shards of one split.
        partition: Which partition.
        carry: What is carried.
        path: File to write: shard, row, and the columns; null where nothing is carried.
    """
    keys, values = _names("by", carry.by), _names("value", carry.columns)
    rows = (
        pl.scan_parquet(list(parts), glob=False).filter(pl.col("partition") == partition).collect()
    )
    # Record 24 of a table comes before record 1504, though not as text.
    file = pl.col("origin").str.replace(r"#\d+$", "")
    record = pl.col("origin").str.extract(r"#(\d+)$").cast(pl.Int64, strict=False)
    last = [
        pl.when(pl.col(alias).is_null()).then(pl.col(alias).forward_fill().over(list(keys)))
        for alias in values
    ]
    carried = (
        rows.sort(pl.col("order"), file, record)
        .select(
            "shard", "row", *[value.alias(name) for value, name in zip(last, values, strict=True)]
        )
        .filter(pl.any_horizontal(pl.col(*values).is_not_null()))
        .sort("shard", "row")
    )
    with atomic_path(path) as partial:
        carried.write_parquet(partial, compression="lz4", row_group_size=_GROUP_ROWS)


def write_carried(
    shard: Path,
    number: int,
    carried: Mapping[Carry, Sequence[Path]],
    schema: pa.Schema,
    row_group_rows: int,
) -> None:
    """Put what was carried beside the columns of a shard; doing it again changes nothing.

    Args:
        shard: Parquet file, written anew.
        number: Its place among the shards of its split.
        carried: What was carried -> files of `carry_forward` of its split.
        schema: Columns of the shard with what was carried (`carried_schema`).
        row_group_rows: Rows of a row group.
    """
    names = {carried_name(name) for carry in carried for name in carry.columns}
    table = pq.read_table(shard, columns=[name for name in schema.names if name not in names])
    places = pl.DataFrame({"row": pl.arange(table.num_rows, eager=True)})
    for carry, paths in carried.items():
        mine = pl.scan_parquet(list(paths), glob=False).filter(pl.col("shard") == number)
        rows = places.join(mine.collect(), on="row", how="left", maintain_order="left")
        for alias, name in _names("value", carry.columns).items():
            table = table.append_column(carried_name(name), rows[alias].to_arrow())
    with atomic_path(shard) as partial:
        pq.write_table(
            table.select(schema.names).cast(schema),
            partial,
            row_group_size=row_group_rows,
            compression="zstd",
            use_dictionary=[name for name in schema.names if name not in _UNIQUE],
        )


def _names(kind: str, columns: Sequence[str]) -> dict[str, str]:
    """Names that no column of a table can collide with -> the columns."""
    return {f"{kind}{number}": name for number, name in enumerate(columns)}
