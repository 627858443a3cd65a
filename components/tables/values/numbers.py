"""Numbers of a column, read by the way in which the column writes them."""

import math
from dataclasses import dataclass
from functools import reduce
from operator import or_

import polars as pl

from components.tables.schema import NumberForm
from components.tables.values.numerals import (
    LARGEST_EXACT,
    MANNERS,
    PLAIN,
    number_cells,
)
from components.tables.values.units import canonical_unit, known_units


@dataclass(frozen=True)
class ParsedNumbers:
    """Cells of one column, read as numbers; all series have the length of what was given."""

    values: pl.Series
    """Float64; null where the cell is null or not readable."""
    exact: pl.Series
    """Boolean: written as the column writes its numbers; False where nothing was read."""
    readable: pl.Series
    """Boolean: `values` holds the number."""
    infinite: pl.Series
    """Boolean: an infinity (inf, 1e999, #INF); not readable."""
    manner: pl.Series
    """Utf8: what differs from the column's form, as `grouped, unit`; empty where exact."""


def parse_numbers(
    texts: pl.Series,
    form: NumberForm,
    plausible: tuple[float | None, float | None] = (None, None),
) -> ParsedNumbers:
    """Read the cells of a column whose numbers are mostly written as `form` says.

    `1,234` and `1.234` can each be two numbers. The column's form decides; where its reading is
    no whole number in a column of whole numbers, or lies outside of the plausible values while
    the other one lies inside, the other one is taken.

    Args:
        texts: Utf8, any length; null stays null.
        form: As learned by `infer_schema`.
        plausible: Smallest and largest plausible value, where known.

    Not read, and so not rounded in silence: whole numbers from 2^53 on, numbers with another unit
    than the column's, hexadecimal numbers, `5m` (metres or millions) without a declared unit.
    """
    odd = texts.drop_nulls().unique()
    plain = odd.str.contains(PLAIN) if form.decimal == "." else odd.str.contains(r"^-?\d{1,15}$")
    read = pl.concat(
        [_plain(odd.filter(plain), form, plausible), _odd(odd.filter(~plain), form, plausible)]
    )
    joined = pl.DataFrame({"text": texts}).join(read, on="text", how="left", maintain_order="left")
    return ParsedNumbers(
        joined["value"],
        joined["exact"].fill_null(False),
        joined["value"].is_not_null(),
        joined["infinite"].fill_null(False),
        joined["manner"].fill_null(""),
    )


def _plain(
    texts: pl.Series, form: NumberForm, plausible: tuple[float | None, float | None]
) -> pl.DataFrame:
    """Numbers written plainly with a decimal point; only `1.234` leaves a question."""
    value = pl.col("text").str.strip_chars().cast(pl.Float64, strict=False)
    grouped = value * 1000
    doubtful = pl.col("text").str.contains(r"^ *-?[1-9]\d{0,2}\.\d{3} *$")
    regroup = doubtful & _other_fits(value, grouped, form, plausible)
    wide = ~pl.col("text").str.contains(r"\.") & (value.abs() >= LARGEST_EXACT)
    padded = (pl.col("text") != pl.col("text").str.strip_chars()) & ("blanks" not in form.manners)
    cells = pl.DataFrame({"text": texts}).with_columns(regroup=regroup, wide=wide, padded=padded)
    manner = (
        pl.when("wide")
        .then(pl.lit(""))
        .when("regroup")
        .then(pl.lit("grouped, decimal"))
        .when("padded")
        .then(pl.lit("blanks"))
    )
    return cells.select(
        "text",
        value=pl.when(~pl.col("wide")).then(
            pl.when("regroup").then(grouped.round(0)).otherwise(value)
        ),
        exact=~pl.any_horizontal("regroup", "wide", "padded"),
        infinite=pl.lit(False),
        manner=manner.otherwise(pl.lit("")),
    )


def _odd(
    texts: pl.Series, form: NumberForm, plausible: tuple[float | None, float | None]
) -> pl.DataFrame:
    """All other cells, read by way of their parts."""
    cells = number_cells(texts, form.unit)
    main, other = ("point", "comma") if form.decimal == "." else ("comma", "point")
    swap = pl.col(main).is_null() | (
        pl.col(other).is_not_null()
        & (pl.col(main) != pl.col(other))
        & _other_fits(pl.col(main), pl.col(other), form, plausible)
    )
    cells = cells.with_columns(swap=swap & pl.col(other).is_not_null())
    value = pl.when("swap").then(other).otherwise(main)
    if form.fraction:
        value = pl.when("percent").then(value / 100).otherwise(value)
    known = _unit_fits(form.unit)
    cells = cells.with_columns(
        value=pl.when(known & ~pl.col("infinite")).then(value),
        grouped=_grouped(form),
        decimal=pl.col("swap"),
    )
    return _judged(cells, form)


def _judged(cells: pl.DataFrame, form: NumberForm) -> pl.DataFrame:
    """Say of each cell whether it is written as its column is."""
    usual = {*form.manners}
    if form.percent:
        usual.add("percent")
    if not form.whole:
        # Programs write 1e-05 by themselves.
        usual.add("exponent")
    strange = [manner for manner in MANNERS if manner not in usual]
    names = pl.concat_list(
        [pl.when(pl.col(manner)).then(pl.lit(manner)) for manner in strange]
    ).list.drop_nulls()
    readable = pl.col("value").is_not_null()
    return cells.select(
        "text",
        "value",
        exact=readable & ~reduce(or_, (pl.col(manner) for manner in strange)).fill_null(False),
        infinite="infinite",
        manner=pl.when(readable).then(names.list.join(", ")).otherwise(pl.lit("")),
    )


def _other_fits(
    main: pl.Expr,
    other: pl.Expr,
    form: NumberForm,
    plausible: tuple[float | None, float | None],
) -> pl.Expr:
    """Whether the other reading of a doubtful number suits its column, and the main one not."""
    low = -math.inf if plausible[0] is None else plausible[0]
    high = math.inf if plausible[1] is None else plausible[1]
    broken = (main != main.round(0)) if form.whole else pl.lit(False)
    outside = ~main.is_between(low, high) & other.is_between(low, high)
    return (broken & (other == other.round(0))) | (outside & ~pl.lit(form.whole))


def _grouped(form: NumberForm) -> pl.Expr:
    """Whether a thousands separator was used that is not the column's own."""
    point = pl.when("swap").then(form.decimal != ".").otherwise(form.decimal == ".")
    separator = (
        pl.when(pl.col("body").str.contains("[ ']"))
        .then(pl.col("body").str.extract("([ '])"))
        .when(point & pl.col("body").str.contains(",", literal=True))
        .then(pl.lit(","))
        .when(~point & pl.col("body").str.contains(".", literal=True))
        .then(pl.lit("."))
        .otherwise(pl.lit(""))
    )
    return (separator != "") & (separator != form.thousands)


def _unit_fits(unit: str) -> pl.Expr:
    """Whether the unit written is the column's, or a known one where the column has none."""
    bare = pl.col("unit_name") == ""
    if unit:
        return bare | (pl.col("unit_name") == canonical_unit(unit))
    return bare | pl.col("unit_name").is_in(known_units())
