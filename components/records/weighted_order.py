"""Passes over a split that have a row as often as its weight says."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import numpy as np
import numpy.typing as npt

from components.records.row_order import Int64s, RowAddresses

Float64s = npt.NDArray[np.float64]

# A row group is read so often in a pass at most, for the rows in it that come that often.
_MAX_VISITS = 3


@dataclass(frozen=True)
class Visits:
    """How a pass comes by the rows that it has more than once.

    A row group takes its place in a pass once for the first `copies` times of its rows, once more
    for the next, and so on: the copies of a row lie apart, and the rows of a pass are as mixed at
    its end as at its start.

    Attributes:
        count: Times that a pass can come to a row group.
        copies: Times that a row is taken at most on each of them.
    """

    count: int
    copies: int

    @classmethod
    def for_weights_up_to(cls, largest: float) -> "Visits":
        """As many visits as the largest weight needs, with a limit to what is read."""
        copies = max(1, ceil(largest / _MAX_VISITS))
        return cls(max(1, ceil(largest / copies)), copies)

    def of(self, weights: Float64s, visit: int) -> Float64s:
        """What is left of the weights, (n,), on one visit, (n,)."""
        return np.clip(weights - visit * self.copies, 0.0, self.copies)

    def masses(self, weights: Float64s) -> Float64s:
        """Rows, expected, that each visit to a row group takes, (count,)."""
        return np.array([self.of(weights, visit).sum() for visit in range(self.count)])


@dataclass(frozen=True, eq=False)
class Weighted:
    """Passes that have a row as often as its weight says, rounded up or down.

    Attributes:
        num_rows: Rows of a pass, what the weights of all rows add up to.
        group_ends: Row groups up to and with each shard, (S,).
        visits: How a pass comes by rows that it has more than once.
        masses: Rows that each visit to each row group takes, expected, (count, G).
        weights_of: (shard, row group) -> weight of each of its rows.
    """

    num_rows: int
    group_ends: Int64s
    visits: Visits
    masses: Float64s
    weights_of: Callable[[int, int], Float64s]

    def number(self, seed: int, number: int) -> "WeightedOrder":
        """The order of one pass."""
        return WeightedOrder(self, seed, number)


class WeightedOrder:
    """A pass by weight: systematic sampling (Madow 1949) along row groups in a drawn order.

    The rows lie side by side on a line, each as long as its weight; points at a distance of 1
    from one another, the first of them drawn, fall on the rows that are taken. What is drawn is
    the order of the visits, that of the rows in each, and the first point.
    """

    def __init__(self, weighted: Weighted, seed: int, number: int) -> None:
        """Draw the order of the visits.

        Args:
            weighted: The weights, by row group.
            seed: The recipe's seed.
            number: Of the pass, from 0.
        """
        self._weighted, self._seed, self._number = weighted, seed, number
        rng = np.random.Generator(np.random.Philox(key=seed, counter=number << 128))
        self._first = rng.random()
        self._items = rng.permutation(np.flatnonzero(weighted.masses))
        self._ends = np.cumsum(weighted.masses.reshape(-1)[self._items])

    def locate(self, places: Int64s) -> RowAddresses:
        """Place on disk of each place in the pass, (n,)."""
        points = places + self._first
        items = np.searchsorted(self._ends, points, side="right")
        # A sum of floats may end a hair before the last point.
        items = np.minimum(items, len(self._items) - 1)
        found = np.empty((4, len(places)), np.int64)
        for item in np.unique(items).tolist():
            mine = items == item
            found[:, mine] = self._inside(item, points[mine])
        return RowAddresses(*found)

    def _inside(self, item: int, points: Float64s) -> Int64s:
        """Shard, row group, row and repeat of each point that falls on one visit, (4, n)."""
        weighted, visits = self._weighted, self._weighted.visits
        visit, group = divmod(int(self._items[item]), weighted.masses.shape[1])
        shard = int(np.searchsorted(weighted.group_ends, group, side="right"))
        row_group = group - (int(weighted.group_ends[shard - 1]) if shard else 0)
        left = visits.of(weighted.weights_of(shard, row_group), visit)
        rows = self._rng(item).permutation(np.flatnonzero(left))
        ends = np.cumsum(left[rows]) + (self._ends[item - 1] if item else 0.0)
        hit = np.minimum(np.searchsorted(ends, points, side="right"), len(rows) - 1)
        # The first point that falls on the row, and how many after it.
        start = ends[hit] - left[rows[hit]]
        first = np.ceil(start - self._first) + self._first
        copy = np.clip(np.rint(points - first), 0, visits.copies - 1).astype(np.int64)
        same = np.ones(len(points), np.int64)
        return np.stack([shard * same, row_group * same, rows[hit], visit * visits.copies + copy])

    def _rng(self, item: int) -> np.random.Generator:
        # This bit keeps these draws apart from those of the passes and of the windows.
        counter = (1 << 254) | (self._number << 128) | (item << 64)
        return np.random.Generator(np.random.Philox(key=self._seed, counter=counter))
