"""Fitted state of the columns and the target of a table, and what each makes of its values."""

from typing import Annotated, Literal

import numpy as np
import polars as pl
from pydantic import Field

from components.config import Config
from components.tables.fitting.arrays import Float64s, Int64s
from components.tables.fitting.encoders import (
    DateParts,
    Embedding,
    Frequency,
    Hashed,
    OneHot,
    Ordinal,
)
from components.tables.fitting.scalers import Affine, Scaler
from components.tables.fitting.target_means import TargetMeans
from components.tables.schema import ColumnKind

_Finite = Annotated[float, Field(allow_inf_nan=False)]


class NumberColumn(Config):
    """A number or boolean: filled where missing, then scaled."""

    kind: Literal["number"] = "number"
    name: str
    holds: ColumnKind
    scaler: Scaler
    fill: _Finite | None
    """In the place of a missing value; None: a missing value is an error."""
    joint: Literal["knn", "model"] | None = None
    """The imputer over several columns that fills it in place of `fill`."""
    carried: bool = False
    """Whether NAME__carried comes before all that in the rows that have it: the last known value
    of the same key."""
    indicator: bool
    """Whether NAME:missing follows, 1 where the value was missing."""

    def feature_names(self) -> tuple[str, ...]:
        """Names of its features, without the indicator."""
        return (self.name,)


class EncodedColumn(Config):
    """A category or date: given to its encoder, which has a rule for null."""

    kind: Literal["encoded"] = "encoded"
    name: str
    holds: ColumnKind
    encoder: Annotated[
        OneHot | Ordinal | Hashed | Frequency | TargetMeans | Embedding | DateParts,
        Field(discriminator="kind"),
    ]
    fill: str | None = None
    """In the place of a missing value; None: by the encoder's rule."""
    carried: bool = False
    """Whether NAME__carried comes before all that in the rows that have it: the last known value
    of the same key."""
    indicator: bool
    """Whether NAME:missing follows, 1 where the value was missing."""

    def feature_names(self) -> tuple[str, ...]:
        """Names of its features, without the indicator; an embedding has none."""
        if isinstance(self.encoder, Embedding):
            return ()
        return self.encoder.feature_names(self.name)


class ClassTarget(Config):
    """A target that names classes."""

    kind: Literal["classes"] = "classes"
    name: str
    classes: tuple[str, ...]
    """In alphabetical order; the label is the place."""


class NumberTarget(Config):
    """A target that is a number, as z-score of the train split."""

    kind: Literal["number"] = "number"
    name: str
    scaler: Affine


TableColumn = NumberColumn | EncodedColumn
TableTarget = ClassTarget | NumberTarget


def column_features(column: TableColumn) -> tuple[str, ...]:
    """Names of a column's features, the indicator included."""
    indicator = (f"{column.name}:missing",) if column.indicator else ()
    return (*column.feature_names(), *indicator)


def wanted_type(column: TableColumn) -> str:
    """What the values must be: a number, a date or a category (which anything can be)."""
    if isinstance(column, NumberColumn):
        return "a number"
    return "a date" if isinstance(column.encoder, DateParts) else "a category"


def as_numbers(values: pl.Series) -> Float64s:
    """Values as float64, NaN for null."""
    numbers = values.cast(pl.Float64)
    return (numbers.fill_null(np.nan) if numbers.null_count() else numbers).to_numpy()


def filled(column: EncodedColumn, values: pl.Series) -> pl.Series:
    """Values with nulls filled, where the column has a value for that."""
    return values if column.fill is None else values.cast(pl.String).fill_null(column.fill)


def scaled_numbers(column: NumberColumn, values: pl.Series, joint: dict[str, Float64s]) -> Float64s:
    """Feature (B, 1) of a number: filled, by an imputer of `joint` or a constant, and scaled."""
    numbers = as_numbers(values)
    if values.null_count() and column.fill is not None:
        fill = joint[f"{column.joint}/{column.name}"] if column.joint else column.fill
        numbers = np.where(values.is_null().to_numpy(), fill, numbers)
    return column.scaler.forward(numbers)[:, None]


def decode_column(column: TableColumn, block: Float64s, codes: Int64s) -> pl.Series | None:
    """Original values from the features (B, F) and codes (B, 1); None without an inverse."""
    if isinstance(column, NumberColumn):
        numbers = pl.Series(column.scaler.inverse(block[:, 0]))
        if column.holds == "boolean":
            return numbers >= 0.5
        return numbers.round().cast(pl.Int64) if column.holds == "integer" else numbers
    if isinstance(column.encoder, Embedding):
        return column.encoder.decode(codes[:, 0])
    if isinstance(column.encoder, OneHot | Ordinal | DateParts):
        return column.encoder.decode(block)
    return None
