"""What a table looks like: counts and sketches per column, taken chunk by chunk, that add up."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from components.config import Config
from components.errors import DataError
from components.tables.cleaning.furniture import plain_furniture
from components.tables.config import ColumnConfig
from components.tables.fitting.sketch import QuantileSketch
from components.tables.inference.counts import (
    Counts,
    ValueCounts,
    added,
    bounded,
    count_stored,
    most_frequent,
)
from components.tables.inference.written import (
    DateProfile,
    NumberProfile,
    in_days,
    weight,
    written_dates,
    written_numbers,
)
from components.tables.schema import RAW_EXTRA, RAW_FIELDS, RAW_LINE, RAW_RECORD
from components.tables.values.missing import COUNTED, could_be_missing
from components.tables.values.numerals import LARGEST_EXACT

Stored = Literal["text", "integer", "number", "boolean", "date", "datetime"]

MAX_LENGTH = 100
"""Characters up to which a text is counted as a value of its own."""
SAMPLED_ROWS = 32_768
"""Rows of a chunk behind the quantiles of a column that is stored as numbers."""


class ColumnProfile(Config):
    """One column of a chunk, of a file, or of all."""

    stored: Stored
    """How the column is stored; `text` in CSV and JSON Lines."""
    rows: int
    blanks: int
    """Cells that are null or blank."""
    spellings: Counts = Field(default_factory=dict)
    """Cells by known spelling of a missing value, as written but for blanks around it."""
    values: ValueCounts = ValueCounts()
    """All other values; numbers that are stored as such, too, but for fractions."""
    characters: int = 0
    """Sum of the lengths of those values."""
    longest: int = 0
    spaced: int = 0
    """Values of several words."""
    numbers: NumberProfile = NumberProfile()
    dates: DateProfile = DateProfile()

    @property
    def filled(self) -> int:
        """Cells that are neither blank nor spelled as a missing value."""
        return self.rows - self.blanks - sum(self.spellings.values())

    def __add__(self, other: "ColumnProfile") -> "ColumnProfile":
        """Both profiles together; stored differently, the column counts as text."""
        return ColumnProfile(
            stored=_common_storage(self.stored, other.stored),
            rows=self.rows + other.rows,
            blanks=self.blanks + other.blanks,
            spellings=added(self.spellings, other.spellings),
            values=self.values + other.values,
            characters=self.characters + other.characters,
            longest=max(self.longest, other.longest),
            spaced=self.spaced + other.spaced,
            numbers=self.numbers + other.numbers,
            dates=self.dates + other.dates,
        )


class TableProfile(Config):
    """What a table looks like; profiles of its chunks add up."""

    columns: dict[str, ColumnProfile] = Field(default_factory=dict)
    rows: int = 0

    def __add__(self, other: "TableProfile") -> "TableProfile":
        """Both profiles together; a column that one of them lacks is blank there."""
        names = list(dict.fromkeys([*self.columns, *other.columns]))
        return TableProfile(
            columns={name: self._padded(other, name) for name in names},
            rows=self.rows + other.rows,
        )

    def _padded(self, other: "TableProfile", name: str) -> ColumnProfile:
        here, there = self.columns.get(name), other.columns.get(name)
        if here is not None and there is not None:
            return here + there
        known, lacking = (here, other.rows) if there is None else (there, self.rows)
        assert known is not None
        return known + ColumnProfile(stored=known.stored, rows=lacking, blanks=lacking)


def profile_chunk(frame: pl.DataFrame, columns: Mapping[str, ColumnConfig]) -> TableProfile:
    """Profile some rows of a table.

    Text is profiled by its distinct values, so that parsing costs little where values repeat.
    Of columns that are stored as numbers every row is counted, but quantiles come from at most
    32,768 evenly spaced rows of the chunk. The header again, and what is plainly a sum of other
    rows, are left out.

    Args:
        frame: A raw frame: text, or columns as Parquet stores them.
        columns: What the recipe pins; columns pinned to a kind of text are not read as numbers.

    Raises:
        DataError: A column is stored as something else than text, numbers, booleans or dates.
    """
    raw = (RAW_RECORD, RAW_LINE, RAW_EXTRA, RAW_FIELDS)
    names = [name for name in frame.columns if name not in raw]
    if all(frame.schema[name] == pl.Utf8 for name in names):
        frame = frame.filter(~plain_furniture(frame, names))
    profiles = {
        name: _profile_column(frame[name], columns.get(name, ColumnConfig())) for name in names
    }
    return TableProfile(columns=profiles, rows=frame.height)


def _profile_column(cells: pl.Series, config: ColumnConfig) -> ColumnProfile:
    stored = storage_of(cells)
    if stored == "text":
        as_names = config.kind in ("category", "text", "identifier")
        return _profile_text(cells.cast(pl.Utf8), config, as_names)
    nulls = cells.null_count()
    if stored in ("integer", "number"):
        return _profile_numbers(cells, stored)
    values = count_stored(cells.drop_nulls()) if stored == "boolean" else ValueCounts()
    dates = DateProfile()
    if stored != "boolean":
        days = pl.DataFrame({"day": cells.drop_nulls()}).select(in_days(pl.col("day"))).to_series()
        dates = DateProfile(days=QuantileSketch.of(_sampled(days)))
    return ColumnProfile(stored=stored, rows=cells.len(), blanks=nulls, values=values, dates=dates)


def storage_of(cells: pl.Series) -> Stored:
    """What a column is stored as.

    Raises:
        DataError: As something that is no cell of a table.
    """
    kind = cells.dtype
    if kind in (pl.Utf8, pl.Categorical, pl.Enum, pl.Null):
        return "text"
    if kind.is_integer():
        return "integer"
    if kind.is_float() or kind.is_decimal():
        return "number"
    if kind == pl.Boolean:
        return "boolean"
    if kind == pl.Date:
        return "date"
    if kind == pl.Datetime:
        return "datetime"
    raise DataError(
        f"column {cells.name!r} is stored as {kind}; headrace reads text, numbers, booleans and "
        "dates. Write it as one of those, or leave the column out"
    )


def _profile_numbers(cells: pl.Series, stored: Stored) -> ColumnProfile:
    """A column that is stored as numbers."""
    filled = cells.drop_nulls()
    counts = {"readable": filled.len()}
    values = ValueCounts()
    if stored == "number":
        filled = filled.cast(pl.Float64)
        finite = filled.filter(filled.is_finite())
        counts |= {"infinite": int(filled.is_infinite().sum()), "fractional": 1}
        nan = int(filled.is_nan().sum())
        counts["readable"] = finite.len()
        filled = finite
    else:
        nan = 0
        counts["wide"] = int((filled.abs() >= LARGEST_EXACT).sum())
        values = count_stored(filled)
    numbers = NumberProfile(
        counts={trait: count for trait, count in counts.items() if count},
        sentinels=_sentinel_counts(filled),
        certain=QuantileSketch.of(_sampled(filled)),
    )
    return ColumnProfile(
        stored=stored,
        rows=cells.len(),
        blanks=cells.null_count() + nan,
        values=values,
        numbers=numbers,
    )


def _sampled(numbers: pl.Series) -> npt.NDArray[np.float64]:
    """Evenly spaced rows, and the smallest and largest of all."""
    if numbers.len() <= SAMPLED_ROWS:
        return numbers.cast(pl.Float64).to_numpy()
    step = -(-numbers.len() // SAMPLED_ROWS)
    sample = numbers.gather_every(step).cast(pl.Float64).to_numpy()
    ends = pl.Series([numbers.min(), numbers.max()], dtype=numbers.dtype).cast(pl.Float64)
    return np.concatenate([sample, ends.to_numpy()])


def _sentinel_counts(numbers: pl.Series) -> dict[float, int]:
    possible = [value for value in COUNTED if _within(value, numbers)]
    if not possible:
        return {}
    if numbers.dtype.is_integer():
        whole = [int(value) for value in possible if value.is_integer()]
        found = numbers.filter(numbers.is_in(whole))
    else:
        found = numbers.filter(numbers.is_in(possible))
    return {float(value): count for value, count in found.value_counts().sort(found.name).rows()}


def _within(value: float, numbers: pl.Series) -> bool:
    low, high = numbers.min(), numbers.max()
    return isinstance(low, int | float) and isinstance(high, int | float) and low <= value <= high


def _profile_text(cells: pl.Series, config: ColumnConfig, as_names: bool) -> ColumnProfile:
    """A column of text, by its distinct values."""
    table = cells.alias("text").drop_nulls().value_counts(name="count")
    table = table.with_columns(pl.col("count").cast(pl.Int64))
    declared = [spelling.strip().lower() for spelling in config.missing or ()]
    trimmed = pl.col("text").str.strip_chars()
    table = table.with_columns(
        blank=trimmed == "",
        spelled=could_be_missing(pl.col("text")) | trimmed.str.to_lowercase().is_in(declared),
    )
    blanks = cells.null_count() + int(table.filter("blank")["count"].sum())
    spelled = (
        table.filter(~pl.col("blank") & pl.col("spelled"))
        .group_by(trimmed)
        .agg(pl.col("count").sum())
    )
    filled = table.filter(~pl.col("spelled") & ~pl.col("blank")).select("text", "count")
    length, count = filled["text"].str.len_chars(), filled["count"]
    return ColumnProfile(
        stored="text",
        rows=cells.len(),
        blanks=blanks,
        spellings=most_frequent(dict(spelled.rows())),
        values=bounded(filled.filter(length <= MAX_LENGTH)),
        characters=int((length * count).sum()),
        longest=int(filled["text"].str.len_chars().sort()[-1]) if filled.height else 0,
        spaced=weight(filled, pl.col("text").str.strip_chars().str.contains(r"\s")),
        numbers=NumberProfile() if as_names else written_numbers(filled),
        dates=DateProfile() if as_names else written_dates(filled),
    )


def _common_storage(first: Stored, second: Stored) -> Stored:
    if first == second:
        return first
    return "number" if {first, second} == {"integer", "number"} else "text"
