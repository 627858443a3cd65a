"""Findings: what was found in the data and what was done about it, one row each."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pyarrow as pa

from components.records.reasons import REASONS, Reason


class Action(StrEnum):
    """What was done about a finding."""

    REPAIRED = "repaired"
    QUARANTINED = "quarantined"
    KEPT = "kept"
    MERGED = "merged"
    """Names or spellings were made one."""
    DROPPED = "dropped"
    """A further copy of a prepared record, or what lies beside the records and is not read."""


FINDINGS_SCHEMA = pa.schema(
    {
        "origin": pa.string(),
        "record": pa.int64(),
        "line": pa.int64(),
        "column": pa.string(),
        "reason": pa.string(),
        "severity": pa.string(),
        "action": pa.string(),
        "detail": pa.string(),
        "before": pa.string(),
        "after": pa.string(),
        "other": pa.list_(pa.string()),
        "count": pa.int64(),
    }
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding.

    Attributes:
        origin: Path relative to the source (of a file, folder or table), byte for byte; of a
            record in a table `PATH#N`, N its record number.
        reason: What was found.
        action: What was done.
        detail: In words, with the numbers behind it.
        other: Origins that it is related to: copies, the other side of a conflict.
        record: Record number in a table, from 1: rows after the header that are not empty.
        line: Line of the file on which the record starts, from 1.
        column: Column of a table, where it concerns one.
        before: The cell or name as it was read.
        after: The cell or name as it is now; None where it became missing.
        count: Records that it speaks of; more than 1 where it sums up a folder or column.
    """

    origin: str
    reason: Reason
    action: Action
    detail: str = ""
    other: tuple[str, ...] = ()
    record: int | None = None
    line: int | None = None
    column: str | None = None
    before: str | None = None
    after: str | None = None
    count: int = 1

    def row(self) -> dict[str, Any]:
        """A row of `FINDINGS_SCHEMA`."""
        return {
            "origin": self.origin,
            "record": self.record,
            "line": self.line,
            "column": self.column,
            "reason": self.reason.value,
            "severity": REASONS[self.reason].severity.value,
            "action": self.action.value,
            "detail": self.detail,
            "before": self.before,
            "after": self.after,
            "other": list(self.other),
            "count": self.count,
        }


def findings_table(findings: Iterable[Finding]) -> pa.Table:
    """Findings as an Arrow table of `FINDINGS_SCHEMA`."""
    return pa.Table.from_pylist([finding.row() for finding in findings], schema=FINDINGS_SCHEMA)
