"""The epoch plan: which rows, in which order, in which epoch, on which rank; a pure function.

An epoch is a sequence of positions 0 .. num_rows - 1. The row groups of a split come in an order
drawn from (seed, epoch); the rows that follow one another so are cut into windows, and the rows of
each window are mixed by a permutation drawn from (seed, epoch, window). A row group can come
anywhere in an epoch; inside a window, which is what one task reads, a row can take any place.

A global batch is the next `batch_size` positions, and a rank has a contiguous share of it. The
global batches are therefore the same rows in the same order on any number of workers.

What does not fill a global batch at the end of an epoch is one smaller step. Where a step cannot be
divided evenly, a rank's share is padded with rows of weight 0, so that all ranks take the same
number of steps with blocks of the same size.

Nothing is listed: a place on disk is computed from a position, at any number of rows. What is kept
is an array or two over the shards.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from components.records.shuffle import Shuffle

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """The next thing to do in a training; (0, 0, 0) is its start."""

    epoch: int = 0
    """Epoch to work on, from 0."""
    step: int = 0
    """Optimizer step inside this epoch to do next, from 0."""
    global_step: int = 0
    """Optimizer step since the start of training to do next, from 0."""


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
class Segment:
    """One pass over a split inside the stream: a training epoch or the evaluation after it."""

    epoch: int
    training: bool
    first_step: int = 0


@dataclass(frozen=True)
class BatchPlan:
    """How a split is cut into steps.

    Attributes:
        num_rows: Rows of the split.
        batch_size: Rows of a full global batch.
        world_size: Number of ranks.
        keep_last: Whether the last incomplete global batch is a step of its own.
    """

    num_rows: int
    batch_size: int
    world_size: int
    keep_last: bool

    @property
    def full_steps(self) -> int:
        """Steps with a full global batch."""
        return self.num_rows // self.batch_size

    @property
    def last_rows(self) -> int:
        """Rows of the last, smaller step; 0 where there is none."""
        return self.num_rows % self.batch_size if self.keep_last else 0

    @property
    def num_steps(self) -> int:
        """Steps of one pass, the same on all ranks."""
        return self.full_steps + (1 if self.last_rows else 0)

    def global_rows(self, step: int) -> int:
        """Rows that count in a step, over all ranks."""
        return self.batch_size if step < self.full_steps else self.last_rows

    def local_rows(self, step: int) -> int:
        """Rows of a step on each rank, padding included."""
        share = -(-self.global_rows(step) // self.world_size)
        # Two at the least where it may be padded: BatchNorm refuses to learn from a single value
        # per channel. A copy of the same row leaves its mean and variance as they are.
        return share if step < self.full_steps else max(2, share)

    def positions(self, rank: int, step: int) -> tuple[Int64s, npt.NDArray[np.float32]]:
        """Positions in the epoch of one rank's rows of one step.

        Returns:
            positions (n,) and weights (n,): 1 for a row that counts, 0 for padding, which repeats
            the last row. n is the same on all ranks.
        """
        count = self.local_rows(step)
        first = step * self.batch_size + rank * count
        end = step * self.batch_size + self.global_rows(step)
        positions = np.arange(first, first + count, dtype=np.int64)
        weights = (positions < end).astype(np.float32)
        return np.minimum(positions, end - 1), weights


@dataclass(frozen=True)
class RowAddresses:
    """Where rows lie; parallel arrays with one element per row."""

    shard: Int64s
    row_group: Int64s
    row: Int64s


class EpochOrder:
    """The order of one epoch: position in the epoch -> place on disk.

    Row groups of full size take their places by a keyed permutation; the smaller last groups of
    shards are strewn among them at drawn places.
    """

    def __init__(self, layout: ShardLayout, *, seed: int, epoch: int, window_rows: int) -> None:
        """Draw the order of the row groups.

        Args:
            layout: Where the rows lie.
            seed: The recipe's seed.
            epoch: Epoch number, from 0.
            window_rows: Rows that are mixed with one another; 0 gives the order on disk.
        """
        rows = np.asarray(layout.rows, np.int64)
        self._group_rows = layout.row_group_rows
        self._seed, self._epoch, self._window_rows = seed, epoch, window_rows
        self._num_rows = int(rows.sum())
        full, rest = rows // self._group_rows, rows % self._group_rows
        self._full_ends = np.cumsum(full)
        self._full = full
        self._partial_shards = np.flatnonzero(rest)
        self._partial_rows = rest[self._partial_shards]
        num_full, num_partial = int(full.sum()), len(self._partial_shards)
        if window_rows:
            # In the low half of the counter the epochs' streams would overlap, shifted by a draw.
            rng = np.random.Generator(np.random.Philox(key=seed, counter=epoch << 128))
            self._shuffle = Shuffle(num_full, int(rng.integers(2**63)))
            mixed = rng.permutation(num_partial)
            self._partial_shards = self._partial_shards[mixed]
            self._partial_rows = self._partial_rows[mixed]
            slots = rng.choice(num_full + num_partial, num_partial, replace=False, shuffle=False)
            self._partial_slots = np.sort(slots)
        else:
            # On disk a shard's smaller group follows its full ones.
            self._partial_slots = self._full_ends[self._partial_shards] + np.arange(num_partial)
        # Rows up to the end of each smaller group, in the order of this epoch.
        full_before = self._partial_slots - np.arange(num_partial)
        self._partial_ends = full_before * self._group_rows + np.cumsum(self._partial_rows)

    def locate(self, positions: Int64s) -> RowAddresses:
        """Place on disk of each position, (n,)."""
        places = self._mixed(positions) if self._window_rows else positions
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
        if self._window_rows:
            number = self._shuffle.of(number)
        shard[in_full] = np.searchsorted(self._full_ends, number, side="right")
        starts = self._full_ends - self._full
        row_group[in_full] = number - starts[shard[in_full]]
        return RowAddresses(shard, row_group, row)

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
        # The highest bit keeps these draws apart from those of `__init__`.
        counter = (1 << 255) | (self._epoch << 128) | (window << 64)
        rng = np.random.Generator(np.random.Philox(key=self._seed, counter=counter))
        return rng.permutation(count)


@dataclass(frozen=True)
class FeedTask:
    """One unit of work of the feed: consecutive steps of one segment, for all ranks."""

    segment: Segment
    first_step: int
    num_steps: int


def segment_tasks(segment: Segment, plan: BatchPlan, *, steps_per_task: int) -> Iterator[FeedTask]:
    """Cut a segment into tasks, which begin at multiples of `steps_per_task` but for the first."""
    step = segment.first_step
    while step < plan.num_steps:
        end = min((step // steps_per_task + 1) * steps_per_task, plan.num_steps)
        yield FeedTask(segment, step, end - step)
        step = end
