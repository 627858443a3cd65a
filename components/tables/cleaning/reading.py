"""From the raw rows of a chunk to rows read by kind, each value under its column."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import polars as pl

from components.records.reasons import Reason
from components.tables.cleaning.cells import read_column
from components.tables.cleaning.furniture import furniture
from components.tables.cleaning.notes import action_of, no_notes, notes
from components.tables.cleaning.odd_cells import Policies
from components.tables.cleaning.placement import Placement, misplaced, text_habits
from components.tables.cleaning.rules import Rule
from components.tables.cleaning.shifts import realign, unshift
from components.tables.config import TableCleanConfig
from components.tables.schema import (
    RAW_EXTRA,
    RAW_FIELDS,
    RAW_LINE,
    RAW_RECORD,
    ColumnSchema,
    TableSchema,
)

MOST_REALIGNED = 5_000
"""Shifted and ragged rows of a chunk that are tried, each; with more the schema is in question."""

_COMMON_BLANKS = 0.5


@dataclass(frozen=True)
class ReadRows:
    """Rows read by kind: typed, how many cells of each misfit, and what was odd."""

    frame: pl.DataFrame
    doubtful: pl.Series
    odd: pl.DataFrame
    spelled: Mapping[tuple[str, str], int]


def _is_text(raw: pl.DataFrame, names: Sequence[str]) -> bool:
    return all(raw.schema[name] == pl.Utf8 for name in names)


def without_furniture(raw: pl.DataFrame, schema: TableSchema) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows that are data, and those that are none."""
    names = [column.name for column in schema.columns]
    if _is_text(raw, names):
        removed = furniture(raw, schema.columns)
    else:
        blank = raw.filter(pl.all_horizontal(pl.col(name).is_null() for name in names))
        removed = blank.select(
            RAW_RECORD,
            reason=pl.lit(Reason.BLANK_ROW.value),
            detail=pl.lit("no cell holds a value"),
        )
    if removed.is_empty():
        return raw, removed
    return raw.join(removed, on=RAW_RECORD, how="anti", maintain_order="left"), removed


def split_ragged(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows with as many fields as columns, and `fields` of the others."""
    names = [name for name in rows.columns if not _is_raw(name)]
    if RAW_FIELDS not in rows.columns:
        return rows, pl.DataFrame(schema={RAW_RECORD: pl.Int64, "fields": pl.List(pl.Utf8)})
    ragged = (pl.col(RAW_FIELDS) != len(names)).fill_null(False)
    odd = rows.filter(ragged)
    fields = pl.concat_list(pl.col(names).cast(pl.Utf8)) if names else pl.lit([])
    extra = pl.col(RAW_EXTRA).fill_null([]) if RAW_EXTRA in rows.columns else pl.lit([])
    listed = odd.select(
        RAW_RECORD,
        fields=pl.concat_list(fields, extra.cast(pl.List(pl.Utf8))).list.head(pl.col(RAW_FIELDS)),
    )
    return (rows.filter(~ragged) if odd.height else rows), listed


def _is_raw(name: str) -> bool:
    return name in (RAW_RECORD, RAW_LINE, RAW_EXTRA, RAW_FIELDS)


def read_rows(rows: pl.DataFrame, columns: Sequence[ColumnSchema], policies: Policies) -> ReadRows:
    """Read every column of rows that stand under their columns."""
    doubtful = pl.repeat(False, rows.height, eager=True)
    values, odd = [rows[RAW_RECORD]], []
    spelled: dict[tuple[str, str], int] = {}
    for column in columns:
        read = read_column(rows[column.name], column, policies)
        values.append(read.values.alias(column.name))
        doubtful = doubtful | read.misfits
        spelled |= {(column.name, text): count for text, count in read.spelled.items()}
        if read.odd.height:
            record = rows[RAW_RECORD].gather(read.odd["row"])
            told = _one_of_common_blanks(read.odd.with_columns(record), read.values)
            odd.append(told.with_columns(column=pl.lit(column.name)))
    found = pl.concat([notes(frame) for frame in odd]) if odd else no_notes()
    return ReadRows(pl.DataFrame(values), doubtful, found, spelled)


def _one_of_common_blanks(odd: pl.DataFrame, values: pl.Series) -> pl.DataFrame:
    """Blanks around most cells of a column are one finding, not one for each."""
    odd = odd.with_columns(count=pl.lit(1))
    forms = [Reason.TEXT_FORM, Reason.NUMBER_FORMAT, Reason.DATE_FORMAT, Reason.BOOLEAN_FORMAT]
    blanks = pl.col("reason").is_in([reason.value for reason in forms]) & (
        pl.col("before").str.strip_chars() == pl.col("after")
    )
    num_blanks = odd.select(blanks.sum()).item()
    if num_blanks < max(20, _COMMON_BLANKS * (len(values) - values.null_count())):
        return odd
    one = (
        odd.filter(blanks)
        .head(1)
        .with_columns(
            pl.lit(None, pl.Int64).alias(RAW_RECORD),
            detail=pl.lit("blanks around the values of the column"),
            count=pl.lit(num_blanks, pl.Int32),
        )
    )
    return pl.concat([odd.filter(~blanks), one])


def put_right(
    read: ReadRows,
    regular: pl.DataFrame,
    ragged: pl.DataFrame,
    schema: TableSchema,
    config: TableCleanConfig,
    rules: Sequence[Rule],
    delimiter: str,
) -> tuple[ReadRows, pl.DataFrame, pl.DataFrame]:
    """Realign what can be: the rows read, notes on the realigned, and ragged rows to set aside."""
    names = [column.name for column in schema.columns]
    lost = ragged.select(
        RAW_RECORD,
        reason=pl.lit(Reason.RAGGED_ROW.value),
        detail=pl.format("{} fields, the header has {}", pl.col("fields").list.len(), len(names)),
    )
    is_whole = [name for name in regular.columns if not _is_raw(name)] == names
    can_try = _is_text(regular, names) and is_whole and (len(ragged) or read.doubtful.any())
    if not can_try:
        return read, no_notes(), lost
    placement = Placement(
        schema.columns, text_habits(regular, schema.columns), rules, config.policy
    )
    suspects = misplaced(regular, read.doubtful, placement).head(MOST_REALIGNED)
    if suspects.height:
        # Seen without what stands beside its column, a column tells better what belongs there.
        straight = regular.join(suspects, on=RAW_RECORD, how="anti", maintain_order="left")
        placement = replace(placement, habits=text_habits(straight, schema.columns))
    shifted, undecided = unshift(suspects, names, placement)
    mended = realign(
        ragged.head(MOST_REALIGNED), names, placement, delimiter, _splittable(schema.columns)
    )
    both = pl.concat([shifted, mended])
    moved = notes(
        both.select(RAW_RECORD, "detail"),
        reason=Reason.SHIFTED_ROW.value,
        action=action_of(Reason.SHIFTED_ROW, config.policy).value,
    )
    lost = lost.join(mended, on=RAW_RECORD, how="anti", maintain_order="left")
    beside = undecided.with_columns(
        reason=pl.lit(Reason.SHIFTED_ROW.value),
        detail=pl.lit("values stand beside their columns, and fit in more than one way"),
    )
    lost = pl.concat([lost, beside])
    if both.is_empty():
        return read, moved, lost
    apart = partial(read_rows, columns=schema.columns, policies=config.policy)
    before = apart(regular.select(RAW_RECORD, *names).join(both, on=RAW_RECORD, how="semi"))
    return _exchanged(read, before, apart(both.drop("detail"))), moved, lost


def _splittable(columns: Sequence[ColumnSchema]) -> list[int]:
    """Columns whose value can be told from the next one's: two numbers grown together cannot."""
    numeric = [column.kind in ("integer", "number") for column in columns]
    return [
        place for place in range(len(columns) - 1) if not (numeric[place] and numeric[place + 1])
    ]


def _exchanged(read: ReadRows, before: ReadRows, after: ReadRows) -> ReadRows:
    """What was read, with some rows in a new form."""
    moved = after.frame.select(RAW_RECORD)
    kept = read.frame.join(moved, on=RAW_RECORD, how="anti", maintain_order="left")
    odd = read.odd.join(moved, on=RAW_RECORD, how="anti", maintain_order="left")
    spelled = dict(read.spelled)
    for counts, sign in ((before.spelled, -1), (after.spelled, 1)):
        for key, count in counts.items():
            spelled[key] = spelled.get(key, 0) + sign * count
    frame = pl.concat([kept, after.frame]).sort(RAW_RECORD)
    spelled = {key: count for key, count in spelled.items() if count > 0}
    return ReadRows(frame, read.doubtful, pl.concat([odd, after.odd]), spelled)
