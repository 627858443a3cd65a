"""First pass of prepare: a chunk of the source becomes a file of prepared rows sorted by record id.

Beside it lie the rows that were set aside and the findings. The second pass (`merging`) takes
ranges of ids out of all staged files, so that copies of a record, which have the same id, meet.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from components.errors import DataError
from components.records.files import atomic_path, storage_errors
from components.records.findings import FINDINGS_SCHEMA, Action, Finding, findings_table
from components.records.identity import leading_words, record_id
from components.records.reasons import REASONS, Policy, Reason, RecordRejected, policy_of
from components.sources.record import RawRecord

QUARANTINE_SCHEMA = pa.schema(
    {
        "record_id": pa.string(),
        "origin": pa.string(),
        "reason": pa.string(),
        "detail": pa.string(),
        "other": pa.string(),
        "preview": pa.binary(),
    }
)
# The underscores keep these names apart from the columns of a table.
COMMON_SCHEMA = pa.schema(
    {
        "record_id": pa.string(),  # rows with the same id are the same record
        "__content": pa.string(),  # ... and contradict one another where this differs
        "__bytes_hash": pa.string(),  # ... and are copies byte for byte where this is equal
        "origin": pa.string(),
        "__label": pa.string(),
        "__split": pa.string(),  # that the source names, or null
        "__split_key": pa.string(),  # what the split goes by in place of the id, or null
        "__split_time": pa.int64(),
    }
)
_MAX_PREVIEW_BYTES = 256 << 10
_MAX_PART_BYTES = 128 << 20
_EXAMPLES = 5
_ACTIONS = {Policy.REPAIR: Action.REPAIRED, Policy.KEEP: Action.KEPT}


@dataclass(frozen=True)
class PreparedRecord:
    """One record in the form that shards keep, and what was noticed on the way.

    Attributes:
        record_id: 32 hex digits.
        columns: The modality's columns.
        notes: (reason, detail) of what was repaired or kept.
    """

    record_id: str
    columns: Mapping[str, Any]
    notes: tuple[tuple[Reason, str], ...] = ()


@dataclass
class ChunkResult:
    """What one staged chunk holds, as counts.

    Attributes:
        read: Records that were read.
        num_bytes: Bytes of the prepared rows in memory.
        labels: Prepared records by label.
        reasons: Records set aside by reason.
        findings: Findings by `reason/action`.
        examples: The first records set aside, in words.
        parts: Names of the staged files.
    """

    read: int = 0
    num_bytes: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    findings: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)

    def add(self, other: "ChunkResult") -> None:
        """Add the counts of another chunk."""
        self.read += other.read
        self.num_bytes += other.num_bytes
        self.labels += other.labels
        self.reasons += other.reasons
        self.findings += other.findings
        self.examples = [*self.examples, *other.examples][:_EXAMPLES]
        self.parts += other.parts


class ChunkWriter:
    """Writes what one chunk becomes, file by file, each of them whole or not at all."""

    def __init__(self, folder: Path, name: str, *, row_group_rows: int) -> None:
        """Make a writer.

        Args:
            folder: Of the stage; `staged`, `quarantine` and `findings` lie in it.
            name: Of the chunk; names its files.
            row_group_rows: Rows that a range of ids is read by, later.
        """
        self._folder, self._name, self._row_group_rows = folder, name, row_group_rows
        self.result = ChunkResult()

    def part(self, rows: pa.Table) -> None:
        """Write prepared rows, sorted by record id (its first half: copies lie side by side)."""
        number = len(self.result.parts)
        path = self._folder / "staged" / f"{self._name}.{number}.parquet"
        frame = pl.DataFrame(pl.from_arrow(rows))
        order = pl.Series(leading_words(frame["record_id"])).arg_sort()
        # As views: sorting and writing them moves no text and no picture.
        sorted_rows = frame[order].to_arrow(compat_level=pl.CompatLevel.newest())
        with storage_errors(str(path.parent)), atomic_path(path) as partial:
            pq.write_table(
                sorted_rows,
                partial,
                row_group_size=self._row_group_rows,
                compression="none",
                use_dictionary=False,
                write_statistics=["record_id"],
            )
        labels = rows.column("__label").value_counts().to_pylist()
        self.result.labels += Counter({row["values"]: row["counts"] for row in labels})
        self.result.num_bytes += rows.nbytes
        self.result.parts.append(path.name)

    def close(self, quarantined: pa.Table, findings: pa.Table) -> ChunkResult:
        """Write what was set aside and found; returns the counts."""
        result = self.result
        reasons = quarantined.column("reason").to_pylist()
        result.reasons += Counter(reasons)
        first = quarantined.slice(0, _EXAMPLES).to_pylist()
        result.examples = [f"{r['origin']} ({r['reason']}: {r['detail']})" for r in first]
        pairs = zip(
            findings.column("reason").to_pylist(),
            findings.column("action").to_pylist(),
            findings.column("count").to_pylist(),
            strict=True,
        )
        for reason, action, count in pairs:
            result.findings[f"{reason}/{action}"] += count
        with storage_errors(str(self._folder)):
            write_quarantine(self._folder / "quarantine" / f"{self._name}.parquet", quarantined)
            write_findings(self._folder / "findings" / f"{self._name}.jsonl", findings)
        return result


def stage_records(
    records: Iterable[RawRecord],
    prepare: Callable[[bytes, str], PreparedRecord],
    *,
    schema: pa.Schema,
    policy: Mapping[Reason, Policy],
    folder: Path,
    name: str,
) -> ChunkResult:
    """Prepare the records of one chunk, row by row.

    A chunk that grows beyond 128 MiB (a Parquet file may have row groups of any size) is written
    in several parts, so that memory stays bounded.

    Args:
        records: The chunk, one record at a time.
        prepare: (bytes, origin) -> prepared record; raises RecordRejected.
        schema: The modality's columns.
        policy: What is done about a reason, where it is not the default.
        folder: Of the stage.
        name: Of the chunk.

    Raises:
        DataError: A finding whose policy is stop.
        StorageError: The disk is full or refuses.
    """
    writer = ChunkWriter(folder, name, row_group_rows=64)
    rows: list[dict[str, Any]] = []
    rejected: list[dict[str, Any]] = []
    findings: list[Finding] = []
    waiting_bytes = 0
    for record in records:
        writer.result.read += 1
        try:
            prepared = _prepared(record, prepare)
        except RecordRejected as problem:
            rejected.append(quarantine_row(record, problem))
            found = ((problem.reason, problem.detail), *problem.also)
            findings += [_finding(record.origin, *note, policy, aside=True) for note in found]
            continue
        findings += [_finding(record.origin, *note, policy) for note in prepared.notes]
        rows.append(_staged_row(record, prepared))
        waiting_bytes += sum(len(v) for v in prepared.columns.values() if isinstance(v, bytes))
        if waiting_bytes > _MAX_PART_BYTES:
            writer.part(pa.Table.from_pylist(rows, staged_schema(schema)))
            rows, waiting_bytes = [], 0
    writer.part(pa.Table.from_pylist(rows, staged_schema(schema)))
    return writer.close(pa.Table.from_pylist(rejected, QUARANTINE_SCHEMA), findings_table(findings))


def staged_schema(schema: pa.Schema) -> pa.Schema:
    """Columns of a staged file: the common ones, then the modality's."""
    return pa.schema([*COMMON_SCHEMA, *schema])


def _prepared(record: RawRecord, prepare: Callable[[bytes, str], PreparedRecord]) -> PreparedRecord:
    if record.problem is not None:
        raise record.problem
    assert record.data is not None and record.label is not None
    return prepare(record.data, record.origin)


def _staged_row(record: RawRecord, prepared: PreparedRecord) -> dict[str, Any]:
    assert record.data is not None
    return {
        "record_id": prepared.record_id,
        "__content": record.label,
        # Compared with one another and no more: SHA-256, which processors have instructions for.
        "__bytes_hash": hashlib.sha256(record.data).hexdigest()[:32],
        "origin": record.origin,
        "__label": record.label,
        "__split": record.split,
        "__split_key": None,
        "__split_time": None,
        **prepared.columns,
    }


def _finding(
    origin: str,
    reason: Reason,
    detail: str,
    policy: Mapping[Reason, Policy],
    *,
    aside: bool = False,
) -> Finding:
    chosen = policy_of(reason, policy)
    if chosen is Policy.STOP:
        raise DataError(
            f"{origin}: {reason.value}: {detail}; {REASONS[reason].remedy} "
            f"(data.clean.policy.{reason.value} = stop)"
        )
    action = Action.QUARANTINED if aside else _ACTIONS.get(chosen, Action.QUARANTINED)
    return Finding(origin, reason, action, detail)


def quarantine_row(record: RawRecord, problem: RecordRejected) -> dict[str, Any]:
    """One row of the quarantine; small files keep their bytes so that they can be looked at.

    A record that was never decoded is named by its bytes, for want of a picture.
    """
    data = record.data
    return {
        "record_id": record_id(data) if data is not None else "",
        "origin": record.origin,
        "reason": problem.reason.value,
        "detail": problem.detail,
        "other": "",
        "preview": data if data is not None and len(data) <= _MAX_PREVIEW_BYTES else None,
    }


def write_quarantine(path: Path, rows: pa.Table) -> None:
    """Write rows that were set aside, if there are any."""
    if rows.num_rows:
        with atomic_path(path) as partial:
            pq.write_table(rows.cast(QUARANTINE_SCHEMA), partial)


def write_findings(path: Path, findings: pa.Table) -> None:
    """Write findings as JSON Lines, if there are any."""
    if findings.num_rows:
        frame = pl.from_arrow(findings.cast(FINDINGS_SCHEMA))
        assert isinstance(frame, pl.DataFrame)
        with atomic_path(path) as partial:
            frame.write_ndjson(partial)
