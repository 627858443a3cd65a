"""Every row exactly once per epoch, in the same global batches on any number of workers."""

import tracemalloc
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
WORLDS = (1, 2, 3, 4)


@st.composite
def plans(draw: st.DrawFn, *, keep_last: bool | None = None) -> BatchPlan:
    """Any plan whose numbers divide one another."""
    world = draw(st.integers(1, 5))
    batch = draw(st.integers(1, 40))
    keep = draw(st.booleans()) if keep_last is None else keep_last
    return BatchPlan(draw(st.integers(0, 300)), batch, world, keep)


layouts = st.builds(
    lambda rows, group: ShardLayout(tuple(map(str, range(len(rows)))), tuple(rows), group),
    st.lists(st.integers(1, 40), min_size=1, max_size=6),
    st.integers(1, 12),
)


def step_rows(plan: BatchPlan, step: int) -> list[int]:
    """Positions that count in a step, over all ranks, in rank order."""
    rows: list[int] = []
    for rank in range(plan.world_size):
        positions, weights = plan.positions(rank, step)
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


# Order


@properties
@given(layouts, st.integers(0, 2**63 - 1), st.integers(0, 1000), st.integers(0, 50))
def test_an_order_visits_every_place_once(
    layout: ShardLayout, seed: int, epoch: int, window_rows: int
) -> None:
    order = EpochOrder(layout, seed=seed, epoch=epoch, window_rows=window_rows)
    places = [
        (shard, row // layout.row_group_rows, row % layout.row_group_rows)
        for shard, rows in enumerate(layout.rows)
        for row in range(rows)
    ]
    found = addresses(order, layout.num_rows)
    assert sorted(found) == places
    assert window_rows or found == places


@properties
@given(layouts, st.data())
def test_a_place_does_not_depend_on_what_else_is_asked(
    layout: ShardLayout, data: st.DataObject
) -> None:
    order = EpochOrder(layout, seed=1, epoch=2, window_rows=7)
    all_places = addresses(order, layout.num_rows)
    some = data.draw(st.lists(st.integers(0, layout.num_rows - 1), min_size=1))
    found = order.locate(np.array(some))
    columns = (found.shard.tolist(), found.row_group.tolist(), found.row.tolist())
    assert list(zip(*columns, strict=True)) == [all_places[position] for position in some]


@properties
@given(layouts, st.integers(0, 2**63 - 1), st.integers(1, 50))
def test_a_window_reads_few_row_groups_and_a_group_lies_in_few_windows(
    layout: ShardLayout, seed: int, window_rows: int
) -> None:
    order = EpochOrder(layout, seed=seed, epoch=0, window_rows=window_rows)
    found = addresses(order, layout.num_rows)
    sizes = Counter(place[:2] for place in found)
    windows: dict[tuple[int, int], set[int]] = {}
    for position, place in enumerate(found):
        windows.setdefault(place[:2], set()).add(position // window_rows)
    for group, seen in windows.items():
        # Its rows follow one another before they are mixed.
        assert max(seen) - min(seen) + 1 == len(seen) <= (sizes[group] - 1) // window_rows + 2


LARGE = ShardLayout(("a", "b"), (4_000, 4_003), 8)


def group_order(seed: int, epoch: int) -> np.ndarray:
    """Window, of 8 rows each, in which the first row of each of 1,001 row groups comes."""
    order = EpochOrder(LARGE, seed=seed, epoch=epoch, window_rows=8)
    found = order.locate(np.arange(LARGE.num_rows))
    first = np.flatnonzero(found.row == 0)
    places = np.empty(len(first), np.int64)
    places[found.shard[first] * 500 + found.row_group[first]] = first // 8
    return places


def test_same_seed_and_epoch_give_the_same_order() -> None:
    orders = [EpochOrder(LARGE, seed=5, epoch=3, window_rows=64) for _ in range(2)]
    assert addresses(orders[0], 8_003) == addresses(orders[1], 8_003)


@pytest.mark.parametrize(
    ("one", "other"), [((0, 0), (0, 1)), ((0, 7), (0, 8)), ((0, 0), (1, 0)), ((1, 0), (0, 1))]
)
def test_orders_of_other_epochs_and_seeds_are_independent(
    one: tuple[int, int], other: tuple[int, int]
) -> None:
    first, second = group_order(*one), group_order(*other)
    # Independent permutations of 1,001: correlation 0 with standard deviation 1 / sqrt(1001).
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / 1001**0.5
    # Row groups that follow each other in both: 1 expected, Poisson.
    follows = [set(pairwise(np.argsort(order).tolist())) for order in (first, second)]
    assert len(follows[0] & follows[1]) < 10


def test_rows_inside_a_window_are_shuffled_anew_in_every_epoch() -> None:
    layout = ShardLayout(("a",), (1000,), 1000)
    rows = [
        EpochOrder(layout, seed=0, epoch=epoch, window_rows=1000).locate(np.arange(1000)).row
        for epoch in (0, 1)
    ]
    assert abs(np.corrcoef(*rows)[0, 1]) < 4 / 1000**0.5
    assert (rows[0] == rows[1]).sum() < 10


def test_a_record_can_come_anywhere_in_an_epoch() -> None:
    # Where the first record on disk comes, over many epochs: uniform over the 8,003 places.
    places = []
    for epoch in range(100):
        found = EpochOrder(LARGE, seed=2, epoch=epoch, window_rows=64).locate(np.arange(8_003))
        here = (found.shard == 0) & (found.row_group == 0) & (found.row == 0)
        places.append(int(np.flatnonzero(here)[0]))
    # Kolmogorov and Smirnov's statistic of 100 uniform draws is below 0.163 in 99 of 100 cases.
    ranks = np.sort(places) / 8_003
    assert np.abs(ranks - np.linspace(0, 1, 100)).max() < 0.163


def test_the_order_of_a_billion_records_is_a_function() -> None:
    layout = ShardLayout(("shard",) * 250_000, (4_001,) * 250_000, 64)
    tracemalloc.start()
    order = EpochOrder(layout, seed=1, epoch=0, window_rows=512)
    found = order.locate(np.arange(500_000_000, 500_000_512))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 100e6
    assert len(set(zip(found.shard.tolist(), found.row_group.tolist(), strict=True))) < 20
    assert len(np.unique(found.shard)) > 5


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
