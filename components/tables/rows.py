"""Cleaned rows on their way into shards: named, labelled, with what their split goes by."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from components.errors import DataError
from components.records.findings import Action, Finding, findings_table
from components.records.reasons import Reason
from components.records.split import Split
from components.records.staging import COMMON_SCHEMA
from components.sources.record import split_named
from components.tables.config import ColumnConfig, TableCleanConfig
from components.tables.identity import row_digests
from components.tables.schema import RAW_LINE, RAW_RECORD, TableSchema

_ARROW_TYPES: dict[str, pa.DataType] = {
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "datetime": pa.timestamp("us"),
    "category": pa.string(),
    "text": pa.string(),
    "identifier": pa.string(),
}


@dataclass(frozen=True)
class RowSettings:
    """Columns that decide more than a value.

    Attributes:
        target: What a model predicts; records without it are set aside.
        is_class: Whether the target's values are class names.
        split_column: Names the split of a record.
        group_column: Records with one value of it stay on one side of a split.
        time_column: Decides the split in time.
    """

    target: str | None
    is_class: bool
    split_column: str | None = None
    group_column: str | None = None
    time_column: str | None = None

    def check(self, schema: TableSchema) -> None:
        """Refuse a column that the table does not have.

        Raises:
            DataError: Names the setting, the column and the nearest one.
        """
        names = [column.name for column in schema.columns]
        wanted = {
            "data.target": self.target,
            "data.source.split_column": self.split_column,
            "data.split.column": self.group_column or self.time_column,
        }
        for setting, name in wanted.items():
            if name is not None and name not in names:
                near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]}? " if near else ""
                raise DataError(
                    f"{setting} = {name!r}: the table has no such column; {hint}it has "
                    f"{', '.join(names)}"
                )
        if self.time_column is not None and schema.column(self.time_column).kind not in (
            "date",
            "datetime",
            "integer",
            "number",
        ):
            kind = schema.column(self.time_column).kind
            raise DataError(
                f"data.split.column = {self.time_column!r} holds {kind}, not times; choose a "
                "column of dates or numbers"
            )


def marked_columns(
    schema: TableSchema, clean: TableCleanConfig, columns: Mapping[str, ColumnConfig]
) -> tuple[str, ...]:
    """Columns whose outliers are marked in a column of their own, NAME__outlier."""
    marked = []
    for column in schema.columns:
        own = columns.get(column.name, ColumnConfig()).outliers or clean.outliers
        if own.action == "mark" and column.kind in ("integer", "number"):
            marked.append(column.name)
    return tuple(marked)


def shard_schema(schema: TableSchema, marked: tuple[str, ...]) -> pa.Schema:
    """Columns of a table's shards: id and origin, then the table's own.

    Args:
        schema: The table's schema.
        marked: Columns whose outliers are marked in a column of their own.
    """
    fields = [pa.field("record_id", pa.string()), pa.field("origin", pa.string())]
    fields += [pa.field(column.name, _ARROW_TYPES[column.kind]) for column in schema.columns]
    return pa.schema([*fields, *[pa.field(f"{name}__outlier", pa.int8()) for name in marked]])


def staged_rows(
    frame: pl.DataFrame,
    schema: TableSchema,
    settings: RowSettings,
    origin: str,
    split: Split | None,
    lines: pl.DataFrame | None = None,
) -> tuple[pa.Table, pl.DataFrame, pl.DataFrame]:
    """Give cleaned rows their names.

    Args:
        frame: `RAW_RECORD` and the columns of the schema.
        schema: The table's schema.
        settings: Columns that decide more than a value.
        origin: Path of the table.
        split: Split that the source names for the whole file.
        lines: RAW_RECORD and RAW_LINE of the chunk, where lines are known.

    Returns:
        Rows with the columns of `COMMON_SCHEMA` and those of the table; records set aside here
        (record, reason, detail); their findings.
    """
    given, bad_split = _given(frame, settings.split_column, split)
    refused = _refused(frame, bad_split, settings)
    kept = ~frame[RAW_RECORD].is_in(refused["record"].implode())
    frame, given = frame.filter(kept), given.filter(kept)
    names = [column.name for column in schema.columns]
    content = row_digests(frame, names)
    identity = row_digests(frame, list(schema.key)) if schema.key else content
    target = settings.target if settings.is_class else None
    common = frame.select(
        identity.alias("record_id"),
        content.alias("__content"),
        pl.lit(None, pl.String).alias("__bytes_hash"),
        pl.format("{}#{}", pl.lit(origin), pl.col(RAW_RECORD)).alias("origin"),
        (pl.col(target).cast(pl.String) if target else pl.lit("")).alias("__label"),
        given.alias("__split"),
        _split_key(frame, settings.group_column).alias("__split_key"),
        _split_time(frame, settings.time_column).alias("__split_time"),
    )
    own = [name for name in frame.columns if name != RAW_RECORD]
    table = common.to_arrow().cast(COMMON_SCHEMA)
    for name in own:
        column = frame[name].to_arrow()
        kind = next((c.kind for c in schema.columns if c.name == name), None)
        table = table.append_column(name, column.cast(_ARROW_TYPES[kind] if kind else pa.int8()))
    told = _findings(refused, origin, lines)
    return table, refused.select("record", "reason", "detail"), told


def _findings(refused: pl.DataFrame, origin: str, lines: pl.DataFrame | None) -> pl.DataFrame:
    """What is told of the records set aside here."""
    line_of: dict[int, int] = {}
    if lines is not None and refused.height:
        mine = lines.filter(pl.col(RAW_RECORD).is_in(refused["record"].implode()))
        line_of = dict(mine.select(RAW_RECORD, RAW_LINE).rows())
    findings = [
        Finding(
            f"{origin}#{row['record']}",
            Reason(row["reason"]),
            Action.QUARANTINED,
            row["detail"],
            record=row["record"],
            line=line_of.get(row["record"]),
            column=row["column"],
        )
        for row in refused.to_dicts()
    ]
    told = pl.from_arrow(findings_table(findings))
    assert isinstance(told, pl.DataFrame)
    return told


def _given(
    frame: pl.DataFrame, column: str | None, split: Split | None
) -> tuple[pl.Series, pl.Series]:
    """The split that the source names for each row, and whether it names one that is none."""
    if column is None:
        named = pl.Series([split], dtype=pl.String).new_from_index(0, len(frame))
        return named, pl.Series([False]).new_from_index(0, len(frame))
    said = frame[column].cast(pl.String)
    names = {text: split_named(text) for text in said.unique().drop_nulls().to_list()}
    found = said.replace_strict(names, default=None, return_dtype=pl.String)
    return found, said.is_not_null() & found.is_null()


def _refused(frame: pl.DataFrame, bad_split: pl.Series, settings: RowSettings) -> pl.DataFrame:
    parts = []
    if settings.target is not None:
        missing = frame.filter(pl.col(settings.target).is_null())
        empty = pl.lit(f"column {settings.target} is empty")
        parts.append(_aside(missing, Reason.MISSING_LABEL, empty, settings.target))
    if settings.split_column is not None:
        detail = pl.format("split {} is none of train, val, test", pl.col(settings.split_column))
        parts.append(
            _aside(frame.filter(bad_split), Reason.BAD_SPLIT, detail, settings.split_column)
        )
    nothing = _aside(frame.clear(), Reason.BAD_SPLIT, pl.lit(""), "")
    return pl.concat([*parts, nothing]).unique("record", keep="first", maintain_order=True)


def _aside(rows: pl.DataFrame, reason: Reason, detail: pl.Expr, column: str) -> pl.DataFrame:
    return rows.select(
        pl.col(RAW_RECORD).alias("record"),
        pl.lit(reason.value).alias("reason"),
        detail.alias("detail"),
        pl.lit(column).alias("column"),
    )


def _split_key(frame: pl.DataFrame, column: str | None) -> pl.Series:
    if column is None:
        return pl.Series([None], dtype=pl.String).new_from_index(0, len(frame))
    return row_digests(frame, [column])


def _split_time(frame: pl.DataFrame, column: str | None) -> pl.Series:
    if column is None:
        return pl.Series([None], dtype=pl.Int64).new_from_index(0, len(frame))
    values = frame[column]
    if values.dtype == pl.Date:
        values = values.cast(pl.Datetime("us"))
    return values.to_physical().cast(pl.Int64)
