"""Numbers as people write them."""

from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.tables.schema import NumberForm
from components.tables.values.numbers import ParsedNumbers, parse_numbers

POINT = NumberForm()
COMMA = NumberForm(decimal=",", thousands=".")


def parse(texts: list[str | None], form: NumberForm = POINT) -> ParsedNumbers:
    return parse_numbers(pl.Series(texts, dtype=pl.Utf8), form)


@pytest.mark.parametrize("text", ["12", "-3.5", "0", ".5", "5.", "1e-05", "10.357019999999999"])
def test_plain_numbers_are_exact_and_equal_pythons_float(text: str) -> None:
    read = parse([text])
    assert read.values.to_list() == [float(text)]
    assert read.exact.to_list() == [True] and read.manner.to_list() == [""]


@pytest.mark.parametrize(
    ("text", "value", "manner"),
    [
        (" 7 ", 7.0, "blanks"),
        ("+5", 5.0, "plus"),
        ("1,234", 1234.0, "grouped"),
        ("1,234.50", 1234.5, "grouped"),
        ("1.234,56", 1234.56, "grouped, decimal"),
        ("12,5", 12.5, "decimal"),
        ("1,23", 1.23, "decimal"),
        ("0,123", 0.123, "decimal"),
        ("1 234", 1234.0, "grouped"),
        ("1\u00a0234", 1234.0, "grouped"),
        ("1\u202f234,5", 1234.5, "grouped, decimal"),
        ("1'234.5", 1234.5, "grouped"),
        ("12,34,567", 1234567.0, "grouped"),
        ("1.234.567", 1234567.0, "grouped, decimal"),
        ("$1,234.50", 1234.5, "unit, grouped"),
        ("5 €", 5.0, "unit"),
        ("-$5", -5.0, "unit"),
        ("USD 12", 12.0, "unit"),
        ("12 kg", 12.0, "unit"),
        ("5km", 5.0, "unit"),
        ("30%", 30.0, "percent"),
        ("(1,234)", -1234.0, "parentheses, grouped"),
        ("12-", -12.0, "trailing_minus"),
        ("\u22125", -5.0, "characters"),
        ("\uff11\uff12", 12.0, "characters"),
        ("\u0663\u0664", 34.0, "characters"),
        ("'123", 123.0, "quotes"),
        ("1O5", 105.0, "confused_letter"),
        ("l23", 123.0, "confused_letter"),
        ("3k", 3000.0, "magnitude"),
        ("2.5 million", 2_500_000.0, "magnitude"),
        ("~12", 12.0, "about"),
        ("twelve", 12.0, "word"),
        ("007", 7.0, "leading_zeros"),
    ],
)
def test_other_ways_to_write_a_number_are_read_and_told(
    text: str, value: float, manner: str
) -> None:
    read = parse([text])
    assert read.values.to_list() == [value]
    assert read.exact.to_list() == [False]
    assert read.manner.to_list() == [manner]


@pytest.mark.parametrize(
    "text",
    [
        *("", "abc", "0x1F", "--5", "1..2", "1.2.3", "12 34", "2024-01-01", "10:30", "1/2", "1e"),
        *("N10156", "ABC 123", "12 apples", "5m", "nan", "S5", "11th", "<5", "12345678901234567"),
    ],
)
def test_what_is_no_number_is_not_read(text: str) -> None:
    read = parse([text])
    assert read.values.to_list() == [None]
    assert read.readable.to_list() == [False] and read.infinite.to_list() == [False]


@pytest.mark.parametrize("text", ["inf", "-Infinity", "1e999", "∞", "1.#INF"])
def test_infinities_are_told_apart_from_nonsense(text: str) -> None:
    read = parse([text])
    assert read.infinite.to_list() == [True] and read.values.to_list() == [None]


def test_whole_numbers_without_an_exact_float_are_not_rounded_in_silence() -> None:
    read = parse([str(2**53 - 1), str(2**53), str(2**53 + 1), f"'{2**53 + 1}"])
    assert read.values.to_list() == [2.0**53 - 1, None, None, None]


def test_a_comma_column_reads_the_other_way_round() -> None:
    read = parse(["1,5", "1.234", "1.234,5", "12.5"], COMMA)
    assert read.values.to_list() == [1.5, 1234.0, 1234.5, 12.5]
    assert read.exact.to_list() == [True, True, True, False]


def test_a_unit_that_is_not_the_columns_is_refused() -> None:
    read = parse(["12 kg", "12", "12 KG", "12 lb"], NumberForm(unit="kg", manners=("unit",)))
    assert read.values.to_list() == [12.0, 12.0, 12.0, None]
    assert read.exact.to_list() == [True, True, True, False]


def test_litres_are_no_ones_in_a_column_of_litres() -> None:
    assert parse(["12l"], NumberForm(unit="l", manners=("unit",))).values.to_list() == [12.0]
    assert parse(["12l"]).values.to_list() == [121.0]


def test_a_point_groups_in_a_column_of_whole_numbers() -> None:
    read = parse(["1.234", "12.0", "1e3"], NumberForm(whole=True))
    assert read.values.to_list() == [1234.0, 12.0, 1000.0]
    assert read.exact.to_list() == [False, True, False]


def test_of_two_readings_the_plausible_one_is_taken() -> None:
    texts = pl.Series(["1.234", "1,234"])
    assert parse_numbers(texts, POINT, (500.0, 5000.0)).values.to_list() == [1234.0, 1234.0]
    assert parse_numbers(texts, POINT, (0.0, 50.0)).values.to_list() == [1.234, 1.234]
    assert parse_numbers(texts, POINT).values.to_list() == [1.234, 1234.0]


def test_percents_among_shares_of_one_are_shares() -> None:
    assert parse(["0.5", "50%"], NumberForm(fraction=True)).values.to_list() == [0.5, 0.5]


def test_rows_keep_their_order_and_nulls() -> None:
    read = parse(["3k", None, "2", "3k", "x", "2"])
    assert read.values.to_list() == [3000.0, None, 2.0, 3000.0, None, 2.0]


@given(
    st.lists(st.decimals(-999_999_999, 999_999_999, places=2), min_size=1, max_size=20),
    st.sampled_from([",", " ", "'", "."]),
)
def test_what_is_grouped_is_read_as_it_was(numbers: list[Decimal], separator: str) -> None:
    decimal = "," if separator == "." else "."
    texts = [f"{number:,}".translate({44: separator, 46: decimal}) for number in numbers]
    read = parse(texts, NumberForm(decimal=decimal, thousands=separator))
    assert read.values.to_list() == [float(number) for number in numbers]
    assert read.exact.all()


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_that_python_prints_is_read_bit_for_bit(number: float) -> None:
    if number.is_integer() and abs(number) >= 2**53:
        return
    assert parse([repr(number)]).values.to_list() == [number]
