"""Second pass of prepare: a range of record ids becomes one shard per split, each record once.

What comes out depends only on the set of staged rows, never on chunks, processes or their order.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from components.errors import DataError
from components.records.files import atomic_path, storage_errors
from components.records.findings import Action, Finding, findings_table
from components.records.fingerprint import file_sha256
from components.records.identity import leading_words
from components.records.manifest import ShardInfo
from components.records.reasons import REASONS, Policy, Reason, policy_of
from components.records.split import SPLITS, Split, SplitRule
from components.records.staging import COMMON_SCHEMA, write_findings, write_quarantine

DUPLICATES_SCHEMA = pa.schema(
    {
        "record_id": pa.string(),
        "origin": pa.string(),
        "kept_origin": pa.string(),
        "reason": pa.string(),
    }
)
RELATED_SCHEMA = pa.schema(
    {
        "record_id": pa.string(),
        "group": pa.string(),  # the smallest id of the records that belong together
        "reason": pa.string(),  # why it is set aside, or null
        "other": pa.string(),  # origin of the record for which it is
    }
)
_ASIDE_COLUMNS = ("row", "record_id", "origin", "reason", "detail", "other")
_EXAMPLES = 5
_UNIQUE = ("record_id", "origin", "image")
_MAX_OTHERS = 20
_MAX_PREVIEW_BYTES = 256 << 10


@dataclass(frozen=True)
class MergeTask:
    """One range of ids out of `num_ranges` equal ones, and where its results go."""

    index: int
    num_ranges: int
    staged: tuple[Path, ...]
    folder: Path
    related: Path | None = None
    """Near duplicates (`RELATED_SCHEMA`), where they were looked for."""

    @property
    def bounds(self) -> tuple[str, str]:
        """Smallest record id of the range and the first that lies beyond (hexadecimal)."""
        step = 1 << 128
        low, high = (step * n // self.num_ranges for n in (self.index, self.index + 1))
        return f"{low:032x}", f"{high:032x}" if high < step else "g"


@dataclass(frozen=True)
class MergeSettings:
    """What all ranges are merged by.

    Attributes:
        rule: Gives each record its split.
        schema: Columns of the shards.
        classes: Class names, by which `label` becomes an index; None where no column is a label.
        conflict: Reason of rows with one id and different content.
        policy: What is done about a reason, where it is not the default.
        row_group_rows: Rows of a row group.
        fit: Called with the rows of train and a file to write their statistics to.
    """

    rule: SplitRule
    schema: pa.Schema
    classes: tuple[str, ...] | None
    conflict: Reason
    policy: Mapping[Reason, Policy]
    row_group_rows: int
    fit: Callable[[pa.Table, Path], None] | None = None


@dataclass
class MergeResult:
    """What one range of ids became, as counts; `counts` is by split and label."""

    counts: dict[Split, Counter[str]] = field(default_factory=dict)
    duplicates: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    findings: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    shards: list[ShardInfo] = field(default_factory=list)

    def add(self, other: "MergeResult") -> None:
        """Add the counts of another range."""
        for split, counts in other.counts.items():
            self.counts[split] = self.counts.get(split, Counter()) + counts
        self.duplicates += other.duplicates
        self.reasons += other.reasons
        self.findings += other.findings
        self.examples = [*self.examples, *other.examples][:_EXAMPLES]
        self.shards += other.shards


def merge_range(task: MergeTask, settings: MergeSettings) -> MergeResult:
    """Keep each record of a range once, give it its split and write one shard per split.

    Rows with one id and different content (the same picture under two labels, the same key with
    other values) are all set aside, or with the policy `keep` the first is kept. Of copies, one
    in test is kept before one in val before one in train (a copy in train would leak), then the
    one whose origin sorts first.

    Raises:
        DataError: A finding whose policy is stop.
        StorageError: The disk is full or refuses.
    """
    frame = _range_rows(task)
    rows = _common(frame)
    identity = pl.col("record_id")
    copies = rows.filter((identity == identity.shift(1)) | (identity == identity.shift(-1)))
    conflicts, dropped = _judge_copies(copies, settings)
    near, groups = _related(task, rows)
    is_kept = np.ones(len(rows), bool)
    for part in (conflicts, dropped, near):
        is_kept[part["row"].to_numpy()] = False
    kept = _with_split(rows.filter(is_kept), groups, settings.rule)

    result = MergeResult(counts={split: Counter() for split in SPLITS})
    for split, label, count in kept.group_by("assigned", "label").len().sort(pl.all()).rows():
        result.counts[split][label or ""] = count
    result.duplicates = len(dropped)
    judged = pl.concat([conflicts.select("row"), dropped.select("row")])
    near = near.join(judged, on="row", how="anti", maintain_order="left")
    aside = pl.concat([conflicts, near], how="vertical")
    findings = _findings(aside, dropped, settings.policy)
    result.reasons = Counter(aside["reason"].to_list())
    result.findings = Counter(f"{f.reason}/{f.action}" for f in findings)
    result.examples = [
        f"{row['origin']} ({row['reason']}: {row['detail']})"
        for row in aside.head(_EXAMPLES).to_dicts()
    ]
    name = f"merge-{task.index:05d}"
    with storage_errors(str(task.folder)):
        for split in SPLITS:
            chosen = kept.filter(pl.col("assigned") == split)["row"]
            if len(chosen):
                result.shards.append(_write_split(task, split, frame[chosen], settings))
        write_quarantine(task.folder / f"quarantine/{name}.parquet", _quarantined(aside, frame))
        write_findings(task.folder / f"findings/{name}.jsonl", findings_table(findings))
        _write_duplicates(task.folder / f"duplicates/{task.index:05d}.parquet", dropped)
    return result


def _range_rows(task: MergeTask) -> pl.DataFrame:
    """All staged rows of the range, in the order of keeping."""
    low, high = (pl.lit(bound) for bound in task.bounds)
    in_range = (pl.col("record_id") >= low) & (pl.col("record_id") < high)
    rows = pl.scan_parquet(list(task.staged), glob=False).filter(in_range).collect()
    return rows[_order(rows)]


def _order(rows: pl.DataFrame) -> npt.NDArray[np.int64]:
    """Places of the rows by id; of copies the one to keep first.

    Ids are compared as numbers; as texts only where their first halves are equal.
    """
    words = leading_words(rows["record_id"])
    order = pl.Series(words).arg_sort().to_numpy().astype(np.int64)
    same = np.diff(words[order]) == 0
    tied = np.append(same, False) | np.insert(same, 0, False)
    if not tied.any():
        return order
    rank = pl.col("__split").replace_strict({"test": 0, "val": 1}, default=2, return_dtype=pl.Int8)
    # Record 24 of a table comes before record 1504, though not as text.
    file = pl.col("origin").str.replace(r"#\d+$", "").alias("file")
    number = pl.col("origin").str.extract(r"#(\d+)$").cast(pl.Int64, strict=False).alias("number")
    places = order[tied]
    ties = rows.select("record_id", "__split", "origin")[places]
    ties = ties.with_columns(rank.alias("rank"), file, number, pl.Series("row", places))
    ranked = ties.sort("record_id", "rank", "file", "number", "origin")
    order[tied] = ranked["row"].to_numpy()
    return order


def _common(rows: pl.DataFrame) -> pl.DataFrame:
    """The common columns, with the place of each row as `row`."""
    common = rows.select(COMMON_SCHEMA.names).rename(lambda name: name.removeprefix("__"))
    return common.with_row_index("row")


def _judge_copies(
    copies: pl.DataFrame, settings: MergeSettings
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows in conflict, and rows dropped for a copy that is kept; each with reason and detail."""
    same = pl.col("record_id")
    copies = copies.with_columns(
        pl.col("content").n_unique().over(same).alias("contents"),
        *[
            pl.col(name).first().over(same).alias(f"first_{name}")
            for name in ("row", "origin", "bytes_hash", "split")
        ],
    )
    in_conflict = pl.col("contents") > 1
    aside = policy_of(settings.conflict, settings.policy) is not Policy.KEEP
    conflicts = copies.filter(in_conflict) if aside else copies.clear()
    others = copies.filter(pl.col("row") != pl.col("first_row"))
    dropped = others.filter(~in_conflict) if aside else others
    held_out = pl.col("first_split").is_in(["test", "val"])
    leaked = held_out & pl.col("split").ne_missing(pl.col("first_split"))
    bytewise = pl.col("bytes_hash").eq_missing(pl.col("first_bytes_hash"))
    reason = (
        pl.when(in_conflict)
        .then(pl.lit(settings.conflict.value))
        .when(leaked)
        .then(pl.lit(Reason.SPLIT_LEAK.value))
        .when(bytewise)
        .then(pl.lit(Reason.DUPLICATE.value))
        .otherwise(pl.lit(Reason.DUPLICATE_PIXELS.value))
    )
    dropped = dropped.with_columns(
        reason.alias("reason"), pl.format("a copy of {}", "first_origin").alias("detail")
    )
    return _with_others(conflicts, settings.conflict), dropped


def _with_others(conflicts: pl.DataFrame, reason: Reason) -> pl.DataFrame:
    """Rows in conflict with the origins and labels of those that they contradict."""
    rows = conflicts.to_dicts()
    by_id: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        by_id[row["record_id"]].append(row)
    details, others = [], []
    for row in rows:
        rest = [other for other in by_id[row["record_id"]] if other["row"] != row["row"]]
        labels = sorted({other["label"] for other in rest} - {row["label"]} - {None})
        others.append([other["origin"] for other in rest][:_MAX_OTHERS])
        if reason is Reason.LABEL_CONFLICT:
            details.append(f"labelled {row['label']} here, {', '.join(labels)} there")
        else:
            details.append(f"the same key as {rest[0]['origin']}, other values")
    return conflicts.with_columns(
        pl.lit(reason.value).alias("reason"),
        pl.Series("detail", details, pl.String),
        pl.Series("other", others, pl.List(pl.String)),
    ).select(_ASIDE_COLUMNS)


def _related(task: MergeTask, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows set aside for a near duplicate, and the group of each record that is in one."""
    low, high = task.bounds
    related = pl.DataFrame(schema=dict.fromkeys(RELATED_SCHEMA.names, pl.String))
    if task.related is not None:
        in_range = (pl.col("record_id") >= pl.lit(low)) & (pl.col("record_id") < pl.lit(high))
        related = pl.read_parquet(task.related).filter(in_range)
    near = rows.join(
        related.filter(pl.col("reason").is_not_null()), on="record_id", maintain_order="left"
    )
    aside = near.with_columns(
        pl.format("nearly the same as {}", "other").alias("detail"),
        pl.concat_list("other").alias("other"),
    )
    return aside.select(_ASIDE_COLUMNS), related.select("record_id", "group")


def _with_split(kept: pl.DataFrame, groups: pl.DataFrame, rule: SplitRule) -> pl.DataFrame:
    joined = kept.join(groups, on="record_id", how="left", maintain_order="left")
    keys = joined.select(
        pl.coalesce("split_key", "group", "record_id").alias("key"),
        pl.col("split").alias("given"),
        "label",
        pl.col("split_time").alias("time"),
    )
    return kept.with_columns(rule.assign(keys).alias("assigned"))


def _findings(
    aside: pl.DataFrame, dropped: pl.DataFrame, policy: Mapping[Reason, Policy]
) -> list[Finding]:
    findings = [
        Finding(
            row["origin"],
            Reason(row["reason"]),
            Action.QUARANTINED,
            row["detail"],
            tuple(row["other"]),
            _record_number(row["origin"]),
        )
        for row in aside.to_dicts()
    ]
    for row in dropped.to_dicts():
        origin, reason = row["origin"], Reason(row["reason"])
        other, number = (row["first_origin"],), _record_number(row["origin"])
        findings.append(Finding(origin, reason, Action.DROPPED, row["detail"], other, number))
    for finding in findings:
        if policy_of(finding.reason, policy) is Policy.STOP:
            raise DataError(
                f"{finding.origin}: {finding.reason.value}: {finding.detail}; "
                f"{REASONS[finding.reason].remedy} (data.clean.policy.{finding.reason.value} = "
                "stop)"
            )
    return findings


def _record_number(origin: str) -> int | None:
    number = origin.rpartition("#")[2]
    return int(number) if "#" in origin and number.isdecimal() else None


def _quarantined(aside: pl.DataFrame, frame: pl.DataFrame) -> pa.Table:
    rows = aside.to_dicts()
    images = frame["image"] if "image" in frame.columns else None
    previews: list[bytes | None] = []
    for row in rows:
        data = images[row["row"]] if images is not None else None
        previews.append(data if data is not None and len(data) <= _MAX_PREVIEW_BYTES else None)
    others = [row["other"][0] for row in rows]
    return pa.table(
        {
            "record_id": pa.array([row["record_id"] for row in rows], pa.string()),
            "origin": pa.array([row["origin"] for row in rows], pa.string()),
            "reason": pa.array([row["reason"] for row in rows], pa.string()),
            "detail": pa.array([row["detail"] for row in rows], pa.string()),
            "other": pa.array(others, pa.string()),
            "preview": pa.array(previews, pa.binary()),
        }
    )


def _write_duplicates(path: Path, dropped: pl.DataFrame) -> None:
    if not dropped.is_empty():
        columns = dropped.select("record_id", "origin", "first_origin", "reason")
        table = columns.rename({"first_origin": "kept_origin"}).to_arrow()
        with atomic_path(path) as partial:
            pq.write_table(table.cast(DUPLICATES_SCHEMA), partial)


def _write_split(
    task: MergeTask, split: Split, frame: pl.DataFrame, settings: MergeSettings
) -> ShardInfo:
    rows = frame.to_arrow(compat_level=pl.CompatLevel.newest())
    if split == "train" and settings.fit is not None:
        settings.fit(rows, task.folder / "statistics" / f"{task.index:05d}.json")
    if settings.classes is not None:
        index = {name: number for number, name in enumerate(settings.classes)}
        codes = [index[name] for name in rows.column("__label").to_pylist()]
        rows = rows.append_column("label", pa.array(codes, pa.int32()))
    name = f"shards/{split}-{task.index:05d}.parquet"
    path = task.folder / name
    schema = settings.schema
    with atomic_path(path) as partial:
        # Image bytes are compressed already or wanted as they are, and no two are equal: packing,
        # dictionaries and statistics cost only time. The rest is read in every epoch: zstd would
        # make a table's files a quarter smaller and take twice the time to read.
        pq.write_table(
            rows.select(schema.names).cast(schema),
            partial,
            row_group_size=settings.row_group_rows,
            compression={name: "none" if name == "image" else "lz4" for name in schema.names},
            use_dictionary=[name for name in schema.names if name not in _UNIQUE],
            write_statistics=[name for name in schema.names if name != "image"],
            # What rots later is an error when it is read, not another picture or number.
            write_page_checksum=True,
        )
    return ShardInfo(
        path=name,
        split=split,
        num_rows=rows.num_rows,
        num_bytes=path.stat().st_size,
        sha256=file_sha256(path),
    )
