"""Scores runs on dirty tables and on CSV files of many forms."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from tests.dirty.outputs import Row, account_problems, read_csv, read_outputs
from tests.dirty.score import Score, Verdict
from tests.dirty.tables import canonical_text
from tests.dirty.truth import Planted, TableTruth
from tests.dirty.variants import CsvVariant

_LOUD = ("warning", "error")
_COPIES = ("exact copy", "copy in another form")
_NO_RECORDS = ("repeated header", "blank line", "summary line")
_TRUE, _FALSE = {"true", "yes", "1", "y", "t"}, {"false", "no", "0", "n", "f"}


def judge_table(folder: Path, exported: Path, truth: TableTruth) -> Score:
    """Score an output folder and the exported CSV of a dirty table.

    Found: a row of the findings, quarantine or duplicates at the record (and column), or a finding
    about the column whose `before` is the dirty text. Repaired: the exported cell (or row) equals
    the expected one. Silent: it does not, and nothing was said.

    Args:
        folder: Output of `prepare`.
        exported: Output of `prepare --export`: prepared rows, CSV, UTF-8, the original columns.
        truth: What was planted.
    """
    outputs = read_outputs(folder)
    judge = _TableJudge(outputs.rows, read_csv(exported), truth)
    return Score(
        title=f"table {truth.kind}",
        verdicts=tuple(judge.verdict(cell) for cell in truth.planted),
        num_clean=truth.clean.height - len(judge.touched_keys),
        wrongly_aside=tuple(judge.wrongly_aside()),
        false_alarms=(*judge.false_alarms(), *judge.damaged()),
        accounts=(*account_problems(outputs), *judge.lost(outputs.manifest)),
        notes=tuple(judge.named_otherwise()),
    )


class _TableJudge:
    def __init__(
        self, rows: tuple[Row, ...], exported: list[dict[str, str]], truth: TableTruth
    ) -> None:
        self.truth, self.exported = truth, exported
        self.kinds = {name: str(dtype) for name, dtype in truth.clean.schema.items()}
        self._at: dict[int, list[Row]] = defaultdict(list)
        self._wide: list[Row] = []
        for row in rows:
            number = _record_of(row)
            (self._wide if number is None else self._at[number]).append(row)
        self._by_key: dict[str | None, list[dict[str, str]]] = defaultdict(list)
        for cells in exported:
            self._by_key[self._value(truth.key, cells.get(truth.key))].append(cells)
        self.touched = {n for c in truth.planted for n in (c.record, c.twin) if n}
        self.touched_keys = {c.key for c in truth.planted if c.key}
        self._clean = {str(row[truth.key]): row for row in truth.clean.iter_rows(named=True)}
        # Keys as the export's are compared.
        self._key = {key: self._value(truth.key, key) for key in self._clean}

    def verdict(self, cell: Planted) -> Verdict:
        """What became of one planted cell or row."""
        rows = self._rows_about(cell)
        right = self._is_right(cell)
        said = ", ".join(sorted({row.reason for rows in self._at_records(cell) for row in rows}))
        return Verdict(
            kind=cell.kind,
            name=f"record {cell.record} line {cell.line} {cell.column or ''} {cell.dirty[:60]!r}",
            found=bool(rows),
            repaired=cell.repairable and right,
            silent=not rows and not right and self._is_exported(cell),
            problem="" if rows else f"nothing said of it; at its record: {said or 'nothing'}",
        )

    def wrongly_aside(self) -> Iterable[str]:
        """Clean rows that were not exported."""
        for number, key in sorted(self.truth.records.items()):
            if number not in self.touched and not self._by_key.get(self._key[key]):
                reasons = ", ".join(sorted({f"{r.place}: {r.reason}" for r in self._at[number]}))
                yield f"record {number}, {self.truth.key} {key} ({reasons or 'no word about it'})"

    def false_alarms(self) -> Iterable[str]:
        """Warnings and errors about clean cells, and about columns where nothing is wrong."""
        columns = {c.record: c.column for c in self.truth.planted}
        twins = {c.twin for c in self.truth.planted}
        for number, rows in sorted(self._at.items()):
            for row in rows:
                loud = row.place == "findings" and row.severity in _LOUD
                own = columns.get(number, "") in (None, row.column) or number in twins
                follows = number in columns and row.reason == "rule_violated"
                whole = number in columns and row.column is None
                if loud and not (own or follows or whole):
                    yield f"record {number} {row.column or ''} {row.before or ''!r}: {row.reason}"
        for row in self._wide:
            if row.severity in _LOUD and not any(
                _explains(row, cell) for cell in self.truth.planted
            ):
                yield f"{row.origin} {row.column or ''} {row.before or ''!r}: {row.reason}"

    def damaged(self) -> Iterable[str]:
        """Clean cells whose exported value is another, and exported rows that are no records."""
        dirty = {c.key: c.column for c in self.truth.planted}
        for key, clean in self._clean.items():
            column = dirty.get(key, "")
            rows = self._by_key.get(self._key[key], [])
            if column is None or len(rows) != 1:
                continue
            for name in self.truth.clean.columns:
                if name != column and not self._equals(name, rows[0].get(name), clean[name]):
                    yield f"{key} {name}: {clean[name]!r} became {rows[0].get(name)!r}"
        known = set(self._key.values())
        for value, rows in self._by_key.items():
            if value not in known:
                yield f"{len(rows)} exported rows with the key {value!r}, which is none"

    def lost(self, manifest: Mapping[str, object]) -> Iterable[str]:
        """Records that the accounts do not know."""
        books = manifest.get("accounting")
        if isinstance(books, dict) and books.get("read") != self.truth.num_records:
            yield f"read {books.get('read')}, the file holds {self.truth.num_records} records"

    def named_otherwise(self) -> Iterable[str]:
        """Defects that were found under another reason than one of the right ones."""
        for cell in self.truth.planted:
            reasons = {row.reason for row in self._rows_about(cell)}
            if reasons and not reasons & cell.reasons:
                where = f"record {cell.record} {cell.column or ''}"
                yield f"{cell.kind}: {where} {cell.dirty[:40]!r} is called {sorted(reasons)}"

    def _at_records(self, cell: Planted) -> list[list[Row]]:
        return [self._at.get(number, []) for number in (cell.record, cell.twin) if number]

    def _rows_about(self, cell: Planted) -> list[Row]:
        if cell.kind == "blank line":
            return self._blank_rows(cell)
        own = [row for rows in self._at_records(cell) for row in rows]
        if cell.column is None:
            return own
        own = [row for row in own if row.column in (None, cell.column)]
        return own + [
            row for row in self._wide if row.column == cell.column and row.before == cell.dirty
        ]

    def _blank_rows(self, cell: Planted) -> list[Row]:
        """A finding about that line, or one that sums up at least as many lines as there are."""
        rows = [row for row in self._wide if row.reason in cell.reasons]
        rows += [row for rows in self._at.values() for row in rows if row.reason in cell.reasons]
        planted = sum(other.kind == cell.kind for other in self.truth.planted)
        return [row for row in rows if row.line == cell.line or row.count >= planted]

    def _is_exported(self, cell: Planted) -> bool:
        if cell.kind in _NO_RECORDS:
            known = set(self._key.values())
            return any(value not in known for value in self._by_key)
        return bool(self._by_key.get(self._key[cell.key]))

    def _is_right(self, cell: Planted) -> bool:
        """Whether what was exported is what a perfect repair gives."""
        if cell.kind in _NO_RECORDS:
            return not self._is_exported(cell)
        rows = self._by_key.get(self._key[cell.key], [])
        if len(rows) != 1:
            return False
        if cell.kind in _COPIES:
            return True
        if cell.column is not None:
            wanted = self._value(cell.column, cell.expected)
            return self._value(cell.column, rows[0].get(cell.column)) == wanted
        clean = self._clean[cell.key]
        return all(self._equals(name, rows[0].get(name), clean[name]) for name in clean)

    def _equals(self, column: str, exported: str | None, clean: object) -> bool:
        wanted = self._value(column, canonical_text(clean))
        return self._value(column, exported) == wanted

    def _value(self, column: str, text: str | None) -> str | None:
        return comparable(self.kinds[column], text)


def _explains(row: Row, cell: Planted) -> bool:
    """Whether a planted cell is what a finding about a whole column or file speaks of."""
    if row.column is not None and cell.column not in (None, row.column):
        return False
    if row.before is not None and cell.column is not None:
        return row.before == cell.dirty
    return row.reason in cell.reasons


def comparable(kind: str, text: str | None) -> str | None:
    """A cell as a text that is the same for the same value; None where it is missing.

    Args:
        kind: Polars' name of the column's type.
        text: As the export or the truth writes it: ISO dates, a decimal point.
    """
    if text is None or text == "":
        return None
    try:
        if kind.startswith(("Int", "Float")):
            return f"{float(text):.9g}"
        if kind == "Date" or kind.startswith("Datetime"):
            # To the nearest second: spreadsheets hold times as fractions of a day.
            moment = datetime.fromisoformat(text).replace(tzinfo=None) + timedelta(seconds=0.5)
            return f"{moment:%Y-%m-%d %H:%M:%S}"
    except ValueError:
        return f"unreadable: {text}"
    if kind == "Boolean":
        lower = text.lower()
        return "true" if lower in _TRUE else "false" if lower in _FALSE else f"unreadable: {text}"
    return text


def judge_variants(
    variants: Iterable[CsvVariant], results: Mapping[str, Path | str], title: str = "CSV variants"
) -> Score:
    """Score what became of CSV files of many forms.

    Args:
        variants: The files.
        results: Variant's name -> its exported CSV, or the message with which it was refused.
        title: Of the score.
    """
    verdicts = []
    for variant in variants:
        result = results[variant.name]
        if isinstance(result, str):
            problem = _refusal_problem(variant, result)
        else:
            problem = _table_problem(variant, result)
        verdicts.append(
            Verdict(
                kind="to be refused" if variant.expected is None else "to be read",
                name=variant.name,
                found=not problem,
                repaired=not problem and not isinstance(result, str),
                silent=bool(problem) and not isinstance(result, str),
                problem=problem,
            )
        )
    return Score(title, tuple(verdicts), num_clean=0)


def _refusal_problem(variant: CsvVariant, message: str) -> str:
    if variant.expected is not None and not variant.may_be_refused:
        return f"refused: {message[:200]}"
    lines = [line for line in message.splitlines() if line.strip()]
    if len(lines) != 1 or not 20 <= len(lines[0]) <= 500 or "Traceback" in message:
        return f"refused, not in one clear line: {message[:200]!r}"
    return ""


def _table_problem(variant: CsvVariant, path: Path) -> str:
    if variant.expected is None:
        return "read, although it is no table"
    rows, wanted = read_csv(path), variant.expected
    if rows and (missing := [name for name in wanted.columns if name not in rows[0]]):
        return f"columns {missing} are missing; there are {list(rows[0])}"
    if len(rows) != wanted.height:
        return f"{len(rows)} rows, should be {wanted.height}"
    return _first_difference(rows, wanted)


def _first_difference(rows: list[dict[str, str]], wanted: pl.DataFrame) -> str:
    first = wanted.columns[0]
    by_key = {comparable("Int64", row[first]): row for row in rows}
    for clean in wanted.iter_rows(named=True):
        row = by_key.get(comparable("Int64", str(clean[first])), {})
        for name, dtype in wanted.schema.items():
            right = comparable(str(dtype), canonical_text(clean[name]))
            if comparable(str(dtype), row.get(name)) != right:
                return f"{name} of row {clean[first]} is {row.get(name)!r}, should be {right!r}"
    return ""


def _record_of(row: Row) -> int | None:
    if row.record is not None:
        return row.record
    match = re.search(r"#(\d+)$", row.origin)
    return int(match.group(1)) if match else None
