"""What a broken rule tells: which cell of the row is wrong, and what it has to be."""

from collections.abc import Sequence

import polars as pl

from components.tables.cleaning.odd_cells import written
from components.tables.cleaning.rules import Rule
from components.tables.schema import RAW_RECORD, ColumnSchema

REPAIR_SCHEMA = {
    RAW_RECORD: pl.Int64(),
    "column": pl.Utf8(),
    "value": pl.Float64(),
    "before": pl.Utf8(),
    "after": pl.Utf8(),
    "detail": pl.Utf8(),
}

_LARGEST_POWER = 6


def solved_cells(
    frame: pl.DataFrame, rule: Rule, columns: Sequence[ColumnSchema], unreadable: pl.DataFrame
) -> pl.DataFrame:
    """Cells that a rule determines.

    An unreadable cell is filled where it is the only one of the row that the rule lacks; what is
    missing stays so, for whether to fill it is the transform's to say. Where the rule is violated,
    a cell is mended if the value that the rule asks for tells what went wrong with it, and with no
    other cell of the row: the decimal point moved (a power of ten) or the sign lost; or if it alone
    is implausible and what the rule asks for is not. Swapped digits tell too little: every ninth
    wrong sum looks as if some cell had them.

    Args:
        frame: Typed, with RAW_RECORD.
        rule: As parsed; one without `solutions` determines nothing.
        columns: Of the table.
        unreadable: RAW_RECORD and `column` of the cells that held something unreadable.

    Returns:
        Rows of REPAIR_SCHEMA, at most one for each record.
    """
    schemas = {column.name: column for column in columns}
    if not rule.solutions or frame.is_empty():
        return pl.DataFrame(schema=REPAIR_SCHEMA)
    rows = frame.filter(~rule.holds.fill_null(False))
    if rows.is_empty():
        return pl.DataFrame(schema=REPAIR_SCHEMA)
    holes = pl.sum_horizontal([pl.col(name).is_null() for name in rule.columns])
    lacking = rows.filter(holes == 1)
    filled = []
    for name in rule.solutions:
        cells = unreadable.filter(pl.col("column") == name)
        hit = lacking.join(cells, on=RAW_RECORD, how="semi", maintain_order="left")
        filled.append(_filled(hit, rule, schemas[name]))
    violating = rows.filter(holes == 0)
    mended = pl.concat([_mended(violating, rule, schemas[name]) for name in rule.solutions])
    # Several cells that could be the wrong one tell nothing; a slip tells more than a bound.
    for certainty in ("slip", "bound"):
        told = mended.filter(pl.col("certainty") == certainty)
        alone = told.filter(pl.len().over(RAW_RECORD) == 1)
        filled.append(alone.drop("certainty"))
        mended = mended.join(told, on=RAW_RECORD, how="anti")
    return pl.concat(filled)


def _candidates(rows: pl.DataFrame, rule: Rule, column: ColumnSchema) -> pl.DataFrame:
    """The rows with the present and the needed value of one column, where that can stand there."""
    needed = rule.solutions[column.name]
    table = rows.select(
        pl.col(RAW_RECORD).cast(pl.Int64),
        present=pl.col(column.name).cast(pl.Float64),
        value=needed,
    )
    table = table.filter(pl.col("value").is_finite() & _plausible("value", column))
    if column.kind == "integer":
        table = table.filter(pl.col("value") == pl.col("value").round(0))
    return table


def _plausible(name: str, column: ColumnSchema) -> pl.Expr:
    low = -float("inf") if column.minimum is None else column.minimum
    high = float("inf") if column.maximum is None else column.maximum
    return pl.col(name).is_between(low, high)


def _filled(rows: pl.DataFrame, rule: Rule, column: ColumnSchema) -> pl.DataFrame:
    table = _candidates(rows.filter(pl.col(column.name).is_null()), rule, column)
    return _told(table, column, pl.lit(f"was unreadable; follows from {rule.text}"))


def _mended(rows: pl.DataFrame, rule: Rule, column: ColumnSchema) -> pl.DataFrame:
    table = _candidates(rows, rule, column)
    present, value = pl.col("present"), pl.col("value")
    power = (present / value).abs().log10().round(0)
    is_shifted = (
        (power != 0)
        & (power.abs() <= _LARGEST_POWER)
        & ((present - value * pl.lit(10.0).pow(power)).abs() <= 1e-6 * present.abs())
    )
    is_flipped = (present + value).abs() <= 1e-9 * value.abs()
    slip = is_shifted.fill_null(False) | is_flipped
    certain = pl.when(slip & (value != 0)).then(pl.lit("slip"))
    table = table.with_columns(
        certainty=certain.when(~_plausible("present", column)).then(pl.lit("bound"))
    ).filter(pl.col("certainty").is_not_null())
    told = _told(table, column, pl.lit(f"violated {rule.text}; this value fulfils it"))
    return told.with_columns(certainty=table["certainty"])


def _told(table: pl.DataFrame, column: ColumnSchema, detail: pl.Expr) -> pl.DataFrame:
    shown = pl.col("value").round(0).cast(pl.Int64) if column.kind == "integer" else pl.col("value")
    before = table["present"]
    if column.kind == "integer":
        before = before.cast(pl.Int64)
    after = table.select(shown).to_series()
    return table.select(
        RAW_RECORD,
        column=pl.lit(column.name),
        value="value",
        before=written(before),
        after=written(after),
        detail=detail,
    )
