"""What makes a folder a data set, and every way in which it can stop being one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.errors import DataError
from components.records.accounting import Accounting
from components.records.fingerprint import file_sha256
from components.records.manifest import (
    Lineage,
    Manifest,
    ShardInfo,
    read_manifest,
    transform_hash,
    write_manifest,
)
from components.records.split import Split

ROWS: dict[Split, int] = {"train": 6, "val": 2, "test": 2}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set of three shards, whose content nobody looks at here."""
    shards = [shard(tmp_path, split, rows) for split, rows in ROWS.items()]
    transform: dict[str, object] = {"kind": "image_channels", "mean": [0.1, 0.5, 0.9]}
    write_manifest(
        tmp_path,
        Manifest(
            modality="images",
            fingerprint="f" * 64,
            created_utc="2026-01-01T00:00:00+00:00",
            shard_schema={"record_id": "string", "image": "binary", "label": "int32"},
            classes=["cat", "dog"],
            counts=ROWS,
            class_counts={split: {"cat": rows - 1, "dog": 1} for split, rows in ROWS.items()},
            accounting=Accounting(
                read=12,
                prepared=10,
                quarantined=1,
                duplicates=1,
                quarantined_by_reason={"empty": 1},
            ),
            findings={"empty/quarantined": 1},
            transform=transform,
            transform_hash=transform_hash(transform),
            row_group_rows=4,
            mean_record_bytes=100.0,
            shards=shards,
            lineage=Lineage(
                source="images",
                source_format="folders",
                listing_sha256="0" * 64,
                num_inputs=12,
                code_sha256="0" * 64,
                versions={"pillow": "13"},
            ),
            recipe_data={},
        ),
    )
    return tmp_path


def shard(folder: Path, split: Split, rows: int) -> ShardInfo:
    path = folder / f"shards/{split}-00000.parquet"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bytes(rows * 100))
    return ShardInfo(
        path=f"shards/{path.name}",
        split=split,
        num_rows=rows,
        num_bytes=rows * 100,
        sha256=file_sha256(path),
    )


def test_what_is_written_is_read(folder: Path) -> None:
    manifest = read_manifest(folder)
    assert [manifest.num_records(split) for split in ROWS] == [6, 2, 2]
    assert [info.path for info in manifest.shards_of("val")] == ["shards/val-00000.parquet"]
    before = (folder / "manifest.json").read_bytes()
    write_manifest(folder, manifest)
    assert (folder / "manifest.json").read_bytes() == before


def edited(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def corrupt(folder: Path) -> None:
        values = json.loads((folder / "manifest.json").read_text())
        change(values)
        (folder / "manifest.json").write_text(json.dumps(values))

    return corrupt


CORRUPTIONS: dict[str, tuple[Callable[[Path], object], str]] = {
    "gone": (lambda folder: (folder / "manifest.json").unlink(), "holds no prepared data set"),
    "half": (
        lambda folder: (folder / "manifest.json").write_text('{"format_version": 1, "finger'),
        "manifest.json: Invalid JSON",
    ),
    "empty": (lambda folder: (folder / "manifest.json").write_text(""), "Invalid JSON"),
    "not text": (lambda folder: (folder / "manifest.json").write_bytes(b"\xff\xfe\0"), "JSON"),
    "other version": (edited(lambda m: m.update(format_version=2)), "format_version: "),
    "unknown key": (edited(lambda m: m.update(colour="red")), "colour: Extra inputs"),
    "key missing": (edited(lambda m: m.pop("classes")), "classes: Field required"),
    "record lost in the books": (
        edited(lambda m: m["accounting"].update(read=13)),
        "accounting: Value error, records are missing: read 13",
    ),
    "record lost in a class": (
        edited(lambda m: m["class_counts"]["train"].update(cat=4)),
        "records are missing: 6 in train, 5 counted by class",
    ),
    "record lost in a split": (
        edited(lambda m: m["counts"].update(train=5)),
        "records are missing: 10 prepared, 9 counted by split, 10 in the shards",
    ),
    "shard not listed": (
        edited(lambda m: m["shards"].pop()),
        "records are missing: 10 prepared, 10 counted by split, 8 in the shards",
    ),
    "other mean": (
        edited(lambda m: m["transform"].update(mean=[0.1, 0.2, 0.3])),
        "the fitted transform does not match its hash",
    ),
    "shard gone": (
        lambda folder: (folder / "shards/val-00000.parquet").unlink(),
        "val-00000.parquet: missing, the manifest says 200 bytes",
    ),
    "shard cut": (
        lambda folder: (folder / "shards/train-00000.parquet").write_bytes(bytes(599)),
        "train-00000.parquet: 599 bytes, the manifest says 600 bytes",
    ),
}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_damage_is_told_in_one_line_with_the_remedy(folder: Path, name: str) -> None:
    corrupt, expected = CORRUPTIONS[name]
    corrupt(folder)
    with pytest.raises(DataError) as caught:
        read_manifest(folder)
    message = str(caught.value)
    assert expected in message and str(folder) in message and "run prepare" in message
    assert "\n" not in message
