"""Cells whose characters are mended: bytes of another encoding, text that was encoded twice."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import polars as pl

from components.records.findings import Action, Finding
from components.records.reasons import Reason
from components.tables.files.encoding import (
    DOUBLE,
    MARKS,
    EncodingForm,
    resolve_marks,
    show_marks,
    undo_double,
)
from components.tables.files.logical_records import ESCAPES, unescape
from components.tables.files.pieces import SHOWN_CHARS
from components.tables.schema import RAW_LINE

_FOREIGN = "bytes that are not of the file's encoding"
_TWICE = "UTF-8 that was encoded twice"


@dataclass(frozen=True, slots=True)
class Mend:
    """A cell whose characters were mended; `line` is that of its record."""

    line: int
    column: str
    before: str
    after: str | None
    detail: str
    action: Action

    def finding(self, origin: str, record: int) -> Finding:
        """The finding for the record of that number."""
        return Finding(
            origin=f"{origin}#{record}",
            reason=Reason.ENCODING,
            action=self.action,
            detail=self.detail,
            record=record,
            line=self.line,
            column=self.column,
            before=self.before[:SHOWN_CHARS],
            after=self.after and self.after[:SHOWN_CHARS],
        )


def mend_text(
    frame: pl.DataFrame, columns: tuple[str, ...], encoding: EncodingForm
) -> tuple[pl.DataFrame, list[Mend]]:
    """Mend escaped characters, undecodable bytes and text that was encoded twice.

    Returns:
        The frame, and the cells that were mended (those whose escapes were resolved are none).
    """
    mends: list[Mend] = []
    for name in columns:
        if not _may_need_mending(frame[name]):
            continue
        frame = _mend_column(frame, name, ESCAPES.pattern, unescape, "", mends)
        resolve = partial(resolve_marks, encoding=encoding.name)
        frame = _mend_column(frame, name, MARKS.pattern, resolve, _FOREIGN, mends)
        if encoding.name == "utf-8" and not encoding.double:
            frame = _mend_column(frame, name, DOUBLE.pattern, undo_double, _TWICE, mends)
    return frame, mends


def _may_need_mending(cells: pl.Series) -> bool:
    return bool((cells.str.len_bytes() != cells.str.len_chars()).any())


def _mend_column(
    frame: pl.DataFrame,
    name: str,
    pattern: str,
    mend: Callable[[str], str],
    detail: str,
    mends: list[Mend],
) -> pl.DataFrame:
    hits = frame.filter(pl.col(name).str.contains(pattern)).select(RAW_LINE, name)
    if not hits.height:
        return frame
    values: list[str] = hits[name].unique().to_list()
    mended = {value: mend(value) for value in values}
    changed = {before: after for before, after in mended.items() if before != after}
    if not changed:
        return frame
    if detail:
        mends += [
            _mend(line, name, before, changed[before], detail)
            for line, before in hits.iter_rows()
            if before in changed
        ]
    return frame.with_columns(pl.col(name).replace(changed))


def _mend(line: int, column: str, before: str, after: str, detail: str) -> Mend:
    lost = "\ufffd" in after
    shown = show_marks(before)
    return Mend(line, column, shown, after, detail, Action.KEPT if lost else Action.REPAIRED)
