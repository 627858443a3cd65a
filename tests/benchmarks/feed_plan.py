"""What it takes to plan an epoch of very many rows, whose shards need not exist."""

import resource
import time
from dataclasses import dataclass

from components.images.augment import AugmentConfig
from components.records.epoch_plan import Segment
from components.records.row_order import EpochOrder, EveryRow, ShardLayout
from components.tasks.image_view import ImageView
from pipelines.streams.feed import FeedPlan, task_rows, window_rows

_SHARD_ROWS, _GROUP_ROWS = 16_384, 64


@dataclass(frozen=True)
class PlanCost:
    """What it takes in the driver and in each task.

    Attributes:
        order_s: The order of an epoch.
        locate_ms: Where the rows of one step lie.
        tasks_s: The tasks of one execution of the stream.
        mib: Memory for all of it, beyond the names of the shards.
    """

    order_s: float
    locate_ms: float
    tasks_s: float
    mib: float


def plan_cost(num_rows: int) -> PlanCost:
    """Plan one epoch; in a fresh process, for the memory."""
    num_shards = -(-num_rows // _SHARD_ROWS)
    layout = ShardLayout(
        tuple(f"train-{number:05d}.parquet" for number in range(num_shards)),
        (_SHARD_ROWS,) * (num_shards - 1) + (num_rows - (num_shards - 1) * _SHARD_ROWS,),
        _GROUP_ROWS,
    )
    view = ImageView.of(224, "crop", AugmentConfig(policy="standard"), seed=0)
    plan = FeedPlan(
        train=layout,
        val=ShardLayout((), (), _GROUP_ROWS),
        view=view,
        epochs=1,
        batch_size=1024,
        window_rows=window_rows(view, None, 1024),
        keep_last=True,
        task_rows=task_rows(view, num_rows, data_cpus=2, object_store_bytes=2 << 30),
    )
    before_mib, began_s = _peak_mib(), time.perf_counter()
    order = EpochOrder(
        EveryRow(layout), seed=0, epoch=0, num_rows=num_rows, window_rows=plan.window_rows
    )
    ordered_s = time.perf_counter()
    batches = plan.batches(1, training=True)
    order.locate(batches.positions(0, batches.num_steps // 2)[0])
    located_s = time.perf_counter()
    plan.execution(Segment(0, True), 1)
    return PlanCost(
        order_s=ordered_s - began_s,
        locate_ms=(located_s - ordered_s) * 1e3,
        tasks_s=time.perf_counter() - located_s,
        mib=_peak_mib() - before_mib,
    )


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
