"""Encoders of categories, booleans and dates: fitted state as data, pure functions over columns."""

import hashlib
import math
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from components.config import Config
from components.tables.fitting.arrays import Float64s, Int64s
from components.tables.fitting.scalers import Affine

DatePart = Literal["elapsed", "year", "month", "weekday", "day_of_year", "hour"]
"""`elapsed`: days since 1970-01-01, scaled; `year`: scaled; the others as sine and cosine."""

_Finite = Annotated[float, Field(allow_inf_nan=False)]
_FREQUENT = "infrequent"


def category_codes(values: pl.Series, categories: tuple[str, ...]) -> Int64s:
    """Index of each value among the categories, int64; -1 for all else, and for null."""
    index = pl.int_range(len(categories), eager=True)
    known = pl.Series(categories, dtype=pl.String)
    codes = values.cast(pl.String).replace_strict(known, index, default=-1, return_dtype=pl.Int64)
    return codes.fill_null(-1).to_numpy()


class OneHot(Config):
    """One column per category. A null is all zeros.

    An unseen value is all zeros too, or 1 in the last column where rare values share that one.
    """

    kind: Literal["one_hot"] = "one_hot"
    categories: tuple[str, ...]
    infrequent: bool = False
    """Whether a last column stands for the values below the minimum frequency."""

    def feature_names(self, name: str) -> tuple[str, ...]:
        """NAME=CATEGORY for each category."""
        rare = (f"{name}={_FREQUENT}",) if self.infrequent else ()
        return (*(f"{name}={category}" for category in self.categories), *rare)

    def encode(self, values: pl.Series) -> Float64s:
        """Features (B, F)."""
        codes = category_codes(values, self.categories)
        if self.infrequent:
            rare = (codes < 0) & values.is_not_null().to_numpy()
            codes = np.where(rare, len(self.categories), codes)
        features = np.zeros((len(codes), len(self.feature_names(""))))
        rows = np.flatnonzero(codes >= 0)
        features[rows, codes[rows]] = 1.0
        return features

    def decode(self, features_BF: Float64s) -> pl.Series:
        """Category with the largest feature; null where none is above 0, or for rare ones."""
        codes = features_BF.argmax(1)
        known = (features_BF.max(1) > 0) & (codes < len(self.categories))
        return _named(self.categories, np.where(known, codes, -1))


class Ordinal(Config):
    """The category's place in the order, from 0; -1 for unseen values and null."""

    kind: Literal["ordinal"] = "ordinal"
    categories: tuple[str, ...]

    def feature_names(self, name: str) -> tuple[str, ...]:
        """The column's own name."""
        return (name,)

    def encode(self, values: pl.Series) -> Float64s:
        """Features (B, 1)."""
        return category_codes(values, self.categories)[:, None].astype(np.float64)

    def decode(self, features_BF: Float64s) -> pl.Series:
        """Category of the nearest place; null below 0."""
        codes = np.rint(features_BF[:, 0]).astype(np.int64)
        return _named(self.categories, np.where(codes < len(self.categories), codes, -1))


class Hashed(Config):
    """+1 or -1 in one of a fixed number of columns, by BLAKE2b of the value; null is all zeros.

    Needs no vocabulary, so that an unseen value is treated as any other (Weinberger et al. 2009).
    """

    kind: Literal["hashing"] = "hashing"
    num_buckets: int = Field(ge=2)

    def feature_names(self, name: str) -> tuple[str, ...]:
        """NAME#BUCKET for each bucket."""
        return tuple(f"{name}#{bucket}" for bucket in range(self.num_buckets))

    def encode(self, values: pl.Series) -> Float64s:
        """Features (B, F)."""
        texts = values.cast(pl.String)
        distinct = texts.drop_nulls().unique()
        places = pl.Series([stable_hash(text) for text in distinct], dtype=pl.UInt64)
        hashes = texts.replace_strict(distinct, places, default=0, return_dtype=pl.UInt64)
        rows = np.flatnonzero(texts.is_not_null().to_numpy())
        found = hashes.fill_null(0).to_numpy()[rows]
        features = np.zeros((len(texts), self.num_buckets))
        buckets = (found >> np.uint64(1)) % np.uint64(self.num_buckets)
        features[rows, buckets.astype(np.int64)] = np.where(found & np.uint64(1), 1.0, -1.0)
        return features


class Frequency(Config):
    """Share of the train split that has the value; 0 for unseen values and null."""

    kind: Literal["frequency"] = "frequency"
    categories: tuple[str, ...]
    shares: tuple[_Finite, ...]

    def feature_names(self, name: str) -> tuple[str, ...]:
        """NAME:share."""
        return (f"{name}:share",)

    def encode(self, values: pl.Series) -> Float64s:
        """Features (B, 1)."""
        table = np.array([*self.shares, 0.0])
        return table.take(category_codes(values, self.categories))[:, None]


class Embedding(Config):
    """A code per category for an embedding table: 0 for rare and unseen values and null."""

    kind: Literal["embedding"] = "embedding"
    categories: tuple[str, ...]
    """Code 1 and on."""

    @property
    def size(self) -> int:
        """Rows of the embedding table."""
        return len(self.categories) + 1

    def codes(self, values: pl.Series) -> Int64s:
        """Codes (B,), int64."""
        return category_codes(values, self.categories) + 1

    def decode(self, codes_B: Int64s) -> pl.Series:
        """Categories; null for code 0."""
        return _named(self.categories, codes_B - 1)


class DateParts(Config):
    """Parts of a date as numbers: months, weekdays, hours and days of the year on a circle.

    A null is 0 everywhere: the middle of each circle, and the mean of what is scaled.
    """

    kind: Literal["date"] = "date"
    parts: tuple[DatePart, ...]
    elapsed: Affine
    year: Affine

    def feature_names(self, name: str) -> tuple[str, ...]:
        """NAME:elapsed, NAME:month_sin, NAME:month_cos and so on."""
        return tuple(f"{name}:{feature}" for part in self.parts for feature in _part_names(part))

    def encode(self, values: pl.Series) -> Float64s:
        """Features (B, F) of a Date or Datetime column."""
        columns = [column for part in self.parts for column in self._numbers(values, part)]
        if not columns:
            return np.empty((len(values), 0))
        return np.nan_to_num(np.column_stack(columns), nan=0.0)

    def decode(self, features_BF: Float64s) -> pl.Series | None:
        """The date, by its elapsed days; None where there are none, or there are hours too."""
        if "elapsed" not in self.parts or "hour" in self.parts:
            return None
        at = self.feature_names("").index(":elapsed")
        days = np.rint(self.elapsed.inverse(features_BF[:, at]))
        return pl.Series(days.astype(np.int32)).cast(pl.Date)

    def _numbers(self, values: pl.Series, part: DatePart) -> list[npt.NDArray[np.float64]]:
        if part == "elapsed":
            days = values.cast(pl.Datetime("us")).cast(pl.Int64).cast(pl.Float64) / 86_400e6
            return [self.elapsed.forward(_numpy(days))]
        if part == "year":
            return [self.year.forward(_numpy(values.dt.year()))]
        turns = 2 * math.pi * _turns(values, part)
        return [np.sin(turns), np.cos(turns)]


def stable_hash(text: str) -> int:
    """64 bits of BLAKE2b: the same on every machine and version."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _part_names(part: DatePart) -> tuple[str, ...]:
    return (part,) if part in ("elapsed", "year") else (f"{part}_sin", f"{part}_cos")


def _turns(values: pl.Series, part: DatePart) -> Float64s:
    """Share of a whole circle, NaN for null."""
    if part == "month":
        return (_numpy(values.dt.month()) - 1) / 12
    if part == "weekday":
        return (_numpy(values.dt.weekday()) - 1) / 7
    if part == "day_of_year":
        return (_numpy(values.dt.ordinal_day()) - 1) / 365.25
    moments = values.cast(pl.Datetime("us")).cast(pl.Int64).cast(pl.Float64) / 86_400e6
    return _numpy(moments) % 1.0


def _numpy(values: pl.Series) -> Float64s:
    return values.cast(pl.Float64).fill_null(np.nan).to_numpy()


def _named(categories: tuple[str, ...], codes: Int64s) -> pl.Series:
    names = pl.Series([*categories, None], dtype=pl.String)
    return names.gather(np.where(codes < 0, len(categories), codes))
