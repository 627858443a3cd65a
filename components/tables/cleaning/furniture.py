"""Rows of a table that are no data: blank ones, the header again, sums and averages."""

from collections.abc import Sequence

import polars as pl

from components.records.reasons import Reason
from components.tables.schema import RAW_RECORD, ColumnSchema

_WORD = (
    r"(?:(?:grand|sub|overall|running|column|year|month)[\s_-]*)?"
    r"(?:totals?|sums?|average|avg|mean|summe|gesamt|gesamtsumme|insgesamt|zwischensumme|endsumme"
    r"|durchschnitt|mittelwert|somme|moyenne|promedio|totaal|итого|всего|合計|总计)"
)
_LABEL = (
    rf"(?i)^\W*{_WORD}"
    r"(?:\s+of\s+(?:above|all)|\s+general|\s+général)?\s*[:=]?\s*(?:\(?\d{4}\)?)?\W*$"
)
_LIKELY = rf"(?i)^\W*{_WORD}(?:\W.{{0,30}})?$|^.{{1,30}}\W{_WORD}\W*$"
"""A label that may say of what: `Subtotal 3`, `Total for March`, `Germany Total`."""
_DESCRIBING = ("text", "category", "identifier", "date", "datetime", "boolean")

SET_ASIDE_SCHEMA = {RAW_RECORD: pl.Int64(), "reason": pl.Utf8(), "detail": pl.Utf8()}
"""Rows to set aside: record, reason, detail."""


def furniture(rows: pl.DataFrame, columns: Sequence[ColumnSchema]) -> pl.DataFrame:
    """Find the rows that are no data.

    Blank: every cell is. Header: at least 80 % of the cells (and two, where there are two) are
    their column's name. Summary: one cell says total, sum, average or the like, and the row has
    nothing else that describes it (texts, names and dates are empty); in a table with one such
    column a number must be implausible besides, or the label stand where numbers or dates belong.
    Where the label says of what, as `Subtotal 3`, half of the cells have to be empty, too.
    A category called Total in a row that is otherwise filled is data.

    Args:
        rows: RAW_RECORD and the columns as texts.
        columns: What the columns hold.

    Returns:
        Rows of SET_ASIDE_SCHEMA.
    """
    found = [
        _told(rows.filter(_blank(rows, columns)), Reason.BLANK_ROW, "no cell holds a value"),
        _told(_headers(rows, columns), Reason.REPEATED_HEADER, "the header again"),
        _told(_summaries(rows, columns), Reason.SUMMARY_ROW, "sums up other rows"),
    ]
    return pl.concat(found).unique(RAW_RECORD, keep="first", maintain_order=True)


def plain_furniture(rows: pl.DataFrame, names: Sequence[str]) -> pl.Series:
    """Rows that are the header again, or a sum beside mostly empty cells, by their texts alone.

    For what is learned before anything is known of the columns.
    """
    num_empty = pl.sum_horizontal([pl.col(name).fill_null("") == "" for name in names])
    places = rows.select((num_empty * 2 >= len(names)).alias("mostly")).to_series().arg_true()
    cells = [pl.col(name).fill_null("").str.strip_chars() for name in names]
    labelled = rows[places].select(pl.any_horizontal(cell.str.contains(_LABEL) for cell in cells))
    return _repeats_header(rows, names).scatter(places.filter(labelled.to_series()), True)


def _repeats_header(rows: pl.DataFrame, names: Sequence[str]) -> pl.Series:
    same = [
        pl.col(name).fill_null("").str.strip_chars().str.to_lowercase() == name.strip().lower()
        for name in names
    ]
    places = rows.select(pl.any_horizontal(same[:2])).to_series().arg_true()
    least = max(0.8 * len(names), min(2, len(names)))
    again = rows[places].select(pl.sum_horizontal(same) >= least).to_series()
    return pl.repeat(False, rows.height, eager=True).scatter(places.filter(again), True)


def _told(rows: pl.DataFrame, reason: Reason, detail: str) -> pl.DataFrame:
    return rows.select(
        pl.col(RAW_RECORD).cast(pl.Int64), reason=pl.lit(reason.value), detail=pl.lit(detail)
    )


def _text(column: ColumnSchema) -> pl.Expr:
    return pl.col(column.name).fill_null("").str.strip_chars()


def _is_empty(column: ColumnSchema) -> pl.Expr:
    return _text(column) == ""


def _blank(rows: pl.DataFrame, columns: Sequence[ColumnSchema]) -> pl.Series:
    """One column after the other: most rows are out at the first."""
    blank = rows.select(_is_empty(columns[0])).to_series()
    if not blank.any():
        return blank
    places = blank.arg_true()
    rest = rows[places].select(pl.all_horizontal(map(_is_empty, columns))).to_series()
    return pl.repeat(False, rows.height, eager=True).scatter(places.filter(rest), True)


def _headers(rows: pl.DataFrame, columns: Sequence[ColumnSchema]) -> pl.DataFrame:
    return rows.filter(_repeats_header(rows, [column.name for column in columns]))


def _summaries(rows: pl.DataFrame, columns: Sequence[ColumnSchema]) -> pl.DataFrame:
    likely = rows.filter(pl.any_horizontal(_text(c).str.contains(_LIKELY) for c in columns))
    if likely.is_empty():
        return likely
    is_labelled = pl.any_horizontal(_text(c).str.contains(_LABEL) for c in columns)
    describing = [column for column in columns if column.kind in _DESCRIBING]
    numbers = [column for column in columns if column.kind in ("integer", "number")]
    num_described = pl.sum_horizontal(
        [~_is_empty(column) & ~_text(column).str.contains(_LABEL) for column in describing]
        or [pl.lit(0)]
    )
    num_empty = pl.sum_horizontal([_is_empty(column) for column in columns])
    out_of_place = pl.any_horizontal(
        [
            _text(column).str.contains(_LABEL)
            for column in columns
            if column.kind not in ("category", "text")
        ]
        or [pl.lit(False)]
    )
    implausible = pl.any_horizontal([_implausible(column) for column in numbers] or [pl.lit(False)])
    bare = (num_described == 0) & ((num_empty > 0) | out_of_place | implausible)
    if len(describing) == 1 and not numbers:
        bare = pl.lit(False)
    mostly_empty = num_empty * 2 >= len(columns)
    num_others = pl.sum_horizontal(
        [~_is_empty(column) & ~_text(column).str.contains(_LIKELY) for column in describing]
        or [pl.lit(0)]
    )
    num_sums = pl.sum_horizontal([~_is_empty(column) for column in numbers] or [pl.lit(0)])
    of_something = mostly_empty & (num_others == 0) & (num_sums > 0) & pl.lit(len(describing) > 1)
    return likely.filter(
        (is_labelled & (bare | (mostly_empty & (num_described <= 1)))) | of_something
    )


def _implausible(column: ColumnSchema) -> pl.Expr:
    value = _text(column).str.replace_all(r"[^\d.\-]", "").cast(pl.Float64, strict=False)
    low = -float("inf") if column.minimum is None else column.minimum
    high = float("inf") if column.maximum is None else column.maximum
    return ~value.is_between(low, high).fill_null(True)
