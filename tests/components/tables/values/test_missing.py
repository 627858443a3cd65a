"""Missing values: spellings, and numbers that stand for them."""

import polars as pl
import pytest

from components.tables.values.missing import (
    contextual_missing,
    detected_sentinels,
    is_missing,
    missing_among_names,
    names_not_missing,
    zero_is_missing,
)


def missing(texts: list[str | None], **own: tuple[str, ...]) -> list[bool]:
    return pl.DataFrame({"t": texts}).select(is_missing(pl.col("t"), **own))["t"].to_list()


def test_usual_spellings_are_missing_and_names_are_not() -> None:
    assert all(missing(["", "  ", None, "NA", " n/a ", "NaN", "null", "#DIV/0!", "?", "--"]))
    assert not any(missing(["Null", "Na", "Nan", "None", "0", "x", "unknown"]))


def test_a_columns_own_spellings_count_in_any_case_and_its_names_do_not() -> None:
    assert missing(["Unknown", "UNKNOWN"], missing=("unknown",)) == [True, True]
    assert missing(["NA", "n/a"], not_missing=("NA",)) == [False, True]


def test_all_contextual_spellings_mean_missing_among_numbers() -> None:
    assert contextual_missing({"NA": 3, "none": 2, ".": 1}) == (".", "none")


@pytest.mark.parametrize(
    ("count", "expected"),
    [(3, ("None",)), (300, ())],
)
def test_none_is_a_category_unless_it_is_rare(count: int, expected: tuple[str, ...]) -> None:
    garages = {"attached": 500, "detached": 300, "attachd": 1, "dettached": 1, "carport": 1}
    assert missing_among_names({"None": count}, garages, 803) == expected


def test_none_among_names_that_never_repeat_is_a_name() -> None:
    assert missing_among_names({"none": 1}, {f"note {i}": 1 for i in range(99)}, 99) == ()


def test_namibia_is_a_country_unless_the_table_writes_na_for_missing() -> None:
    codes = {code: 10 for code in ("DE", "FR", "US", "ZA", "BW")}
    assert names_not_missing({"NA": 4}, codes, used_elsewhere=False) == ("NA",)
    assert names_not_missing({"NA": 4}, codes, used_elsewhere=True) == ()
    assert names_not_missing({"NA": 4}, {"male": 5, "female": 5}, used_elsewhere=False) == ()
    assert names_not_missing({"-": 4, "NA": 1}, {"+": 9}, used_elsewhere=False) == ("-",)


@pytest.mark.parametrize(
    ("counts", "extent", "plausible", "expected"),
    [
        ({999.0: 5}, (18, 80), (0, 150), (999.0,)),
        ({999.0: 1}, (18, 80), (0, 150), ()),
        ({-1.0: 3}, (18, 80), (0, 150), (-1.0,)),
        ({-1.0: 2}, (18, 80), (0, 150), ()),
        ({-1.0: 9}, (0, 1), (None, None), ()),
        ({-1.0: 9}, (0, 12), (None, None), ()),
        ({-1.0: 9}, (0, 100), (None, None), (-1.0,)),
        ({-9.0: 9}, (1, 6), (None, None), (-9.0,)),
        ({99.0: 9}, (1, 6), (0, 15), (99.0,)),
        ({-1.0: 9}, (-5, 5), (None, None), ()),
        ({-999.0: 2}, (-124, -114), (None, None), (-999.0,)),
        ({9999.0: 4}, (945, 1080), (900, 1100), (9999.0,)),
        ({99999.0: 159}, (0, 41310), (0, 754342), ()),
        ({99999.0: 159}, (0, 41310), (None, None), ()),
        ({-999.0: 600}, (18, 80), (0, 150), ()),
        ({1234.0: 9}, (18, 80), (0, 150), ()),
    ],
)
def test_sentinels_are_repeated_and_far_from_all_others(
    counts: dict[float, int],
    extent: tuple[float, float],
    plausible: tuple[float | None, float | None],
    expected: tuple[float, ...],
) -> None:
    assert detected_sentinels(counts, extent, plausible, 1000) == expected


@pytest.mark.parametrize(
    ("count", "extent", "middle", "expected"),
    [
        (11, (18.2, 67.1), 32.0, True),  # body mass index, of 768
        (4, (18, 92), 45, True),  # age
        (2, (18, 92), 45, False),  # twice may be chance
        (227, (18, 92), 45, False),  # so many are meant
        (13, (1, 11), 3, False),  # bedrooms
        (30, (0.5, 90), 20, False),  # tips
        (5, (1.2, 1.9), 1.5, True),  # a price per litre
        (5, (5, 20), 40, False),
    ],
)
def test_rare_zeros_far_below_all_others_are_missing(
    count: int, extent: tuple[float, float], middle: float, expected: bool
) -> None:
    assert zero_is_missing(count, extent, middle, 768) is expected
