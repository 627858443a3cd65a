"""Where the header is, whether there is one, and what the columns are called."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from components.tables.files.cell_types import CellType, cell_type
from components.tables.files.dialect import Dialect
from components.tables.files.encoding import MARKS, resolve_marks
from components.tables.files.logical_records import LogicalRecord, split_records, unescape
from components.tables.schema import RAW_EXTRA, RAW_FIELDS, RAW_LINE, RAW_RECORD

_MAX_PREAMBLE = 60
_TAKEN = (RAW_RECORD, RAW_LINE, RAW_EXTRA, RAW_FIELDS, "")


@dataclass(frozen=True)
class Header:
    """The head of a table.

    Attributes:
        columns: Names, each once.
        written: The cells of the header as they stand in the file; empty without a header.
        preamble: Lines above the header (and between it and the data) that are no records.
        body_line: Lines to skip from the start, up to the first record.
        has_rows: Whether any record follows.
        trailing: Records end with a delimiter behind which there is no field.
    """

    columns: tuple[str, ...]
    written: tuple[str, ...]
    preamble: tuple[str, ...]
    body_line: int
    has_rows: bool
    trailing: bool


def find_header(sample: str, dialect: Dialect, *, given: bool | None) -> Header:
    """Find the header among the first lines.

    Args:
        sample: First lines of the file, whole lines only, escapes already marked.
        dialect: How they are written.
        given: True, False where the recipe states whether there is a header.
    """
    records, _ = split_records(sample, dialect.separation(), None, is_last=True)
    filled = [record for record in records if not is_blank(record.fields)]
    rows = [record for record in filled if not _is_comment(record, dialect, filled)]
    num_fields = _usual_length(rows)
    top, has_header = _top(rows, num_fields, given)
    trailing = _is_trailing(rows[top:], num_fields)
    units = has_header and _is_second_header(rows[top:], num_fields)
    body = rows[top + has_header + units :]
    head = rows[: top + has_header + units][-1:]
    body_line = head[0].line + head[0].num_lines if head else 0
    skipped = [row for row in filled if row.line < body_line]
    header = rows[top] if has_header else None
    preamble = tuple(row.text[:200] for row in skipped if row is not header)
    width = num_fields - trailing
    if header is None:
        written: tuple[str, ...] = ()
        columns = tuple(f"column_{number}" for number in range(1, width + 1))
    else:
        cells = [_plain_name(cell) for cell in header.fields]
        below = [row.fields for row in body]
        shifted = len(cells) == width - 1 >= 1 and _are_row_names(below, width)
        cells[0] = cells[0].lstrip("# ") or cells[0]
        cells = ["", *cells] if shifted else cells
        if units and (len(set(cells)) < len(cells) or "" in cells):
            cells = _joined(cells, [_plain_name(cell) for cell in rows[top + 1].fields])
        written = tuple(header.fields)
        columns = unique_names(cells[:width] + [""] * (width - len(cells)))
    return Header(columns, written, preamble, body_line, bool(body), trailing)


def is_blank(fields: Iterable[str]) -> bool:
    """Whether all fields of a row are empty or blanks."""
    return not any(field.strip() for field in fields)


def unique_names(names: Iterable[str]) -> tuple[str, ...]:
    """Names made unique: `a, a` -> `a, a_2`; an empty one -> `column_3`, by its position."""
    names = list(names)
    given = set(names)
    taken = set(_TAKEN)
    result: list[str] = []
    for position, name in enumerate(names, start=1):
        base = name or f"column_{position}"
        unique, number = base, 2
        while unique in taken or (unique != name and unique in given):
            unique, number = f"{base}_{number}", number + 1
        taken.add(unique)
        result.append(unique)
    return tuple(result)


def _is_comment(record: LogicalRecord, dialect: Dialect, filled: list[LogicalRecord]) -> bool:
    return bool(dialect.comment) and record.text.startswith(dialect.comment)


def _plain_name(cell: str) -> str:
    name = " ".join(unescape(cell).replace("\ufeff", "").split())
    name = resolve_marks(name, "utf-8") if MARKS.search(name) else name
    return name


def _usual_length(rows: list[LogicalRecord]) -> int:
    lengths = Counter(len(row.fields) for row in rows)
    return max(lengths, key=lambda length: (lengths[length], length)) if lengths else 0


def _top(rows: list[LogicalRecord], num_fields: int, given: bool | None) -> tuple[int, bool]:
    """Which row is the header (or the first record), and whether it is one."""
    candidates = [
        place
        for place, row in enumerate(rows[:_MAX_PREAMBLE])
        if num_fields - 1 <= len(row.fields) <= num_fields + 1
        and (len(row.fields) >= num_fields or len(row.fields) >= 2 or num_fields == 1)
        and (len(row.fields) <= num_fields or not row.fields[-1].strip())
    ]
    if not candidates:
        return 0, given is not False
    top = candidates[0]
    for place in candidates[:20]:
        if place == len(rows) - 1 or not _is_padded_title(rows, place, num_fields):
            top = place
            break
    later = _header_below(rows, candidates, top, num_fields)
    top = later if later is not None and given is not False else top
    if given is not None:
        return top, given
    return top, _is_header(rows, top, num_fields)


def _is_padded_title(rows: list[LogicalRecord], place: int, num_fields: int) -> bool:
    """Whether only the first cells hold something: a title, and delimiters that a sheet adds."""
    filled = _num_filled(rows[place])
    is_prefix = all(field.strip() for field in rows[place].fields[:filled])
    return is_prefix and filled < 0.6 * _widest(rows, place, num_fields)


def _num_filled(row: LogicalRecord) -> int:
    return sum(bool(field.strip()) for field in row.fields)


def _widest(rows: list[LogicalRecord], place: int, num_fields: int) -> int:
    return max(min(_num_filled(row), num_fields) for row in rows[place : place + 10])


def _header_below(
    rows: list[LogicalRecord], candidates: list[int], top: int, num_fields: int
) -> int | None:
    """A header below lines that look like rows: set off by a blank line, or of names alone."""
    for place in candidates:
        if not top < place <= top + 15 or place >= len(rows) - 1:
            continue
        gap = rows[place].line > rows[place - 1].line + rows[place - 1].num_lines
        above = rows[top:place]
        if _are_records(above, rows[place + 1 : place + 101], num_fields):
            return None
        if gap and _header_score(rows, place, num_fields) > 0 and len(rows) - place > len(above):
            return place
    return None


def _are_records(above: list[LogicalRecord], below: list[LogicalRecord], num_fields: int) -> bool:
    """Whether a row above holds numbers and dates in all columns where those below do."""
    usual = [_column_types(below, column).most_common(1) for column in range(num_fields)]
    typed = {
        column: types[0][0]
        for column, types in enumerate(usual)
        if types and types[0][0] in ("number", "date")
    }
    return any(
        len(row.fields) >= num_fields
        and all(cell_type(row.fields[column]) in (kind, "empty") for column, kind in typed.items())
        for row in above[1:]
    )


def _column_types(rows: list[LogicalRecord], column: int) -> Counter[CellType]:
    cells = (row.fields[column] for row in rows if column < len(row.fields))
    types = Counter(cell_type(cell) for cell in cells)
    del types["empty"]
    return types


def _header_score(rows: list[LogicalRecord], place: int, num_fields: int) -> float:
    """How much a row differs in kind from those below: above 0 for names over values."""
    below = rows[place + 1 : place + 101]
    cells = rows[place].fields
    score = 0.0
    for column, cell in enumerate(cells[:num_fields]):
        types = _column_types(below, column)
        if not types or not cell.strip():
            continue
        usual, count = types.most_common(1)[0]
        mine = cell_type(cell)
        if usual in ("number", "date", "boolean") and count >= 0.6 * types.total():
            score += 1.0 if mine in ("text", "odd", "boolean") and mine != usual else 0.0
            score -= 1.0 if mine == usual else 0.0
        elif mine in ("number", "date") or any(
            cell.strip() == row.fields[column].strip() for row in below if column < len(row.fields)
        ):
            score -= 0.5
    return score


def _is_header(rows: list[LogicalRecord], top: int, num_fields: int) -> bool:
    cells = [cell.strip() for cell in rows[top].fields]
    types = [cell_type(cell) for cell in cells]
    if _is_progression(rows, top) or _is_second_header(rows[top:], num_fields):
        return True
    if len(rows) == top + 1:  # alone: names, or one record
        return not any(kind in ("number", "date") for kind in types)
    score = _header_score(rows, top, num_fields)
    if score != 0:
        return score > 0
    named = [
        cell for cell, kind in zip(cells, types, strict=True) if kind in ("text", "odd", "boolean")
    ]
    return len(named) >= 0.5 * len(cells) and len(set(named)) == len(named)


def _is_progression(rows: list[LogicalRecord], top: int) -> bool:
    """Names that are numbers: years 1990, 1991, ..., or 0, 1, 2 as pandas counts columns."""
    values = [_integer(cell) for cell in rows[top].fields]
    numbers = [value for value in values if value is not None]
    if len(numbers) < 2 or values[-len(numbers) :] != numbers:
        return False
    steps = {second - first for first, second in pairwise(numbers)}
    is_year = len(steps) == 1 and min(steps) in (1, 2, 5, 10) and 1800 <= numbers[0] <= 2100
    is_count = numbers == list(range(len(numbers))) and len(numbers) >= len(values) - 1
    below = [
        [_integer(cell) for cell in row.fields][-len(numbers) :] for row in rows[top + 1 : top + 6]
    ]
    return (
        (is_year or is_count)
        and numbers not in below
        and bool(below)
        and not any(set(row) <= {value + 1 for value in numbers} for row in below if is_count)
    )


def _integer(cell: str) -> int | None:
    stripped = cell.strip()
    return (
        int(stripped) if stripped.isascii() and stripped.isdigit() and len(stripped) < 10 else None
    )


def _is_trailing(rows: list[LogicalRecord], num_fields: int) -> bool:
    """Whether the last field of nearly all rows is empty, and has no name above it."""
    if num_fields < 2 or len(rows) < 2 or len(rows[0].fields) > num_fields:
        return False
    last = [row.fields[num_fields - 1] for row in rows[1:] if len(row.fields) == num_fields]
    unnamed = len(rows[0].fields) < num_fields or not rows[0].fields[-1].strip()
    return unnamed and bool(last) and not any(cell.strip() for cell in last)


def _is_second_header(rows: list[LogicalRecord], num_fields: int) -> bool:
    """Whether the row under the header holds no values either, as units do."""
    if len(rows) < 4 or len(rows[1].fields) < num_fields - 1:
        return False
    texts = typed = 0
    for column, cell in enumerate(rows[1].fields[:num_fields]):
        types = _column_types(rows[2:102], column)
        usual, count = types.most_common(1)[0] if types else ("text", 0)
        if usual not in ("number", "date") or count < 0.9 * types.total() or not cell.strip():
            continue
        typed += 1
        texts += cell_type(cell) in ("text", "odd")
    return texts >= 2 and texts == typed


def _joined(first: list[str], second: list[str]) -> list[str]:
    """Names of two lines as one: `2019, , 2020` over `Q1, Q2, Q1` -> `2019 Q1, 2019 Q2, ...`."""
    joined: list[str] = []
    last = ""
    for place, name in enumerate(second):
        last = first[place] if place < len(first) and first[place] else last
        joined.append(f"{last} {name}".strip())
    return joined


def _are_row_names(below: list[list[str]], width: int) -> bool:
    first = [row[0] for row in below if len(row) == width]
    return len(first) > 1 and len(set(first)) == len(first)
