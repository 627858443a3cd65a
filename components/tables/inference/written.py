"""How cells of text read as numbers and as dates: counts and sketches that add up."""

import numpy as np
import polars as pl
from pydantic import Field

from components.config import Config
from components.tables.fitting.sketch import QuantileSketch
from components.tables.inference.counts import Counts, added, most_frequent
from components.tables.values.missing import COUNTED
from components.tables.values.moments import could_be_date, date_cells, is_serial
from components.tables.values.numerals import MANNERS, could_be_number, number_cells

_MICROSECONDS_PER_DAY = 86_400_000_000


class NumberProfile(Config):
    """How the cells of a column read as numbers."""

    counts: Counts = Field(default_factory=dict)
    """Cells by trait: `readable`, `point` (certainly a decimal point), `comma`, `either_point` (as
    1.234), `either_comma`, `fractional`, `large` (1000 and more without a separator), `grouped,`
    and so on by separator, `negative`, `wide` (2^53 and more), `infinite`, `digits:N` (length of
    plain whole numbers), and each of `MANNERS`."""
    units: Counts = Field(default_factory=dict)
    """Cells by unit."""
    sentinels: dict[float, int] = Field(default_factory=dict)
    """How often each number of `COUNTED` occurs."""
    certain: QuantileSketch = QuantileSketch()
    """Numbers that read the same whatever the decimal sign."""
    as_point: QuantileSketch = QuantileSketch()
    """The others where the decimal sign is a point."""
    as_comma: QuantileSketch = QuantileSketch()
    """The others where it is a comma."""
    percents: QuantileSketch = QuantileSketch()
    """Numbers before a % sign."""

    def __add__(self, other: "NumberProfile") -> "NumberProfile":
        """Both profiles together."""
        sentinels = {
            value: self.sentinels.get(value, 0) + other.sentinels.get(value, 0)
            for value in sorted({*self.sentinels, *other.sentinels})
        }
        return NumberProfile(
            counts=added(self.counts, other.counts),
            units=added(self.units, other.units),
            sentinels=sentinels,
            certain=self.certain + other.certain,
            as_point=self.as_point + other.as_point,
            as_comma=self.as_comma + other.as_comma,
            percents=self.percents + other.percents,
        )


class DateProfile(Config):
    """How the cells of a column read as dates."""

    shapes: Counts = Field(default_factory=dict)
    """Cells by format, `?/?/%Y` where day and month are open."""
    orders: Counts = Field(default_factory=dict)
    """Cells by separator and order, as `/day` (only day first is possible), `/month`, `/either`."""
    timed: int = 0
    """Cells with a time of day."""
    turned: int = 0
    """Cells of other formats that are only possible with day and month swapped."""
    impossible: int = 0
    serials: int = 0
    """Bare numbers that may be dates (Excel, epoch)."""
    days: QuantileSketch = QuantileSketch()
    """Days since 1970-01-01 of all that were read, day first where that is open."""

    def __add__(self, other: "DateProfile") -> "DateProfile":
        """Both profiles together."""
        return DateProfile(
            shapes=added(self.shapes, other.shapes),
            orders=added(self.orders, other.orders),
            timed=self.timed + other.timed,
            turned=self.turned + other.turned,
            impossible=self.impossible + other.impossible,
            serials=self.serials + other.serials,
            days=self.days + other.days,
        )


def written_numbers(filled: pl.DataFrame) -> NumberProfile:
    """How texts read as numbers.

    Args:
        filled: `text`, distinct, and `count`, int64.
    """
    likely = filled.filter(could_be_number(pl.col("text")))
    if not likely.height:
        return NumberProfile()
    cells = number_cells(likely["text"]).join(likely, on="text", how="left")
    either = pl.col("point") != pl.col("comma")
    whole = pl.col("body").str.contains(r"^\d+$")
    readable = pl.col("point").is_not_null() | pl.col("comma").is_not_null()
    known = pl.col("unit_name") != "code"
    cells = cells.with_columns(
        readable=readable & known,
        either=either.fill_null(False) & readable,
        value=pl.coalesce("point", "comma"),
        certain=whole | (pl.col("point") == pl.col("comma")).fill_null(False),
    )
    mine = cells.filter("readable")
    wide = cells.filter(
        pl.col("point").is_null() & pl.col("comma").is_null() & whole & ~pl.col("infinite")
    )
    counts = _traits(mine) | {
        "wide": int(wide["count"].sum()),
        "infinite": weight(cells, pl.col("infinite")),
    }
    bare = mine.filter(~pl.col("percent"))
    rest = bare.filter(~pl.col("certain"))
    units = mine.filter(pl.col("unit")).group_by("unit_name").agg(pl.col("count").sum())
    return NumberProfile(
        counts={trait: count for trait, count in counts.items() if count},
        units=most_frequent(dict(units.rows())),
        sentinels=_weighted_sentinels(bare),
        certain=_weighted_sketch(bare.filter("certain"), "value"),
        as_point=_weighted_sketch(rest, "point", "comma"),
        as_comma=_weighted_sketch(rest, "comma", "point"),
        percents=_weighted_sketch(mine.filter("percent"), "value"),
    )


def _traits(cells: pl.DataFrame) -> Counts:
    """Cells by what tells how the column writes its numbers."""
    body, either = pl.col("body"), pl.col("either")
    point = pl.col("point").is_not_null() & (pl.col("comma").is_null())
    comma = pl.col("comma").is_not_null() & (pl.col("point").is_null())
    traits = {
        "readable": pl.lit(True),
        "point": point & body.str.contains(r"\.\d"),
        "comma": comma & body.str.contains(r",\d"),
        "either_point": either & body.str.contains(".", literal=True),
        "either_comma": either & body.str.contains(",", literal=True),
        "fractional": ~either & (pl.col("value") != pl.col("value").round(0)),
        "large": (pl.col("value").abs() >= 1000) & body.str.contains(r"^\d+(?:[.,]\d*)?$"),
        "small": (pl.col("value").abs() < 1000) & body.str.contains(r"^\d+$"),
        "negative": pl.col("value") < 0,
        "grouped,": ~either & body.str.contains(r",\d{3}(?:[,.]|$)") & ~comma,
        "grouped.": ~either & body.str.contains(r"\.\d{3}(?:[,.]|$)") & ~point,
        "grouped ": body.str.contains(" ", literal=True),
        "grouped'": body.str.contains("'", literal=True),
        **{manner: pl.col(manner) for manner in MANNERS if manner in cells.columns},
    }
    table = cells.select(
        [
            (pl.col("count") * rule.fill_null(False)).sum().alias(name)
            for name, rule in traits.items()
        ]
    )
    digits = cells.filter(body.str.contains(r"^\d+$")).group_by(
        pl.format("digits:{}", body.str.len_chars()).alias("digits")
    )
    return dict(zip(table.columns, table.row(0), strict=True)) | dict(
        digits.agg(pl.col("count").sum()).sort("digits").head(40).rows()
    )


def written_dates(filled: pl.DataFrame) -> DateProfile:
    """How texts read as dates.

    Args:
        filled: `text`, distinct, and `count`, int64.
    """
    serials = weight(filled, is_serial(pl.col("text")))
    likely = filled.filter(could_be_date(pl.col("text")))
    if not likely.height:
        return DateProfile(serials=serials)
    cells = date_cells(likely["text"]).join(likely, on="text", how="left")
    cells = cells.filter(pl.col("shape").is_not_null() & ~is_serial(pl.col("text")))
    open_order = pl.col("shape").str.starts_with("?")
    plain, turned = pl.col("plain").is_not_null(), pl.col("turned").is_not_null()
    order = (
        pl.when(plain & turned & (pl.col("plain") != pl.col("turned")))
        .then(pl.lit("either"))
        .when(plain & ~turned)
        .then(pl.lit("day"))
        .when(turned & ~plain)
        .then(pl.lit("month"))
    )
    orders = cells.filter(open_order).group_by(
        (pl.col("shape").str.slice(1, 1) + order).alias("order")
    )
    shapes = cells.filter(plain | turned).group_by("shape").agg(pl.col("count").sum())
    return DateProfile(
        shapes=most_frequent(dict(shapes.rows())),
        orders=most_frequent(dict(orders.agg(pl.col("count").sum()).drop_nulls().rows())),
        timed=weight(cells, pl.col("timed") & (plain | turned)),
        turned=weight(cells, ~open_order & turned & ~plain),
        impossible=weight(cells, ~plain & ~turned),
        serials=serials,
        days=_weighted_sketch(
            cells.with_columns(day=in_days(pl.coalesce("plain", "turned"))), "day"
        ),
    )


def in_days(moments: pl.Expr) -> pl.Expr:
    """Days since 1970-01-01, float64, of dates or datetimes."""
    return moments.cast(pl.Datetime("us")).cast(pl.Int64) / _MICROSECONDS_PER_DAY


def _weighted_sketch(cells: pl.DataFrame, value: str, instead: str | None = None) -> QuantileSketch:
    """Sketch of values with their counts."""
    column = pl.coalesce(value, instead) if instead else pl.col(value)
    table = cells.select(value=column, count="count").drop_nulls().sort("value")
    repeated = np.repeat(table["value"].to_numpy(), table["count"].to_numpy())
    return QuantileSketch.of(repeated)


def _weighted_sentinels(cells: pl.DataFrame) -> dict[float, int]:
    found = cells.filter(pl.col("value").is_in(list(COUNTED)))
    counts = found.group_by("value").agg(pl.col("count").sum()).sort("value")
    return {float(value): count for value, count in counts.rows()}


def weight(cells: pl.DataFrame, rule: pl.Expr) -> int:
    """Number of cells behind the distinct values for which a rule holds."""
    return int(cells.filter(rule.fill_null(False))["count"].sum())
