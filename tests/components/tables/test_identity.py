"""Row digests: equal rows have equal ones wherever they lie, and no others do."""

from datetime import date

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from components.tables.identity import row_digests

FRAME = pl.DataFrame(
    {
        "number": [1.5, 0.0, None, float("nan")],
        "name": ["añb", "", None, "b"],
        "day": [date(2024, 1, 31), date(1900, 1, 1), None, date(2024, 1, 31)],
        "count": [1, -1, None, 7],
        "paid": [True, False, None, True],
    }
)
COLUMNS = FRAME.columns


def test_known_rows_never_change_their_names() -> None:
    # Fixed digits: another value here would move the records of every table ever prepared.
    assert row_digests(FRAME, COLUMNS).to_list() == [
        "523f75c6b8aec399cdc583106f29ca13",
        "71d8f6fdeba2edc32e8bbba470d9d89f",
        "2f917587668488e5c30a18fabd8cda23",
        "8d0cde9d1e2d1c9575e2bc66a86b1afa",
    ]


def test_a_row_is_called_the_same_in_any_company() -> None:
    whole = row_digests(FRAME, COLUMNS).to_list()
    for row in range(len(FRAME)):
        assert row_digests(FRAME[row:], COLUMNS).to_list() == whole[row:]
        assert row_digests(FRAME[row], COLUMNS).to_list() == [whole[row]]


def test_signed_zero_and_nan_are_one_value_each() -> None:
    other_nan = np.array([0x7FF8000000000001], np.uint64).view(np.float64)
    zeros = pl.DataFrame({"x": [0.0, -0.0]})
    nans = pl.DataFrame({"x": [float("nan"), float(other_nan[0])]})
    assert row_digests(zeros, ["x"]).n_unique() == 1
    assert row_digests(nans, ["x"]).n_unique() == 1


def test_what_stands_where_matters() -> None:
    rows = pl.DataFrame({"a": ["x", "y", "xy", "", None, ""], "b": ["y", "x", "", "xy", "", None]})
    assert row_digests(rows, ["a", "b"]).n_unique() == 6
    assert row_digests(rows, ["a", "b"])[0] != row_digests(rows, ["b", "a"])[0]


@given(st.lists(st.text(max_size=12), min_size=1, max_size=40))
def test_equal_texts_and_no_others_are_called_the_same(texts: list[str]) -> None:
    frame = pl.DataFrame({"text": texts})
    assert row_digests(frame, ["text"]).n_unique() == len(set(texts))


def test_no_two_of_a_million_numbers_meet_and_the_digits_are_even() -> None:
    frame = pl.DataFrame({"number": np.arange(1_000_000)})
    digests = row_digests(frame, ["number"])
    assert digests.str.slice(0, 16).n_unique() == 1_000_000
    counts = digests.str.slice(0, 1).value_counts()["count"].cast(pl.Int64).to_numpy()
    # 16 first digits, each within 5 standard deviations of a binomial.
    assert np.abs(counts - 62_500).max() < 5 * (62_500 * 15 / 16) ** 0.5
