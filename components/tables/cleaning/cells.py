"""The cells of one column: read by its kind, and what is odd about each."""

import polars as pl

from components.records.reasons import Policy, Reason, policy_of
from components.tables.cleaning.name_cells import read_names
from components.tables.cleaning.odd_cells import (
    Policies,
    ReadColumn,
    nothing_odd,
    odd_cells,
    rows_of,
    together,
)
from components.tables.schema import ColumnKind, ColumnSchema
from components.tables.values.booleans import parse_booleans
from components.tables.values.dates import parse_dates
from components.tables.values.missing import is_missing
from components.tables.values.numbers import parse_numbers

DTYPES: dict[ColumnKind, pl.DataType] = {
    "integer": pl.Int64(),
    "number": pl.Float64(),
    "boolean": pl.Boolean(),
    "date": pl.Date(),
    "datetime": pl.Datetime("us"),
    "category": pl.Utf8(),
    "text": pl.Utf8(),
    "identifier": pl.Utf8(),
}
"""Type of a cleaned column by its kind."""

_LARGEST_INTEGER = 2**53
_MICROSECONDS_PER_DAY = 86_400_000_000
_PADDED = "blanks around the value"


def read_column(cells: pl.Series, column: ColumnSchema, policies: Policies) -> ReadColumn:
    """Read the cells of a column by its kind.

    Args:
        cells: Utf8, or any type (of Parquet), length N.
        column: What the column holds and how it is written.
        policies: Of the reasons that the recipe speaks of; those kept leave the cell as it is.
    """
    if cells.dtype in (pl.Categorical, pl.Enum):
        cells = cells.cast(pl.Utf8)
    if _fits(cells.dtype, column.kind):
        return _stored(cells, column, policies)
    if cells.dtype.is_integer() and column.kind in ("identifier", "text"):
        # Keys stored as numbers are written in one way only.
        none = pl.repeat(False, len(cells), eager=True)
        return ReadColumn(cells.cast(pl.Utf8), none, nothing_odd(), {})
    if cells.dtype != pl.Utf8:
        cells = cells.cast(pl.Utf8)
    missing = _missing(cells, column)
    spelled = _spelled(cells, missing)
    if missing.any():
        cells = cells.set(missing, None)
    if column.kind in ("integer", "number"):
        return _numbers(cells, column, policies, spelled)
    if column.kind == "boolean":
        return _booleans(cells, column, spelled)
    if column.kind in ("date", "datetime"):
        return _dates(cells, column, spelled)
    return read_names(cells, column, policies, spelled)


def outside_bounds(values: pl.Series, column: ColumnSchema) -> pl.Series | None:
    """Which numbers or dates are no plausible values; None where all are (the quick way)."""
    low, high = column.minimum, column.maximum
    if low is None and high is None:
        return None
    if values.dtype.is_temporal():
        values = values.cast(pl.Datetime("us")).cast(pl.Int64) / _MICROSECONDS_PER_DAY
    if not values.dtype.is_numeric():
        return None
    least, most = values.min(), values.max()
    if not isinstance(least, int | float) or not isinstance(most, int | float):
        return None
    if (low is None or least >= low) and (high is None or most <= high):
        return None
    below = values < low if low is not None else pl.repeat(False, len(values), eager=True)
    above = values > high if high is not None else pl.repeat(False, len(values), eager=True)
    return (below | above).fill_null(False)


def _fits(dtype: pl.DataType, kind: ColumnKind) -> bool:
    if kind in ("integer", "number"):
        return dtype.is_numeric()
    return (kind == "boolean" and dtype == pl.Boolean) or (
        kind in ("date", "datetime") and (dtype == pl.Date or isinstance(dtype, pl.Datetime))
    )


def _stored(cells: pl.Series, column: ColumnSchema, policies: Policies) -> ReadColumn:
    """A column of Parquet that already has the right type."""
    dtype = DTYPES[column.kind]
    if not cells.dtype.is_numeric():
        if isinstance(cells.dtype, pl.Datetime) and cells.dtype.time_zone:
            cells = cells.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        none = pl.repeat(False, len(cells), eager=True)
        return ReadColumn(cells.cast(dtype), none, nothing_odd(), {})
    spelled: dict[str, int] = {}
    infinite = None
    if cells.dtype.is_float() and not cells.is_finite().all():
        num_nan = int(cells.is_nan().sum() or 0)
        spelled = {"NaN": num_nan} if num_nan else {}
        cells = cells.fill_nan(None)
        infinite = cells.is_infinite().fill_null(False)
        if not infinite.any():
            infinite = None
    odd = [odd_cells(infinite, Reason.NOT_FINITE, cells, None, "infinite")]
    if infinite is not None:
        cells = cells.set(infinite, None)
    return _checked_numbers(cells.cast(pl.Float64), cells, column, policies, odd, spelled, infinite)


def _missing(cells: pl.Series, column: ColumnSchema) -> pl.Series:
    """Which cells are missing; only the short ones, or those that repeat, can be."""
    expr = is_missing(pl.col("cell"), column.missing, column.not_missing)
    distinct = pl.DataFrame({"cell": cells}).select(pl.col("cell").unique())
    spellings = distinct.filter(expr)["cell"]
    blank = cells.is_null()
    known = spellings.drop_nulls()
    return blank if known.is_empty() else blank | cells.is_in(known.implode()).fill_null(True)


def _spelled(cells: pl.Series, missing: pl.Series) -> dict[str, int]:
    written = cells.filter(missing & cells.is_not_null())
    if written.is_empty():
        return {}
    counts = written.str.strip_chars().value_counts().sort(written.name)
    return {text: count for text, count in counts.iter_rows() if text}


def _numbers(
    cells: pl.Series, column: ColumnSchema, policies: Policies, spelled: dict[str, int]
) -> ReadColumn:
    parsed = parse_numbers(cells, column.number, (column.minimum, column.maximum))
    lost = cells.is_not_null() & ~parsed.readable
    odd = []
    if lost.any():
        odd.append(odd_cells(lost & parsed.infinite, Reason.NOT_FINITE, cells, None, "infinite"))
        unreadable = lost & ~parsed.infinite
        odd.append(odd_cells(unreadable, Reason.NOT_A_NUMBER, cells, None, "no readable number"))
    inexact = parsed.readable & ~parsed.exact
    if inexact.any():
        odd.append(odd_cells(inexact, Reason.NUMBER_FORMAT, cells, parsed.values, parsed.manner))
    padded = _padded(cells, parsed.readable & parsed.exact)
    odd.append(odd_cells(padded, Reason.NUMBER_FORMAT, cells, cells.str.strip_chars(), _PADDED))
    return _checked_numbers(parsed.values, cells, column, policies, odd, spelled, lost)


def _checked_numbers(
    values: pl.Series,
    cells: pl.Series,
    column: ColumnSchema,
    policies: Policies,
    odd: list[pl.DataFrame],
    spelled: dict[str, int],
    misfits: pl.Series | None,
) -> ReadColumn:
    """Sentinels, fractions where whole numbers belong, and plausibility."""
    misfits = pl.repeat(False, len(values), eager=True) if misfits is None else misfits
    if column.sentinels and policy_of(Reason.SENTINEL, policies) is not Policy.KEEP:
        sentinel = values.is_in(list(column.sentinels)).fill_null(False)
        if sentinel.any():
            detail = "stands for a missing value"
            # What was written another way before it was a sentinel is told once.
            odd = [frame.filter(~frame["row"].is_in(rows_of(sentinel).implode())) for frame in odd]
            odd.append(odd_cells(sentinel, Reason.SENTINEL, cells, None, detail))
            values = values.set(sentinel, None)
    if column.kind == "integer":
        broken = ((values != values.round(0)) | (values.abs() > _LARGEST_INTEGER)).fill_null(False)
        if broken.any():
            odd.append(odd_cells(broken, Reason.NOT_A_NUMBER, cells, None, "no whole number"))
            values, misfits = values.set(broken, None), misfits | broken
        values = values.cast(pl.Int64)
    outside = outside_bounds(values, column)
    if outside is not None:
        misfits = misfits | outside
    return ReadColumn(values, misfits, together(odd), spelled)


def _booleans(cells: pl.Series, column: ColumnSchema, spelled: dict[str, int]) -> ReadColumn:
    parsed = parse_booleans(cells, column.booleans)
    lost = cells.is_not_null() & ~parsed.readable
    inexact = parsed.readable & ~parsed.exact
    padded = _padded(cells, parsed.exact)
    odd = [
        odd_cells(padded, Reason.BOOLEAN_FORMAT, cells, cells.str.strip_chars(), _PADDED),
        odd_cells(inexact, Reason.BOOLEAN_FORMAT, cells, parsed.values, "another word than usual"),
        odd_cells(lost, Reason.BOOLEAN_FORMAT, cells, None, "neither true nor false"),
    ]
    return ReadColumn(parsed.values, lost, together(odd), spelled)


_DATE_REASONS = {
    "format": (Reason.DATE_FORMAT, "written as "),
    "swapped": (Reason.SWAPPED_DATE, "day and month are swapped: "),
    "ambiguous": (Reason.AMBIGUOUS_DATE, "day and month could be either: "),
    "impossible": (Reason.IMPOSSIBLE_DATE, "no such day: "),
    "unreadable": (Reason.DATE_FORMAT, "not readable as a date"),
}


def _dates(cells: pl.Series, column: ColumnSchema, spelled: dict[str, int]) -> ReadColumn:
    parsed = parse_dates(cells, column.date)
    values = parsed.values.cast(DTYPES[column.kind])
    padded = _padded(cells, parsed.status == "main")
    odd = [odd_cells(padded, Reason.DATE_FORMAT, cells, cells.str.strip_chars(), _PADDED)]
    if (parsed.status != "main").any():
        for status, (reason, words) in _DATE_REASONS.items():
            here = (parsed.status == status).fill_null(False)
            detail = parsed.shape.fill_null("")
            odd.append(odd_cells(here, reason, cells, values, words + detail))
    misfits = parsed.status.is_in(["impossible", "unreadable"]).fill_null(False)
    return ReadColumn(values, misfits, together(odd), spelled)


def _padded(cells: pl.Series, exact: pl.Series) -> pl.Series:
    """Cells with blanks around what is otherwise written as it should be."""
    blanks = cells.str.starts_with(" ") | cells.str.ends_with(" ")
    return (blanks & exact).fill_null(False)
