"""A small prepared data set, made by the two passes of prepare without any cluster."""

import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.images.inspect import CleanConfig
from components.images.prepare import IMAGE_COLUMNS, build_prepare
from components.images.shards import SHARD_SCHEMA, fit_from_files, write_sums
from components.images.store import StoreConfig
from components.records.accounting import Accounting
from components.records.fitted import transform_hash
from components.records.manifest import Lineage, Manifest, write_manifest
from components.records.merging import MergeResult, MergeSettings, MergeTask, merge_range
from components.records.reasons import Reason
from components.records.split import SPLITS, SplitRule
from components.records.staging import stage_records
from components.sources.record import RawRecord

NUM_RECORDS = 90
ROW_GROUP_ROWS = 8
CLASSES = ["even", "odd"]


@dataclass(frozen=True)
class SmallDataset:
    """A prepared data set on disk."""

    folder: Path
    manifest: Manifest


@pytest.fixture(scope="session")
def small_dataset(tmp_path_factory: pytest.TempPathFactory) -> SmallDataset:
    """90 noise pictures of 12 x 10 px in two classes, train, val and test, in several shards."""
    folder = tmp_path_factory.mktemp("dataset")
    staged = stage_records(
        (RawRecord(f"{CLASSES[n % 2]}/{n}.png", CLASSES[n % 2], None, _png(n)) for n in range(90)),
        build_prepare(CleanConfig(), StoreConfig()),
        schema=IMAGE_COLUMNS,
        policy={},
        folder=folder,
        name="all",
    )
    files = tuple(folder / "staged" / part for part in staged.parts)
    settings = MergeSettings(
        rule=SplitRule(seed=0, val=0.2, test=0.1),
        schema=SHARD_SCHEMA,
        classes=tuple(CLASSES),
        conflict=Reason.LABEL_CONFLICT,
        policy={},
        row_group_rows=ROW_GROUP_ROWS,
        fit=write_sums,
    )
    merged = MergeResult(counts={split: Counter() for split in SPLITS})
    for number in range(2):
        merged.add(merge_range(MergeTask(number, 2, files, folder), settings))
    transform = fit_from_files((folder / "statistics").glob("*.json")).model_dump(mode="json")
    manifest = Manifest(
        modality="images",
        fingerprint="0" * 64,
        created_utc="2026-01-01T00:00:00+00:00",
        shard_schema={field.name: str(field.type) for field in SHARD_SCHEMA},
        classes=CLASSES,
        counts={split: merged.counts[split].total() for split in SPLITS},
        class_counts={split: dict(merged.counts[split]) for split in SPLITS},
        accounting=Accounting(
            read=NUM_RECORDS,
            prepared=NUM_RECORDS,
            quarantined=0,
            duplicates=0,
            quarantined_by_reason={},
        ),
        findings={},
        transform=transform,
        transform_hash=transform_hash(transform),
        row_group_rows=ROW_GROUP_ROWS,
        mean_record_bytes=sum(shard.num_bytes for shard in merged.shards) / NUM_RECORDS,
        shards=sorted(merged.shards, key=lambda shard: (SPLITS.index(shard.split), shard.path)),
        lineage=Lineage(
            source="noise",
            source_format="folders",
            listing_sha256="0" * 64,
            num_inputs=NUM_RECORDS,
            code_sha256="0" * 64,
            versions={},
        ),
        recipe_data={},
    )
    write_manifest(folder, manifest)
    return SmallDataset(folder, manifest)


def _png(number: int) -> bytes:
    pixels_HWC = np.random.default_rng(number).integers(0, 256, (10, 12, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels_HWC).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
