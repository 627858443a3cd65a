"""Schemas: learned from the data, pinned by the recipe, compared."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from components.errors import DataError
from components.tables.config import ColumnConfig, OutlierConfig, TableCleanConfig
from components.tables.inference.infer import infer_schema, schema_diff, schema_text
from components.tables.inference.profile import profile_chunk
from components.tables.schema import ColumnSchema, DateForm, NumberForm, TableSchema

RNG = np.random.default_rng(3)


def schema_of(
    frame: pl.DataFrame,
    columns: dict[str, ColumnConfig] | None = None,
    clean: TableCleanConfig | None = None,
) -> TableSchema:
    pinned = columns or {}
    return infer_schema(profile_chunk(frame, pinned), pinned, clean or TableCleanConfig())


def learned(cells: list[str | None], name: str = "c", **pinned: object) -> ColumnSchema:
    config = {name: ColumnConfig.model_validate(pinned)} if pinned else {}
    frame = pl.DataFrame({name: cells}, schema={name: pl.Utf8})
    return schema_of(frame, config).column(name)


def texts(values: object) -> list[str]:
    return [str(value) for value in np.asarray(values).tolist()]


AGES = texts(RNG.integers(18, 81, 300))
PRICES = [f"{value:.2f}" for value in RNG.uniform(1, 400, 300)]
DAYS = [date(2021, 1, 1) + timedelta(days=int(day)) for day in RNG.integers(0, 900, 300)]


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (AGES, "integer"),
        ([f"{age}.0" for age in AGES], "integer"),
        (PRICES, "number"),
        ([*AGES[:250], *["unknown"] * 50], "integer"),
        ([*AGES[:250], *["many"] * 50], "integer"),
        (["yes", "no", "Y", "no"] * 20, "boolean"),
        (["0", "1"] * 20, "integer"),
        ([day.isoformat() for day in DAYS], "date"),
        ([f"{day} 10:30" for day in DAYS], "datetime"),
        ([day.strftime("%Y%m%d") for day in DAYS], "date"),
        ([*[day.isoformat() for day in DAYS[:200]], *["44197"] * 60], "date"),
        (["red", "green", "blue"] * 20, "category"),
        (texts(RNG.integers(7, 17, 300))[:150] + ["9th", "10th", "11th"] * 60, "category"),
        ([f"{zip_code:05d}" for zip_code in RNG.integers(1000, 99999, 300)], "identifier"),
        (["007", "012", "007", "033"] * 20, "category"),
        ([f"0{number}" for number in RNG.integers(10**9, 10**10, 300)], "identifier"),
        ([str(2**60 + number) for number in range(300)], "identifier"),
        ([f"N{number}" for number in range(300)], "identifier"),
        ([f"A note on {number} things" for number in range(300)], "text"),
        (["A very long sentence that says the same again and again, and again." * 2] * 30, "text"),
        ([None, "", "NA"], "text"),
    ],
)
def test_a_column_is_what_most_of_its_values_are(cells: list[str | None], kind: str) -> None:
    assert learned(cells).kind == kind


def test_how_numbers_are_written_is_learned() -> None:
    euro = [price.replace(".", ",") for price in PRICES]
    assert learned(euro).number == NumberForm(decimal=",")
    grouped = [f"{float(price) * 33.37:,.2f}" for price in PRICES]
    assert learned(grouped).number == NumberForm(thousands=",")
    dollars = learned([f"${price}" for price in PRICES]).number
    assert (dollars.unit, dollars.manners) == ("$", ("unit",))
    assert learned([f"{age}%" for age in AGES]).number.percent
    shares = [f"{float(price) / 400:.3f}" for price in PRICES]
    assert learned([*shares, "12%"]).number.fraction
    assert learned([*AGES, "1.234"]).number.whole


def test_a_few_numbers_in_another_form_do_not_change_the_form() -> None:
    odd = ["1.234,50", "$5", "(3)", "7,5", "12 kg"]
    form = learned([*PRICES, *odd]).number
    assert (form.decimal, form.thousands, form.manners) == (".", "", ())
    assert learned([*AGES, "12,5", "1,234"]).number.decimal == "."


def test_points_group_where_small_numbers_have_none() -> None:
    cells = [f"{n:,}".replace(",", ".") for n in RNG.integers(1, 99_999, 200).tolist()]
    small = texts(RNG.integers(1, 999, 100))
    form = learned([*cells, *small]).number
    assert (form.decimal, form.thousands) == (",", ".")
    assert learned([*cells, *small]).kind == "integer"
    # Three decimals everywhere, as programs write them.
    assert learned([f"{n:.3f}" for n in RNG.uniform(1, 99, 300)]).number.decimal == "."


def test_the_order_of_day_and_month_is_learned_per_separator() -> None:
    slashes = [day.strftime("%m/%d/%Y") for day in DAYS]
    assert learned(slashes).date.formats == ("%m/%d/%Y",)
    assert not learned(slashes).date.doubtful
    swapped = learned([*slashes, "25/03/2021"]).date
    assert swapped.formats == ("%m/%d/%Y",) and not swapped.doubtful
    both = [*slashes[:200], *[day.strftime("%d/%m/%Y") for day in DAYS[200:260]]]
    assert learned(both).date.doubtful
    mixed = learned([*[d.isoformat() for d in DAYS], "25/03/2021", "03/25/2021", "03-25-2021"])
    assert mixed.date.formats[0] == "%Y-%m-%d"
    assert set(mixed.date.formats[1:]) == {"?/?/%Y", "%m-%d-%Y"}


def test_sentinels_and_bounds_leave_each_other_alone() -> None:
    column = learned([*AGES, *["-999"] * 5, *["999"] * 4])
    assert column.sentinels == (-999.0, 999.0)
    assert column.maximum is not None and 90 < column.maximum < 500
    assert column.nullable is False
    assert learned([*AGES, "999"]).sentinels == ()
    assert learned([*AGES, "999"], sentinels=(999.0,)).sentinels == (999.0,)


def test_missing_spellings_depend_on_the_column() -> None:
    assert learned([*AGES, "none", "."]).missing == (".", "none")
    garages = ["attached"] * 100 + ["detached"] * 80 + ["None"] * 60
    assert learned(garages).categories == ("None", "attached", "detached")
    assert learned([*garages[:180], "None", "None"]).missing == ("None",)


def test_na_is_a_country_only_where_the_table_leaves_no_cell_as_na() -> None:
    codes = ["NA", "DE", "FR", "US", "ZA", "BW"] * 10
    ages = AGES[:60]
    country = schema_of(pl.DataFrame({"country": codes, "age": ages})).column("country")
    assert country.not_missing == ("NA",) and "NA" in country.categories
    ages[0] = "NA"
    country = schema_of(pl.DataFrame({"country": codes, "age": ages})).column("country")
    assert country.not_missing == () and "NA" not in country.categories


def test_spellings_are_merged_and_a_repeated_header_is_no_category() -> None:
    cells = [*["Red"] * 50, *["blue"] * 40, "red", "BLUE", "colour"]
    column = learned(cells, "colour")
    assert column.categories == ("Red", "blue")
    assert column.mapping == {"red": "Red", "BLUE": "blue"}


def test_the_key_is_a_unique_column_that_is_called_so() -> None:
    ids = [*texts(range(98)), "1", "2"]
    frame = pl.DataFrame({"serial": texts(range(100)), "order_id": ids, "zip_code": ["1"] * 100})
    schema = schema_of(frame)
    assert schema.key == ("order_id",)
    assert schema.column("order_id").kind == "identifier"
    assert not schema.column("order_id").unique and schema.column("serial").unique
    assert schema_of(frame, clean=TableCleanConfig(key=())).key == ()
    assert schema_of(frame, clean=TableCleanConfig(key=("serial",))).key == ("serial",)


def test_a_column_that_repeats_now_and_then_is_no_key() -> None:
    some = [*texts(range(95)), *texts(range(5))]
    few = [*texts(range(98)), "1", "2"]
    assert schema_of(pl.DataFrame({"day": AGES[:100], "customer_id": some})).key == ()
    assert schema_of(pl.DataFrame({"customer_id": some, "day": AGES[:100]})).key == ("customer_id",)
    assert schema_of(pl.DataFrame({"day": AGES[:100], "part_number": few})).key == ()
    assert schema_of(pl.DataFrame({"zip_code": texts(range(100, 200))})).key == ()


def test_stored_columns_keep_their_types() -> None:
    frame = pl.DataFrame(
        {"id": range(100), "x": np.arange(100.0), "n": range(100), "ok": [True, False] * 50}
    ).with_columns(n=pl.col("n") % 7, d=pl.lit(date(2024, 1, 1)))
    schema = schema_of(frame)
    kinds = {column.name: column.kind for column in schema.columns}
    assert kinds == {
        "id": "identifier",
        "x": "number",
        "n": "integer",
        "ok": "boolean",
        "d": "date",
    }


def test_what_is_pinned_wins() -> None:
    assert learned(AGES, kind="category").kind == "category"
    assert learned(AGES, minimum=20.0).minimum == 20.0
    assert learned(AGES, outliers=OutlierConfig(method="none")).maximum is None
    assert learned(["03/04/2024"] * 9, day_first=True).date == DateForm(
        formats=("%d/%m/%Y",), day_first=True
    )
    column = learned(["r", "b", "x"] * 9, mapping={"r": "red", "b": "blue"})
    assert column.kind == "category" and column.categories == ("blue", "red", "x")
    assert learned(["r"] * 9, categories=("r", "s")).categories == ("r", "s")


@pytest.mark.parametrize(
    ("name", "pinned", "message"),
    [
        ("agee", {}, r"no column 'agee'; did you mean 'age'\?"),
        ("age", {"kind": "date", "mapping": {"a": "b"}}, "kind date has no mapping"),
        ("age", {"kind": "category", "minimum": 1.0}, "kind category has no minimum"),
        ("age", {"minimum": 5.0, "maximum": 1.0}, "minimum 5 is larger than maximum 1"),
        ("age", {"mapping": {"a": "b", "b": "c"}}, "map 'a' to 'c'"),
        ("age", {"mapping": {"a": "b"}, "categories": ("a",)}, "none of the categories"),
        ("age", {"minimum": 1.0, "mapping": {"a": "b"}}, "different kinds"),
        ("age", {"date_formats": ("%d/%m/%Y",), "day_first": False}, "contradicts day_first"),
        ("age", {"number": {"decimal": ",", "thousands": ","}}, "cannot be both"),
        ("age", {"sentinels": (9,), "minimum": 0, "maximum": 99}, "sentinel 9 lies between"),
    ],
)
def test_a_schema_that_contradicts_itself_is_refused(
    name: str, pinned: dict[str, object], message: str
) -> None:
    frame = pl.DataFrame({"age": AGES})
    with pytest.raises(DataError, match=message) as refused:
        schema_of(frame, {name: ColumnConfig.model_validate(pinned)})
    assert name in str(refused.value)


def test_a_key_that_is_no_column_is_refused() -> None:
    with pytest.raises(DataError, match=r"data\.clean\.key: .*did you mean 'age'"):
        schema_of(pl.DataFrame({"age": AGES}), clean=TableCleanConfig(key=("Age",)))


def test_a_drifted_table_is_told_by_its_columns() -> None:
    old = schema_of(pl.DataFrame({"a": AGES, "b": ["x", "y", "z"] * 100, "c": PRICES}))
    new = schema_of(pl.DataFrame({"a": PRICES, "b": ["x", "y", "w"] * 100, "d": AGES}))
    assert schema_diff(old, old) == []
    assert schema_diff(old, new) == [
        "c: missing, was number",
        "d: new, integer",
        "a: was integer, is number",
        "b: 1 category never seen: 'w'",
    ]


def test_the_text_of_a_schema_tells_kind_and_evidence() -> None:
    frame = pl.DataFrame({"id": texts(range(300)), "age": [*AGES[:297], "NA", "NA", ""]})
    lines = schema_text(schema_of(frame))
    assert lines[0] == "key: id"
    assert lines[3].startswith("age  integer     plausible ")
    assert lines[4].strip().startswith("values 297, missing 3, distinct ")
    assert lines[4].endswith("spelled 'NA' 2")


def test_the_schema_of_chunks_is_that_of_the_whole() -> None:
    frame = pl.DataFrame({"age": AGES, "price": PRICES, "day": [str(day) for day in DAYS]})
    parts = [profile_chunk(frame[start : start + 70], {}) for start in range(0, 300, 70)]
    total = sum(parts[1:], start=parts[0])
    assert infer_schema(total, {}, TableCleanConfig()) == schema_of(frame)


def test_dates_have_plausible_bounds_as_numbers_have() -> None:
    cells = [*(day.isoformat() for day in DAYS), "1900-01-01", "3021-05-06"]
    column = learned(cells)
    assert column.minimum is not None and column.maximum is not None
    assert date(2015, 1, 1) < date(1970, 1, 1) + timedelta(days=column.minimum) < min(DAYS)
    assert max(DAYS) < date(1970, 1, 1) + timedelta(days=column.maximum) < date(2030, 1, 1)
    stored = schema_of(pl.DataFrame({"c": DAYS})).column("c")
    assert stored.minimum == pytest.approx(column.minimum, abs=60)
    assert learned(cells, outliers={"method": "none"}).minimum is None
    line = schema_text(schema_of(pl.DataFrame({"c": DAYS})))[1]
    assert "plausible 201" in line


def test_rare_zeros_among_ages_are_a_sentinel_and_many_are_not() -> None:
    assert learned([*AGES, *["0"] * 4]).sentinels == (0.0,)
    assert learned([*AGES, *["0"] * 4, *["-1"] * 4]).sentinels == (-1.0, 0.0)
    assert learned([*AGES, *["0"] * 100]).sentinels == ()


def test_bounds_have_six_digits_and_are_rounded_to_the_outside() -> None:
    column = learned(PRICES)
    assert column.maximum is not None and float(f"{column.maximum:.6g}") == column.maximum


def test_the_header_again_and_sums_teach_nothing() -> None:
    plain = pl.DataFrame({"name": ["red", "green", "blue"] * 20, "day": [""] * 60, "n": ["5"] * 60})
    more = pl.DataFrame({"name": ["name", "Total"], "day": ["day", ""], "n": ["n", ""]})
    assert schema_of(pl.concat([plain, more])) == schema_of(plain)
