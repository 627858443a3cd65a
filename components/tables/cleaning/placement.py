"""How well texts fit their columns: what tells whether a row is shifted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from components.tables.cleaning.cells import read_column
from components.tables.cleaning.odd_cells import Policies
from components.tables.cleaning.rules import Rule
from components.tables.schema import RAW_RECORD, ColumnSchema
from components.tables.values.missing import is_missing

_NUMBER_LIKE = r"^\s*[-+(]?[$€£]?\s?\d[\d.,]*\s?[%)]?\s*$"
_DATE_LIKE = r"^\s*\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?:[ T]\d{1,2}:\d{2}.*)?\s*$"
_DIGIT = r"\d"
_SAMPLE = 5000
_RARE = 0.02
_COMMON = 0.95
_LEAST_SAMPLE = 20


@dataclass(frozen=True)
class TextHabits:
    """What the texts of a column look like.

    Attributes:
        shape: The pattern that nearly all share, as `A-9999` or, where the number of digits
            differs, `A-9` (a run of letters as one sign); None where they share none.
        numbers: Whether numbers occur among them.
        dates: Whether dates occur among them.
        digits: Whether digits occur in them.
        strangers: Categories of other columns that never occur in this one.
    """

    shape: str | None
    numbers: bool
    dates: bool
    digits: bool
    strangers: frozenset[str] = frozenset()


def text_habits(rows: pl.DataFrame, columns: Sequence[ColumnSchema]) -> dict[str, TextHabits]:
    """Learn what the columns of text look like, from the first 5,000 rows.

    Args:
        rows: Rows that stand under their columns, as far as is known.
        columns: What the columns hold.
    """
    strangers = _strangers(rows, [column.name for column in columns if column.kind == "category"])
    return {
        column.name: _habits(rows[column.name].head(_SAMPLE), column, strangers)
        for column in columns
        if column.kind in ("text", "category", "identifier")
    }


def _strangers(rows: pl.DataFrame, names: Sequence[str]) -> dict[str, frozenset[str]]:
    """For each column of categories those of the others that it never holds."""
    trimmed = {name: rows[name].str.strip_chars().unique().drop_nulls() for name in names}
    held = {name: frozenset(cells.to_list()) - {""} for name, cells in trimmed.items()}
    everywhere = frozenset().union(*held.values())
    return {name: everywhere - mine for name, mine in held.items()}


def _habits(
    cells: pl.Series, column: ColumnSchema, strangers: Mapping[str, frozenset[str]]
) -> TextHabits:
    missing = is_missing(pl.col("cell"), column.missing, column.not_missing)
    filled = pl.DataFrame({"cell": cells}).filter(~missing)
    if filled.height < _LEAST_SAMPLE:
        return TextHabits(None, True, True, True)
    cell = pl.col("cell")
    shares = filled.select(
        cell.str.contains(pattern).mean().alias(pattern)
        for pattern in (_NUMBER_LIKE, _DATE_LIKE, _DIGIT)
    ).row(0)
    numbers, dates, digits = (share > _RARE for share in shares)
    unknown = strangers.get(column.name, frozenset())
    return TextHabits(_common_shape(filled), numbers, dates, digits, unknown)


def _common_shape(filled: pl.DataFrame) -> str | None:
    """The shape of nearly all, as exact as they share it."""
    for is_exact in (True, False):
        shapes = filled.select(_shape(pl.col("cell"), is_exact)).to_series()
        shape, count = shapes.value_counts(sort=True).row(0)
        if count >= _COMMON * filled.height:
            return str(shape)
    return None


def _shape(cell: pl.Expr, is_exact: bool) -> pl.Expr:
    """Letters and digits as one sign for each run; for each digit where exact."""
    bare = cell.str.strip_chars().str.replace_all(r"\d" if is_exact else r"\d+", "9")
    return bare.str.replace_all(r"\p{Ll}+", "a").str.replace_all(r"\p{Lu}+", "A").alias("shape")


def _has_shape(cell: pl.Expr, shape: str) -> pl.Expr:
    return _shape(cell, "99" in shape) == shape


@dataclass(frozen=True)
class Placement:
    """Judges rows of texts under their columns (a `Judge` of shifts)."""

    columns: Sequence[ColumnSchema]
    habits: Mapping[str, TextHabits]
    rules: Sequence[Rule]
    policies: Policies

    def __call__(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Misfits, unreadable cells and strength of each row."""
        misfits = pl.repeat(0, rows.height, dtype=pl.Int32, eager=True)
        unreadable = strength = misfits
        values: list[pl.Series] = []
        for column in self.columns:
            read = read_column(rows[column.name], column, self.policies)
            unreadable = unreadable + (read.misfits & read.values.is_null()).cast(pl.Int32)
            odd, certain = read.misfits, read.values.is_not_null() & ~read.misfits
            if read.odd.height:
                # What is written in another way than its column may belong to another one.
                certain = certain.scatter(read.odd["row"].unique(), False)
            if column.name in self.habits:
                odd = odd | self._unusual(rows[column.name], read.values, column)
                certain = certain & ~odd & self._is_telling(rows[column.name], column)
            misfits = misfits + odd.cast(pl.Int32)
            strength = strength + certain.cast(pl.Int32)
            values.append(read.values.alias(column.name))
        typed = pl.DataFrame(values)
        for rule in self.rules:
            holds = typed.select(holds=rule.holds).to_series()
            misfits = misfits + (~holds).fill_null(False).cast(pl.Int32)
            strength = strength + holds.fill_null(False).cast(pl.Int32)
        return pl.DataFrame({"misfits": misfits, "unreadable": unreadable, "strength": strength})

    def _is_telling(self, cells: pl.Series, column: ColumnSchema) -> pl.Series:
        """Whether a text is written as nearly all of its column are, or is a known category."""
        shape = self.habits[column.name].shape
        if column.kind == "category" and column.categories:
            return cells.is_not_null()
        if shape is None:
            return pl.repeat(False, len(cells), eager=True)
        return pl.DataFrame({"cell": cells}).select(_has_shape(pl.col("cell"), shape)).to_series()

    def _unusual(self, cells: pl.Series, values: pl.Series, column: ColumnSchema) -> pl.Series:
        """Numbers, dates or digits among words, another pattern than all others, or a stranger."""
        habits, cell = self.habits[column.name], pl.col("cell")
        unusual = cell.str.strip_chars().is_in(habits.strangers)
        if not habits.numbers:
            unusual = unusual | cell.str.contains(_NUMBER_LIKE)
        if not habits.dates:
            unusual = unusual | cell.str.contains(_DATE_LIKE)
        if not habits.digits:
            unusual = unusual | cell.str.contains(_DIGIT)
        # A name may be written in many ways; of a category the list of categories tells.
        if habits.shape is not None and column.kind == "identifier":
            unusual = unusual | ~_has_shape(cell, habits.shape)
        table = pl.DataFrame({"cell": cells})
        return table.select(unusual.fill_null(False).alias("odd")).to_series() & (
            values.is_not_null()
        )


def misplaced(rows: pl.DataFrame, doubtful: pl.Series, placement: Placement) -> pl.DataFrame:
    """Of the rows with a cell that does not fit, those whose values may have moved.

    At least two cells do not fit, or one cannot be read at all and another one is empty.
    """
    suspects = rows.filter(doubtful)
    if suspects.is_empty():
        return suspects
    names = [column.name for column in placement.columns]
    judged = placement(suspects.select(names))
    blank = pl.any_horizontal(pl.col(name).fill_null("").str.strip_chars() == "" for name in names)
    has_blank = suspects.select(blank.alias("blank")).to_series()
    moved = (judged["misfits"] == 1) & (judged["unreadable"] == 1) & has_blank
    return suspects.select(RAW_RECORD, *names).filter(moved | (judged["misfits"] >= 2))
