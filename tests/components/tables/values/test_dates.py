"""Dates as people write them."""

from datetime import date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.tables.schema import DateForm
from components.tables.values.dates import ParsedDates, parse_dates
from components.tables.values.moments import could_be_date, is_serial

ISO = DateForm(formats=("%Y-%m-%d",))


def parse(texts: list[str | None], form: DateForm = ISO) -> ParsedDates:
    return parse_dates(pl.Series(texts, dtype=pl.Utf8), form)


@pytest.mark.parametrize(
    ("text", "moment", "shape"),
    [
        ("2024/1/5", "2024-01-05", "%Y/%m/%d"),
        ("2024.01.05", "2024-01-05", "%Y.%m.%d"),
        ("3.4.2024", "2024-04-03", "%d.%m.%Y"),
        ("20240131", "2024-01-31", "%Y%m%d"),
        ("20240131T101500Z", "2024-01-31 10:15:00", "%Y%m%d %H:%M:%S%z"),
        ("2024-01-31T10:15:00Z", "2024-01-31 10:15:00", "%Y-%m-%d %H:%M:%S%z"),
        ("2024-01-31T10:15:00+02:00", "2024-01-31 08:15:00", "%Y-%m-%d %H:%M:%S%z"),
        ("2024-01-31 10:15:00-0500", "2024-01-31 15:15:00", "%Y-%m-%d %H:%M:%S%z"),
        ("2024-01-31 11:15 PM", "2024-01-31 23:15:00", "%Y-%m-%d %I:%M %p"),
        ("2024-01-31 12:15 am", "2024-01-31 00:15:00", "%Y-%m-%d %I:%M %p"),
        ("31 Jan 2024", "2024-01-31", "%d %b %Y"),
        ("January 31st, 2024", "2024-01-31", "%b %d %Y"),
        ("31-Jan-24", "2024-01-31", "%d %b %y"),
        ("31-Jan-70", "1970-01-31", "%d %b %y"),
        ("Wed, 31 Jan 2024 10:00:00 GMT", "2024-01-31 10:00:00", "%d %b %Y %H:%M:%S%z"),
        ("1. März 2024", "2024-03-01", "%d %b %Y"),
        ("3 févr. 2024", "2024-02-03", "%d %b %Y"),
        ("3 de enero de 2024", "2024-01-03", "%d %b %Y"),
        ("Mi 31.01.2024", "2024-01-31", "%d.%m.%Y"),
        ("2024年1月31日", "2024-01-31", "%Y-%m-%d"),
        ("2024-01", "2024-01-01", "%Y-%m"),
        ("Mar 2024", "2024-03-01", "%b %Y"),
        ("44197", "2021-01-01", "excel"),
        ("44197.75", "2021-01-01 18:00:00", "excel"),
        ("45326.194444", "2024-02-04 04:40:00", "excel"),
        ("1706700000", "2024-01-31 11:20:00", "epoch_s"),
        ("1706700000000", "2024-01-31 11:20:00", "epoch_ms"),
    ],
)
def test_other_ways_to_write_a_date_are_read(text: str, moment: str, shape: str) -> None:
    read = parse([text])
    assert read.values.to_list() == [datetime.fromisoformat(moment)]
    assert read.shape.to_list() == [shape]
    assert read.status.to_list() == ["main" if shape == "%Y-%m-%d" else "format"]


@pytest.mark.parametrize(
    "text",
    [
        *("2023-02-30", "31/04/2023", "13/13/2023", "0000-00-00", "2024-13", "2023-02-29"),
        *("1900-02-29", "2024-01-31T25:00", "2024-01-31T10:60"),
    ],
)
def test_days_that_never_were_are_impossible(text: str) -> None:
    read = parse([text])
    assert read.status.to_list() == ["impossible"] and read.values.to_list() == [None]


@pytest.mark.parametrize("text", ["abc", "12:30", "12.5", "199", "Mon", "", "1-2", "12.2013"])
def test_what_is_no_date_is_not_read(text: str) -> None:
    assert parse([text]).status.to_list() == ["unreadable"]


def test_a_date_possible_only_the_other_way_round_is_swapped() -> None:
    form = DateForm(formats=("%m/%d/%Y",))
    read = parse(["12/31/2024", "31/12/2024", "03/04/2024"], form)
    assert read.status.to_list() == ["main", "swapped", "main"]
    assert [moment.date() for moment in read.values] == [
        date(2024, 12, 31),
        date(2024, 12, 31),
        date(2024, 3, 4),
    ]
    assert parse(["2024-31-12"]).status.to_list() == ["swapped"]


def test_without_evidence_the_order_stays_open() -> None:
    read = parse(["03/04/2024", "04/04/2024", "25/04/2024", "04/25/2024", "3.4.2024"])
    assert read.status.to_list() == ["ambiguous", "format", "format", "format", "format"]
    assert read.values[0] is None
    assert read.values[2] == read.values[3] == datetime(2024, 4, 25)


def test_a_stated_order_settles_every_separator() -> None:
    form = DateForm(formats=("%Y-%m-%d",), day_first=False)
    assert parse(["03/04/2024"], form).values.to_list() == [datetime(2024, 3, 4)]


def test_a_doubtful_order_is_followed_and_told() -> None:
    form = DateForm(formats=("%d/%m/%Y",), doubtful=True)
    read = parse(["03/04/2024", "25/04/2024", "03/03/2024"], form)
    assert read.status.to_list() == ["ambiguous", "main", "main"]
    assert read.values[0] == datetime(2024, 4, 3)


def test_rows_keep_their_order_and_nulls() -> None:
    read = parse(["2024-01-02", None, "x", "2024-01-01", "2024-01-02"])
    assert read.status.to_list() == ["main", None, "unreadable", "main", "main"]
    assert [m and m.day for m in read.values] == [2, None, None, 1, 2]


@given(
    st.lists(st.datetimes(datetime(1970, 1, 1), datetime(2068, 12, 31)), min_size=1, max_size=10),
    st.sampled_from(["%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%d %B %Y", "%b %d, %Y", "%d-%b-%y"]),
    st.sampled_from(["", " %H:%M:%S", " %I:%M %p"]),
)
def test_what_strftime_writes_is_read_as_it_was(
    moments: list[datetime], form: str, clock: str
) -> None:
    kept = timedelta(seconds=1) if "%S" in clock else timedelta(minutes=1)
    kept = kept if clock else timedelta(days=1)
    expected = [m - (m - datetime(1970, 1, 1)) % kept for m in moments]
    texts = [moment.strftime(form + clock) for moment in moments]
    read = parse(texts, DateForm(formats=(form,)))
    assert read.values.to_list() == expected
    assert pl.Series(texts).to_frame("t").select(could_be_date(pl.col("t")))["t"].all()


def test_serials_are_told_from_other_numbers() -> None:
    texts = pl.DataFrame({"t": ["44197", "44197.5", "1706700000", "123", "99999999"]})
    assert texts.select(is_serial(pl.col("t")))["t"].to_list() == [True, True, True, False, False]
