"""Statistics of the train split of a table: one pass per chunk for all columns, then added up."""

from collections.abc import Iterable
from functools import cached_property
from typing import Literal, Self

import numpy as np
import polars as pl
from pydantic import ConfigDict

from components.config import Config
from components.errors import DataError
from components.tables.fitting.arrays import FloatArray, Frame, IntegerArray
from components.tables.fitting.crosses import add_crosses, cross, record_folds, record_numbers
from components.tables.fitting.sketch import QuantileSketch

MAX_DISTINCT = 100_000
"""Most distinct values of a category column that are counted each."""

NumberOf = Literal["value", "signed_log", "days", "year"]
"""What is measured of a column: the value itself (booleans as 0 and 1), sign(x) log(1 + |x|),
days since 1970-01-01, or the year."""


class Measure(Config):
    """A number that is made from a column and measured."""

    column: str
    number: NumberOf = "value"

    def expression(self) -> pl.Expr:
        """The number as float64; null stays null."""
        column = pl.col(self.column)
        if self.number == "days":
            return column.cast(pl.Datetime("us")).cast(pl.Int64) / 86_400_000_000
        if self.number == "year":
            return column.dt.year().cast(pl.Float64)
        value = column.cast(pl.Float64)
        return value.sign() * value.abs().log1p() if self.number == "signed_log" else value


class StatisticsSpec(Config):
    """What is measured of each column."""

    measures: tuple[Measure, ...] = ()
    """Numbers whose count, mean, variance and extremes are wanted."""
    sketched: tuple[str, ...] = ()
    """Numeric columns whose quantiles are wanted."""
    counted: tuple[str, ...] = ()
    """Columns whose distinct values are counted."""
    watched: tuple[str, ...] = ()
    """Columns of which only the missing values are counted."""
    crossed: tuple[str, ...] = ()
    """Columns whose values are crossed with the target, for target encoding."""
    target: str | None = None
    """The target of `crossed`."""
    classes: bool = False
    """Whether the target names classes; else it is a number."""
    num_folds: int = 5
    """Folds of the train split, by record id, for cross-fitted target encoding."""
    sampled: tuple[str, ...] = ()
    """Numeric columns of which whole rows are kept, for imputation from other columns."""
    sample_rows: int = 2000
    """Rows kept: those with the smallest record ids (their last 15 digits), whatever the order."""

    @cached_property
    def places(self) -> dict[Measure, int]:
        """Where each measure stands among `measures`."""
        return {measure: at for at, measure in enumerate(self.measures)}

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that are read, each once, in order of first use."""
        target = () if self.target is None else (self.target,)
        measured = tuple(measure.column for measure in self.measures)
        counted = (*self.counted, *self.watched, *self.crossed)
        named = (*measured, *self.sketched, *counted, *target, *self.sampled)
        return tuple(dict.fromkeys(named))


class Moments(Config):
    """Count, mean, sum of squared deviations and extremes of C numbers; float64 arrays (C,)."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    count_C: IntegerArray
    mean_C: FloatArray
    m2_C: FloatArray
    minimum_C: FloatArray
    maximum_C: FloatArray

    def __add__(self, other: "Moments") -> "Moments":
        """Of both sets of rows; Chan, Golub and LeVeque 1979, which does not cancel."""
        count_C = self.count_C + other.count_C
        share_C = other.count_C / np.maximum(count_C, 1)
        delta_C = other.mean_C - self.mean_C
        # The extremes of no value are written as 0: they must not count.
        mine, others = self.count_C > 0, other.count_C > 0
        minimum_C = np.fmin(
            np.where(mine, self.minimum_C, np.nan), np.where(others, other.minimum_C, np.nan)
        )
        maximum_C = np.fmax(
            np.where(mine, self.maximum_C, np.nan), np.where(others, other.maximum_C, np.nan)
        )
        return Moments(
            count_C=count_C,
            mean_C=self.mean_C + delta_C * share_C,
            m2_C=self.m2_C + other.m2_C + delta_C**2 * self.count_C * share_C,
            minimum_C=np.nan_to_num(minimum_C),
            maximum_C=np.nan_to_num(maximum_C),
        )


class ValueCounts(Config):
    """How often each value of a column occurs: exact up to 100,000 distinct values.

    Beyond, the rarest are dropped (of equals the later in the alphabet) and `undercount` says by
    how much the count of any value, kept or dropped, may then be too low.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    counts: Frame
    """value (String), count (Int64); ascending by value."""
    undercount: int = 0

    @classmethod
    def of(cls, values: pl.Series) -> Self:
        """Count the values of a column; nulls are left out."""
        named = values.drop_nulls().cast(pl.String).alias("value")
        counts = named.value_counts(name="count").with_columns(pl.col("count").cast(pl.Int64))
        return cls._bounded(counts, 0)

    def __add__(self, other: "ValueCounts") -> "ValueCounts":
        """Counts over both sets of rows."""
        both = pl.concat([self.counts, other.counts]).group_by("value").agg(pl.col("count").sum())
        return ValueCounts._bounded(both, self.undercount + other.undercount)

    @classmethod
    def _bounded(cls, counts: pl.DataFrame, undercount: int) -> Self:
        if counts.height > MAX_DISTINCT:
            ranked = counts.sort(["count", "value"], descending=[True, False])
            undercount += int(ranked["count"][MAX_DISTINCT])
            counts = ranked.head(MAX_DISTINCT)
        return cls(counts=counts.sort("value"), undercount=undercount)


class TableStatistics(Config):
    """What one or many chunks of the train split say about their columns; chunks add up.

    Floating sums are reproducible when chunks are added in a fixed order; everything else does
    not depend on the order at all.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    spec: StatisticsSpec
    num_rows: int
    nulls: dict[str, int]
    """Missing values per column."""
    moments: Moments
    """One entry per `spec.measures`."""
    sketches: dict[str, QuantileSketch]
    counts: dict[str, ValueCounts]
    crosses: dict[str, Frame]
    """Per crossed column, by value (null: missing values), fold and class (null where the target
    is a number): count, and mean and sum of squared deviations of the target."""
    sample: Frame
    """order (Int64) and the sampled columns (Float64) of the rows kept, by order."""

    @classmethod
    def of(
        cls, frame: pl.DataFrame, spec: StatisticsSpec, *, record_ids: pl.Series | None = None
    ) -> Self:
        """Measure one chunk of cleaned, typed rows of the train split.

        Args:
            frame: The chunk; of several hundred thousand rows for speed, of any size for memory.
            spec: What to measure, as from `fit_plan`.
            record_ids: 32 hex digits per row; only `crossed` and `sampled` need them.

        Raises:
            DataError: A column is missing, or holds NaN or infinity.
        """
        lost = [name for name in spec.columns if name not in frame.columns]
        if lost:
            raise DataError(
                f"no column {lost[0]!r} to fit on; there are {', '.join(frame.columns)}"
            )
        # One block per column, whatever the frame was put together from: the same sums.
        frame = frame.select(spec.columns).rechunk()
        return cls(
            spec=spec,
            num_rows=frame.height,
            nulls={name: frame[name].null_count() for name in spec.columns},
            moments=_moments(frame, spec.measures),
            sketches={name: _sketch(frame[name]) for name in spec.sketched},
            counts={name: ValueCounts.of(frame[name]) for name in spec.counted},
            crosses={name: _cross(frame, name, spec, record_ids) for name in spec.crossed},
            sample=_sample(frame, spec, record_ids),
        )

    def __add__(self, other: "TableStatistics") -> "TableStatistics":
        """Of both sets of rows.

        Raises:
            DataError: They were measured for different plans.
        """
        if self.spec != other.spec:
            raise DataError(
                "statistics of two different plans cannot be added; fit all chunks anew"
            )
        return TableStatistics(
            spec=self.spec,
            num_rows=self.num_rows + other.num_rows,
            nulls={name: self.nulls[name] + other.nulls[name] for name in self.nulls},
            moments=self.moments + other.moments,
            sketches={name: self.sketches[name] + other.sketches[name] for name in self.sketches},
            counts={name: self.counts[name] + other.counts[name] for name in self.counts},
            crosses={
                name: add_crosses(self.crosses[name], other.crosses[name]) for name in self.crosses
            },
            sample=_smallest(pl.concat([self.sample, other.sample]), self.spec.sample_rows),
        )

    @classmethod
    def sum(cls, parts: Iterable["TableStatistics"]) -> "TableStatistics":
        """Add up the chunks' statistics in the order given, one at a time.

        Raises:
            DataError: There is none.
        """
        total: TableStatistics | None = None
        for part in parts:
            total = part if total is None else total + part
        if total is None:
            raise DataError("no rows to fit on: the train split has 0 records; add data")
        return total

    def measured(self, measure: Measure) -> tuple[int, float, float, float, float]:
        """Count, mean, standard deviation (ddof 0), minimum and maximum of a number."""
        at, moments = self.spec.places[measure], self.moments
        count = int(moments.count_C[at])
        if count == 0:
            return 0, 0.0, 0.0, 0.0, 0.0
        # A variance within rounding of zero is that of a constant (scikit-learn's rule).
        variance = float(moments.m2_C[at]) / count
        mean = float(moments.mean_C[at])
        noise = count * np.finfo(np.float64).eps * variance
        noise += (count * mean * np.finfo(np.float64).eps) ** 2
        std = 0.0 if variance <= noise else float(np.sqrt(variance))
        return count, mean, std, float(moments.minimum_C[at]), float(moments.maximum_C[at])


def _moments(frame: pl.DataFrame, measures: tuple[Measure, ...]) -> Moments:
    named = [measure.expression().alias(str(at)) for at, measure in enumerate(measures)]
    numbers = frame.select(named)
    rows = [
        numbers.select(part).to_numpy().ravel() if measures else np.empty(0)
        for part in (
            pl.all().count(),
            pl.all().mean().fill_null(0.0),
            (pl.all().var(ddof=0) * pl.all().count()).fill_null(0.0),
            pl.all().min().fill_null(0.0),
            pl.all().max().fill_null(0.0),
        )
    ]
    for at, measure in enumerate(measures):
        if rows[0][at] and not np.isfinite([row[at] for row in rows]).all():
            raise DataError(
                f"column {measure.column!r} holds NaN, infinity, or a number too large to be "
                "squared; missing values are null, and cleaning sets non-finite ones aside"
            )
    count_C, mean_C, m2_C, minimum_C, maximum_C = rows
    return Moments(
        count_C=count_C.astype(np.int64),
        mean_C=mean_C,
        m2_C=m2_C,
        minimum_C=minimum_C,
        maximum_C=maximum_C,
    )


def _sketch(values: pl.Series) -> QuantileSketch:
    return QuantileSketch.of(values.drop_nulls().cast(pl.Float64).to_numpy())


def _ids(record_ids: pl.Series | None) -> pl.Series:
    if record_ids is None:
        raise DataError("target encoding and sampled imputation need the record ids of the rows")
    return record_ids


def _cross(
    frame: pl.DataFrame, name: str, spec: StatisticsSpec, record_ids: pl.Series | None
) -> pl.DataFrame:
    folds = record_folds(_ids(record_ids), spec.num_folds)
    return cross(frame[name], frame[str(spec.target)], folds, classes=spec.classes)


def _sample(
    frame: pl.DataFrame, spec: StatisticsSpec, record_ids: pl.Series | None
) -> pl.DataFrame:
    if not spec.sampled:
        return pl.DataFrame(schema={"order": pl.Int64})
    order = record_numbers(_ids(record_ids), 17).alias("order")
    rows = frame.select(order, *(pl.col(name).cast(pl.Float64) for name in spec.sampled))
    return _smallest(rows, spec.sample_rows)


def _smallest(rows: pl.DataFrame, num_rows: int) -> pl.DataFrame:
    # The values break a tie between records of one content, so that order never matters.
    return rows.sort(rows.columns).head(num_rows)
