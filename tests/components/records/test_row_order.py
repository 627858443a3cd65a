"""Each row of a split once in a pass, in another order in each; short epochs go on."""

import tracemalloc
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.records.row_order import EpochOrder, EveryRow, GroupOrder, ShardLayout

# The same examples in every run, without a clock: a busy machine is no failure.
properties = settings(max_examples=30, derandomize=True, deadline=None, database=None)

layouts = st.builds(
    lambda rows, group: ShardLayout(tuple(map(str, range(len(rows)))), tuple(rows), group),
    st.lists(st.integers(1, 40), min_size=1, max_size=6),
    st.integers(1, 12),
)


def epoch_order(layout: ShardLayout, seed: int, epoch: int, window_rows: int) -> EpochOrder:
    return EpochOrder(
        EveryRow(layout), seed=seed, epoch=epoch, num_rows=layout.num_rows, window_rows=window_rows
    )


def addresses(order: EpochOrder | GroupOrder, num_rows: int) -> list[tuple[int, int, int]]:
    found = order.locate(np.arange(num_rows))
    assert not found.repeat.any()
    columns = (found.shard.tolist(), found.row_group.tolist(), found.row.tolist())
    return list(zip(*columns, strict=True))


@properties
@given(layouts, st.integers(0, 2**63 - 1), st.integers(0, 1000), st.integers(1, 50))
def test_an_order_visits_every_place_once(
    layout: ShardLayout, seed: int, epoch: int, window_rows: int
) -> None:
    order = epoch_order(layout, seed, epoch, window_rows)
    places = [
        (shard, row // layout.row_group_rows, row % layout.row_group_rows)
        for shard, rows in enumerate(layout.rows)
        for row in range(rows)
    ]
    assert sorted(addresses(order, layout.num_rows)) == places
    assert addresses(GroupOrder(layout, None), layout.num_rows) == places


@properties
@given(layouts, st.data())
def test_a_place_does_not_depend_on_what_else_is_asked(
    layout: ShardLayout, data: st.DataObject
) -> None:
    order = epoch_order(layout, 1, 2, 7)
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
    order = epoch_order(layout, seed, 0, window_rows)
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
    order = epoch_order(LARGE, seed, epoch, 8)
    found = order.locate(np.arange(LARGE.num_rows))
    first = np.flatnonzero(found.row == 0)
    places = np.empty(len(first), np.int64)
    places[found.shard[first] * 500 + found.row_group[first]] = first // 8
    return places


def test_same_seed_and_epoch_give_the_same_order() -> None:
    orders = [epoch_order(LARGE, 5, 3, 64) for _ in range(2)]
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
    rows = [epoch_order(layout, 0, epoch, 1000).locate(np.arange(1000)).row for epoch in (0, 1)]
    assert abs(np.corrcoef(*rows)[0, 1]) < 4 / 1000**0.5
    assert (rows[0] == rows[1]).sum() < 10


def test_a_record_can_come_anywhere_in_an_epoch() -> None:
    # Where the first record on disk comes, over many epochs: uniform over the 8,003 places.
    places = []
    for epoch in range(100):
        found = epoch_order(LARGE, 2, epoch, 64).locate(np.arange(8_003))
        here = (found.shard == 0) & (found.row_group == 0) & (found.row == 0)
        places.append(int(np.flatnonzero(here)[0]))
    # Kolmogorov and Smirnov's statistic of 100 uniform draws is below 0.163 in 99 of 100 cases.
    ranks = np.sort(places) / 8_003
    assert np.abs(ranks - np.linspace(0, 1, 100)).max() < 0.163


def test_the_order_of_a_billion_records_is_a_function() -> None:
    layout = ShardLayout(("shard",) * 250_000, (4_001,) * 250_000, 64)
    tracemalloc.start()
    order = epoch_order(layout, 1, 0, 512)
    found = order.locate(np.arange(500_000_000, 500_000_512))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 100e6
    assert len(set(zip(found.shard.tolist(), found.row_group.tolist(), strict=True))) < 20
    assert len(np.unique(found.shard)) > 5


@properties
@given(layouts, st.integers(1, 300), st.integers(1, 40))
def test_epochs_of_another_length_have_the_passes_one_after_the_other(
    layout: ShardLayout, num_rows: int, window_rows: int
) -> None:
    seen: list[tuple[int, ...]] = []
    epoch = 0
    while len(seen) < 3 * layout.num_rows:
        order = EpochOrder(
            EveryRow(layout), seed=4, epoch=epoch, num_rows=num_rows, window_rows=window_rows
        )
        found = order.locate(np.arange(num_rows))
        rows = np.stack([found.shard, found.row_group, found.row, found.repeat], axis=1)
        # No two of an epoch look the same to the augmentation.
        assert len(np.unique(rows, axis=0)) == num_rows
        # Mixed inside windows only, which may lie across the end of a pass.
        seen += sorted(map(tuple, rows[:, :3].tolist()))
        epoch += 1
    assert min(Counter(seen).values()) >= 3
    whole = Counter(seen).most_common(1)[0][1]
    assert whole <= -(-len(seen) // layout.num_rows)


def test_an_epoch_of_half_the_rows_has_the_other_half_next() -> None:
    halves = [
        EpochOrder(EveryRow(LARGE), seed=3, epoch=epoch, num_rows=4_000, window_rows=64).locate(
            np.arange(4_000)
        )
        for epoch in (0, 1)
    ]
    groups = [set(zip(h.shard.tolist(), h.row_group.tolist(), strict=True)) for h in halves]
    assert len(groups[0] & groups[1]) <= 1
    assert len(groups[0] | groups[1]) >= 1_000
