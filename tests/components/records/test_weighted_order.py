"""Rows as often as their weights say, in whole numbers, in a drawn order, without a list."""

from collections import Counter
from math import ceil, floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.records.row_order import EpochOrder
from components.records.weighted_order import Visits, Weighted

properties = settings(max_examples=40, derandomize=True, deadline=None, database=None)


def weighted(shards: list[list[list[float]]]) -> Weighted:
    """Shards of row groups of raw weights, brought to a sum of as many rows as there are."""
    flat = np.concatenate([np.array(group) for shard in shards for group in shard])
    scale = len(flat) / flat.sum()
    scaled = [[np.array(group) * scale for group in shard] for shard in shards]
    visits = Visits.for_weights_up_to(float(flat.max() * scale))
    masses = np.array([visits.masses(group) for shard in scaled for group in shard]).T
    ends = np.cumsum([len(shard) for shard in shards])
    return Weighted(len(flat), ends, visits, masses, lambda s, g: scaled[s][g])


weights = st.one_of(st.just(1.0), st.just(0.0), st.floats(0.01, 20.0))
groups = st.lists(weights, min_size=1, max_size=9)
all_weights = st.lists(st.lists(groups, min_size=1, max_size=4), min_size=1, max_size=3).filter(
    lambda shards: sum(sum(group) for shard in shards for group in shard) > 0.1
)


def drawn(passes: Weighted, seed: int, number: int) -> list[tuple[int, int, int, int]]:
    found = passes.number(seed, number).locate(np.arange(passes.num_rows))
    columns = (found.shard, found.row_group, found.row, found.repeat)
    return list(zip(*(column.tolist() for column in columns), strict=True))


@properties
@given(all_weights, st.integers(0, 2**63 - 1), st.integers(0, 500))
def test_a_pass_has_each_row_as_often_as_its_weight_rounded_up_or_down(
    shards: list[list[list[float]]], seed: int, number: int
) -> None:
    passes = weighted(shards)
    seen = drawn(passes, seed, number)
    counts = Counter(place[:3] for place in seen)
    for shard, row_groups in enumerate(shards):
        for group in range(len(row_groups)):
            for row, weight in enumerate(passes.weights_of(shard, group)):
                # A hair to either side: a sum of floats is no whole number.
                allowed = range(floor(weight - 1e-9), ceil(weight + 1e-9) + 1)
                assert counts[shard, group, row] in allowed
    # The repeats of a row are numbered, so that no two of them look the same.
    assert len(set(seen)) == passes.num_rows
    assert all(repeat < counts[place] for *place_, repeat in seen for place in [tuple(place_)])


@properties
@given(all_weights, st.data())
def test_a_place_does_not_depend_on_what_else_is_asked(
    shards: list[list[list[float]]], data: st.DataObject
) -> None:
    passes = weighted(shards)
    whole = drawn(passes, 1, 2)
    some = data.draw(st.lists(st.integers(0, passes.num_rows - 1), min_size=1))
    found = passes.number(1, 2).locate(np.array(some))
    assert found.row.tolist() == [whole[place][2] for place in some]
    assert found.repeat.tolist() == [whole[place][3] for place in some]


@pytest.mark.parametrize(
    ("largest", "count", "copies"),
    [(0.4, 1, 1), (1, 1, 1), (2.5, 3, 1), (3, 3, 1), (3.1, 2, 2), (20, 3, 7)],
)
def test_a_row_group_is_read_three_times_at_most(largest: float, count: int, copies: int) -> None:
    visits = Visits.for_weights_up_to(largest)
    assert (visits.count, visits.copies) == (count, copies)
    assert visits.masses(np.array([largest])).sum() == pytest.approx(largest)


def test_a_row_comes_as_often_as_its_weight_says_over_many_passes() -> None:
    passes = weighted([[[1.0, 2.5, 0.5, 0.2] * 4] * 5])
    counts = Counter(place[2] % 4 for number in range(200) for place in drawn(passes, 9, number))
    shares = np.array([counts[kind] for kind in range(4)]) / (200 * 80)
    # A rounding of one row in each pass at most: far below what independent draws would do.
    np.testing.assert_allclose(shares, np.array([1.0, 2.5, 0.5, 0.2]) / 4.2, atol=2e-3)


def test_passes_are_drawn_anew_and_the_copies_of_a_row_lie_apart() -> None:
    passes = weighted([[[1.0] * 30 + [3.0]] * 40])
    orders = [drawn(passes, 7, number) for number in (0, 1)]
    assert orders[0] != orders[1] and orders[0] == drawn(passes, 7, 0)
    places: dict[tuple[int, int, int], list[int]] = {}
    for position, place in enumerate(orders[0]):
        places.setdefault(place[:3], []).append(position)
    distances = [max(p) - min(p) for row, p in places.items() if row[2] == 30]
    # Two or three uniform places of 1,240: some 500 apart on average.
    assert np.mean(distances) > 300


def test_epochs_of_weighted_passes_are_mixed_and_cut_like_any_other() -> None:
    passes = weighted([[[1.0, 4.0]] * 50])
    seen: Counter[tuple[int, int]] = Counter()
    for epoch in range(5):
        order = EpochOrder(passes, seed=2, epoch=epoch, num_rows=40, window_rows=16)
        found = order.locate(np.arange(40))
        seen.update(zip(found.row_group.tolist(), found.row.tolist(), strict=True))
    # Five epochs of 40 are two passes of 100, with 80 of the heavy rows each, standard deviation 3.
    assert seen.total() == 200
    assert sum(count for (_, row), count in seen.items() if row == 1) == pytest.approx(160, abs=16)
    assert all(2 <= seen[group, 1] <= 4 for group in range(50))
