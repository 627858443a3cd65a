"""Which split a record belongs to: a pure function of its key, the seed and the recipe."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Self, get_args

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field, model_validator

from components.config import Config
from components.records.identity import leading_words, mixed_words

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

_END = 1 << 64


class SplitConfig(Config):
    """How prepared records are divided into train, val and test.

    A split that the source itself names (train/, val/, test/ or a split column) always holds.
    """

    method: Literal["hash", "stratified", "group", "time"] = "hash"
    """`hash`: a record's split follows from its id and the seed alone, so adding data never moves
    a record (near duplicates stay together). `stratified`: exact shares in every class; gives up
    that stability. `group`: as hash, by the value of a column, so that no group lies on two sides.
    `time`: the latest records are test, those before them val; equal times stay together."""
    val: float = Field(0.1, ge=0.0, lt=1.0)
    """Share of the records used for validation."""
    test: float = Field(0.1, ge=0.0, lt=1.0)
    """Share of the records held out for the final test."""
    column: str | None = None
    """Column of the groups or of the time; needed for `group` and `time`."""
    folds: int | None = Field(None, ge=2)
    """Cross-validation: the records outside test are cut into this many parts, and val is one of
    them, in place of the share `val`."""
    fold: int = Field(0, ge=0)
    """Which part is val, from 0."""

    @model_validator(mode="after")
    def _can_be_done(self) -> Self:
        if self.folds is None and self.val + self.test >= 1.0:
            raise ValueError(
                f"val + test = {self.val + self.test:g} leaves no record to train on; "
                "make their sum smaller than 1"
            )
        if self.folds is not None and self.fold >= self.folds:
            raise ValueError(
                f"fold = {self.fold}: there are {self.folds} folds; use 0 to {self.folds - 1}"
            )
        if self.folds is not None and self.method == "time":
            raise ValueError("folds of a split by time would train on the future; leave folds out")
        needs_column = self.method in ("group", "time")
        if needs_column and self.column is None:
            raise ValueError(f"method = {self.method}: name the column that it goes by in column")
        if self.column is not None and not needs_column:
            raise ValueError(f"column = {self.column!r} is for method group or time")
        return self


@dataclass(frozen=True)
class Cut:
    """Where test and val lie on the split axis [0, 2**64); train is the rest.

    Attributes:
        test_end: Test lies below it.
        val_start: Val begins here, at or above `test_end`.
        val_end: And ends below here.
    """

    test_end: int
    val_start: int
    val_end: int


@dataclass(frozen=True)
class SplitRule:
    """How splits follow from keys, the seed and what the source says.

    Attributes:
        seed: The recipe's seed.
        val: Share of val, where the source names none.
        test: Share of test, where the source names none.
        folds: Number of folds, or None; val is one of them then.
        fold: Which one.
        given: Splits that the source itself names.
        cuts: For exact stratification: class -> cut; empty for shares on the whole axis.
        times: For a split by time: (first time of val, first of test), else None.
    """

    seed: int
    val: float
    test: float
    folds: int | None = None
    fold: int = 0
    given: tuple[Split, ...] = ()
    cuts: Mapping[str, Cut] = field(default_factory=dict)
    times: tuple[int, int] | None = None

    def assign(self, rows: pl.DataFrame) -> pl.Series:
        """Split of each row, as text.

        Args:
            rows: `key` (hexadecimal, at least 16 digits), `given` (split of the source or null),
                `label` (where there are cuts by class) and `time` (where times decide).
        """
        known = rows["given"]
        if self.times is not None:
            drawn = _by_time(rows["time"], self.times, self.open_shares("train"))
        else:
            positions = split_positions(rows["key"], self.seed)
            drawn = np.zeros(len(rows), np.int8)
            for said in (None, "train"):
                mine = (known.is_null() if said is None else known == said).fill_null(False)
                if mine.any():
                    labels = rows.filter(mine)["label"] if self.cuts else None
                    where = mine.to_numpy()
                    drawn[where] = self._drawn(positions[where], labels, said)
        for code, split in enumerate(SPLITS):
            if split != "train":
                drawn[(known == split).fill_null(False).to_numpy()] = code
        return pl.Series(SPLITS)[drawn]

    def _drawn(
        self, positions: npt.NDArray[np.uint64], labels: pl.Series | None, said: str | None
    ) -> npt.NDArray[np.int8]:
        if labels is None:
            return _cut(positions, self.cut(_END, said))
        codes = np.zeros(len(positions), np.int8)
        names = labels.to_numpy()
        for label, cut in self.cuts.items():
            mine = names == label
            codes[mine] = _cut(positions[mine], cut)
        return codes

    def cut(self, length: int, said: str | None) -> Cut:
        """Cut of an axis (or of a sorted list) of that length by the shares."""
        val, test = self.open_shares(said)
        test_end = round(length * test)
        if self.folds is None:
            return Cut(test_end, test_end, round(length * (test + val)))
        # In integers: floats are not exact at this length.
        rest = length - test_end
        start, end = (test_end + rest * n // self.folds for n in (self.fold, self.fold + 1))
        return Cut(test_end, start, end)

    def open_shares(self, said: str | None) -> tuple[float, float]:
        """Shares of (val, test) to carve out of a record that the source puts into `said`."""
        if said is None:
            return self.val, self.test
        return (
            0.0 if "val" in self.given else self.val,
            0.0 if "test" in self.given else self.test,
        )


def split_positions(keys: pl.Series, seed: int) -> npt.NDArray[np.uint64]:
    """Position of each key on the split axis: uniform in [0, 2**64), from (key, seed) alone.

    The keys are digests and so uniform already; mixing makes of them another uniform number for
    each seed.

    Args:
        keys: Hexadecimal text of at least 16 digits.
        seed: The recipe's seed.
    """
    start = np.uint64((seed * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) % _END)
    return mixed_words(leading_words(keys) ^ mixed_words(np.full(1, start, np.uint64)))


def _cut(positions: npt.NDArray[np.uint64], cut: Cut) -> npt.NDArray[np.int8]:
    # Python integers up to 2**64 do not fit the type of the positions: bounds are inclusive.
    codes = np.full(len(positions), SPLITS.index("train"), np.int8)
    if cut.val_end > cut.val_start:
        in_val = (positions >= np.uint64(cut.val_start)) & (positions <= np.uint64(cut.val_end - 1))
        codes[in_val] = SPLITS.index("val")
    if cut.test_end:
        codes[positions <= np.uint64(cut.test_end - 1)] = SPLITS.index("test")
    return codes


def _by_time(
    times: pl.Series, starts: tuple[int, int], shares: tuple[float, float]
) -> npt.NDArray[np.int8]:
    """Codes by time; a record without a time is train."""
    (val_from, test_from), (val, test) = starts, shares
    known = times.fill_null(np.iinfo(np.int64).min).to_numpy()
    codes = np.full(len(known), SPLITS.index("train"), np.int8)
    if val:
        codes[known >= val_from] = SPLITS.index("val")
    if test:
        codes[known >= test_from] = SPLITS.index("test")
    return codes
