"""How often an epoch has which record: by class, by source, by a column of weights; and how long
an epoch is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from components.config import Config
from components.errors import DataError, RecipeError
from components.records.weighted_order import Float64s, Visits

MAX_STRATA = 10_000


class SamplingConfig(Config):
    """Which records an epoch has, and how often. By default each of them once."""

    rows_per_epoch: int | None = Field(None, ge=1)
    """Records of an epoch. Default: as many as there are. An epoch goes on where the last one
    ended, so that a short one leaves nothing out but postpones it."""
    by: str = Field("label", min_length=1)
    """What `balance` and `shares` go by: `label`, `origin` (the folder or file at the top of the
    source that a record comes from), or a column of a table."""
    balance: bool = False
    """Whether each value of `by` has the same share of the records that are seen."""
    shares: dict[str, float] = Field(default_factory=dict)
    """Share of the records that are seen, by value of `by`, for all values; only their ratios
    count."""
    weight_column: str | None = None
    """Column of a table with a weight for each record: one of weight 2 is seen twice as often as
    one of weight 1."""

    @model_validator(mode="after")
    def _one_rule(self) -> "SamplingConfig":
        rules = {
            "balance": self.balance,
            "shares": bool(self.shares),
            "weight_column": self.weight_column is not None,
        }
        chosen = [name for name, is_chosen in rules.items() if is_chosen]
        if len(chosen) > 1:
            raise ValueError(f"{' and '.join(chosen)} are rules of their own; keep one of them")
        for value, share in self.shares.items():
            if not (share > 0.0 and np.isfinite(share)):
                raise ValueError(
                    f"shares.{value} = {share:g}: must be a number above 0; a record that must "
                    "never be seen is better left out of the source"
                )
        return self

    @property
    def is_weighted(self) -> bool:
        """Whether some records are seen more often than others."""
        return self.balance or bool(self.shares) or self.weight_column is not None

    def __str__(self) -> str:
        """In words; empty where an epoch has every record once."""
        words = []
        if self.rows_per_epoch is not None:
            words.append(f"{self.rows_per_epoch:,} records an epoch")
        if self.weight_column is not None:
            words.append(f"as often as {self.weight_column} says")
        if self.balance:
            words.append(f"as many of each {self.by}")
        if self.shares:
            total = sum(self.shares.values())
            named = (f"{share / total:.0%} {value}" for value, share in self.shares.items())
            words.append(f"{self.by} {', '.join(named)}")
        return "; ".join(words)


@dataclass(frozen=True)
class RecordWeights:
    """The weight of a record: how often a pass has it, expected. They add up to all records.

    Attributes:
        column: Of the shards, that decides it.
        by_value: Weight of the records with a value; empty where the column holds the weights.
        scale: The weight of a record of weight 1, where the column holds them.
        names: What the column's integers mean, where it holds classes.
        top_only: Whether only what stands at the top of a path counts.
    """

    column: str
    by_value: Mapping[str, float] = field(default_factory=dict)
    scale: float = 1.0
    names: tuple[str, ...] = ()
    top_only: bool = False

    def of(self, values: pa.ChunkedArray) -> Float64s:
        """The weight of each record, (n,), by its value of `column`."""
        if not self.by_value:
            weights: Float64s = values.cast(pa.float64()).to_numpy() * self.scale
            return weights
        codes, texts = strata(values, names=self.names, top_only=self.top_only)
        found: Float64s = np.array([self.by_value[text] for text in texts])[codes]
        return found


@dataclass(frozen=True)
class WeighedGroups:
    """The weights of a split, as far as the order of a pass needs them; told apart by `digest`.

    Attributes:
        weights: The weight of a record.
        visits: How a pass comes by records that it has more than once.
        masses: What the weights of each row group add up to, by visit, (count, G).
        digest: Of all of it.
    """

    weights: RecordWeights = field(compare=False)
    visits: Visits = field(compare=False)
    masses: Float64s = field(compare=False)
    digest: str

    @classmethod
    def of(cls, weights: RecordWeights, visits: Visits, masses: Float64s) -> "WeighedGroups":
        """With its digest."""
        told = f"{weights} {visits}".encode() + masses.tobytes()
        return cls(weights, visits, masses, sha256(told).hexdigest())


def strata(
    values: pa.ChunkedArray, *, names: tuple[str, ...], top_only: bool
) -> tuple[np.ndarray, list[str]]:
    """What `by` goes by: a number for each record, (n,), and the text of each number."""
    if top_only:
        values = pc.replace_substring_regex(values, r"(?s)[/#].*", "")
    coded = values.combine_chunks().dictionary_encode(null_encoding="encode")
    texts = [
        names[value] if names and value is not None else str(value)
        for value in coded.dictionary.to_pylist()
    ]
    return coded.indices.to_numpy(), texts


def stratum_weights(counts: Mapping[str, int], config: SamplingConfig) -> dict[str, float]:
    """Weight of a record by its value of `by`.

    Args:
        counts: Records of train by value.
        config: Says what share each value has.

    Raises:
        RecipeError: The shares name other values than there are.
        DataError: There are too many values for shares.
    """
    counts = {value: count for value, count in counts.items() if count}
    if len(counts) > MAX_STRATA:
        raise DataError(
            f"train.sampling.by = {config.by!r} has {len(counts):,} values, {MAX_STRATA:,} at most "
            "can have a share each; name a column of groups, or weigh records by weight_column"
        )
    shares = config.shares or dict.fromkeys(counts, 1.0)
    strangers, forgotten = shares.keys() - counts.keys(), counts.keys() - shares.keys()
    if strangers or forgotten:
        wrong = (
            f"{min(strangers)!r}, which no record of train has"
            if strangers
            else f"no share for {min(forgotten)!r} ({counts[min(forgotten)]:,} records)"
        )
        known = ", ".join(sorted(counts)[:10]) + (", ..." if len(counts) > 10 else "")
        raise RecipeError(
            f"train.sampling.shares has {wrong}; the values of {config.by} are {known}: give each "
            "of them a share"
        )
    one = sum(counts.values()) / sum(shares.values())
    return {value: shares[value] * one / count for value, count in counts.items()}
