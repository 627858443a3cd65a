"""Cleaning of a chunk of a table: typed rows, rows set aside, and what was found."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from components.errors import DataError
from components.records.findings import Action
from components.tables.cleaning.judging import (
    apply_rules,
    judge_outliers,
    lacking,
    spelling_notes,
    violations,
    with_actions,
)
from components.tables.cleaning.notes import (
    finding_rows,
    notes,
    refuse_stops,
)
from components.tables.cleaning.reading import put_right, read_rows, split_ragged, without_furniture
from components.tables.cleaning.rule_terms import RuleError
from components.tables.cleaning.rules import Rule, parse_rule
from components.tables.config import ColumnConfig, TableCleanConfig
from components.tables.schema import (
    RAW_LINE,
    RAW_RECORD,
    TableSchema,
)


@dataclass(frozen=True)
class CleanedChunk:
    """A cleaned chunk; every record read is in `frame` or in `quarantined`, and in one only.

    Attributes:
        frame: RAW_RECORD and the schema's columns, typed, by record; NAME__outlier (int8) for
            each column whose outliers are marked.
        quarantined: `record`, `reason`, `detail`, `other`, by record.
        findings: The columns of FINDINGS_SCHEMA.
    """

    frame: pl.DataFrame
    quarantined: pl.DataFrame
    findings: pl.DataFrame


def table_rules(schema: TableSchema, config: TableCleanConfig) -> tuple[Rule, ...]:
    """The rules of the recipe, read against the table's columns.

    Raises:
        DataError: A rule cannot be read; says why.
    """
    kinds = {column.name: column.kind for column in schema.columns}
    try:
        return tuple(parse_rule(text, kinds, config.rule_tolerance) for text in config.rules)
    except RuleError as error:
        raise DataError(f"data.clean.rules: {error}") from None


def clean_chunk(
    raw: pl.DataFrame,
    schema: TableSchema,
    config: TableCleanConfig,
    columns: Mapping[str, ColumnConfig],
    origin: str,
    delimiter: str = ",",
) -> CleanedChunk:
    """Clean a chunk of a table.

    In this order: rows that are no data are set aside; rows with too many or too few fields, or
    with values beside their columns, are put right where there is one way; cells are read by
    their column's kind; what the rules determine is mended; outliers are judged; rows without a
    required value or key, and what the policies say, are set aside.

    Args:
        raw: RAW_RECORD and the columns of the schema, as texts or as stored in Parquet; RAW_LINE,
            RAW_FIELDS and RAW_EXTRA where the source has them.
        schema: What the columns hold.
        config: Rules, outliers, policies.
        columns: What the recipe says of single columns.
        origin: Path of the table relative to the source.
        delimiter: What separated the fields.

    Raises:
        DataError: The chunk lacks a column, a rule cannot be read, or something was found whose
            policy is to stop.
    """
    _check_columns(raw, schema, origin)
    rules = table_rules(schema, config)
    names = [column.name for column in schema.columns]
    raw = raw.with_columns(pl.col(RAW_RECORD).cast(pl.Int64))
    rows, removed = without_furniture(raw, schema)
    regular, ragged = split_ragged(rows)
    read = read_rows(regular.select(RAW_RECORD, *names), schema.columns, config.policy)
    read, moved, lost = put_right(read, regular, ragged, schema, config, rules, delimiter)
    frame, solved = apply_rules(read, rules, schema.columns)
    frame, outliers = judge_outliers(frame, schema.columns, config, columns)
    found = [
        notes(removed, action=Action.QUARANTINED.value),
        notes(lost, action=Action.QUARANTINED.value),
        moved,
        with_actions(read.odd, config.policy),
        spelling_notes(read.spelled),
        solved,
        outliers,
        lacking(frame, schema, columns),
        *[violations(frame, rule, config.policy) for rule in rules],
    ]
    told = pl.concat(found)
    refuse_stops(told, origin, config.policy)
    aside = _set_aside(told)
    lines = raw.select(RAW_RECORD, RAW_LINE) if RAW_LINE in raw.columns else None
    if aside.height:
        frame = frame.filter(~pl.col(RAW_RECORD).is_in(aside["record"].implode()))
    return CleanedChunk(frame, aside, finding_rows(told, origin, lines))


def _check_columns(raw: pl.DataFrame, schema: TableSchema, origin: str) -> None:
    lacking = [column.name for column in schema.columns if column.name not in raw.columns]
    if lacking:
        present = [name for name in raw.columns if not name.startswith("__")]
        raise DataError(
            f"{origin}: column {lacking[0]!r} of the schema is missing; the table has "
            f"{', '.join(present)}"
        )


def _set_aside(told: pl.DataFrame) -> pl.DataFrame:
    """One row for each record that is set aside, with the first reason."""
    hits = told.filter(
        (pl.col("action") == Action.QUARANTINED.value) & pl.col(RAW_RECORD).is_not_null()
    )
    first = hits.unique(RAW_RECORD, keep="first", maintain_order=True).sort(RAW_RECORD)
    value = pl.format(": {}", pl.col("before")).fill_null("")
    place = pl.format("{}: ", pl.col("column")).fill_null("")
    return first.select(
        pl.col(RAW_RECORD).alias("record"),
        "reason",
        detail=place + pl.col("detail").fill_null("") + value,
        other=pl.lit(""),
    )
