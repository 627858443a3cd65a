"""The order of rows: which row of a split stands at which position of an epoch; a pure function.

The rows of a split come pass after pass, without end, each row once in a pass. In each pass the
row groups come in an order drawn from (seed, pass). An epoch is the next so many rows: as a rule
one pass, so that epoch and pass are the same; where an epoch is limited, the next one goes on
where it ended.

The rows that follow one another so are cut into windows, and the rows of each window are mixed by
a permutation drawn from (seed, epoch, window). A row group can come anywhere in an epoch; inside a
window, which is what one task reads, a row can take any place.

Nothing is listed: a place on disk is computed from a position, at any number of rows. What is kept
is an array or two over the shards.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from components.records.shuffle import Shuffle

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ShardLayout:
    """Where the rows of one split lie.

    Attributes:
        paths: Shard files, in manifest order.
        rows: Rows of each shard.
        row_group_rows: Rows of each row group but the last of a shard.
    """

    paths: tuple[str, ...]
    rows: tuple[int, ...]
    row_group_rows: int

    @property
    def num_rows(self) -> int:
        """Rows of the split."""
        return sum(self.rows)


@dataclass(frozen=True)
class RowAddresses:
    """Where rows lie; parallel arrays with one element per row.

    Attributes:
        shard: Number of the shard.
        row_group: Number of the row group in its shard.
        row: Number of the row in its row group.
        repeat: Tells apart the times that an epoch has the row: 0 for the first in the first pass
            that the epoch touches, so everywhere in an epoch that is one pass.
    """

    shard: Int64s
    row_group: Int64s
    row: Int64s
    repeat: Int64s


class Pass(Protocol):
    """The order of one pass: place in the pass -> place on disk."""

    def locate(self, places: Int64s) -> RowAddresses:
        """Place on disk of each place in the pass, (n,)."""
        ...


class Passes(Protocol):
    """How often a pass has each row, and in which order."""

    @property
    def num_rows(self) -> int:
        """Rows of one pass."""
        ...

    def number(self, seed: int, number: int) -> Pass:
        """The order of one pass; numbers from 0."""
        ...


class GroupOrder:
    """A pass that has every row once, a row group at a time.

    Row groups of full size take their places by a keyed permutation; the smaller last groups of
    shards are strewn among them at drawn places.
    """

    def __init__(self, layout: ShardLayout, draws: tuple[int, int] | None) -> None:
        """Draw the order of the row groups.

        Args:
            layout: Where the rows lie.
            draws: Seed and number of the pass; None gives the order on disk.
        """
        rows = np.asarray(layout.rows, np.int64)
        self._group_rows = layout.row_group_rows
        self._shuffle: Shuffle | None = None
        full, rest = rows // self._group_rows, rows % self._group_rows
        self._full_ends = np.cumsum(full)
        self._full = full
        self._partial_shards = np.flatnonzero(rest)
        self._partial_rows = rest[self._partial_shards]
        num_full, num_partial = int(full.sum()), len(self._partial_shards)
        if draws is not None:
            # In the low half of the counter the passes' streams would overlap, shifted by a draw.
            rng = np.random.Generator(np.random.Philox(key=draws[0], counter=draws[1] << 128))
            self._shuffle = Shuffle(num_full, int(rng.integers(2**63)))
            mixed = rng.permutation(num_partial)
            self._partial_shards = self._partial_shards[mixed]
            self._partial_rows = self._partial_rows[mixed]
            slots = rng.choice(num_full + num_partial, num_partial, replace=False, shuffle=False)
            self._partial_slots = np.sort(slots)
        else:
            # On disk a shard's smaller group follows its full ones.
            self._partial_slots = self._full_ends[self._partial_shards] + np.arange(num_partial)
        # Rows up to the end of each smaller group, in the order of this pass.
        full_before = self._partial_slots - np.arange(num_partial)
        self._partial_ends = full_before * self._group_rows + np.cumsum(self._partial_rows)

    def locate(self, places: Int64s) -> RowAddresses:
        """Place on disk of each place in the pass, (n,)."""
        # How many smaller groups end at or before each place, and whether it lies in one.
        before = np.searchsorted(self._partial_ends, places, side="right")
        shard, row_group, row = (np.empty(len(places), np.int64) for _ in range(3))
        in_partial = np.zeros(len(places), bool)
        some = before < len(self._partial_ends)
        which = before[some]
        in_partial[some] = places[some] >= self._partial_ends[which] - self._partial_rows[which]
        which = before[in_partial]
        shard[in_partial] = self._partial_shards[which]
        row_group[in_partial] = self._full[shard[in_partial]]
        start = self._partial_ends[which] - self._partial_rows[which]
        row[in_partial] = places[in_partial] - start
        in_full = ~in_partial
        skipped = np.concatenate([[0], np.cumsum(self._partial_rows)])[before[in_full]]
        number, row[in_full] = np.divmod(places[in_full] - skipped, self._group_rows)
        if self._shuffle is not None:
            number = self._shuffle.of(number)
        shard[in_full] = np.searchsorted(self._full_ends, number, side="right")
        starts = self._full_ends - self._full
        row_group[in_full] = number - starts[shard[in_full]]
        return RowAddresses(shard, row_group, row, np.zeros(len(places), np.int64))


@dataclass(frozen=True)
class EveryRow:
    """Passes that have every row of a split once."""

    layout: ShardLayout

    @property
    def num_rows(self) -> int:
        """Rows of the split."""
        return self.layout.num_rows

    def number(self, seed: int, number: int) -> GroupOrder:
        """The order of one pass."""
        return GroupOrder(self.layout, (seed, number))


class EpochOrder:
    """The order of one training epoch: position in the epoch -> place on disk."""

    def __init__(
        self, passes: Passes, *, seed: int, epoch: int, num_rows: int, window_rows: int
    ) -> None:
        """Draw the order.

        Args:
            passes: What each pass over the split has.
            seed: The recipe's seed.
            epoch: Epoch number, from 0.
            num_rows: Rows of an epoch.
            window_rows: Rows that are mixed with one another.
        """
        self._seed, self._epoch = seed, epoch
        self._num_rows, self._window_rows = num_rows, window_rows
        self._pass_rows = passes.num_rows
        self._first = epoch * num_rows
        self._first_pass = self._first // self._pass_rows
        last = (self._first + num_rows - 1) // self._pass_rows
        self._passes = [passes.number(seed, n) for n in range(self._first_pass, last + 1)]

    def locate(self, positions: Int64s) -> RowAddresses:
        """Place on disk of each position, (n,)."""
        rows = self._first + self._mixed(positions)
        numbers, places = np.divmod(rows, self._pass_rows)
        found = np.empty((4, len(rows)), np.int64)
        for number in np.unique(numbers).tolist():
            mine = numbers == number
            part = self._passes[number - self._first_pass].locate(places[mine])
            # No row comes 2**32 times in a pass.
            repeat = part.repeat + ((number - self._first_pass) << 32)
            found[:, mine] = (part.shard, part.row_group, part.row, repeat)
        return RowAddresses(*found)

    def _mixed(self, positions: Int64s) -> Int64s:
        mixed = np.empty_like(positions)
        windows = positions // self._window_rows
        for window in np.unique(windows).tolist():
            mine = windows == window
            first = window * self._window_rows
            rows = self._rows_of(window, min(self._window_rows, self._num_rows - first))
            mixed[mine] = first + rows[positions[mine] - first]
        return mixed

    def _rows_of(self, window: int, count: int) -> Int64s:
        # The highest bit keeps these draws apart from those of the passes.
        counter = (1 << 255) | (self._epoch << 128) | (window << 64)
        rng = np.random.Generator(np.random.Philox(key=self._seed, counter=counter))
        return rng.permutation(count)
