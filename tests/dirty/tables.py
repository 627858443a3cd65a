"""Dirty tables with their truth: real-looking tables with defects planted in cells and rows."""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from tests.dirty import rows
from tests.dirty.cells import (
    Dirt,
    boolean_forms,
    broken_numbers,
    broken_sum,
    category_forms,
    date_forms,
    far_out,
    missing,
    mojibake,
    number_forms,
    sentinel,
    unit,
)
from tests.dirty.clean_tables import TABLES, CleanTable, clean_table
from tests.dirty.rows import Line
from tests.dirty.truth import Planted, TableTruth

KINDS = tuple(TABLES)
_NUM_ROWS = {"orders": 1_200, "sensors": 1_500, "employees": 800, "trips": 1_000}


def make_dirty_table(kind: str, seed: int, num_rows: int | None = None) -> TableTruth:
    """A dirty CSV and what was planted in it; the same seed gives the same bytes.

    Args:
        kind: One of `KINDS`.
        seed: Other seeds give other values and places.
        num_rows: Rows of the clean table; default 800 to 1,500. At least 600, for the defects
            take about 170 of them, and half of the defects fit only some rows.
    """
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    table = clean_table(kind, rng, num_rows or _NUM_ROWS[kind])
    cells = {column: table.texts(column) for column in table.frame.columns}
    unused = [int(row) for row in rng.permutation(table.frame.height)]
    planted: dict[int, Planted] = {}
    for dirt in dirts(kind):
        for _ in range(dirt.count):
            row = _plant_cell(table, cells, dirt, unused, rng)
            planted[row] = _planted(table, dirt, row, cells[dirt.column][row])
    lines = [
        rows.data_line(table, [cells[c][row] for c in cells], _key(table, row), planted.get(row))
        for row in range(table.frame.height)
    ]
    _shift_rows(table, lines, unused, rng)
    _add_rows(table, lines, unused, rng)
    return _numbered(table, lines)


def dirts(kind: str) -> list[Dirt]:
    """The dirt of one table's cells; rarest places first, so that it finds room."""
    return {"orders": _orders, "sensors": _sensors, "employees": _employees, "trips": _trips}[
        kind
    ]()


def _orders() -> list[Dirt]:
    booleans = [("yes", "Y"), ("no", "N"), ("yes", "TRUE"), ("no", "0"), ("yes", "Yes")]
    return [
        *number_forms("total", ".", currency=True, large=True),
        *boolean_forms("paid", booleans),
        mojibake("city", 4),
        mojibake("customer", 4),
        *date_forms("order_date", "%Y-%m-%d"),
        sentinel("quantity", "-999", 5),
        sentinel("unit_price", "99999", 4),
        *missing("quantity", "NA", "-", "null"),
        *missing("order_date", "n/a"),
        *missing("city", "?", "(blank)"),
        *number_forms("unit_price", ".", currency=True, large=False),
        *unit("quantity", "{} pcs", "{}x"),
        *far_out("quantity", times_10=2, sign=2),
        *far_out("unit_price", times_1000=3),
        broken_sum("total", 5),
        *broken_numbers("unit_price"),
        *category_forms("city"),
        *category_forms("product", misspelt=4),
    ]


def _sensors() -> list[Dirt]:
    return [
        *date_forms("time", "%Y-%m-%d %H:%M:%S"),
        *category_forms("status"),
        sentinel("temperature", "-999.9", 5),
        sentinel("humidity", "-1", 5),
        sentinel("pressure", "9999", 5),
        *missing("temperature", "NaN", "--", "missing"),
        *missing("humidity", "N/A"),
        *missing("status", "none"),
        *number_forms("temperature", ".", currency=False, large=False),
        *unit("temperature", "{} °C", "{}C"),
        *unit("humidity", "{}%", "{} %"),
        *unit("pressure", "{} hPa"),
        *far_out("temperature", times_10=3, times_1000=2),
        *far_out("pressure", times_10=2, times_1000=2, sign=2),
        *broken_numbers("pressure"),
    ]


def _employees() -> list[Dirt]:
    booleans = [("true", "yes"), ("false", "no"), ("true", "1"), ("false", "F"), ("true", "True")]
    return [
        *boolean_forms("full_time", booleans),
        mojibake("name", 5),
        *date_forms("hired", "%d.%m.%Y"),
        *number_forms("salary", ",", currency=True, large=True),
        sentinel("salary", "-1", 4),
        *missing("salary", "k.A.", "NULL"),
        *missing("department", "n.a.", "-"),
        *missing("hired", "unknown"),
        *far_out("salary", times_10=3, times_1000=3, sign=2),
        *broken_numbers("salary"),
        *category_forms("department", misspelt=8),
    ]


def _trips() -> list[Dirt]:
    return [
        *date_forms("pickup", "%m/%d/%Y %H:%M"),
        *category_forms("payment"),
        sentinel("passengers", "-99", 4),
        *missing("passengers", "#N/A", "nan"),
        *missing("tip", "None"),
        *missing("payment", "."),
        *number_forms("fare", ".", currency=True, large=False),
        *unit("total", "USD {}", "{} usd"),
        *far_out("fare", times_10=3, times_1000=3, sign=2),
        *far_out("tolls", times_10=2),
        *far_out("passengers", times_1000=2),
        broken_sum("total", 6),
        *broken_numbers("total"),
    ]


def _plant_cell(
    table: CleanTable,
    cells: dict[str, list[str]],
    dirt: Dirt,
    unused: list[int],
    rng: np.random.Generator,
) -> int:
    """Make one cell dirty in a row that is clean so far; returns the row."""
    taken = set(table.categories.get(dirt.column, ()))
    for place, row in enumerate(unused):
        dirty = dirt.dirty(cells[dirt.column][row], rng) if cells[dirt.column][row] else None
        if dirty is not None and dirty not in taken:
            cells[dirt.column][row] = dirty
            return unused.pop(place)
    raise ValueError(f"{table.kind}: no row left for {dirt.kind} in {dirt.column}; make it longer")


def _planted(table: CleanTable, dirt: Dirt, row: int, dirty: str) -> Planted:
    original = canonical_text(table.frame[dirt.column][row])
    return Planted(
        kind=dirt.kind,
        record=0,
        line=0,
        key=_key(table, row),
        column=dirt.column,
        original=original,
        dirty=dirty,
        expected=None if dirt.lost else original,
        repairable=dirt.repairable,
        reasons=dirt.reasons,
    )


def canonical_text(value: object) -> str | None:
    """A typed cell as text: dates in ISO form, booleans as true and false, None as None."""
    if value is None or isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)


def _key(table: CleanTable, row: int) -> str:
    return str(table.frame[table.key][row])


def _shift_rows(
    table: CleanTable, lines: list[Line], unused: list[int], rng: np.random.Generator
) -> None:
    for maker, count in (
        (rows.doubled_delimiter, 4),
        (rows.lost_delimiter, 3),
        (rows.lost_field, 3),
        (rows.unquoted_delimiter, 4 if table.quoted else 0),
    ):
        for _ in range(count):
            row = unused.pop()
            lines[row] = maker(table, lines[row], rng)


def _add_rows(
    table: CleanTable, lines: list[Line], unused: list[int], rng: np.random.Generator
) -> None:
    """Put rows that are no records, copies and contradictions at places by chance."""
    originals = [lines[unused.pop()] for _ in range(5 + 3 + 4)]
    added = [rows.exact_copy(line) for line in originals[:5]]
    if table.categories:
        added += [rows.copy_in_other_case(table, line) for line in originals[5:8]]
    added += [rows.key_conflict(table, line) for line in originals[8:]]
    added += [rows.repeated_header(table) for _ in range(3)]
    added += [rows.blank_line(number) for number in range(4)]
    added += [rows.summary_line(table, number) for number in range(2)]
    for line in added:
        lines.insert(int(rng.integers(2, len(lines))), line)
    lines.append(rows.summary_line(table, 2))


@dataclass
class _Place:
    record: int = 0
    line: int = 2


def _numbered(table: CleanTable, lines: list[Line]) -> TableTruth:
    """Join the lines to a file and enter record and line numbers into the truth."""
    place, planted, records, texts = _Place(), [], {}, [rows.header(table)]
    first: dict[str, int] = {}
    for line in lines:
        place.record += not line.is_blank
        if line.key and not line.is_added:
            first[line.key] = place.record
        if line.key:
            records[place.record] = line.key
        if line.planted is not None:
            record = 0 if line.is_blank else place.record
            planted.append(replace(line.planted, record=record, line=place.line))
        place.line += line.text.count("\n") + 1
        texts.append(line.text)
    twins = {c.record: first[c.key] for c in planted if c.kind in rows.TWIN_KINDS}
    planted = [replace(cell, twin=twins.get(cell.record, 0)) for cell in planted]
    return TableTruth(
        kind=table.kind,
        data=("\n".join(texts) + "\n").encode(),
        clean=_nulls_for_empty(table.frame),
        delimiter=table.delimiter,
        key=table.key,
        rules=table.rules,
        planted=tuple(planted),
        records=records,
        num_records=place.record,
    )


def _nulls_for_empty(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col(pl.String).replace("", None))
