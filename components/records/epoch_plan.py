"""The epoch plan: which rows, in which order, in which epoch, on which rank; a pure function.

An epoch is a sequence of positions 0 .. num_rows - 1. Row groups come in an order drawn from
(seed, epoch) and so do the rows inside each. The sequence is cut into `lanes` equal runs; every
global batch takes the same number of rows from each lane, so that records which lie together on
disk are spread over many batches. A rank owns a contiguous share of the lanes. The global batches
are therefore the same rows in the same order on any number of workers.

What does not fill a global batch at the end of an epoch is one smaller step, divided evenly; a
rank's share is padded with rows of weight 0 so that all ranks have blocks of the same size and
take the same number of steps.
"""

from dataclasses import dataclass

import numpy as np

from components.errors import PlanError


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
        lanes: Runs that each batch draws from; divides `batch_size`, multiple of `world_size`.
        world_size: Number of ranks.
        keep_last: Whether the last incomplete global batch is a step of its own.
    """

    num_rows: int
    batch_size: int
    lanes: int
    world_size: int
    keep_last: bool

    def __post_init__(self) -> None:
        if self.batch_size % self.lanes or self.lanes % self.world_size:
            raise PlanError(
                f"batch_size {self.batch_size}, shuffle_lanes {self.lanes} and {self.world_size} "
                "workers do not divide one another; choose a batch size that is a multiple of the "
                "lanes, and lanes that are a multiple of the workers"
            )

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

    def local_positions(self, rank: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions in the epoch of one rank's rows of one step.

        Returns:
            positions (n,) int64 and weights (n,) float32: 1 for a row that counts, 0 for padding.
            n is the same on all ranks.
        """
        if step < self.full_steps:
            per_lane = self.batch_size // self.lanes
            lanes_per_rank = self.lanes // self.world_size
            lanes = np.arange(rank * lanes_per_rank, (rank + 1) * lanes_per_rank, dtype=np.int64)
            starts = lanes * (self.full_steps * per_lane) + step * per_lane
            positions = (starts[:, None] + np.arange(per_lane, dtype=np.int64)).ravel()
            return positions, np.ones(len(positions), np.float32)
        # Two at the least: BatchNorm refuses to learn from a single value per channel. A copy of
        # the same row leaves its mean and variance as they are.
        share = max(2, -(-self.last_rows // self.world_size))
        first = self.full_steps * self.batch_size + rank * share
        positions = np.arange(first, first + share, dtype=np.int64)
        weights = (positions < self.num_rows).astype(np.float32)
        return np.minimum(positions, self.num_rows - 1), weights


@dataclass(frozen=True)
class RowAddresses:
    """Where rows lie; parallel arrays of int64 with one element per row."""

    shard: np.ndarray
    row_group: np.ndarray
    row: np.ndarray


class EpochOrder:
    """The order of one epoch: position in the epoch -> place on disk."""

    def __init__(self, layout: ShardLayout, *, seed: int, epoch: int, shuffle: bool) -> None:
        """Draw the order of the row groups; rows inside them are drawn when they are looked up.

        Args:
            layout: Where the rows lie.
            seed: The recipe's seed.
            epoch: Epoch number, from 0.
            shuffle: False gives the order on disk.
        """
        groups = [-(-rows // layout.row_group_rows) for rows in layout.rows]
        shard = np.repeat(np.arange(len(groups), dtype=np.int64), groups)
        index = np.concatenate([np.arange(n, dtype=np.int64) for n in groups])
        rows = np.asarray(layout.rows, np.int64)
        size = np.minimum(layout.row_group_rows, rows[shard] - index * layout.row_group_rows)
        order = np.arange(len(shard))
        if shuffle:
            # In the low half of the counter the epochs' streams would overlap, shifted by a draw.
            rng = np.random.Generator(np.random.Philox(key=seed, counter=epoch << 128))
            order = rng.permutation(len(shard))
        self._shard, self._index, self._size = shard[order], index[order], size[order]
        self._ends = np.cumsum(self._size)
        self._seed, self._epoch, self._shuffle = seed, epoch, shuffle

    def locate(self, positions: np.ndarray) -> RowAddresses:
        """Place on disk of each position, (n,) int64 -> three arrays (n,) int64."""
        place = np.searchsorted(self._ends, positions, side="right")
        offset = positions - (self._ends[place] - self._size[place])
        if self._shuffle:
            for group in np.unique(place):
                mine = place == group
                offset[mine] = self._rows_of(int(group))[offset[mine]]
        return RowAddresses(self._shard[place], self._index[place], offset)

    def _rows_of(self, group: int) -> np.ndarray:
        # The highest bit keeps these draws apart from those of `__init__`.
        counter = (1 << 255) | (self._epoch << 128) | (group << 64)
        rng = np.random.Generator(np.random.Philox(key=self._seed, counter=counter))
        return rng.permutation(int(self._size[group]))


@dataclass(frozen=True)
class FeedTask:
    """One unit of work of the feed: consecutive steps of one rank in one segment."""

    segment: Segment
    rank: int
    first_step: int
    num_steps: int


def segment_tasks(segment: Segment, plan: BatchPlan, *, steps_per_task: int) -> list[FeedTask]:
    """Cut a segment into tasks, in the order in which the ranks are dealt them.

    Round after round, rank 0 first: all tasks of a round have the same number of rows, which is
    what makes the dealing of `streaming_split` exact. The last, smaller step is a round of its own.
    """
    tasks: list[FeedTask] = []
    step = segment.first_step
    while step < plan.num_steps:
        boundary = plan.full_steps if step < plan.full_steps else plan.num_steps
        count = min(steps_per_task, boundary - step)
        tasks += [FeedTask(segment, rank, step, count) for rank in range(plan.world_size)]
        step += count
    return tasks
