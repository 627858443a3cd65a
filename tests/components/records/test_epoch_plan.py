"""Every row exactly once per epoch, in the same global batches on any number of workers."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.errors import PlanError
from components.records.epoch_plan import (
    BatchPlan,
    EpochOrder,
    FeedTask,
    Segment,
    ShardLayout,
    segment_tasks,
)

# The same examples in every run, without a clock: a busy machine is no failure.
properties = settings(max_examples=30, derandomize=True, deadline=None, database=None)
WORLDS = (1, 2, 4)


@st.composite
def plans(draw: st.DrawFn, *, keep_last: bool | None = None) -> BatchPlan:
    """Any plan whose numbers divide one another."""
    world = draw(st.integers(1, 5))
    lanes = world * draw(st.integers(1, 4))
    batch = lanes * draw(st.integers(1, 4))
    keep = draw(st.booleans()) if keep_last is None else keep_last
    return BatchPlan(draw(st.integers(0, 300)), batch, lanes, world, keep)


layouts = st.builds(
    lambda rows, group: ShardLayout(tuple(map(str, range(len(rows)))), tuple(rows), group),
    st.lists(st.integers(1, 40), min_size=1, max_size=6),
    st.integers(1, 12),
)


def step_rows(plan: BatchPlan, step: int) -> list[int]:
    """Positions that count in a step, over all ranks, in rank order."""
    rows: list[int] = []
    for rank in range(plan.world_size):
        positions, weights = plan.local_positions(rank, step)
        rows += positions[weights > 0].tolist()
    return rows


def addresses(order: EpochOrder, num_rows: int) -> list[tuple[int, int, int]]:
    found = order.locate(np.arange(num_rows))
    columns = (found.shard.tolist(), found.row_group.tolist(), found.row.tolist())
    return list(zip(*columns, strict=True))


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
        blocks = [plan.local_positions(rank, step) for rank in range(plan.world_size)]
        assert len({len(positions) for positions, _ in blocks}) == 1
        for positions, weights in blocks:
            assert (positions.dtype, weights.dtype) == (np.int64, np.float32)
            assert set(weights.tolist()) <= {0.0, 1.0}
            # Padding repeats the last row, so that it can be read like any other.
            assert (positions[weights == 0] == plan.num_rows - 1).all()
            assert positions.min() >= 0 and positions.max() < plan.num_rows


@properties
@given(st.integers(0, 300), st.integers(1, 4), st.integers(1, 4))
def test_the_global_batches_are_the_same_on_any_number_of_workers(
    num_rows: int, lanes: int, per_lane: int
) -> None:
    lanes *= 4
    by_world = []
    for world in WORLDS:
        plan = BatchPlan(num_rows, lanes * per_lane, lanes, world, keep_last=True)
        by_world.append([step_rows(plan, step) for step in range(plan.num_steps)])
    assert by_world[0] == by_world[1] == by_world[2]


def test_a_step_by_hand() -> None:
    plan = BatchPlan(num_rows=11, batch_size=4, lanes=2, world_size=2, keep_last=True)
    # Two full steps: lane 0 is rows 0 to 3, lane 1 rows 4 to 7; rows 8 to 10 are the last step.
    steps = [[plan.local_positions(rank, step)[0].tolist() for rank in (0, 1)] for step in range(3)]
    assert steps == [[[0, 1], [4, 5]], [[2, 3], [6, 7]], [[8, 9], [10, 10]]]
    assert plan.local_positions(1, 2)[1].tolist() == [1.0, 0.0]
    assert [plan.global_rows(step) for step in range(3)] == [4, 4, 3]


@pytest.mark.parametrize(("batch", "lanes", "world"), [(10, 4, 1), (12, 3, 2), (4, 8, 1)])
def test_numbers_that_do_not_divide_are_refused(batch: int, lanes: int, world: int) -> None:
    with pytest.raises(PlanError, match=f"batch_size {batch}, shuffle_lanes {lanes} and {world}"):
        BatchPlan(100, batch, lanes, world, keep_last=True)


# Order


@properties
@given(layouts, st.integers(0, 2**63 - 1), st.integers(0, 1000), st.booleans())
def test_an_order_visits_every_place_once(
    layout: ShardLayout, seed: int, epoch: int, shuffle: bool
) -> None:
    order = EpochOrder(layout, seed=seed, epoch=epoch, shuffle=shuffle)
    places = [
        (shard, row // layout.row_group_rows, row % layout.row_group_rows)
        for shard, rows in enumerate(layout.rows)
        for row in range(rows)
    ]
    found = addresses(order, layout.num_rows)
    assert sorted(found) == places
    assert shuffle or found == places


@properties
@given(layouts, st.data())
def test_a_place_does_not_depend_on_what_else_is_asked(
    layout: ShardLayout, data: st.DataObject
) -> None:
    order = EpochOrder(layout, seed=1, epoch=2, shuffle=True)
    all_places = addresses(order, layout.num_rows)
    some = data.draw(st.lists(st.integers(0, layout.num_rows - 1), min_size=1))
    found = order.locate(np.array(some))
    columns = (found.shard.tolist(), found.row_group.tolist(), found.row.tolist())
    assert list(zip(*columns, strict=True)) == [all_places[position] for position in some]


@properties
@given(layouts, st.integers(0, 2**63 - 1))
def test_row_groups_are_read_as_wholes(layout: ShardLayout, seed: int) -> None:
    found = addresses(EpochOrder(layout, seed=seed, epoch=0, shuffle=True), layout.num_rows)
    changes = sum(before[:2] != after[:2] for before, after in pairwise(found))
    assert changes == len({place[:2] for place in found}) - 1


LARGE = ShardLayout(("a", "b"), (4_000, 4_000), 8)


def group_order(seed: int, epoch: int) -> np.ndarray:
    """Position in the epoch's order of each of the 1,000 row groups."""
    found = EpochOrder(LARGE, seed=seed, epoch=epoch, shuffle=True).locate(np.arange(0, 8_000, 8))
    return np.argsort(found.shard * 500 + found.row_group)


def test_same_seed_and_epoch_give_the_same_order() -> None:
    orders = [EpochOrder(LARGE, seed=5, epoch=3, shuffle=True) for _ in range(2)]
    assert addresses(orders[0], 8_000) == addresses(orders[1], 8_000)


@pytest.mark.parametrize(
    ("one", "other"), [((0, 0), (0, 1)), ((0, 7), (0, 8)), ((0, 0), (1, 0)), ((1, 0), (0, 1))]
)
def test_orders_of_other_epochs_and_seeds_are_independent(
    one: tuple[int, int], other: tuple[int, int]
) -> None:
    first, second = group_order(*one), group_order(*other)
    # Independent permutations of 1,000: correlation 0 with standard deviation 1 / sqrt(1000).
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / 1000**0.5
    # Row groups that follow each other in both: 1 expected, Poisson.
    follows = [set(pairwise(np.argsort(order).tolist())) for order in (first, second)]
    assert len(follows[0] & follows[1]) < 10


def test_rows_inside_a_group_are_shuffled_anew_in_every_epoch() -> None:
    layout = ShardLayout(("a",), (1000,), 1000)
    rows = [
        EpochOrder(layout, seed=0, epoch=epoch, shuffle=True).locate(np.arange(1000)).row
        for epoch in (0, 1)
    ]
    assert abs(np.corrcoef(*rows)[0, 1]) < 4 / 1000**0.5
    assert (rows[0] == rows[1]).sum() < 10


# Tasks


def task_rows(plan: BatchPlan, tasks: list[FeedTask]) -> dict[tuple[int, int], list[int]]:
    """(rank, step) -> positions, over all tasks; fails where a step is dealt twice."""
    found: dict[tuple[int, int], list[int]] = {}
    for task in tasks:
        for step in range(task.first_step, task.first_step + task.num_steps):
            assert (task.rank, step) not in found
            found[task.rank, step] = plan.local_positions(task.rank, step)[0].tolist()
    return found


@properties
@given(plans(), st.integers(1, 9))
def test_tasks_cover_every_step_of_every_rank(plan: BatchPlan, steps_per_task: int) -> None:
    found = task_rows(plan, segment_tasks(Segment(0, True), plan, steps_per_task=steps_per_task))
    assert set(found) == {(r, s) for r in range(plan.world_size) for s in range(plan.num_steps)}


@properties
@given(plans(), st.integers(1, 9))
def test_tasks_of_a_round_are_equal_and_dealt_in_rank_order(
    plan: BatchPlan, steps_per_task: int
) -> None:
    tasks = segment_tasks(Segment(0, True), plan, steps_per_task=steps_per_task)
    for number in range(0, len(tasks), plan.world_size):
        dealt = tasks[number : number + plan.world_size]
        assert [task.rank for task in dealt] == list(range(plan.world_size))
        assert len({(task.first_step, task.num_steps) for task in dealt}) == 1
        rows = {
            sum(
                len(plan.local_positions(task.rank, step)[0])
                for step in range(task.first_step, task.first_step + task.num_steps)
            )
            for task in dealt
        }
        assert len(rows) == 1
    assert all(task.num_steps <= steps_per_task for task in tasks)


@properties
@given(plans(), st.integers(1, 9), st.data())
def test_resumed_at_a_step_gives_exactly_the_rest(
    plan: BatchPlan, steps_per_task: int, data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, plan.num_steps))
    whole = task_rows(plan, segment_tasks(Segment(3, True), plan, steps_per_task=steps_per_task))
    tasks = segment_tasks(Segment(3, True, first), plan, steps_per_task=steps_per_task)
    rest = {key: rows for key, rows in whole.items() if key[1] >= first}
    assert task_rows(plan, tasks) == rest
