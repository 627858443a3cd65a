"""What is odd about the cells of a column, as frames."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from components.records.reasons import Policy, Reason

Policies = Mapping[Reason, Policy]

ODD_SCHEMA = {
    "row": pl.UInt32(),
    "reason": pl.Utf8(),
    "before": pl.Utf8(),
    "after": pl.Utf8(),
    "detail": pl.Utf8(),
}


@dataclass(frozen=True)
class ReadColumn:
    """One column, read; all series have the length of what was given.

    Attributes:
        values: Of the type of the column's kind; null where missing or unreadable.
        misfits: Boolean: what stands there cannot belong to this column: it was not readable, is
            an unknown category or no plausible value.
        odd: One row per odd cell: `row` (position), `reason`, `before`, `after` (null where it
            became missing), `detail`.
        spelled: Spellings of missing values to their counts; empty cells left out.
    """

    values: pl.Series
    misfits: pl.Series
    odd: pl.DataFrame
    spelled: dict[str, int]


def odd_cells(
    here: pl.Series | None,
    reason: Reason,
    before: pl.Series,
    after: pl.Series | None,
    detail: str | pl.Series,
) -> pl.DataFrame:
    """Rows of ODD_SCHEMA for the cells that are meant."""
    if here is None or not here.any():
        return nothing_odd()
    rows = rows_of(here)
    lost = pl.repeat(None, len(rows), dtype=pl.Utf8, eager=True)
    words = detail.gather(rows) if isinstance(detail, pl.Series) else detail
    return pl.DataFrame({"row": rows}).with_columns(
        reason=pl.lit(reason.value),
        before=before.gather(rows).cast(pl.Utf8),
        after=lost if after is None else written(after.gather(rows)),
        detail=words if isinstance(words, pl.Series) else pl.lit(words),
    )


def written(values: pl.Series) -> pl.Series:
    """Values as text: whole numbers without decimals, dates as ISO."""
    text = values.cast(pl.Utf8)
    return text.str.strip_suffix(".0") if values.dtype.is_float() else text


def rows_of(here: pl.Series) -> pl.Series:
    """Positions of the cells that are meant."""
    return here.arg_true().rename("row").cast(pl.UInt32)


def nothing_odd() -> pl.DataFrame:
    """A frame of ODD_SCHEMA without rows."""
    return pl.DataFrame(schema=ODD_SCHEMA)


def together(odd: list[pl.DataFrame]) -> pl.DataFrame:
    """Frames of ODD_SCHEMA as one."""
    parts = [frame for frame in odd if frame.height]
    return pl.concat(parts) if parts else nothing_odd()
