"""A permutation as a function: one to one, another for each key, as random as numpy's."""

import numpy as np
import pytest

from components.records.shuffle import Shuffle


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 16, 17, 1000, 4097])
@pytest.mark.parametrize("key", [0, 7, 2**63 - 1])
def test_every_number_goes_to_another(size: int, key: int) -> None:
    assert sorted(Shuffle(size, key).of(np.arange(size))) == list(range(size))


def test_where_a_number_goes_does_not_depend_on_what_else_is_asked() -> None:
    shuffle = Shuffle(1000, 3)
    together = shuffle.of(np.arange(1000))
    assert [int(shuffle.of(np.array([n]))[0]) for n in range(0, 1000, 37)] == together[
        ::37
    ].tolist()


def test_large_sizes_are_no_list() -> None:
    found = Shuffle(2**61 - 1, 5).of(np.arange(1000))
    assert len(set(found.tolist())) == 1000 and found.min() >= 0 and found.max() < 2**61 - 1
    assert abs(found.mean() / 2**61 - 0.5) < 0.05


def test_first_places_are_uniform_over_keys() -> None:
    # Where 0 goes among 6 places, over 6,000 keys: chi squared with 5 degrees of freedom.
    counts = np.bincount([int(Shuffle(6, key).of(np.array([0]))[0]) for key in range(6000)])
    assert (((counts - 1000) ** 2) / 1000).sum() < 20.5  # exceeded once in a thousand


def test_neighbours_are_torn_apart() -> None:
    found = Shuffle(10_000, 11).of(np.arange(10_000))
    assert abs(np.corrcoef(found[:-1], found[1:])[0, 1]) < 4 / 10_000**0.5
    assert (np.abs(np.diff(found)) == 1).sum() < 12
