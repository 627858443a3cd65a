"""Lines of a dirty table: data rows, shifted ones, copies, and rows that are no records."""

from dataclasses import dataclass

import numpy as np

from components.records.reasons import Reason
from tests.dirty.clean_tables import CleanTable
from tests.dirty.truth import Planted

_SHIFTED = frozenset({Reason.SHIFTED_ROW, Reason.RAGGED_ROW})
_COPY = frozenset({Reason.DUPLICATE})
TWIN_KINDS = frozenset({"exact copy", "copy in another form", "key conflict"})
"""Kinds of rows that have a twin among the others."""


@dataclass(frozen=True)
class Line:
    """One record of the file (it may span several lines of text).

    Attributes:
        text: Without the last line end.
        key: Key of the record; "" for what is none.
        fields: Its cells, before they were joined.
        planted: What is wrong with it.
        is_added: Whether it stands beside the record of that key, as a copy does.
    """

    text: str
    key: str
    fields: tuple[str, ...] = ()
    planted: Planted | None = None
    is_added: bool = False

    @property
    def is_blank(self) -> bool:
        """Whether it is a blank line, which counts as no record."""
        return not self.text.strip()


def header(table: CleanTable) -> str:
    """The first line."""
    return table.delimiter.join(table.frame.columns)


def data_line(table: CleanTable, fields: list[str], key: str, planted: Planted | None) -> Line:
    """A row of the table."""
    return Line(_joined(table, fields), key, tuple(fields), planted)


def doubled_delimiter(table: CleanTable, line: Line, rng: np.random.Generator) -> Line:
    """An empty field too many: what follows has moved to the right."""
    place = _inner_place(line, rng)
    fields = [*line.fields[:place], "", *line.fields[place:]]
    return _shifted(table, line, _joined_unlike(table, fields, place), "doubled delimiter", True)


def lost_delimiter(table: CleanTable, line: Line, rng: np.random.Generator) -> Line:
    """Two cells grown together: what follows has moved to the left."""
    place = _inner_place(line, rng)
    glued = line.fields[place] + line.fields[place + 1]
    fields = [*line.fields[:place], glued, *line.fields[place + 2 :]]
    return _shifted(table, line, _joined_unlike(table, fields), "lost delimiter", False)


def lost_field(table: CleanTable, line: Line, rng: np.random.Generator) -> Line:
    """A cell lost with its delimiter: what follows has moved to the left."""
    place = _inner_place(line, rng)
    fields = [*line.fields[:place], *line.fields[place + 1 :]]
    return _shifted(table, line, _joined_unlike(table, fields), "lost field", False)


def unquoted_delimiter(table: CleanTable, line: Line, _: np.random.Generator) -> Line:
    """A cell with a delimiter in it that was not quoted: one field too many."""
    text = _joined(table, line.fields, quoted=())
    return _shifted(table, line, text, "unquoted delimiter", True)


def exact_copy(line: Line) -> Line:
    """The same row again."""
    planted = _row_defect("exact copy", line.text, _COPY, line.key, True)
    return Line(line.text, line.key, line.fields, planted, is_added=True)


def copy_in_other_case(table: CleanTable, line: Line) -> Line:
    """The same row again, with a category in upper case and a blank behind it."""
    place = table.frame.columns.index(next(iter(table.categories)))
    fields = [*line.fields]
    fields[place] = fields[place].upper() + " "
    text = _joined(table, fields)
    reasons = _COPY | {Reason.KEY_CONFLICT}
    planted = _row_defect("copy in another form", text, reasons, line.key, True)
    return Line(text, line.key, tuple(fields), planted, is_added=True)


def key_conflict(table: CleanTable, line: Line) -> Line:
    """Another row under the same key: another category or another number."""
    column, names = next(iter(table.categories.items()))
    place = table.frame.columns.index(column)
    fields = [*line.fields]
    fields[place] = next(name for name in names if name != fields[place])
    text = _joined(table, fields)
    reasons = frozenset({Reason.KEY_CONFLICT})
    planted = _row_defect("key conflict", text, reasons, line.key, False)
    return Line(text, line.key, tuple(fields), planted, is_added=True)


def repeated_header(table: CleanTable) -> Line:
    """The header again, as in files that were put together."""
    text = header(table)
    reasons = frozenset({Reason.REPEATED_HEADER})
    return Line(text, "", planted=_row_defect("repeated header", text, reasons))


def blank_line(number: int) -> Line:
    """A line without anything, or with blanks."""
    text = "  " if number == 3 else ""
    return Line(text, "", planted=_row_defect("blank line", text, frozenset({Reason.BLANK_ROW})))


def summary_line(table: CleanTable, number: int) -> Line:
    """A line of totals, or of words about the table."""
    columns = table.frame.columns
    sums = [
        f"{table.frame[name].sum():.2f}".replace(".", table.decimal)
        if name in table.decimals
        else ""
        for name in columns
    ]
    word = ("Total", "Subtotal", "Grand total:")[number]
    text = _joined(table, [word, *sums[1:]])
    reasons = frozenset({Reason.SUMMARY_ROW})
    return Line(text, "", planted=_row_defect("summary line", text, reasons))


def _row_defect(
    kind: str, text: str, reasons: frozenset[Reason], key: str = "", repairable: bool = False
) -> Planted:
    return Planted(
        kind=kind,
        record=0,
        line=0,
        key=key,
        column=None,
        original=None,
        dirty=text,
        expected=None,
        repairable=repairable,
        reasons=reasons,
    )


def _shifted(table: CleanTable, line: Line, text: str, kind: str, repairable: bool) -> Line:
    assert line.planted is None, f"{table.kind} {line.key}: two defects in one row"
    planted = _row_defect(kind, text, _SHIFTED, line.key, repairable)
    return Line(text, line.key, line.fields, planted)


def _inner_place(line: Line, rng: np.random.Generator) -> int:
    """A field that is neither the key nor one of the last two."""
    return int(rng.integers(1, len(line.fields) - 2))


def _joined_unlike(table: CleanTable, fields: list[str], empty: int | None = None) -> str:
    """Join the fields of a shifted row; its columns are off, so only what needs it is quoted."""
    return table.delimiter.join(
        field if number == empty else _quoted(field, table.delimiter)
        for number, field in enumerate(fields)
    )


def _joined(
    table: CleanTable, fields: list[str] | tuple[str, ...], quoted: tuple[str, ...] | None = None
) -> str:
    """Join the cells of a row; with `quoted=()` the columns that need quotes go without."""
    bare = table.quoted if quoted == () else ()
    return table.delimiter.join(
        field if name in bare else _quoted(field, table.delimiter)
        for name, field in zip(table.frame.columns, fields, strict=True)
    )


def _quoted(field: str, delimiter: str) -> str:
    if not any(sign in field for sign in (delimiter, '"', "\n", "\r")):
        return field
    return '"' + field.replace('"', '""') + '"'
