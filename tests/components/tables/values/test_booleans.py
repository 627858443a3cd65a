"""Truth as people write it."""

import polars as pl
import pytest

from components.tables.values.booleans import boolean_pair, parse_booleans


@pytest.mark.parametrize(
    ("counts", "pair"),
    [
        ({"yes": 50, "no": 40, "Y": 3, "1": 2}, ("yes", "no")),
        ({"TRUE": 5, "FALSE": 4, "true": 1}, ("TRUE", "FALSE")),
        ({"t": 5, "f": 4}, ("t", "f")),
        ({"On": 1, "Off": 1}, ("On", "Off")),
        ({"yes": 90, "no": 5, "perhaps": 5}, ("yes", "no")),
    ],
)
def test_columns_of_booleans_are_known_by_their_words(
    counts: dict[str, int], pair: tuple[str, str]
) -> None:
    assert boolean_pair(counts) == pair


@pytest.mark.parametrize(
    "counts",
    [{"1": 5, "0": 5}, {"male": 5, "female": 4}, {"yes": 9}, {"t": 5}, {"y": 5, "n": 5, "z": 5}],
)
def test_digits_other_words_and_one_truth_alone_are_no_booleans(counts: dict[str, int]) -> None:
    assert boolean_pair(counts) is None


def test_minority_spellings_are_read_and_not_exact() -> None:
    read = parse_booleans(pl.Series(["yes", " no", "No", "1", "T", None, "x"]), ("yes", "no"))
    assert read.values.to_list() == [True, False, False, True, True, None, None]
    assert read.exact.to_list() == [True, False, False, False, False, False, False]
    assert read.readable.to_list() == [True] * 5 + [False] * 2
