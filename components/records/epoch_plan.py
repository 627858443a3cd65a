"""The epoch plan: which positions of an epoch, in which step, on which rank; a pure function.

An epoch is a sequence of positions 0 .. num_rows - 1; `row_order` says which row of the split
stands at each of them.

A global batch is the next `batch_size` positions, and a rank has a contiguous share of it. The
global batches are therefore the same rows in the same order on any number of workers.

What does not fill a global batch at the end of an epoch is one smaller step. Where a step cannot be
divided evenly, a rank's share is padded with rows of weight 0, so that all ranks take the same
number of steps with blocks of the same size.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

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
class Segment:
    """One pass over a split inside the stream: a training epoch or the evaluation after it."""

    epoch: int
    training: bool
    first_step: int = 0


@dataclass(frozen=True)
class BatchPlan:
    """How a split is cut into steps.

    Attributes:
        num_rows: Rows of one pass.
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
