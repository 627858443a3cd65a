"""A small table with its fitted transform, as prepare leaves them; made in memory."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
import pyarrow as pa

from components.tables.fitting.encode_plan import EncodeConfig, fit_plan
from components.tables.fitting.statistics import TableStatistics
from components.tables.fitting.transform import TableTransform, fit_transform_from
from components.tables.schema import ColumnSchema, TableSchema

Target = Literal["kind", "price"]
COLOURS = ("blue", "green", "red")
SCHEMA = TableSchema(
    columns=(
        ColumnSchema(name="size", kind="number"),
        ColumnSchema(name="rooms", kind="integer"),
        ColumnSchema(name="colour", kind="category", categories=COLOURS),
        ColumnSchema(name="town", kind="category", categories=tuple("abcdefgh")),
        ColumnSchema(name="built", kind="date"),
        ColumnSchema(name="kind", kind="category", categories=("cheap", "dear")),
        ColumnSchema(name="price", kind="number"),
    )
)


@dataclass(frozen=True)
class Table:
    """Rows with record ids, and what was fitted on them."""

    frame: pl.DataFrame
    transform: TableTransform

    def arrow(self) -> pa.Table:
        return self.frame.to_arrow()


def rows(num_rows: int = 600, seed: int = 0) -> pl.DataFrame:
    """Houses whose price follows from size, colour and town, and whose kind from the price."""
    rng = np.random.default_rng(seed)
    size, rooms = rng.normal(100.0, 30.0, num_rows), rng.integers(1, 8, num_rows)
    colour, town = rng.integers(0, 3, num_rows), rng.integers(0, 8, num_rows)
    price = 200_000 + 1500 * (size - 100) + 40_000 * (colour == 2) + 9000 * (town - 3.5)
    price = price + rng.normal(0, 4000, num_rows)
    frame = pl.DataFrame(
        {
            "record_id": [f"{number:032x}" for number in rng.permutation(num_rows)],
            "origin": [f"houses.csv#{number + 1}" for number in range(num_rows)],
            "size": size,
            "rooms": rooms,
            "colour": np.array(COLOURS)[colour],
            "town": np.array(list("abcdefgh"))[town],
            "built": np.datetime64("1990-01-01") + rng.integers(0, 9000, num_rows),
            "kind": np.where(price > 200_000, "dear", "cheap"),
            "price": price,
        }
    )
    return frame.with_columns(
        pl.when(pl.int_range(pl.len()) % 17 == 3).then(None).otherwise(pl.col("size")).alias("size")
    )


def table(target: Target, num_rows: int = 600, config: EncodeConfig | None = None) -> Table:
    """The rows with a transform for one of the two targets; the other is no feature."""
    other = "price" if target == "kind" else "kind"
    config = config or EncodeConfig(max_one_hot=4)
    config = config.model_copy(update={"drop": (*config.drop, other)})
    plan = fit_plan(SCHEMA, target, config)
    frame = rows(num_rows)
    statistics = TableStatistics.of(frame, plan.spec, record_ids=frame["record_id"])
    return Table(frame, fit_transform_from(plan, statistics))
