"""What the tasks of prepare run on images: functions that a worker imports without the recipes."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from components.images.inspect import CleanConfig
from components.images.prepare import IMAGE_COLUMNS, build_prepare
from components.images.similarity import band_key_matrix, near_pairs
from components.images.store import StoreConfig
from components.records.reasons import Policy, Reason
from components.records.relations import PairTask, Similarity, find_pairs, group_pairs
from components.records.staging import ChunkResult, stage_records
from components.sources.config import SourceConfig
from components.sources.listing import read_chunk


@dataclass(frozen=True)
class CleanRecords:
    """Decode, check and store the records of one chunk of a listing.

    Attributes:
        source: The source.
        root: `Listing.root`.
        listing: Folder of the listing's chunks.
        folder: Of the stage.
        clean: What is judged, and what is done about it.
        store: The form of the stored bytes.
    """

    source: SourceConfig
    root: str
    listing: Path
    folder: Path
    clean: CleanConfig
    store: StoreConfig

    def __call__(self, chunk: str) -> ChunkResult:
        """Stage the chunk of this file name."""
        return stage_records(
            read_chunk(self.source, self.root, self.listing / chunk),
            build_prepare(self.clean, self.store),
            schema=IMAGE_COLUMNS,
            policy=self.clean.policy,
            folder=self.folder,
            name=chunk.removesuffix(".parquet"),
        )


def find_near(task: PairTask, *, max_distance: int) -> int:
    """Find the near duplicates of one partition of the keys; returns their number."""
    near = partial(near_pairs, max_distance=max_distance)
    return find_pairs(task, Similarity(band_key_matrix, near))


def group_near(
    pairs: tuple[Path, ...],
    *,
    staged: tuple[Path, ...],
    folder: Path,
    policy: Mapping[Reason, Policy],
) -> dict[str, int]:
    """Join near duplicates into groups; returns findings by `reason/action`."""
    return group_pairs(pairs, staged, folder, policy)
