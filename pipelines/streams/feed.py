"""The feed: prepared shards -> one stream of fresh batches into the training workers.

The stream holds what is left of a training: epoch after epoch, each followed by the evaluation on
val, so that nothing restarts in between and the next epoch is decoded while this one is evaluated.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import ray
from ray.data import DataIterator
from ray.data.extensions import ArrowTensorArray

from components.errors import DataError, HeadraceError
from components.records.epoch_plan import (
    BatchPlan,
    EpochOrder,
    FeedTask,
    Position,
    RowAddresses,
    Segment,
    ShardLayout,
    segment_tasks,
)
from components.tasks.view import View
from components.training.batch import Batch
from pipelines.streams.tasks import TaskSource, task_stream

# What one task puts out at most, small enough to stream.
_TASK_BYTES = 8 << 20
# Before the names of the model's inputs, which are free, in a block.
_INPUT = "input/"
# Tasks of one execution; a longer training is streamed a number of epochs at a time.
_MAX_TASKS = 4096


@dataclass(frozen=True)
class FeedPlan:
    """Everything that decides the stream, on any number of workers.

    Attributes:
        train: Where the train split lies.
        val: Where the val split lies.
        view: How records become what the model sees.
        epochs: Training epochs.
        batch_size: Rows of a global batch.
        lanes: Places in the shuffled epoch that each batch draws from.
        keep_last: Whether the last incomplete batch is a step of its own.
    """

    train: ShardLayout
    val: ShardLayout
    view: View
    epochs: int
    batch_size: int
    lanes: int
    keep_last: bool

    def batches(self, world_size: int, *, training: bool) -> BatchPlan:
        """How a pass over train or val is cut into steps."""
        if training:
            lanes = min(self.lanes, self.batch_size)
            return BatchPlan(
                self.train.num_rows, self.batch_size, lanes, world_size, self.keep_last
            )
        # Nothing is shuffled in an evaluation: one lane per rank reads each row group once.
        local = -(-self.batch_size // world_size)
        return BatchPlan(self.val.num_rows, local * world_size, world_size, world_size, True)

    def segments(self, start: Position, world_size: int) -> list[Segment]:
        """What is left of the training: whole epochs, as many as fit into `_MAX_TASKS` tasks."""
        segments: list[Segment] = []
        num_tasks = 0
        for epoch in range(start.epoch, self.epochs):
            first = start.step if epoch == start.epoch else 0
            added = [Segment(epoch, True, first), Segment(epoch, False)]
            num_tasks += sum(len(self.tasks_of(segment, world_size)) for segment in added)
            if segments and num_tasks > _MAX_TASKS:
                break
            segments += added
        return segments

    def tasks_of(self, segment: Segment, world_size: int) -> list[FeedTask]:
        """The tasks of one segment."""
        batches = self.batches(world_size, training=segment.training)
        return segment_tasks(segment, batches, steps_per_task=self.steps_per_task(world_size))

    def steps_per_task(self, world_size: int) -> int:
        """Steps that one task prepares for one rank."""
        local_rows = -(-self.batch_size // world_size)
        rows = min(self.view.task_rows, max(1, _TASK_BYTES // self.view.row_bytes))
        return max(1, rows // local_rows)


def feed_stream(
    plan: FeedPlan, start: Callable[[], tuple[Position, int] | None]
) -> ray.data.Dataset:
    """The stream as a Ray dataset.

    Args:
        plan: What is streamed.
        start: Called on each execution, where the stream is made: (position, number of workers),
            or None before that is known.
    """
    # A view may hold a large vocabulary: it is shared by the tasks, not sent with each of them.
    shared = ray.put(plan)
    source = TaskSource(
        "EpochPlan", partial(_read_shared, [shared]), partial(_tasks_from, plan, start)
    )
    return task_stream(source)


def _tasks_from(
    plan: FeedPlan, start: Callable[[], tuple[Position, int] | None]
) -> list[tuple[FeedTask, int]]:
    announced = start()
    if announced is None:
        # Ray Data also asks when the stream is described, before there are workers.
        return []
    position, world_size = announced
    return [
        (task, world_size)
        for segment in plan.segments(position, world_size)
        for task in plan.tasks_of(segment, world_size)
    ]


def _read_shared(
    shared: list["ray.ObjectRef[FeedPlan]"], work: tuple[FeedTask, int]
) -> list[pa.Table]:
    return read_feed_task(ray.get(shared[0]), work)


def read_feed_task(plan: FeedPlan, work: tuple[FeedTask, int]) -> list[pa.Table]:
    """Read the rows of one task and view them; one block with a row per record."""
    task, world_size = work
    segment = task.segment
    batches = plan.batches(world_size, training=segment.training)
    steps = range(task.first_step, task.first_step + task.num_steps)
    local = [batches.local_positions(task.rank, step) for step in steps]
    positions = np.concatenate([positions for positions, _ in local])
    layout = plan.train if segment.training else plan.val
    order = _epoch_order(layout, plan.view.seed, segment.epoch, segment.training)
    records = read_rows(layout, order.locate(positions), plan.view.columns)
    counts = [len(positions) for positions, _ in local]
    rows = len(positions)
    inputs = plan.view.arrays(records, segment.epoch if segment.training else None)
    columns = {f"{_INPUT}{name}": _column(values) for name, values in inputs.items()}
    return [
        pa.table(
            columns
            | {
                "target": plan.view.targets(records),
                "record_id": records.column("record_id"),
                "weight": np.concatenate([weights for _, weights in local]),
                "epoch": np.full(rows, segment.epoch, np.int32),
                "training": np.full(rows, segment.training),
                "step": np.repeat(np.fromiter(steps, np.int32), counts),
                "rank": np.full(rows, task.rank, np.int32),
            }
        )
    ]


def _column(values_N: npt.NDArray[Any]) -> Any:
    return ArrowTensorArray.from_numpy(values_N) if values_N.ndim > 1 else pa.array(values_N)


@lru_cache(maxsize=4)
def _epoch_order(layout: ShardLayout, seed: int, epoch: int, shuffle: bool) -> EpochOrder:
    return EpochOrder(layout, seed=seed, epoch=epoch if shuffle else 0, shuffle=shuffle)


@lru_cache(maxsize=64)
def _open_shard(path: str) -> pq.ParquetFile:
    return pq.ParquetFile(path, memory_map=True)


def read_rows(layout: ShardLayout, addresses: RowAddresses, columns: Sequence[str]) -> pa.Table:
    """Read `record_id` and `columns` of rows by address, in the order asked for.

    Raises:
        DataError: A shard is gone or cannot be read any more.
    """
    tables: list[pa.Table] = []
    places = np.empty(len(addresses.row), np.int64)
    offset = 0
    for shard in np.unique(addresses.shard):
        mine = addresses.shard == shard
        groups, inverse = np.unique(addresses.row_group[mine], return_inverse=True)
        path = layout.paths[shard]
        try:
            file = _open_shard(path)
            table = file.read_row_groups(groups.tolist(), columns=["record_id", *columns])
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(
                f"{path}: row groups {groups.tolist()} cannot be read ({error}); delete the "
                "prepared data set and run prepare again"
            ) from error
        sizes = [file.metadata.row_group(group).num_rows for group in groups.tolist()]
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
        places[mine] = offset + starts[inverse] + addresses.row[mine]
        offset += table.num_rows
        tables.append(table)
    return pa.concat_tables(tables).take(places).combine_chunks()


class FeedReader:
    """One rank's end of the stream: batch after batch, segment after segment.

    It checks that it is dealt its own batches in the planned order, so that a stream that deals
    otherwise is an error and never a wrong epoch.
    """

    def __init__(
        self,
        iterator: DataIterator,
        plan: FeedPlan,
        *,
        rank: int,
        world_size: int,
        announce: Callable[[Position], None],
    ) -> None:
        """Make a reader.

        Args:
            iterator: This rank's shard of `feed_stream`.
            plan: The same plan.
            rank: This worker's rank.
            world_size: Number of workers.
            announce: Tells the stream where to start; called on every rank before an execution,
                returns when the stream knows.
        """
        self._iterator, self._plan = iterator, plan
        self._rank, self._world_size = rank, world_size
        self._announce = announce
        self._batches: Iterator[Batch] = iter(())
        self._first: Future[Batch | None] | None = None

    def start(self, position: Position) -> None:
        """Start the stream in the background, while the caller still builds its model.

        Every rank must call it, with the same position.
        """
        self._announce(position)
        self._batches = self._open()
        pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="feed")
        self._first = pool.submit(next, self._batches, None)
        pool.shutdown(wait=False)

    def segment(self, segment: Segment, global_step: int) -> Iterator[Batch]:
        """The batches of one pass over train or val, from its first step.

        Raises:
            HeadraceError: The stream ended early or dealt another batch than planned.
        """
        batches = self._plan.batches(self._world_size, training=segment.training)
        for step in range(segment.first_step, batches.num_steps):
            batch = self._next(Position(segment.epoch, step, global_step), segment)
            expected = (segment.epoch, segment.training, step)
            if (batch.epoch, batch.training, batch.step) != expected:
                raise HeadraceError(
                    f"rank {self._rank} expected (epoch, training, step) {expected} from the feed "
                    f"and got {(batch.epoch, batch.training, batch.step)}; this is a defect, "
                    "please report it"
                )
            yield replace(batch, global_rows=batches.global_rows(step))

    def _next(self, position: Position, segment: Segment) -> Batch:
        batch = self._take()
        if batch is None and segment.training and position.step == segment.first_step:
            # An execution holds whole epochs: the first is opened here, and so is the next one.
            self.start(position)
            batch = self._take()
        if batch is None:
            what = "training" if segment.training else "evaluation"
            raise HeadraceError(
                f"the feed ended before step {position.step} of the {what} of epoch "
                f"{position.epoch} on rank {self._rank}; this is a defect, please report it"
            )
        return batch

    def _take(self) -> Batch | None:
        if self._first is not None:
            first, self._first = self._first, None
            return first.result()
        return next(self._batches, None)

    def _open(self) -> Iterator[Batch]:
        # Whole blocks: a batch size of None, which the annotation of Ray 2.60 forgets.
        whole_block: Any = None
        blocks = self._iterator.iter_batches(
            batch_size=whole_block, batch_format="numpy", prefetch_batches=2
        )
        for block in blocks:
            if not len(block["rank"]):
                continue
            if (block["rank"] != self._rank).any():
                raise HeadraceError(
                    f"rank {self._rank} was dealt a block of rank {block['rank'][0]}; this is a "
                    "defect, please report it"
                )
            yield from _batches_of(block)


def _batches_of(block: dict[str, npt.NDArray[Any]]) -> Iterator[Batch]:
    """Cut a block, which holds whole steps of one segment, into its steps; without copying."""
    names = [name.removeprefix(_INPUT) for name in block if name.startswith(_INPUT)]
    steps, starts = np.unique(block["step"], return_index=True)
    ends = [*starts[1:].tolist(), len(block["step"])]
    for step, start, end in zip(steps.tolist(), starts.tolist(), ends, strict=True):
        rows = slice(start, end)
        yield Batch(
            epoch=int(block["epoch"][start]),
            training=bool(block["training"][start]),
            step=step,
            inputs={name: block[f"{_INPUT}{name}"][rows] for name in names},
            targets_B=block["target"][rows],
            weights_B=block["weight"][rows],
            record_ids=block["record_id"][rows],
            global_rows=0,
        )


def shard_layout(folder: Path, shards: list[tuple[str, int]], row_group_rows: int) -> ShardLayout:
    """Where the rows of a split lie; absolute, for workers with another working directory."""
    return ShardLayout(
        paths=tuple(str((folder / path).absolute()) for path, _ in shards),
        rows=tuple(rows for _, rows in shards),
        row_group_rows=row_group_rows,
    )
