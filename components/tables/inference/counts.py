"""How often each value of a column occurs, in bounded space, as counts that add up."""

from collections.abc import Mapping

import polars as pl
from pydantic import Field

from components.config import Config

MAX_DISTINCT = 4_000
"""Distinct values of a column that are counted one by one. Beyond, those with the smallest hashes
are: a fair sample of the distinct values, each with its exact count, that adds up like all else
(the k minimum values of Bar-Yossef et al. 2002)."""
MAX_NAMES = 100
"""Most names in a table of counts by trait."""

_HASHES = 2**64

Counts = dict[str, int]


class ValueCounts(Config):
    """How often each value occurs, or a fair sample of the distinct values where they are many."""

    counts: Counts = Field(default_factory=dict)
    """Value as text -> exact count."""
    bound: int = _HASHES
    """Only values whose hash is below are counted; 2^64 where all are."""
    whole: bool = False
    """Whether the values are stored as whole numbers, and hashed as such."""

    def __add__(self, other: "ValueCounts") -> "ValueCounts":
        """Both counts together."""
        counts = pl.DataFrame(
            {
                "text": [*self.counts, *other.counts],
                "count": [*self.counts.values(), *other.counts.values()],
            },
            schema={"text": pl.Utf8, "count": pl.Int64},
        )
        summed = counts.group_by("text").agg(pl.col("count").sum())
        whole = all(part.whole for part in (self, other) if part.counts) and (
            self.whole or other.whole
        )
        return bounded(summed, min(self.bound, other.bound), whole=whole)

    @property
    def complete(self) -> bool:
        """Whether every value is counted."""
        return self.bound == _HASHES

    @property
    def num_distinct(self) -> float:
        """Number of distinct values; an estimate (2 % off) where not all are counted."""
        return len(self.counts) * (_HASHES / self.bound)

    @property
    def share_distinct(self) -> float:
        """Distinct values per value: 1.0 where none repeats."""
        return len(self.counts) / max(1, sum(self.counts.values()))


def count_stored(cells: pl.Series, num_sampled: int = 32_768) -> ValueCounts:
    """Count whole numbers or booleans; where many differ, only those of small hashes are counted.

    Args:
        cells: Integers or booleans without null.
        num_sampled: Rows that are looked at to see whether many differ.
    """
    whole = cells.dtype.is_integer()
    cells = cells.alias("value")
    sample = cells.gather_every(max(1, cells.len() // num_sampled)).n_unique()
    bound = _HASHES
    if whole and sample > MAX_DISTINCT:
        # At least four times as many as are kept, so that there surely are enough.
        bound = min(_HASHES, int(_HASHES * (4 * MAX_DISTINCT / sample)))
    # What does not fit is too large for a key or a category.
    cells = cells.cast(pl.Int64, strict=False).drop_nulls() if whole else cells
    if bound < _HASHES:
        cells = cells.filter(cells.hash(0) < pl.Series([bound], dtype=pl.UInt64))
    counted = cells.value_counts(name="count")
    texts = counted.select(text=pl.col("value").cast(pl.Utf8), count=pl.col("count").cast(pl.Int64))
    return bounded(texts, bound, whole=whole)


def bounded(counts: pl.DataFrame, bound: int = _HASHES, *, whole: bool = False) -> ValueCounts:
    """The values with the smallest hashes, at most `MAX_DISTINCT`.

    Args:
        counts: `text`, distinct, and `count`, int64.
        bound: Hashes from here on are left out.
        whole: Whether the texts are whole numbers that are hashed as such.
    """
    if bound == _HASHES and counts.height <= MAX_DISTINCT:
        return ValueCounts(counts=dict(counts.sort("text").rows()), whole=whole)
    text = pl.col("text")
    hashed = counts.with_columns(hash=(text.cast(pl.Int64) if whole else text).hash(0))
    if bound < _HASHES:
        hashed = hashed.filter(pl.col("hash") < pl.lit(bound, pl.UInt64))
    if hashed.height > MAX_DISTINCT:
        hashed = hashed.bottom_k(MAX_DISTINCT + 1, by="hash").sort("hash")
        bound = int(hashed["hash"][-1])
        hashed = hashed.head(MAX_DISTINCT)
    kept = hashed.select("text", "count").sort("text")
    return ValueCounts(counts=dict(kept.rows()), bound=bound, whole=whole)


def added(first: Mapping[str, int], second: Mapping[str, int]) -> Counts:
    """Both counts together."""
    names = {*first, *second}
    return most_frequent({name: first.get(name, 0) + second.get(name, 0) for name in names})


def most_frequent(counts: Mapping[str, int]) -> Counts:
    """At most 100 counts, in the order of their names."""
    kept = sorted(counts, key=lambda name: (-counts[name], name))[:MAX_NAMES]
    return {name: counts[name] for name in sorted(kept)}
