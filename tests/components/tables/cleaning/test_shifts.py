import polars as pl
import pytest

from components.records.reasons import Reason
from components.tables.cleaning.furniture import furniture
from components.tables.cleaning.placement import Placement, misplaced, text_habits
from components.tables.cleaning.shifts import ragged_alignments, realign, shift_alignments, unshift
from components.tables.schema import RAW_RECORD, ColumnSchema, DateForm

COLUMNS = (
    ColumnSchema(name="id", kind="identifier"),
    ColumnSchema(name="name", kind="text"),
    ColumnSchema(name="age", kind="integer", minimum=0, maximum=120),
    ColumnSchema(name="city", kind="category", categories=("Berlin", "Rome")),
    ColumnSchema(name="born", kind="date", date=DateForm(formats=("%Y-%m-%d",))),
    ColumnSchema(name="mass", kind="number", minimum=30.0, maximum=200.0),
)
PEOPLE = ("Max Roe", "Li", "de Vries, Jan")
CITIES = ("Berlin", "Rome")
NAMES = [column.name for column in COLUMNS]


def good_rows(count: int = 60) -> pl.DataFrame:
    rows = [
        (
            f"P-{i:04}",
            PEOPLE[i % 3],
            f"{20 + i}",
            CITIES[i % 2],
            f"1990-01-{i % 28 + 1:02}",
            f"{50 + i}.5",
        )
        for i in range(count)
    ]
    frame = pl.DataFrame(rows, schema=NAMES, orient="row")
    return frame.with_row_index(RAW_RECORD, 1).with_columns(pl.col(RAW_RECORD).cast(pl.Int64))


@pytest.fixture(scope="module")
def placement() -> Placement:
    return Placement(COLUMNS, text_habits(good_rows(), COLUMNS), (), {})


GOOD = ["P-0007", "Ann Lee", "34", "Rome", "1990-05-06", "71.5"]


RAGGED: list[tuple[list[str], list[str | None]]] = [
    (["P-0007", "", "Ann Lee", "34", "Rome", "1990-05-06", "71.5"], GOOD),
    (["P-0007", "Ann Lee", "34", "Rome", "1990-05-06", "", "71.5"], GOOD),
    ([*GOOD, ""], GOOD),
    (["", "", *GOOD], GOOD),
    (["P-0007", "Lee", " Ann", *GOOD[2:]], ["P-0007", "Lee, Ann", *GOOD[2:]]),
    (["P-0007", "Lee", "Ann", "Dr.", *GOOD[2:]], ["P-0007", "Lee,Ann,Dr.", *GOOD[2:]]),
    ([*GOOD[:5], "71", "5"], [*GOOD[:5], "71,5"]),
    (["P-0007", "34", "Rome", "1990-05-06", "71.5"], ["P-0007", None, *GOOD[2:]]),
    (["P-0007", "Ann Lee", "1990-05-06", "71.5"], [*GOOD[:2], None, None, *GOOD[4:]]),
    (["P-0007", "Ann Lee34", "Rome", "1990-05-06", "71.5"], GOOD),
    # Which number ends where?
    (["P-0007", "Ann Lee", "34", "Rome", "1990-05-0671.5"], GOOD),
    (["P-000734", "Ann Lee", "Rome", "1990-05-06", "71.5"], []),
    (["P-0007", "Ann Lee", "34Rome", "1990-05-06", "71.5"], GOOD),
    (["P-0007", "Ann Lee", "34", "Rome1990-05-06", "71.5"], GOOD),
    # The end may be cut in the middle of a value.
    (GOOD[:5], []),
    (["P-0007", "Ann Lee", "34", "Rome", "1990-05-06", "71.5", "1", "2", "3"], []),
    (["x", "y", "z", "a", "b"], []),
]


@pytest.fixture(scope="module")
def realigned(placement: Placement) -> dict[int, list[str | None]]:
    """Every row of RAGGED that was put right, all in one go."""
    fields = [row for row, _ in RAGGED]
    rows = pl.DataFrame({RAW_RECORD: range(len(fields)), "fields": fields})
    table = realign(rows, NAMES, placement, splittable=range(5))
    return {record: cells for record, *cells in table.select(RAW_RECORD, *NAMES).rows()}


@pytest.mark.parametrize("number", range(len(RAGGED)))
def test_ragged_rows_are_realigned_in_the_one_good_way(
    realigned: dict[int, list[str | None]], number: int
):
    assert realigned.get(number, []) == RAGGED[number][1]


def test_two_ways_that_fit_leave_the_row_alone():
    numbers = [ColumnSchema(name=name, kind="integer") for name in "abc"]
    placement = Placement(numbers, {}, (), {})
    rows = pl.DataFrame({RAW_RECORD: [1], "fields": [["1", "2"]]})
    assert realign(rows, list("abc"), placement).is_empty()


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["", *GOOD[:5]], [*GOOD[:5], None]),
        (["P-0007", "", *GOOD[1:5]], [*GOOD[:5], None]),
        (["P-0007", "34", "Rome", "1990-05-06", "71.5", ""], ["P-0007", None, *GOOD[2:]]),
        ([*GOOD[1:], GOOD[0]], GOOD),
        ([GOOD[-1], *GOOD[:-1]], GOOD),
        (["P-0007", "34", "Ann Lee", *GOOD[3:]], GOOD),
        (["P-0007", "Ann Lee", "Rome", "34", *GOOD[4:]], GOOD),
        (
            ["P-0007", "Ann Lee", "71.5", "Rome", "1990-05-06", "29"],
            ["P-0007", "Ann Lee", "29", "Rome", "1990-05-06", "71.5"],
        ),
        (["P-0007", "??", "old", "Rome", "soon", "heavy"], []),
    ],
)
def test_shifted_and_swapped_values_go_back(
    placement: Placement, cells: list[str], expected: list[str | None]
):
    rows = pl.DataFrame([[7, *cells]], schema=[RAW_RECORD, *NAMES], orient="row")
    table, undecided = unshift(rows, NAMES, placement)
    assert undecided.is_empty()
    assert (list(table.select(NAMES).row(0)) if table.height else []) == expected


@pytest.mark.parametrize(
    ("cells", "expected", "num_undecided"),
    [
        # One cell misfits: the date where a mass belongs; the mass is lost.
        (["P-0007", "Ann Lee", "34", "Rome", "", "1990-05-06"], [*GOOD[:5], None], 0),
        # It is unreadable, and no move brings it where it certainly belongs.
        (["P-0007", "Ann Lee", "34", "", "1990-05-06", "heavy"], [], 0),
        (["P-0007", "", "34", "Rome", "1990-05-06", "heavy"], [], 0),
        # Implausible, not unreadable: nothing is swapped or moved for that.
        (["P-0007", "", "34", "Rome", "1990-05-06", "9000"], [], 0),
    ],
)
def test_one_cell_that_misfits_tells_of_a_move_alone(
    placement: Placement, cells: list[str], expected: list[str | None], num_undecided: int
):
    rows = pl.DataFrame([[7, *cells]], schema=[RAW_RECORD, *NAMES], orient="row")
    suspects = misplaced(rows, pl.Series([True]), placement)
    table, undecided = unshift(suspects, NAMES, placement)
    assert (list(table.select(NAMES).row(0)) if table.height else []) == expected
    assert undecided.height == num_undecided


def test_a_row_that_several_moves_put_right_is_undecided():
    columns = [
        *[ColumnSchema(name=name, kind="integer", minimum=0, maximum=99) for name in "abc"],
        ColumnSchema(name="day", kind="date", date=DateForm(formats=("%Y-%m-%d",))),
    ]
    rows = pl.DataFrame(
        {RAW_RECORD: [1, 2], "a": ["1", "1"], "b": ["2", "2"], "c": ["2024-05-06"] * 2}
        | {"day": ["", "2024-05-06"]}
    )
    placement = Placement(columns, {}, (), {})
    suspects = misplaced(rows, pl.Series([True, True]), placement)
    table, undecided = unshift(suspects, ["a", "b", "c", "day"], placement)
    assert table.is_empty() and undecided[RAW_RECORD].to_list() == [1]


def test_a_category_of_another_column_is_a_stranger():
    columns = [
        ColumnSchema(name="country", kind="category", categories=("France", "Italy", "shop")),
        ColumnSchema(name="channel", kind="category", categories=("shop", "web", "2024-05-06")),
        ColumnSchema(name="day", kind="date", date=DateForm(formats=("%Y-%m-%d",))),
    ]
    names = [column.name for column in columns]
    straight = pl.DataFrame(
        {"country": ["France", "Italy"] * 20, "channel": ["web", "shop"] * 20},
    ).with_columns(day=pl.lit("2024-05-06"))
    placement = Placement(columns, text_habits(straight, columns), (), {})
    moved = pl.DataFrame([[7, "shop", "2024-05-06", ""]], [RAW_RECORD, *names], orient="row")
    table, undecided = unshift(moved, names, placement)
    assert table.select(names).row(0) == (None, "shop", "2024-05-06")
    assert undecided.is_empty()


def test_good_rows_have_no_misfits(placement: Placement):
    judged = placement(good_rows().select(NAMES))
    assert judged["misfits"].sum() == 0
    assert judged["strength"].to_list() == [5] * 60


def test_the_ways_are_counted():
    assert len(list(ragged_alignments(5, NAMES))) == 6
    assert len(list(ragged_alignments(7, NAMES))) == 7 + 6
    assert len(list(ragged_alignments(6, NAMES))) == len(list(ragged_alignments(9, NAMES))) == 0
    assert len(list(shift_alignments(NAMES))) == 2 * (5 + 4) + 2 + 15


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        (["", " ", "", None, "", ""], Reason.BLANK_ROW),
        (["id", "name", "age", "city", "born", "mass"], Reason.REPEATED_HEADER),
        (["ID", "Name", "Age", "city", "born", "weight"], Reason.REPEATED_HEADER),
        (["Total", "", "1234", "", "", "5678.5"], Reason.SUMMARY_ROW),
        (["", "Grand total:", "", "", "", "5678.5"], Reason.SUMMARY_ROW),
        (["", "Summe 2023", "9", "", "", "8"], Reason.SUMMARY_ROW),
        (["", "", "Average", "", "", "70.1"], Reason.SUMMARY_ROW),
        (["Subtotal 3", "", "1234", "", "", "5678.5"], Reason.SUMMARY_ROW),
        (["", "Rome total:", "", "", "", "5678.5"], Reason.SUMMARY_ROW),
        (["", "Total for March 2024", "", "", "", "8"], Reason.SUMMARY_ROW),
        (["P-0001", "Subtotal 3", "", "", "", "8"], None),
        (["", "Sumner, Jo", "", "", "", "70"], None),
        (["", "Total Wine & More", "33", "Rome", "", "70"], None),
        (["P-0001", "Total", "33", "Rome", "1990-01-01", "70"], None),
        (["P-0001", "Total Wine & More", "33", "", "", "70"], None),
        (["P-0001", "", "", "", "", "70"], None),
        (["P-0001", "name", "33", "Rome", "1990-01-01", "70"], None),
    ],
)
def test_rows_that_are_no_data(cells: list[str], reason: Reason | None):
    schema = [RAW_RECORD, *NAMES]
    row = pl.DataFrame([[99, *cells]], schema=schema, orient="row").cast(dict(good_rows().schema))
    found = furniture(pl.concat([good_rows(), row]), COLUMNS)
    assert found.select(RAW_RECORD, "reason").rows() == ([(99, reason.value)] if reason else [])


def test_a_category_called_total_is_data():
    columns = [
        ColumnSchema(name="region", kind="category", categories=("North", "Total")),
        ColumnSchema(name="sales", kind="number", minimum=0.0, maximum=1000.0),
    ]
    rows = pl.DataFrame({RAW_RECORD: [1, 2], "region": ["Total", "Total"], "sales": ["5", "9000"]})
    assert furniture(rows, columns)[RAW_RECORD].to_list() == [2]
