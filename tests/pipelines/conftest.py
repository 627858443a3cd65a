"""A small prepared data set, made by the two passes of prepare without any cluster."""

import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from components.images.inspect import CleanConfig
from components.images.prepare import (
    IMAGE_COLUMNS,
    SUM_COLUMNS,
    build_prepare,
    fit_from_totals,
)
from components.images.store import StoreConfig
from components.records.accounting import Accounting
from components.records.manifest import SHARD_SCHEMA, Lineage, Manifest, write_manifest
from components.records.sources import RawRecord
from components.records.split import SPLITS
from components.records.staging import MergeTask, SplitRule, merge_range, stage_chunk

NUM_RECORDS = 90
ROW_GROUP_ROWS = 8
CLASSES = ["even", "odd"]
_TYPES = {"string": pa.string(), "binary": pa.binary(), "int32": pa.int32()}


@dataclass(frozen=True)
class SmallDataset:
    """A prepared data set on disk."""

    folder: Path
    manifest: Manifest


@pytest.fixture(scope="session")
def small_dataset(tmp_path_factory: pytest.TempPathFactory) -> SmallDataset:
    """90 noise pictures of 12 x 10 px in two classes, train, val and test, in several shards."""
    folder = tmp_path_factory.mktemp("dataset")
    staged = folder / "staged.parquet"
    stage_chunk(
        (RawRecord(f"{CLASSES[n % 2]}/{n}.png", CLASSES[n % 2], None, _png(n)) for n in range(90)),
        build_prepare(CleanConfig(), StoreConfig()),
        schema=IMAGE_COLUMNS,
        staged_path=staged,
        quarantine_path=folder / "quarantine.parquet",
    )
    results = [
        merge_range(
            MergeTask(number, 2, (staged,), folder),
            SplitRule(seed=0, val=0.2, test=0.1),
            classes=CLASSES,
            schema=pa.schema({name: _TYPES[kind] for name, kind in SHARD_SCHEMA.items()}),
            sum_columns=SUM_COLUMNS,
            row_group_rows=ROW_GROUP_ROWS,
        )
        for number in range(2)
    ]
    staged.unlink()
    sums: Counter[str] = Counter()
    for result in results:
        sums.update(result.train_sums)
    transform = fit_from_totals(sums)
    shards = [shard for result in results for shard in result.shards]
    manifest = Manifest(
        fingerprint="0" * 64,
        created_utc="2026-01-01T00:00:00+00:00",
        shard_schema=SHARD_SCHEMA,
        classes=CLASSES,
        counts={
            split: {name: sum(r.counts[split][name] for r in results) for name in CLASSES}
            for split in SPLITS
        },
        accounting=Accounting(
            read=NUM_RECORDS,
            prepared=NUM_RECORDS,
            quarantined=0,
            duplicates=0,
            quarantined_by_reason={},
        ),
        transform=transform,
        transform_hash=transform.hash,
        row_group_rows=ROW_GROUP_ROWS,
        mean_image_bytes=sum(result.image_bytes for result in results) / NUM_RECORDS,
        shards=sorted(shards, key=lambda shard: (SPLITS.index(shard.split), shard.path)),
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
