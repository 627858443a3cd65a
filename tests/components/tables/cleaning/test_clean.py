from collections import Counter
from collections.abc import Callable
from datetime import date

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.errors import DataError
from components.records.findings import FINDINGS_SCHEMA
from components.records.reasons import Policy, Reason
from components.tables.cleaning.clean import CleanedChunk, clean_chunk
from components.tables.cleaning.notes import CELL_LIMIT
from components.tables.config import ColumnConfig, OutlierConfig, TableCleanConfig
from components.tables.schema import (
    RAW_EXTRA,
    RAW_FIELDS,
    RAW_LINE,
    RAW_RECORD,
    ColumnSchema,
    DateForm,
    TableSchema,
)
from components.tables.values.text_forms import tidy_name, tidy_text, undo_cp1252

SCHEMA = TableSchema(
    columns=(
        ColumnSchema(name="id", kind="identifier", unique=True),
        ColumnSchema(
            name="when", kind="date", date=DateForm(formats=("%Y-%m-%d",), day_first=True)
        ),
        ColumnSchema(
            name="city",
            kind="category",
            mapping={"BERLIN": "Berlin", "Brelin": "Berlin"},
            categories=("Berlin", "Köln"),
        ),
        ColumnSchema(name="fare", kind="number", minimum=0.0, maximum=100.0, sentinels=(-999.0,)),
        ColumnSchema(name="tip", kind="number", minimum=0.0, maximum=50.0),
        ColumnSchema(name="total", kind="number", minimum=0.0, maximum=150.0),
        ColumnSchema(name="seats", kind="integer", minimum=0.0, maximum=9.0),
        ColumnSchema(name="paid", kind="boolean", booleans=("yes", "no")),
    ),
    key=("id",),
)
NAMES = [column.name for column in SCHEMA.columns]
RULES = TableCleanConfig(rules=("total == fare + tip",))
PLAIN = TableCleanConfig()


def good(record: int) -> list[str | None]:
    fare = 5 + record % 40
    place = ("Berlin", "Köln")[record % 2]
    day = f"2024-03-{record % 28 + 1:02}"
    sums = [f"{fare}.00", "2.50", f"{fare + 2}.50"]
    return [f"T{record:05}", day, place, *sums, str(record % 5), ("yes", "no")[record % 2]]


def table(rows: dict[int, list[str | None]], count: int = 60) -> pl.DataFrame:
    """Good rows, some of them exchanged."""
    cells = [rows.get(record, good(record)) for record in range(1, count + 1)]
    width = len(NAMES)
    padded = [(row + [None] * width)[:width] for row in cells]
    frame = pl.DataFrame(padded, schema=dict.fromkeys(NAMES, pl.Utf8), orient="row")
    return frame.with_columns(
        pl.Series(RAW_RECORD, range(1, count + 1), pl.Int64),
        pl.Series(RAW_LINE, range(2, count + 2), pl.Int64),
        pl.Series(RAW_FIELDS, [len(row) for row in cells], pl.Int32),
        pl.Series(RAW_EXTRA, [row[width:] or None for row in cells], pl.List(pl.Utf8)),
    )


def changed(column: str, text: str | None, record: int = 7) -> pl.DataFrame:
    row = good(record)
    row[NAMES.index(column)] = text
    return table({record: row})


def clean(
    raw: pl.DataFrame, config: TableCleanConfig = PLAIN, **columns: ColumnConfig
) -> CleanedChunk:
    chunk = clean_chunk(raw, SCHEMA, config, columns, "trips.csv")
    kept = chunk.frame[RAW_RECORD].to_list()
    aside = chunk.quarantined["record"].to_list()
    assert sorted([*kept, *aside]) == raw[RAW_RECORD].to_list()
    assert kept == sorted(kept)
    return chunk


def told(chunk: CleanedChunk) -> list[tuple[object, ...]]:
    names = ("record", "column", "reason", "action", "before", "after")
    return chunk.findings.select(names).rows()


def test_a_clean_table_is_typed_and_nothing_is_said():
    chunk = clean(table({}), RULES)
    assert chunk.findings.height == 0 and chunk.quarantined.height == 0
    assert dict(chunk.frame.schema) == {
        RAW_RECORD: pl.Int64,
        "id": pl.Utf8,
        "when": pl.Date,
        "city": pl.Utf8,
        "fare": pl.Float64,
        "tip": pl.Float64,
        "total": pl.Float64,
        "seats": pl.Int64,
        "paid": pl.Boolean,
    }
    assert chunk.frame.row(0) == (1, "T00001", date(2024, 3, 2), "Köln", 6.0, 2.5, 8.5, 1, False)


DEFECTS: list[tuple[str, str, Reason, object]] = [
    ("fare", "12,50", Reason.NUMBER_FORMAT, 12.5),
    ("fare", " 12.5 ", Reason.NUMBER_FORMAT, 12.5),
    ("fare", "twelve and a bit", Reason.NOT_A_NUMBER, None),
    ("fare", "inf", Reason.NOT_FINITE, None),
    ("fare", "-999", Reason.SENTINEL, None),
    ("fare", "5555", Reason.OUTLIER, 5555.0),
    ("seats", "2.5", Reason.NOT_A_NUMBER, None),
    ("seats", "44", Reason.OUTLIER, 44),
    ("when", "31.12.2023", Reason.DATE_FORMAT, date(2023, 12, 31)),
    ("when", "soon", Reason.DATE_FORMAT, None),
    ("paid", "TRUE", Reason.BOOLEAN_FORMAT, True),
    ("paid", "perhaps", Reason.BOOLEAN_FORMAT, None),
    ("city", "BERLIN", Reason.CATEGORY_VARIANT, "Berlin"),
    ("city", "Brelin", Reason.CATEGORY_MISSPELT, "Berlin"),
    ("city", " Berlin\u00a0", Reason.TEXT_FORM, "Berlin"),
    ("city", "KÃ¶ln", Reason.ENCODING, "Köln"),
    ("city", "Ko\u0308ln", Reason.TEXT_FORM, "Köln"),
    ("city", "Rome", Reason.UNKNOWN_CATEGORY, "Rome"),
    ("id", "T00\u200b007", Reason.TEXT_FORM, "T00007"),
]


@pytest.fixture(scope="module")
def with_defects() -> CleanedChunk:
    """A table with all of DEFECTS, each in a row of its own, from record 1."""
    rows = {}
    for record, (column, text, _, _) in enumerate(DEFECTS, 1):
        rows[record] = good(record)
        rows[record][NAMES.index(column)] = text
    return clean(table(rows))


@pytest.mark.parametrize("record", range(1, len(DEFECTS) + 1))
def test_each_defect_is_told_once_and_mended_where_it_can_be(
    with_defects: CleanedChunk, record: int
):
    column, text, reason, value = DEFECTS[record - 1]
    assert with_defects.frame.filter(pl.col(RAW_RECORD) == record)[column].to_list() == [value]
    (finding,) = with_defects.findings.filter(pl.col("record") == record).rows(named=True)
    assert with_defects.findings.height == len(DEFECTS)
    assert finding["reason"] == reason.value
    assert (finding["origin"], finding["line"]) == (f"trips.csv#{record}", record + 1)
    assert (finding["column"], finding["count"]) == (column, 1)
    assert finding["before"] == (
        text if reason is not Reason.OUTLIER else str(value).removesuffix(".0")
    )
    assert (finding["after"] is None) == (value is None)


def test_spelled_missing_values_are_one_finding_for_each_spelling():
    rows = {3: good(3), 9: good(9), 11: good(11), 12: good(12)}
    rows[3][3] = rows[9][3] = "NA"
    rows[11][3], rows[12][3] = "?", ""
    chunk = clean(table(rows))
    assert chunk.frame["fare"].null_count() == 4
    counts = chunk.findings.select("record", "column", "reason", "before", "count").rows()
    assert sorted(counts, key=str) == [
        (None, "fare", "missing_value", "?", 1),
        (None, "fare", "missing_value", "NA", 2),
    ]


def test_blanks_around_most_cells_are_one_finding():
    raw = table({}).with_columns(pl.format(" {}", "city").alias("city"))
    chunk = clean(raw)
    assert chunk.findings.select("record", "reason", "count").rows() == [(None, "text_form", 60)]
    assert set(chunk.frame["city"]) == {"Berlin", "Köln"}


def test_rows_that_are_no_data_or_cannot_be_read_are_set_aside():
    rows: dict[int, list[str | None]] = {
        2: [""] * 8,
        3: list(NAMES),
        4: ["Total", "", "", "900", "70", "970", "", ""],
        5: ["T00005", "2024-02-30", *good(5)[2:]],
        6: [None, *good(6)[1:]],
        8: good(8)[:3],
        9: [*good(9), "x", "y", "z"],
    }
    chunk = clean(table(rows))
    assert chunk.quarantined.select("record", "reason").rows() == [
        (2, "blank_row"),
        (3, "repeated_header"),
        (4, "summary_row"),
        (5, "impossible_date"),
        (6, "missing_key"),
        (8, "ragged_row"),
        (9, "ragged_row"),
    ]
    assert chunk.quarantined.columns == ["record", "reason", "detail", "other"]
    assert chunk.quarantined["detail"][3] == "when: no such day: %Y-%m-%d: 2024-02-30"
    assert set(chunk.findings["action"]) == {"quarantined"}


def test_shifted_rows_go_back_and_are_told_once():
    torn = [*good(4)[:3], "9", "00", *good(4)[4:]]
    swapped = good(5)
    swapped[1], swapped[2] = swapped[2], swapped[1]
    chunk = clean(table({3: ["", *good(3)], 4: torn, 5: swapped}))
    expected = clean(table({})).frame
    records = pl.col(RAW_RECORD).is_in([3, 4, 5])
    assert chunk.frame.filter(records).equals(expected.filter(records))
    moved = chunk.findings.filter(pl.col("reason") == "shifted_row")
    assert moved["record"].to_list() == [3, 4, 5] and set(moved["action"]) == {"repaired"}
    # The number that was torn keeps its comma.
    assert told(chunk)[1] == (4, "fare", "number_format", "repaired", "9,00", "9")


def test_rules_mend_what_they_determine_and_report_the_rest():
    rows = {record: good(record) for record in range(3, 10)}
    rows[3][5] = "10500.0"  # total 10.50, three digits too far
    rows[4][3] = "-9.00"
    rows[5][4] = "a few"
    rows[6][4] = "NA"
    rows[7][5] = "90.00"
    rows[8][3] = "9999"
    chunk = clean(table(rows), RULES)
    frame = chunk.frame.filter(pl.col(RAW_RECORD) < 10).rows_by_key(
        RAW_RECORD, named=True, unique=True
    )
    assert frame[3]["total"] == 10.5 and frame[4]["fare"] == 9.0 and frame[5]["tip"] == 2.5
    # Missing stays missing: to fill it is the transform's. A wrong sum does not say what is wrong.
    assert frame[6]["tip"] is None and frame[7]["total"] == 90.0
    assert frame[8]["fare"] == 13.0
    violated = [row for row in told(chunk) if row[2] == "rule_violated"]
    assert [(row[0], row[1], row[3]) for row in violated] == [
        (3, "total", "repaired"),
        (4, "fare", "repaired"),
        (5, "tip", "repaired"),
        (7, None, "kept"),
        (8, "fare", "repaired"),
    ]


def test_policies_decide():
    raw = changed("city", "BERLIN")
    kept = TableCleanConfig(policy={Reason.CATEGORY_VARIANT: Policy.KEEP})
    assert "BERLIN" in clean(raw, kept).frame["city"].to_list()
    aside = TableCleanConfig(policy={Reason.CATEGORY_VARIANT: Policy.QUARANTINE})
    assert clean(raw, aside).quarantined.select("record", "reason").rows() == [
        (7, "category_variant")
    ]
    stop = TableCleanConfig(policy={Reason.CATEGORY_VARIANT: Policy.STOP})
    with pytest.raises(DataError, match=r"trips.csv#7, column city: category_variant: 'BERLIN'"):
        clean(raw, stop)


@pytest.mark.parametrize(
    ("action", "value", "said"),
    [("keep", 5555.0, "kept"), ("mark", 5555.0, "kept"), ("clip", 100.0, "repaired")],
)
def test_outliers_are_kept_marked_or_clipped(action: str, value: float, said: str):
    own = ColumnConfig(outliers=OutlierConfig.model_validate({"action": action}))
    chunk = clean(changed("fare", "5555"), fare=own)
    assert chunk.frame["fare"][6] == value
    assert chunk.findings["action"].to_list() == [said]
    assert ("fare__outlier" in chunk.frame.columns) == (action == "mark")
    if action == "mark":
        assert chunk.frame["fare__outlier"].dtype == pl.Int8
        assert chunk.frame["fare__outlier"].to_list() == [int(r == 7) for r in range(1, 61)]


def test_outliers_and_rows_without_a_required_value_are_set_aside():
    everywhere = TableCleanConfig(outliers=OutlierConfig(action="quarantine"))
    chunk = clean(changed("fare", "5555"), everywhere)
    assert chunk.quarantined.select("record", "reason").rows() == [(7, "outlier")]
    chunk = clean(changed("tip", ""), tip=ColumnConfig(required=True))
    assert chunk.quarantined.select("record", "reason").rows() == [(7, "missing_value")]


def test_stored_columns_are_checked_without_parsing():
    schema = TableSchema(
        columns=(
            ColumnSchema(name="x", kind="number", minimum=0.0, maximum=10.0, sentinels=(-1.0,)),
            ColumnSchema(name="n", kind="integer"),
            ColumnSchema(name="c", kind="category", mapping={"B": "b"}, categories=("a", "b")),
            ColumnSchema(name="t", kind="datetime"),
        )
    )
    raw = pl.DataFrame(
        {
            RAW_RECORD: [1, 2, 3, 4, 5],
            "x": [1.0, float("nan"), float("inf"), -1.0, 99.0],
            "n": pl.Series([1, 2, 3, None, 5], dtype=pl.UInt8),
            "c": pl.Series(["a", "B", "b", None, "a"], dtype=pl.Categorical),
            "t": [date(2024, 1, 1)] * 5,
        }
    )
    chunk = clean_chunk(raw, schema, PLAIN, {}, "x.parquet")
    assert chunk.frame["x"].to_list() == [1.0, None, None, None, 99.0]
    assert chunk.frame["n"].to_list() == [1, 2, 3, None, 5]
    assert chunk.frame["c"].to_list() == ["a", "b", "b", None, "a"]
    assert chunk.frame["t"].dtype == pl.Datetime("us")
    assert told(chunk) == [
        (2, "c", "category_variant", "merged", "B", "b"),
        (3, "x", "not_finite", "repaired", "inf", None),
        (4, "x", "sentinel", "repaired", "-1.0", None),
        (5, "x", "outlier", "kept", "99", "99"),
        (None, "x", "missing_value", "repaired", "NaN", None),
    ]


def test_findings_have_the_form_of_all_findings_and_a_limit():
    count = CELL_LIMIT + 50
    raw = table({}, count).with_columns(fare=pl.lit("no"), tip=pl.lit("1"))
    chunk = clean(raw)
    assert chunk.findings.height == CELL_LIMIT + 1
    assert chunk.findings["count"].sum() == count
    pa.Table.from_pylist(chunk.findings.to_dicts(), schema=FINDINGS_SCHEMA)


def test_a_missing_column_and_a_wrong_rule_are_refused():
    with pytest.raises(DataError, match=r"trips.csv: column 'tip' of the schema is missing"):
        clean(table({}).drop("tip"))
    with pytest.raises(DataError, match=r"data.clean.rules: .* did you mean 'total'"):
        clean(table({}), TableCleanConfig(rules=("totl == fare",)))


@pytest.mark.processes
@settings(max_examples=30)
@given(st.data())
def test_every_record_comes_out_once_whatever_stands_in_it(data: st.DataObject):
    cell = st.one_of(st.text(max_size=8), st.sampled_from(["", "NA", "1,5", "2024-13-01", "Total"]))
    rows = {
        record: data.draw(st.lists(cell, min_size=1, max_size=11)) for record in (2, 30, 31, 60)
    }
    clean(table({record: list(row) for record, row in rows.items()}), RULES)


def test_a_chunk_gives_the_same_whatever_the_order_of_its_rows():
    rows = {3: ["", *good(3)], 5: ["Total", "", "", "900", "", "", "", ""]}
    raw = pl.concat([table(rows), changed("fare", "12,5").filter(pl.col(RAW_RECORD) == 99)])
    forth, back = clean(raw), clean_chunk(raw.reverse(), SCHEMA, PLAIN, {}, "trips.csv")
    assert forth.findings.equals(back.findings)
    assert forth.frame.equals(back.frame.sort(RAW_RECORD))


@given(st.text(max_size=20))
def test_tidy_forms_are_final(text: str):
    for tidy in (tidy_name, tidy_text):
        assert tidy(tidy(text)) == tidy(text)


@given(st.text("abcdefgäöüßéèñç €\u2013\u2019", max_size=20))
def test_misread_text_comes_back(text: str):
    misread = text.encode().decode("cp1252", "strict") if _has_cp1252(text) else text
    assert undo_cp1252(misread) == text


def _has_cp1252(text: str) -> bool:
    return not set(text.encode()) & {0x81, 0x8D, 0x8F, 0x90, 0x9D}


@pytest.mark.processes
def test_planted_defects_are_found_and_mended():
    """Ten kinds, 600 cells of 2,000 rows, each in a row of its own."""
    rng = np.random.default_rng(5)
    count, each = 2_000, 60
    rows = {record: good(record) for record in range(1, count + 1)}
    expected = clean(table(rows, count)).frame
    places = iter(rng.permutation(np.arange(1, count + 1)).tolist())
    planted: dict[int, tuple[str, bool]] = {}
    for kind, mends in PLANTED.items():
        for _ in range(each):
            record = next(places)
            rows[record] = mends[0](rows[record])
            planted[record] = (kind, mends[1])
    chunk = clean(table(rows, count), RULES)
    spoken = set(chunk.findings["record"].drop_nulls())
    found = Counter(kind for record, (kind, _) in planted.items() if record in spoken)
    assert found == dict.fromkeys(PLANTED, each)
    assert spoken == set(planted)
    right = {row[0] for row in set(expected.rows()) & set(chunk.frame.rows())}
    mended = Counter(kind for record, (kind, _) in planted.items() if record in right)
    assert mended == {kind: each for kind, (_, can) in PLANTED.items() if can}
    assert set(range(1, count + 1)) - set(planted) <= right


def _with(column: int, text: str) -> Callable[[list[str]], list[str]]:
    return lambda row: [*row[:column], text, *row[column + 1 :]]


PLANTED: dict[str, tuple[Callable[[list[str]], list[str]], bool]] = {
    "doubled delimiter": (lambda row: [*row[:2], "", *row[2:]], True),
    "decimal comma torn": (lambda row: [*row[:3], *row[3].split("."), *row[4:]], True),
    "lost delimiter": (lambda row: [row[0], row[1] + row[2], *row[3:]], True),
    "columns exchanged": (lambda row: [row[0], row[2], row[1], *row[3:]], True),
    "rotated": (lambda row: [row[-1], *row[:-1]], True),
    "decimal point moved": (lambda row: [*row[:5], row[5].replace(".", ""), *row[6:]], True),
    "sign lost": (lambda row: [*row[:3], "-" + row[3], *row[4:]], True),
    "misspelt": (
        lambda row: [*row[:2], {"Berlin": "Brelin", "Köln": "KÃ¶ln"}[row[2]], *row[3:]],
        True,
    ),
    "keys repeated": (_with(6, "7777"), False),
    "no such day": (_with(1, "2024-02-31"), False),
}
