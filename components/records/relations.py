"""Near duplicates: pairs found in hash partitions, then groups that share a split.

No step compares all records with all others: records meet where they share a band key, one
partition of the keys at a time. Only the pairs that were found are brought together.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from components.errors import DataError
from components.records.files import atomic_path
from components.records.findings import Action, Finding, findings_table
from components.records.merging import RELATED_SCHEMA
from components.records.reasons import REASONS, Policy, Reason, policy_of
from components.records.staging import write_findings

MAX_BUCKET = 200
"""Records of one band key that are compared with one another; of a larger bucket each record is
compared with the next this many, in the order of their ids."""
MAX_GROUP_SHARE = 0.2
"""Largest share of all records that is kept on one side of a split as one group; beyond it the
records are alike rather than copies, and each goes its own way."""
MAX_OTHERS = 20
"""Related records that a finding names."""
_PAIRS_SCHEMA = pa.schema({"one": pa.string(), "other": pa.string()})


@dataclass(frozen=True)
class Similarity:
    """How records are compared; both functions must be picklable.

    Attributes:
        band_keys: Similarity hashes of N records -> keys (N, K); near duplicates share one, most
            likely.
        are_near: Hashes of one side of P pairs, and of the other -> whether they are near
            duplicates, bool (P,).
    """

    band_keys: Callable[[Sequence[bytes]], npt.NDArray[np.int64]]
    are_near: Callable[[Sequence[bytes], Sequence[bytes]], npt.NDArray[np.bool_]]


@dataclass(frozen=True)
class PairTask:
    """One partition of the band keys."""

    index: int
    num_partitions: int
    staged: tuple[Path, ...]
    folder: Path

    @property
    def output(self) -> Path:
        """File of the pairs that were found."""
        return self.folder / "pairs" / f"{self.index:05d}.parquet"


def find_pairs(task: PairTask, similarity: Similarity) -> int:
    """Find the near duplicates that share a band key of this partition; returns their number."""
    columns = ["record_id", "similarity_hash"]
    frame = pl.concat(pl.read_parquet(path, columns=columns) for path in task.staged)
    frame = frame.drop_nulls().unique("record_id").sort("record_id")
    hashes = frame["similarity_hash"].to_list()
    ids = frame["record_id"].to_list()
    pairs = sorted(_candidates(hashes, task, similarity))
    sides = ([hashes[pair[side]] for pair in pairs] for side in (0, 1))
    near = similarity.are_near(*sides).tolist()
    found = [
        {"one": ids[one], "other": ids[other]}
        for (one, other), is_near in zip(pairs, near, strict=True)
        if is_near
    ]
    with atomic_path(task.output) as partial:
        pq.write_table(pa.Table.from_pylist(found, _PAIRS_SCHEMA), partial)
    return len(found)


def _candidates(
    hashes: Sequence[bytes], task: PairTask, similarity: Similarity
) -> set[tuple[int, int]]:
    """Pairs of rows that share a key of the partition, of each bucket not more than its cap."""
    if not hashes:
        return set()
    keys_NK = similarity.band_keys(hashes)
    rows = np.repeat(np.arange(len(keys_NK)), keys_NK.shape[1])
    keys = keys_NK.ravel()
    mine = keys % task.num_partitions == task.index
    places = np.unique(np.stack([keys[mine], rows[mine]], axis=1), axis=0)
    pairs: set[tuple[int, int]] = set()
    starts = np.flatnonzero(np.diff(places[:, 0], prepend=-1))
    for start, end in pairwise([*starts.tolist(), len(places)]):
        bucket = places[start:end, 1].tolist()
        for place, one in enumerate(bucket):
            pairs.update((one, other) for other in bucket[place + 1 : place + 1 + MAX_BUCKET])
    return pairs


def group_pairs(
    pairs: Iterable[Path], staged: Iterable[Path], folder: Path, policy: Mapping[Reason, Policy]
) -> dict[str, int]:
    """Join pairs into groups; write `related.parquet` and the findings.

    Works on the records that have a near duplicate, and on no others.

    Returns:
        Findings by `reason/action`.

    Raises:
        DataError: A finding whose policy is stop.
    """
    linked = pl.concat(pl.read_parquet(path) for path in pairs).unique().sort(pl.all())
    ids = pl.concat([linked["one"], linked["other"]]).unique()
    records = _records(staged, ids)
    near: dict[str, list[str]] = defaultdict(list)
    for one, other in linked.rows():
        near[one].append(other)
        near[other].append(one)
    total = sum(pq.read_metadata(path).num_rows for path in staged)
    groups = _groups(near, max_size=max(10, int(total * MAX_GROUP_SHARE)))
    aside = _set_aside(records, near, policy)
    findings: list[Finding] = []
    rows = []
    for identity in sorted(near):
        reason, other = aside.get(identity, (None, None))
        group = groups.get(identity)
        rows.append({"record_id": identity, "group": group, "reason": reason, "other": other})
        if reason is None:  # what is set aside is told by the merge
            others = [records[other] for other in sorted(near[identity])]
            findings += _kept_findings(records[identity], others, policy)
    with atomic_path(folder / "related.parquet") as partial:
        pq.write_table(pa.Table.from_pylist(rows, RELATED_SCHEMA), partial)
    findings.sort(key=lambda finding: (finding.origin, finding.reason))
    write_findings(folder / "findings" / "near.jsonl", findings_table(findings))
    counts: dict[str, int] = defaultdict(int)
    for finding in findings:
        counts[f"{finding.reason}/{finding.action}"] += 1
    return dict(counts)


@dataclass(frozen=True)
class _Record:
    origin: str
    label: str
    split: str | None

    @property
    def rank(self) -> int:
        """Splits in the order of keeping: test, val, train."""
        return {"test": 0, "val": 1}.get(self.split or "", 2)

    @property
    def order(self) -> tuple[int, str]:
        return self.rank, self.origin


def _records(staged: Iterable[Path], ids: pl.Series) -> dict[str, _Record]:
    """The first copy of each record, in the order in which copies are kept."""
    columns = ["record_id", "origin", "__label", "__split"]
    wanted = ids.implode()
    frames = [
        pl.read_parquet(path, columns=columns).filter(pl.col("record_id").is_in(wanted))
        for path in staged
    ]
    found: dict[str, _Record] = {}
    for identity, origin, label, split in pl.concat(frames).rows():
        record = _Record(origin, label, split)
        if identity not in found or record.order < found[identity].order:
            found[identity] = record
    return found


def _groups(near: Mapping[str, list[str]], max_size: int) -> dict[str, str]:
    """Connected records by their smallest id; groups that are too large are left out."""
    groups: dict[str, str] = {}
    seen: set[str] = set()
    for start in sorted(near):
        if start in seen:
            continue
        members, pending = [], [start]
        seen.add(start)
        while pending:
            one = pending.pop()
            members.append(one)
            fresh = [other for other in near[one] if other not in seen]
            seen.update(fresh)
            pending += fresh
        if len(members) <= max_size:
            groups |= dict.fromkeys(members, start)
    return groups


def _set_aside(
    records: Mapping[str, _Record], near: Mapping[str, list[str]], policy: Mapping[Reason, Policy]
) -> dict[str, tuple[str, str]]:
    """Records set aside for a near duplicate: id -> (reason, origin of the one that is kept)."""
    leaks = policy_of(Reason.SPLIT_LEAK, policy) is not Policy.KEEP
    copies = policy_of(Reason.NEAR_DUPLICATE, policy) is Policy.QUARANTINE
    aside: dict[str, tuple[str, str]] = {}
    for identity in sorted(near, key=lambda identity: records[identity].order):
        mine = records[identity]
        kept = [records[other] for other in near[identity] if other not in aside]
        earlier = sorted((o for o in kept if o.order < mine.order), key=lambda other: other.order)
        leak = [other for other in earlier if _leaks(mine, other)]
        if leaks and leak:
            aside[identity] = (Reason.SPLIT_LEAK.value, leak[0].origin)
        elif copies and earlier:
            aside[identity] = (Reason.NEAR_DUPLICATE.value, earlier[0].origin)
    return aside


def _leaks(mine: _Record, other: _Record) -> bool:
    """Whether a record would let be seen what the source holds out in val or test."""
    # Only what the source itself divides can leak: the rest is divided by group.
    return mine.split is not None and other.rank < mine.rank


def _kept_findings(
    record: _Record, others: list[_Record], policy: Mapping[Reason, Policy]
) -> list[Finding]:
    origins = tuple(sorted(other.origin for other in others))[:MAX_OTHERS]
    findings = []
    differing = sorted({other.label for other in others} - {record.label})
    if differing:
        detail = f"nearly the same picture is labelled {', '.join(differing)}"
        findings.append(Finding(record.origin, Reason.LABEL_CONFLICT, Action.KEPT, detail, origins))
    reason, detail = Reason.NEAR_DUPLICATE, f"nearly the same picture as {origins[0]}"
    if any(_leaks(record, other) for other in others):
        reason = Reason.SPLIT_LEAK
    if policy_of(reason, policy) is Policy.STOP:
        raise DataError(
            f"{record.origin}: {reason.value}: {detail}; {REASONS[reason].remedy} "
            f"(data.clean.policy.{reason.value} = stop)"
        )
    findings.append(Finding(record.origin, reason, Action.KEPT, detail, origins))
    return findings
