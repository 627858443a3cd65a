"""Dates and times as people write them, with the order of day and month learned per column."""

from dataclasses import dataclass

import polars as pl

from components.tables.schema import DateForm
from components.tables.values.moments import date_cells

STATUSES = ("main", "format", "swapped", "ambiguous", "impossible", "unreadable")
"""`main`: written as the column writes its dates. `format`: another way, one reading only.
`swapped`: possible only with day and month the other way round. `ambiguous`: day and month could
be either. `impossible`: no such day. `unreadable`: no date at all."""


@dataclass(frozen=True)
class ParsedDates:
    """Cells of one column, read as dates; all series have the length of what was given."""

    values: pl.Series
    """Datetime("us"), naive; times with a zone are brought to UTC. Null where the status is
    `impossible` or `unreadable`, and for `ambiguous` where nothing hints at the order."""
    status: pl.Series
    """Utf8, one of STATUSES; null where the cell is null."""
    shape: pl.Series
    """Utf8: the format, as `%d/%m/%Y %H:%M`, `?/?/%Y` where the order is open, `excel`, ..."""


def parse_dates(texts: pl.Series, form: DateForm) -> ParsedDates:
    """Read the cells of a column of dates that are mostly written as `form` says.

    Years of two digits are 1969 to 2068 (POSIX). A date without a day is the first of the month.
    Order of day and month: that of the first format of the form with the same separator (open
    where that is `?/?/%Y`), else `form.day_first`, else day first where points separate.

    Args:
        texts: Utf8, any length; null stays null.
        form: As learned by `infer_schema`.
    """
    cells = date_cells(texts.drop_nulls().unique())
    read = _resolved(cells, form)
    joined = pl.DataFrame({"text": texts}).join(read, on="text", how="left", maintain_order="left")
    return ParsedDates(joined["value"], joined["status"], joined["shape"])


def order_of(form: DateForm, separator: str) -> bool | None:
    """Whether the day stands first in `1/2/2024` with that separator; None where nothing tells."""
    for written in form.formats:
        if written.startswith(f"?{separator}?"):
            return None
        if written.startswith((f"%d{separator}%m", f"%m{separator}%d")):
            return written.startswith("%d")
    if form.day_first is not None:
        return form.day_first
    return True if separator == "." else None


def _resolved(cells: pl.DataFrame, form: DateForm) -> pl.DataFrame:
    """Settle the order of day and month, and say of each cell how it stands."""
    orders = {f"?{sign}": order_of(form, sign) for sign in "-/. "}
    start = pl.col("shape").str.slice(0, 2)
    month_first = start.is_in([name for name, order in orders.items() if order is False])
    unknown = start.is_in([name for name, order in orders.items() if order is None])
    cells = cells.with_columns(
        usual=pl.when(month_first).then("turned").otherwise("plain"),
        other=pl.when(month_first).then("plain").otherwise("turned"),
        unknown=unknown.fill_null(False),
        numeric=start.is_in(list(orders)),
        shape=pl.when(unknown)
        .then("shape")
        .when(month_first)
        .then(pl.col("shape").str.replace(r"^\?(.)\?", "%m$1%d"))
        .otherwise(pl.col("shape").str.replace(r"^\?(.)\?", "%d$1%m")),
    )
    unsure = (pl.col("numeric") & (pl.col("plain") != pl.col("turned"))).fill_null(False)
    value = pl.when(unsure & pl.col("unknown")).then(None).otherwise(pl.coalesce("usual", "other"))
    cells = cells.with_columns(value=value, unsure=unsure & (pl.col("unknown") | form.doubtful))
    return cells.select("text", "value", "shape", status=_status(form))


def _status(form: DateForm) -> pl.Expr:
    """How a cell stands to the form of its column."""
    return (
        pl.when(pl.col("shape").is_null())
        .then(pl.lit("unreadable"))
        .when("unsure")
        .then(pl.lit("ambiguous"))
        .when(pl.col("value").is_null())
        .then(pl.lit("impossible"))
        .when(pl.col("usual").is_null() & ~pl.col("unknown"))
        .then(pl.lit("swapped"))
        .when(pl.col("shape") == (form.formats[0] if form.formats else ""))
        .then(pl.lit("main"))
        .otherwise(pl.lit("format"))
    )
