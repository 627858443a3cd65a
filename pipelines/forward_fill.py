"""prepare for tables: carry the last known value of a key into its gaps, inside each split.

Three stages over the shards: their rows are divided by key, each partition of keys is carried
forward as a whole, and the shards are written again with what was carried. A task holds the few
columns that it needs of one shard or one partition, so memory is bounded by those (and by the
rows of the largest key).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa

from components.records.files import storage_errors
from components.records.fingerprint import file_sha256
from components.records.manifest import ShardInfo
from components.records.split import SPLITS, Split
from components.tables.fitting.forward_fill import (
    Carry,
    carry_forward,
    partition_rows,
    write_carried,
)
from pipelines.stages import Stage, run_stage

_PARTITION_CELLS = 1 << 24


@dataclass(frozen=True)
class _Part:
    """One unit of work: one shard, or one partition of the keys of a split."""

    carry: Carry
    number: int
    sources: tuple[Path, ...]
    target: Path
    num_partitions: int


@dataclass(frozen=True)
class _Rewrite:
    """One shard, and what was carried in its split."""

    shard: ShardInfo
    number: int
    carried: dict[Carry, tuple[Path, ...]]


def fill_forward(
    stage: Stage,
    shards: Sequence[ShardInfo],
    carries: Sequence[Carry],
    schema: pa.Schema,
    row_group_rows: int,
) -> list[ShardInfo]:
    """Write the shards again, with a column NAME__carried for each one that is carried forward.

    The result depends on the rows alone: neither on the number of shards nor on that of partitions.

    Args:
        stage: Where the shards lie.
        shards: What the merge wrote.
        carries: What is carried forward; of nothing, nothing is done.
        schema: Columns of the shards with what is carried.
        row_group_rows: Rows of a row group.
    """
    if not carries:
        return list(shards)
    by_split = {split: [s for s in shards if s.split == split] for split in SPLITS}
    rows_of: dict[str, _Part] = {}
    keys_of: dict[str, _Part] = {}
    carried: dict[Split, dict[Carry, tuple[Path, ...]]] = {split: {} for split in SPLITS}
    for place, carry in enumerate(carries):
        for split, mine in by_split.items():
            name = f"{place:03d}-{split}"
            sources = [(stage.folder / shard.path,) for shard in mine]
            # From the data alone, never from the machine.
            cells = sum(shard.num_rows for shard in mine) * (len(carry.columns) + 4)
            num_keys = math.ceil(cells / _PARTITION_CELLS)
            rows = _parts(stage, f"rows/{name}", carry, sources, num_keys)
            targets = tuple(part.target for part in rows.values())
            keys = _parts(stage, f"keys/{name}", carry, [targets] * num_keys, num_keys)
            carried[split][carry] = tuple(part.target for part in keys.values())
            rows_of |= rows
            keys_of |= keys
    list(run_stage(stage, "PartitionByKey", _partition, rows_of, str))
    list(run_stage(stage, "CarryForward", _carry, keys_of, str))
    again = {
        Path(shard.path).stem: _Rewrite(shard, number, carried[split])
        for split, mine in by_split.items()
        for number, shard in enumerate(mine)
    }
    write = partial(_write, folder=stage.folder, schema=schema, row_group_rows=row_group_rows)
    return list(run_stage(stage, "WriteCarried", write, again, ShardInfo))


def _parts(
    stage: Stage,
    name: str,
    carry: Carry,
    sources: Sequence[tuple[Path, ...]],
    num_partitions: int,
) -> dict[str, _Part]:
    parts = {}
    for number, paths in enumerate(sources):
        target = stage.folder / "carried" / f"{name}-{number:05d}.parquet"
        parts[target.stem] = _Part(carry, number, paths, target, num_partitions)
    return parts


def _partition(part: _Part) -> str:
    (shard,) = part.sources
    with storage_errors(str(part.target.parent)):
        partition_rows(shard, part.number, part.carry, part.num_partitions, part.target)
    return part.target.name


def _carry(part: _Part) -> str:
    with storage_errors(str(part.target.parent)):
        carry_forward(part.sources, part.number, part.carry, part.target)
    return part.target.name


def _write(work: _Rewrite, *, folder: Path, schema: pa.Schema, row_group_rows: int) -> ShardInfo:
    path = folder / work.shard.path
    with storage_errors(str(path.parent)):
        write_carried(path, work.number, work.carried, schema, row_group_rows)
    return work.shard.model_copy(
        update={"num_bytes": path.stat().st_size, "sha256": file_sha256(path)}
    )
