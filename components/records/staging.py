"""Prepare in two passes without holding the data: stage chunks in id order, then merge by id range.

Pass one takes a chunk of the source, prepares each record and writes one file sorted by record id.
Pass two takes a range of ids, reads that range from all staged files, keeps each record once and
writes the final shards. Copies of a record have the same id and so meet in the same range; what
comes out depends only on the set of records, never on chunks, processes or their order.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.errors import DataError
from components.records.files import atomic_path, storage_errors
from components.records.fingerprint import file_sha256
from components.records.identity import record_id
from components.records.manifest import ShardInfo
from components.records.reasons import Reason, RecordRejected
from components.records.sources import RawRecord
from components.records.split import SPLITS, Split, split_of, split_position

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
DUPLICATES_SCHEMA = pa.schema(
    {"record_id": pa.string(), "origin": pa.string(), "kept_origin": pa.string()}
)
_COMMON_FIELDS = (
    pa.field("record_id", pa.string()),
    pa.field("origin", pa.string()),
    pa.field("label", pa.string()),
    pa.field("split", pa.string()),
)
_MAX_PREVIEW_BYTES = 256 << 10
_STAGED_ROW_GROUP = 64
_MAX_PART_BYTES = 128 << 20
_EXAMPLES = 5


@dataclass
class ChunkResult:
    """What one staged chunk holds, as counts."""

    read: int = 0
    num_bytes: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)


def stage_chunk(
    records: Iterable[RawRecord],
    prepare: Callable[[bytes], dict[str, Any]],
    *,
    schema: pa.Schema,
    staged_path: Path,
    quarantine_path: Path,
) -> ChunkResult:
    """Prepare the records of one chunk, row by row, and write them sorted by record id.

    A chunk that grows beyond 128 MiB (a Parquet file may have row groups of any size) is written
    in several parts, so that memory stays bounded.

    Args:
        records: The chunk, one record at a time.
        prepare: Bytes of a record -> its columns (those of `schema`); raises RecordRejected.
        schema: Columns that `prepare` returns.
        staged_path: File to write the prepared rows to; further parts lie beside it.
        quarantine_path: File to write the rows to that were set aside; not written if none were.

    Raises:
        StorageError: The disk is full or refuses.
    """
    result = ChunkResult()
    rows: list[dict[str, Any]] = []
    rejected: list[dict[str, Any]] = []
    waiting_bytes = 0
    for record in records:
        result.read += 1
        identity = record_id(record.data) if record.data is not None else ""
        try:
            if record.problem is not None:
                raise record.problem
            assert record.data is not None and record.label is not None
            prepared = prepare(record.data)
        except RecordRejected as problem:
            rejected.append(quarantine_row(identity, record.origin, problem, record.data))
            result.reasons[problem.reason.value] += 1
            result.examples = [*result.examples, f"{record.origin} ({problem})"][:_EXAMPLES]
            continue
        result.labels[record.label] += 1
        common = {
            "record_id": identity,
            "origin": record.origin,
            "label": record.label,
            "split": record.split,
        }
        rows.append(common | prepared)
        waiting_bytes += sum(len(v) for v in prepared.values() if isinstance(v, bytes))
        if waiting_bytes > _MAX_PART_BYTES:
            _write_part(result, rows, schema, staged_path)
            rows, waiting_bytes = [], 0
    _write_part(result, rows, schema, staged_path)
    with storage_errors(str(quarantine_path.parent)):
        write_quarantine(quarantine_path, rejected)
    return result


def _write_part(
    result: ChunkResult, rows: list[dict[str, Any]], schema: pa.Schema, staged_path: Path
) -> None:
    rows.sort(key=itemgetter("record_id", "origin"))
    table = pa.Table.from_pylist(rows, schema=staged_schema(schema))
    number = len(result.parts)
    path = staged_path if number == 0 else staged_path.with_suffix(f".{number}.parquet")
    with storage_errors(str(path.parent)), atomic_path(path) as partial:
        pq.write_table(table, partial, row_group_size=_STAGED_ROW_GROUP, compression="none")
    result.num_bytes += table.nbytes
    result.parts.append(path.name)


def staged_schema(schema: pa.Schema) -> pa.Schema:
    """Columns of a staged file: the common ones, then the modality's."""
    return pa.schema([*_COMMON_FIELDS, *schema])


def quarantine_row(
    identity: str, origin: str, problem: RecordRejected, data: bytes | None, other: str = ""
) -> dict[str, Any]:
    """One row of the quarantine; small files keep their bytes so that they can be looked at."""
    keep = data is not None and len(data) <= _MAX_PREVIEW_BYTES
    return {
        "record_id": identity,
        "origin": origin,
        "reason": problem.reason.value,
        "detail": problem.detail,
        "other": other,
        "preview": data if keep else None,
    }


def write_quarantine(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows that were set aside, if there are any."""
    if rows:
        with atomic_path(path) as partial:
            pq.write_table(pa.Table.from_pylist(rows, schema=QUARANTINE_SCHEMA), partial)


@dataclass(frozen=True)
class SplitRule:
    """How a record's split follows from its id, the seed and what the source says.

    Attributes:
        seed: The recipe's seed.
        val: Share of val, where the source names none.
        test: Share of test, where the source names none.
        given: Splits that the source itself names.
        thresholds: For exact stratification: class -> (end of test, end of val) on the split
            axis; empty for the hash rule.
    """

    seed: int
    val: float
    test: float
    given: tuple[Split, ...] = ()
    thresholds: dict[str, tuple[int, int]] = field(default_factory=dict)

    def split(self, identity: str, label: str, given: str | None) -> Split:
        """Split of one record."""
        for split in SPLITS:
            if given == split and split != "train":
                return split
        if self.thresholds:
            end_test, end_val = self.thresholds[label]
            position = split_position(identity, self.seed)
            return "test" if position < end_test else "val" if position < end_val else "train"
        val, test = self.open_shares(given)
        return split_of(identity, self.seed, val=val, test=test)

    def open_shares(self, given: str | None) -> tuple[float, float]:
        """Shares of (val, test) to carve out of a record that the source puts into `given`."""
        if given is None:
            return self.val, self.test
        return (
            0.0 if "val" in self.given else self.val,
            0.0 if "test" in self.given else self.test,
        )


@dataclass
class MergeResult:
    """What one range of ids became."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    duplicates: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    shards: list[ShardInfo] = field(default_factory=list)
    image_bytes: int = 0
    train_sums: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class MergeTask:
    """One range of ids out of `num_ranges` equal ones, and where its results go."""

    index: int
    num_ranges: int
    staged: tuple[Path, ...]
    folder: Path

    @property
    def bounds(self) -> tuple[str, str]:
        """Smallest record id of the range and the first that lies beyond (hexadecimal)."""
        step = 1 << 128
        low, high = (step * n // self.num_ranges for n in (self.index, self.index + 1))
        return f"{low:032x}", f"{high:032x}" if high < step else "g"


def merge_range(
    task: MergeTask,
    rule: SplitRule,
    *,
    classes: list[str],
    schema: pa.Schema,
    sum_columns: tuple[str, ...],
    row_group_rows: int,
) -> MergeResult:
    """Keep each record of a range once, give it its split and write one shard per split.

    Records with the same bytes and different labels are all set aside. Of copies with the same
    label, one in test is kept before one in val before one in train (a copy in train would leak),
    then the one whose origin sorts first.

    Args:
        task: The range.
        rule: Gives each record its split.
        classes: Class names; the label column becomes an index into them.
        schema: Columns of the shards.
        sum_columns: Staged columns that are added up over the train split, exactly.
        row_group_rows: Rows of a row group.
    """
    result = MergeResult(counts={split: Counter() for split in SPLITS})
    sums: Counter[str] = Counter(dict.fromkeys(sum_columns, 0))
    kept: dict[Split, list[dict[str, Any]]] = defaultdict(list)
    duplicates: list[dict[str, str]] = []
    conflicts: list[dict[str, Any]] = []
    index = {name: number for number, name in enumerate(classes)}
    for identity, copies in groupby(_range_rows(task), key=itemgetter("record_id")):
        group = sorted(copies, key=_keep_order)
        first = group[0]
        if len({row["label"] for row in group}) > 1:
            conflicts += [_conflict_row(row, group) for row in group]
            continue
        duplicates += [_duplicate_row(row, first) for row in group[1:]]
        split = rule.split(identity, first["label"], first["split"])
        result.counts[split][first["label"]] += 1
        result.image_bytes += len(first["image"])
        if split == "train":
            for name in sum_columns:
                sums[name] += first[name]
        kept[split].append(first | {"label": index[first["label"]]})
    result.duplicates = len(duplicates)
    result.reasons[Reason.LABEL_CONFLICT.value] += len(conflicts)
    result.examples = [f"{row['origin']} ({row['detail']})" for row in conflicts][:_EXAMPLES]
    result.train_sums = dict(sums)
    with storage_errors(str(task.folder)):
        result.shards = [
            _write_shard(task, split, kept[split], schema, row_group_rows)
            for split in SPLITS
            if kept[split]
        ]
        write_quarantine(task.folder / f"quarantine/merge-{task.index:05d}.parquet", conflicts)
        _write_duplicates(task.folder / f"duplicates/{task.index:05d}.parquet", duplicates)
    return result


def _write_duplicates(path: Path, rows: list[dict[str, str]]) -> None:
    if rows:
        with atomic_path(path) as partial:
            pq.write_table(pa.Table.from_pylist(rows, DUPLICATES_SCHEMA), partial)


def _range_rows(task: MergeTask) -> Iterator[dict[str, Any]]:
    low, high = task.bounds
    filters = [("record_id", ">=", low), ("record_id", "<", high)]
    tables = [pq.read_table(path, filters=filters) for path in task.staged]
    table = pa.concat_tables(tables)
    order = np.argsort(table.column("record_id").to_numpy(zero_copy_only=False), kind="stable")
    for batch in table.take(order).to_batches(max_chunksize=_STAGED_ROW_GROUP):
        yield from batch.to_pylist()


def _keep_order(row: dict[str, Any]) -> tuple[int, str]:
    return {"test": 0, "val": 1}.get(row["split"], 2), row["origin"]


def _duplicate_row(row: dict[str, Any], kept: dict[str, Any]) -> dict[str, str]:
    return {
        "record_id": row["record_id"],
        "origin": row["origin"],
        "kept_origin": kept["origin"],
    }


def _conflict_row(row: dict[str, Any], group: list[dict[str, Any]]) -> dict[str, Any]:
    others = [other for other in group if other is not row]
    labels = ", ".join(sorted({other["label"] for other in others} - {row["label"]}))
    problem = RecordRejected(Reason.LABEL_CONFLICT, f"labelled {row['label']} here, {labels} there")
    other = others[0]["origin"]
    return quarantine_row(row["record_id"], row["origin"], problem, row["image"], other)


def _write_shard(
    task: MergeTask,
    split: Split,
    rows: list[dict[str, Any]],
    schema: pa.Schema,
    row_group_rows: int,
) -> ShardInfo:
    name = f"shards/{split}-{task.index:05d}.parquet"
    path = task.folder / name
    table = pa.Table.from_pylist(rows, schema=schema)
    with atomic_path(path) as partial:
        # Image bytes are compressed already; dictionaries and statistics of them cost only time.
        pq.write_table(
            table,
            partial,
            row_group_size=row_group_rows,
            compression={name: "none" if name == "image" else "zstd" for name in schema.names},
            use_dictionary=["label", "origin"],
            write_statistics=["record_id", "label"],
        )
    return ShardInfo(
        path=name,
        split=split,
        num_rows=len(rows),
        num_bytes=path.stat().st_size,
        sha256=file_sha256(path),
    )


def stratified_thresholds(staged: Iterable[Path], rule: SplitRule) -> dict[str, tuple[int, int]]:
    """Exact shares in every class: where on the split axis each class's test and val end.

    Reads only ids and labels, and keeps about 100 bytes per record in memory.

    Raises:
        DataError: A class is too small to have a record in each split.
    """
    # None: nothing to divide, for the bytes carry two labels or the source put a copy elsewhere.
    labels: dict[int, str | None] = {}
    for path in staged:
        table = pq.read_table(path, columns=["record_id", "label", "split"])
        for row in table.to_pylist():
            position = split_position(row["record_id"], rule.seed)
            label = row["label"] if row["split"] in (None, "train") else None
            if labels.setdefault(position, label) != label:
                labels[position] = None
    positions: dict[str, list[int]] = defaultdict(list)
    for position, label in labels.items():
        if label is not None:
            positions[label].append(position)
    val, test = rule.open_shares("train" if rule.given else None)
    return {
        label: _class_thresholds(label, sorted(values), val=val, test=test)
        for label, values in positions.items()
    }


def _class_thresholds(
    label: str, positions: list[int], *, val: float, test: float
) -> tuple[int, int]:
    num_test = _at_least_one(len(positions), test)
    num_val = _at_least_one(len(positions), val)
    if num_test + num_val >= len(positions):
        raise DataError(
            f"class {label!r} has {len(positions)} usable records, too few for one in each of "
            "train, val and test; add some or lower data.split.val and data.split.test"
        )
    ends = [*positions, 1 << 64]
    return ends[num_test], ends[num_test + num_val]


def _at_least_one(count: int, share: float) -> int:
    return max(1, round(count * share)) if share > 0 else 0
