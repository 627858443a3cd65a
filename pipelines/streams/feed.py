"""The feed: prepared shards -> one stream of fresh batches into the training workers.

The stream holds what is left of a training: epoch after epoch, each followed by the evaluation on
val, so that nothing restarts in between and the next epoch is decoded while this one is evaluated.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import ray
from ray.actor import ActorHandle
from ray.data import DataIterator
from ray.data.extensions import ArrowTensorArray

from components.errors import DataError, HeadraceError
from components.records.epoch_plan import BatchPlan, FeedTask, Segment, segment_tasks
from components.records.row_order import (
    EpochOrder,
    EveryRow,
    GroupOrder,
    RowAddresses,
    ShardLayout,
)
from components.records.sampling import WeighedGroups
from components.records.weighted_order import Float64s, Weighted
from components.tasks.view import View
from components.training.batch import Batch
from components.training.stopwatch import STAGES, Stopwatch
from pipelines.streams.cache import CacheClient, RowGroupCache
from pipelines.streams.tasks import TaskSource, task_stream

# What goes out at once: large enough that a block costs little, small enough to stream. From
# 32 MiB on glibc gives an array's pages back each time, and to ask for them anew costs a tenth.
_BLOCK_BYTES = 24 << 20
_WINDOW_BYTES = 8 << 20
# What a task puts out in all, where its records are small: some 100 ms of work.
_TASK_BYTES = 16 << 20
# Before the names of the model's inputs, which are free, in a block.
_INPUT = "input/"
_SPENT = "spent/"
# Tasks of one execution; a longer training is streamed so many at a time.
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
        window_rows: Rows of an epoch that are mixed with one another; best a multiple of
            `batch_size`, so that tasks read whole windows.
        keep_last: Whether the last incomplete batch is a step of its own.
        task_rows: Rows that one task prepares, about; says nothing about their order.
        rows_per_epoch: Rows of a training epoch; None: as many as train has.
        weighed: How often each row of train is seen; None: as often as any other.
    """

    train: ShardLayout
    val: ShardLayout
    view: View
    epochs: int
    batch_size: int
    window_rows: int
    keep_last: bool
    task_rows: int
    rows_per_epoch: int | None = None
    weighed: WeighedGroups | None = None

    @property
    def epoch_rows(self) -> int:
        """Rows of a training epoch."""
        return self.rows_per_epoch or self.train.num_rows

    def batches(self, world_size: int, *, training: bool) -> BatchPlan:
        """How a pass over train or val is cut into steps."""
        if training:
            return BatchPlan(self.epoch_rows, self.batch_size, world_size, self.keep_last)
        return BatchPlan(self.val.num_rows, self.batch_size, world_size, True)

    def layout(self, segment: Segment) -> ShardLayout:
        """Where the rows of a segment lie."""
        return self.train if segment.training else self.val

    def execution(self, start: Segment, world_size: int) -> list[FeedTask]:
        """The tasks of one execution of the stream, from a segment's first step on."""
        return list(islice(self.tasks(start, world_size), _MAX_TASKS))

    def tasks(self, start: Segment, world_size: int) -> Iterator[FeedTask]:
        """What is left of the training from a segment's first step on."""
        for epoch in range(start.epoch, self.epochs):
            for training in (True, False):
                if (epoch, not training) < (start.epoch, not start.training):
                    continue
                same = (epoch, training) == (start.epoch, start.training)
                segment = start if same else Segment(epoch, training)
                batches = self.batches(world_size, training=training)
                yield from segment_tasks(segment, batches, steps_per_task=self._steps_per_task)

    @property
    def _steps_per_task(self) -> int:
        """Whole windows where a task is about that large: what it reads, it needs."""
        windows = round(self.task_rows / self.window_rows)
        rows = windows * self.window_rows if windows else self.task_rows
        return max(1, rows // self.batch_size)


def window_rows(view: View, wanted: int | None, batch_size: int) -> int:
    """Records that are mixed with one another: whole batches, at least as many as wanted.

    Args:
        view: How records become what the model sees; decides where the recipe does not say.
        wanted: `train.shuffle_window_rows`.
        batch_size: Rows of a global batch.
    """
    rows = wanted or max(view.task_rows, _WINDOW_BYTES // view.row_bytes)
    return -(-rows // batch_size) * batch_size


def task_rows(view: View, num_rows: int, *, data_cpus: int, object_store_bytes: int) -> int:
    """Records that one task prepares: worth its start, few enough to hold and to share out.

    Args:
        view: How records become what the model sees.
        num_rows: Records of the split.
        data_cpus: Tasks that run at once; each of them is given at least two.
        object_store_bytes: Memory for what they put out; they fill a quarter of it at most.
    """
    worth = max(view.task_rows, _TASK_BYTES // view.row_bytes)
    share = object_store_bytes // (4 * data_cpus * view.row_bytes)
    return max(1, min(worth, share, -(-num_rows // (2 * data_cpus))))


def feed_stream(
    plan: FeedPlan,
    start: Callable[[], tuple[Segment, int] | None],
    cache: ActorHandle[RowGroupCache] | None = None,
) -> ray.data.Dataset:
    """The stream as a Ray dataset.

    Args:
        plan: What is streamed.
        start: Called on each execution, where the stream is made: (segment with its first step,
            number of workers), or None before that is known.
        cache: Where decoded row groups are kept; None: nowhere.
    """
    # A view may hold a large vocabulary: it is shared by the tasks, not sent with each of them.
    shared = ray.put(plan)
    source = TaskSource(
        "EpochPlan", partial(_read_shared, [shared], cache), partial(_tasks_from, plan, start)
    )
    return task_stream(source, block_per_row=True)


def _tasks_from(
    plan: FeedPlan, start: Callable[[], tuple[Segment, int] | None]
) -> list[tuple[FeedTask, int]]:
    announced = start()
    if announced is None:
        # Ray Data also asks when the stream is described, before there are workers.
        return []
    segment, world_size = announced
    return [(task, world_size) for task in plan.execution(segment, world_size)]


def _read_shared(
    shared: list["ray.ObjectRef[FeedPlan]"],
    cache: ActorHandle[RowGroupCache] | None,
    work: tuple[FeedTask, int],
) -> Iterator[pa.Table]:
    return read_feed_task(ray.get(shared[0]), work, CacheClient(cache) if cache else None)


def read_feed_task(
    plan: FeedPlan, work: tuple[FeedTask, int], cache: CacheClient | None = None
) -> Iterator[pa.Table]:
    """Read the rows of one task, view them and yield them in blocks, in the order of dealing.

    A block is a table of one row: some steps of one rank, as tensors. The ranks take turns, so
    that dealing row by row gives each rank its own.
    """
    task, world_size = work
    segment, view = task.segment, plan.view
    batches = plan.batches(world_size, training=segment.training)
    if segment.training:
        order: EpochOrder | GroupOrder = _epoch_order(
            plan.train, plan.weighed, view.seed, segment.epoch, plan.epoch_rows, plan.window_rows
        )
    else:
        order = _order_on_disk(plan.val)
    first = task.first_step * batches.batch_size
    end = (task.first_step + task.num_steps) * batches.batch_size
    positions = np.arange(first, min(end, batches.num_rows), dtype=np.int64)
    watch = Stopwatch()
    with watch.stage("read"):
        addresses = order.locate(positions)
        rows, places = read_rows(plan.layout(segment), addresses, view, watch, cache)
    for steps in _blocks(task, batches, view.row_bytes):
        for rank in range(world_size):
            drawn = [batches.positions(rank, step) for step in steps]
            numbers = np.concatenate([positions for positions, _ in drawn]) - first
            weights = np.concatenate([weights for _, weights in drawn])
            drawn_rows = _DrawnRows(rows, places[numbers], addresses.repeat[numbers], weights)
            yield _block(drawn_rows, plan, segment, rank, steps, watch)
            watch = Stopwatch()


def _blocks(task: FeedTask, batches: BatchPlan, row_bytes: int) -> Iterator[range]:
    """The steps of a task in runs that go out together, of about the same size."""
    step, end = task.first_step, task.first_step + task.num_steps
    while step < end:
        # The last step may be smaller than the others and then goes alone.
        same = min(end, batches.full_steps) if step < batches.full_steps else end
        most = max(1, _BLOCK_BYTES // (batches.local_rows(step) * row_bytes))
        num_blocks = -(-(same - step) // most)
        for part in np.array_split(np.arange(step, same), num_blocks):
            yield range(int(part[0]), int(part[-1]) + 1)
        step = same


@dataclass(frozen=True)
class _DrawnRows:
    """Rows of some row groups in the order of a block.

    Attributes:
        rows: All rows of the row groups.
        places: Which of them, (N,).
        repeats: Tells apart the times that the epoch has a record, (N,).
        weights: 1 for a row that counts, 0 for padding, (N,).
    """

    rows: pa.Table
    places: npt.NDArray[np.int64]
    repeats: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]


def _block(
    drawn: _DrawnRows,
    plan: FeedPlan,
    segment: Segment,
    rank: int,
    steps: range,
    watch: Stopwatch,
) -> pa.Table:
    epoch = segment.epoch if segment.training else None
    inputs = plan.view.arrays(drawn.rows, epoch, watch, drawn.places, drawn.repeats)
    columns = {f"{_INPUT}{name}": values for name, values in inputs.items()}
    targets = plan.view.targets(drawn.rows, drawn.places)
    columns |= {"target": targets, "weight": drawn.weights}
    place = {
        "epoch": segment.epoch,
        "training": segment.training,
        "rank": rank,
        "first_step": steps.start,
        "num_steps": len(steps),
        **{f"{_SPENT}{stage}": watch.seconds[stage] for stage in STAGES},
    }
    ids = drawn.rows.column("record_id").take(drawn.places).combine_chunks()
    return pa.table(
        {name: ArrowTensorArray.from_numpy(values[None]) for name, values in columns.items()}
        | {"record_id": pa.ListArray.from_arrays([0, len(ids)], ids)}
        | {name: [value] for name, value in place.items()}
    )


@lru_cache(maxsize=4)
def _epoch_order(
    layout: ShardLayout,
    weighed: WeighedGroups | None,
    seed: int,
    epoch: int,
    num_rows: int,
    window_rows: int,
) -> EpochOrder:
    passes: EveryRow | Weighted = EveryRow(layout)
    if weighed is not None:
        passes = Weighted(
            num_rows=layout.num_rows,
            group_ends=np.cumsum(-(-np.array(layout.rows) // layout.row_group_rows)),
            visits=weighed.visits,
            masses=weighed.masses,
            weights_of=partial(_group_weights, layout, weighed),
        )
    return EpochOrder(passes, seed=seed, epoch=epoch, num_rows=num_rows, window_rows=window_rows)


@lru_cache(maxsize=4)
def _order_on_disk(layout: ShardLayout) -> GroupOrder:
    return GroupOrder(layout, None)


def _group_weights(
    layout: ShardLayout, weighed: WeighedGroups, shard: int, row_group: int
) -> Float64s:
    with _reading(layout.paths[shard], [row_group]):
        column = weighed.weights.column
        table = _open_shard(layout.paths[shard]).read_row_group(row_group, columns=[column])
    return weighed.weights.of(table.column(column))


@lru_cache(maxsize=64)
def _open_shard(path: str) -> pq.ParquetFile:
    # A page that rots during a training is an error with its place, never another picture.
    return pq.ParquetFile(path, memory_map=True, page_checksum_verification=True)


@contextmanager
def _reading(path: str, row_groups: list[int]) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(
            f"{path}: row groups {row_groups} cannot be read ({error}); delete the prepared data "
            "set and run prepare again"
        ) from error


def read_rows(
    layout: ShardLayout,
    addresses: RowAddresses,
    view: View,
    watch: Stopwatch,
    cache: CacheClient | None = None,
) -> tuple[pa.Table, npt.NDArray[np.int64]]:
    """Get `record_id` and the view's columns of the row groups in which rows lie.

    Returns:
        The row groups' rows, and where in them each of the rows asked for is.

    Raises:
        DataError: A shard is gone or cannot be read any more.
    """
    # Shard and row group as one number, in the order on disk.
    numbers = (addresses.shard << 32) | addresses.row_group
    wanted, inverse = np.unique(numbers, return_inverse=True)
    groups = [(layout.paths[number >> 32], number & 0xFFFFFFFF) for number in wanted.tolist()]
    found = cache.find(groups) if cache else {}
    for path, missing in groupby((g for g in groups if g not in found), key=itemgetter(0)):
        fresh = _read_groups(path, [number for _, number in missing], view.columns)
        for number, table in fresh.items():
            decoded = view.decoded(table, watch) if cache and cache.has_room else None
            if cache and decoded is not None:
                cache.keep((path, number), decoded)
            found[path, number] = table if decoded is None else decoded
    tables = [found[group] for group in groups]
    starts = np.cumsum([0, *(table.num_rows for table in tables)])[:-1]
    return pa.concat_tables(tables), starts[inverse] + addresses.row


def _read_groups(path: str, numbers: list[int], columns: Sequence[str]) -> dict[int, pa.Table]:
    with _reading(path, numbers):
        file = _open_shard(path)
        table = file.read_row_groups(numbers, columns=["record_id", *columns])
    sizes = [file.metadata.row_group(number).num_rows for number in numbers]
    starts = np.cumsum([0, *sizes]).tolist()
    return {
        number: table.slice(start, size)
        for number, start, size in zip(numbers, starts, sizes, strict=False)
    }


def worth_keeping(view: View, layout: ShardLayout) -> bool:
    """Whether decoded rows of a split would spare the feed work, by its first row group."""
    (first,) = _read_groups(layout.paths[0], [0], view.columns).values()
    return view.decoded(first) is not None


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
        announce: Callable[[Segment], None],
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
        self._num_left = 0
        self._first: Future[Batch | None] | None = None

    def start(self, segment: Segment) -> None:
        """Start the stream in the background, while the caller still builds its model.

        Every rank must call it, with the same segment.
        """
        self._announce(segment)
        tasks = self._plan.execution(segment, self._world_size)
        self._num_left = sum(task.num_steps for task in tasks)
        self._batches = self._open()
        pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="feed")
        self._first = pool.submit(next, self._batches, None)
        pool.shutdown(wait=False)

    def segment(self, segment: Segment) -> Iterator[Batch]:
        """The batches of one pass over train or val, from its first step.

        Raises:
            HeadraceError: The stream ended early or dealt another batch than planned.
        """
        batches = self._plan.batches(self._world_size, training=segment.training)
        for step in range(segment.first_step, batches.num_steps):
            if not self._num_left:
                # An execution holds a number of tasks: the first is opened here, and the next.
                self.start(replace(segment, first_step=step))
            batch = self._take()
            expected = (segment.epoch, segment.training, step)
            got = None if batch is None else (batch.epoch, batch.training, batch.step)
            if batch is None or got != expected:
                raise HeadraceError(
                    f"rank {self._rank} expected (epoch, training, step) {expected} from the feed "
                    f"and got {got or 'its end'}; this is a defect, please report it"
                )
            yield replace(batch, global_rows=batches.global_rows(step))

    def _take(self) -> Batch | None:
        self._num_left -= 1
        if self._first is not None:
            first, self._first = self._first, None
            return first.result()
        return next(self._batches, None)

    def _open(self) -> Iterator[Batch]:
        # Whole blocks: a batch size of None, which the annotation of Ray 2.60 forgets.
        whole_block: Any = None
        blocks: Iterable[Any] = self._iterator.iter_batches(
            batch_size=whole_block, batch_format="pyarrow", prefetch_batches=2
        )
        for block in blocks:
            for row in range(block.num_rows):
                rank = block.column("rank")[row].as_py()
                if rank != self._rank:
                    raise HeadraceError(
                        f"rank {self._rank} was dealt a block of rank {rank}; this is a defect, "
                        "please report it"
                    )
                yield from _batches_of(block.slice(row, 1))


def _batches_of(block: pa.Table) -> Iterator[Batch]:
    """Cut a block, which holds whole steps of one segment, into its steps; without copying."""

    def tensor(name: str) -> npt.NDArray[Any]:
        values: npt.NDArray[Any] = block.column(name).chunk(0).to_numpy_ndarray()[0]
        return values

    def value(name: str) -> Any:
        return block.column(name)[0].as_py()

    inputs = {
        name.removeprefix(_INPUT): tensor(name)
        for name in block.column_names
        if name.startswith(_INPUT)
    }
    targets, weights = tensor("target"), tensor("weight")
    ids = block.column("record_id").chunk(0).flatten().to_numpy(zero_copy_only=False)
    first_step, num_steps = value("first_step"), value("num_steps")
    local = len(targets) // num_steps
    spent_s = {stage: value(f"{_SPENT}{stage}") / num_steps for stage in STAGES}
    for number in range(num_steps):
        rows = slice(number * local, (number + 1) * local)
        yield Batch(
            epoch=value("epoch"),
            training=value("training"),
            step=first_step + number,
            inputs={name: values[rows] for name, values in inputs.items()},
            targets_B=targets[rows],
            weights_B=weights[rows],
            record_ids=ids[rows],
            global_rows=0,
            spent_s=spent_s,
        )


def shard_layout(folder: Path, shards: list[tuple[str, int]], row_group_rows: int) -> ShardLayout:
    """Where the rows of a split lie; absolute, for workers with another working directory."""
    return ShardLayout(
        paths=tuple(str((folder / path).absolute()) for path, _ in shards),
        rows=tuple(rows for _, rows in shards),
        row_group_rows=row_group_rows,
    )
