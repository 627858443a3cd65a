"""Every row exactly once per epoch, in the same global batches on any number of workers."""

from collections.abc import Iterable

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from components.records.epoch_plan import (
    BatchPlan,
    FeedTask,
    Segment,
    segment_tasks,
)

# The same examples in every run, without a clock: a busy machine is no failure.
properties = settings(max_examples=30, derandomize=True, deadline=None, database=None)
WORLDS = (1, 2, 3, 4)


@st.composite
def plans(draw: st.DrawFn, *, keep_last: bool | None = None) -> BatchPlan:
    """Any plan whose numbers divide one another."""
    world = draw(st.integers(1, 5))
    batch = draw(st.integers(1, 40))
    keep = draw(st.booleans()) if keep_last is None else keep_last
    return BatchPlan(draw(st.integers(0, 300)), batch, world, keep)


def step_rows(plan: BatchPlan, step: int) -> list[int]:
    """Positions that count in a step, over all ranks, in rank order."""
    rows: list[int] = []
    for rank in range(plan.world_size):
        positions, weights = plan.positions(rank, step)
        rows += positions[weights > 0].tolist()
    return rows


# Steps


@properties
@given(plans(keep_last=True))
def test_every_row_counts_once_in_an_epoch(plan: BatchPlan) -> None:
    seen = [row for step in range(plan.num_steps) for row in step_rows(plan, step)]
    assert sorted(seen) == list(range(plan.num_rows))


@properties
@given(plans(keep_last=False))
def test_drop_leaves_out_less_than_a_batch_and_nothing_twice(plan: BatchPlan) -> None:
    seen = [row for step in range(plan.num_steps) for row in step_rows(plan, step)]
    assert len(seen) == len(set(seen)) == plan.num_rows - plan.num_rows % plan.batch_size


@properties
@given(plans())
def test_the_rows_of_a_step_are_those_announced(plan: BatchPlan) -> None:
    for step in range(plan.num_steps):
        assert len(step_rows(plan, step)) == plan.global_rows(step) > 0
    smaller = [step for step in range(plan.num_steps) if plan.global_rows(step) < plan.batch_size]
    assert smaller in ([], [plan.num_steps - 1])


@properties
@given(plans())
def test_all_ranks_have_blocks_of_the_same_size(plan: BatchPlan) -> None:
    for step in range(plan.num_steps):
        blocks = [plan.positions(rank, step) for rank in range(plan.world_size)]
        assert {len(positions) for positions, _ in blocks} == {plan.local_rows(step)}
        for positions, weights in blocks:
            assert (positions.dtype, weights.dtype) == (np.int64, np.float32)
            assert set(weights.tolist()) <= {0.0, 1.0}
            # Padding repeats the step's last row, so that it can be read like any other.
            last = step * plan.batch_size + plan.global_rows(step) - 1
            assert (positions[weights == 0] == last).all()
            assert positions.min() >= 0 and positions.max() <= last


@properties
@given(st.integers(0, 300), st.integers(1, 64))
def test_the_global_batches_are_the_same_rows_in_order_on_any_number_of_workers(
    num_rows: int, batch_size: int
) -> None:
    for world in WORLDS:
        plan = BatchPlan(num_rows, batch_size, world, keep_last=True)
        rows = [row for step in range(plan.num_steps) for row in step_rows(plan, step)]
        assert rows == list(range(num_rows))


def test_a_step_by_hand() -> None:
    plan = BatchPlan(num_rows=11, batch_size=4, world_size=2, keep_last=True)
    steps = [[plan.positions(rank, step)[0].tolist() for rank in (0, 1)] for step in range(3)]
    assert steps == [[[0, 1], [2, 3]], [[4, 5], [6, 7]], [[8, 9], [10, 10]]]
    assert plan.positions(1, 2)[1].tolist() == [1.0, 0.0]
    assert [plan.global_rows(step) for step in range(3)] == [4, 4, 3]


# Tasks


def steps_of(tasks: Iterable[FeedTask]) -> list[int]:
    return [
        step for task in tasks for step in range(task.first_step, task.first_step + task.num_steps)
    ]


@properties
@given(plans(), st.integers(1, 9), st.data())
def test_tasks_hold_every_step_from_the_first_on_in_order(
    plan: BatchPlan, steps_per_task: int, data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, plan.num_steps))
    tasks = list(segment_tasks(Segment(3, True, first), plan, steps_per_task=steps_per_task))
    assert steps_of(tasks) == list(range(first, plan.num_steps))
    assert all(1 <= task.num_steps <= steps_per_task for task in tasks)
    # But for the first, tasks are those of the whole epoch: they read whole windows.
    assert all(task.first_step % steps_per_task == 0 for task in tasks[1:])
