"""Cleaned rows get their names, labels and what their split goes by."""

from datetime import date

import polars as pl
import pyarrow as pa
import pytest

from components.errors import DataError
from components.records.findings import FINDINGS_SCHEMA
from components.records.staging import COMMON_SCHEMA
from components.tables.config import ColumnConfig, OutlierConfig, TableCleanConfig
from components.tables.rows import RowSettings, marked_columns, shard_schema, staged_rows
from components.tables.schema import RAW_RECORD, ColumnSchema, TableSchema

SCHEMA = TableSchema(
    columns=(
        ColumnSchema(name="id", kind="identifier"),
        ColumnSchema(name="day", kind="date"),
        ColumnSchema(name="part", kind="category"),
        ColumnSchema(name="price", kind="number"),
        ColumnSchema(name="sold", kind="boolean"),
    )
)
FRAME = pl.DataFrame(
    {
        RAW_RECORD: [1, 2, 4, 5],
        "id": ["a", "b", "c", "a"],
        "day": [date(2024, 1, 1), date(2024, 1, 2), None, date(2024, 1, 1)],
        "part": ["train", "test", "elsewhere", "train"],
        "price": [1.5, None, 2.5, 1.5],
        "sold": [True, False, None, True],
    }
)


def staged(settings: RowSettings, schema: TableSchema = SCHEMA) -> pl.DataFrame:
    rows, _, _ = staged_rows(FRAME, schema, settings, "sales.csv", None)
    frame = pl.from_arrow(rows)
    assert isinstance(frame, pl.DataFrame)
    return frame


def test_rows_are_named_by_their_values_and_come_from_their_record() -> None:
    rows = staged(RowSettings(target=None, is_class=False))
    assert rows["origin"].to_list() == [f"sales.csv#{n}" for n in (1, 2, 4, 5)]
    ids = rows["record_id"].to_list()
    assert ids[0] == ids[3] and len(set(ids)) == 3
    assert rows["__content"].to_list() == ids and set(rows["__label"]) == {""}
    assert rows.columns == [*COMMON_SCHEMA.names, "id", "day", "part", "price", "sold"]


def test_a_key_names_the_record_and_the_values_are_its_content() -> None:
    keyed = SCHEMA.model_copy(update={"key": ("id",)})
    rows = staged(RowSettings(target=None, is_class=False), keyed)
    assert rows["record_id"][0] == rows["record_id"][3] != rows["record_id"][1]
    changed = FRAME.with_columns(pl.col("price") + 1)
    other, _, _ = staged_rows(changed, keyed, RowSettings(None, False), "sales.csv", None)
    assert other.column("record_id").to_pylist() == rows["record_id"].to_list()
    assert other.column("__content")[0].as_py() != rows["__content"][0]


def test_records_without_a_target_are_set_aside() -> None:
    settings = RowSettings(target="sold", is_class=True)
    rows, refused, findings = staged_rows(FRAME, SCHEMA, settings, "sales.csv", None)
    assert rows.column("__label").to_pylist() == ["true", "false", "true"]
    assert refused.rows() == [(4, "missing_label", "column sold is empty")]
    assert findings.columns == FINDINGS_SCHEMA.names
    (finding,) = findings.to_dicts()
    assert (finding["origin"], finding["record"], finding["column"]) == ("sales.csv#4", 4, "sold")


def test_the_split_of_a_column_holds_and_a_wrong_one_is_set_aside() -> None:
    settings = RowSettings(target=None, is_class=False, split_column="part")
    rows, refused, _ = staged_rows(FRAME, SCHEMA, settings, "sales.csv", None)
    assert rows.column("__split").to_pylist() == ["train", "test", "train"]
    assert refused["reason"].to_list() == ["bad_split"]
    whole, _, _ = staged_rows(FRAME, SCHEMA, RowSettings(None, False), "test.csv", "test")
    assert set(whole.column("__split").to_pylist()) == {"test"}


def test_groups_share_a_key_and_times_are_numbers() -> None:
    grouped = staged(RowSettings(target=None, is_class=False, group_column="id"))
    keys = grouped["__split_key"].to_list()
    assert keys[0] == keys[3] and len(set(keys)) == 3 and len(keys[0]) == 32
    timed = staged(RowSettings(target=None, is_class=False, time_column="day"))
    day_us = 86_400_000_000
    assert timed["__split_time"].to_list()[1] - timed["__split_time"].to_list()[0] == day_us
    assert timed["__split_time"][2] is None


def test_columns_that_are_not_there_are_refused() -> None:
    wanted = {
        "data.target = 'sould': the table has no such column; did you mean sold?": RowSettings(
            target="sould", is_class=True
        ),
        "data.source.split_column = 'fold'": RowSettings(None, False, split_column="fold"),
        "data.split.column = 'part' holds category, not times": RowSettings(
            None, False, time_column="part"
        ),
    }
    for words, settings in wanted.items():
        with pytest.raises(DataError, match=words.replace("?", r"\?")):
            settings.check(SCHEMA)


def test_shards_hold_what_the_schema_says_and_the_marks() -> None:
    mark = ColumnConfig(outliers=OutlierConfig(action="mark"))
    marked = marked_columns(SCHEMA, TableCleanConfig(), {"price": mark, "part": mark})
    assert marked == ("price",)
    found = shard_schema(SCHEMA, marked)
    assert found.names == [
        "record_id",
        "origin",
        "id",
        "day",
        "part",
        "price",
        "sold",
        "price__outlier",
    ]
    assert found.field("day").type == pa.date32() and found.field("price").type == pa.float64()
