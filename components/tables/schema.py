"""The schema of a table: what each column holds and how it is written, learned or pinned."""

from typing import Literal, Self

from pydantic import Field, model_validator

from components.config import Config

ColumnKind = Literal[
    "integer", "number", "boolean", "date", "datetime", "category", "text", "identifier"
]
"""`identifier`: names a record or thing (unique, or nearly): kept as text, never a feature.
`text`: free text. `category`: one of a limited set of names."""

RAW_RECORD = "__record"
"""Raw and cleaned frames: record number, int64, from 1."""
RAW_LINE = "__line"
"""Raw frames: line of the file on which the record starts, int64, from 1; null for Parquet."""
RAW_EXTRA = "__extra"
"""Raw frames: list of the fields beyond the header's, as text; null where there are none."""
RAW_FIELDS = "__fields"
"""Raw frames: number of fields that the record had, int32; null for Parquet."""


_OWN = ("record_id", "origin")


def prepared_name(name: str) -> str:
    """What a column is called once prepared: shards have `record_id` and `origin` of their own.

    A column that is called so, with or without underscores after it, gets one more.
    """
    return f"{name}_" if name.rstrip("_") in _OWN else name


def source_name(name: str) -> str:
    """What a prepared column was called in the source; undoes `prepared_name`."""
    return name[:-1] if name.rstrip("_") in _OWN else name


class NumberForm(Config):
    """How the numbers of a column are written, for the most part."""

    decimal: Literal[".", ","] = "."
    """What stands before the fraction."""
    thousands: Literal["", ",", ".", " ", "'"] = ""
    """What stands between groups of three digits."""
    unit: str = ""
    """What stands before or after every number, as in `$` or `kg`; dropped."""
    percent: bool = False
    """Whether values carry a % sign; the number is kept as it is written (12 % is 12)."""
    fraction: bool = False
    """Whether the bare numbers are shares of 1, so that the few written `12 %` are 0.12."""
    whole: bool = False
    """Whether the numbers have no decimals: `1.234` is then 1234."""
    manners: tuple[str, ...] = ()
    """Unusual ways of writing that are usual here (`unit`, `parentheses`, ...; see numbers.py)."""


class DateForm(Config):
    """How the dates of a column are written."""

    formats: tuple[str, ...] = ()
    """strptime formats that occur, most frequent first."""
    day_first: bool | None = None
    """Order of day and month where both could be; None where nothing tells."""
    doubtful: bool = False
    """Whether the order is uncertain (few or contradicting values tell it): dates that could be
    either way are then reported as ambiguous_date."""


class ColumnSchema(Config):
    """One column: what it holds, how it is written, what its values may be."""

    name: str
    kind: ColumnKind
    nullable: bool = True
    missing: tuple[str, ...] = ()
    """Spellings of a missing value found beside the usual ones, as written."""
    not_missing: tuple[str, ...] = ()
    """Usual spellings of a missing value that are a name in this column, as NA for Namibia."""
    booleans: tuple[str, ...] = ()
    """How true and false are written for the most part, as ("yes", "no"); only for `boolean`."""
    sentinels: tuple[float, ...] = ()
    """Numbers that stand for a missing value, as -999."""
    number: NumberForm = NumberForm()
    date: DateForm = DateForm()
    mapping: dict[str, str] = Field(default_factory=dict)
    """Category spelling as written -> the one kept; edit it and give it back in data.columns."""
    categories: tuple[str, ...] = ()
    """Categories after the mapping, sorted; only for `category`."""
    unique: bool = False
    """No two records share a value."""
    minimum: float | None = None
    """Smallest plausible value, from the quantiles (of dates in days since 1970-01-01); None where
    there is no bound."""
    maximum: float | None = None
    """Largest plausible value."""
    evidence: dict[str, float | str] = Field(default_factory=dict)
    """Counts that led to this, as {"values": 990, "numbers": 981}."""


class TableSchema(Config):
    """What a table is."""

    columns: tuple[ColumnSchema, ...]
    key: tuple[str, ...] = ()
    """Columns that together name a record; empty where rows have no key."""

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Self:
        names = [column.name for column in self.columns]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two columns are called {twice[0]!r}; a schema names each once")
        lost = [name for name in self.key if name not in names]
        if lost:
            raise ValueError(f"the key {lost[0]!r} is no column; columns are {', '.join(names)}")
        return self

    def column(self, name: str) -> ColumnSchema:
        """The column of that name."""
        return next(column for column in self.columns if column.name == name)
