"""`prepare` in this process, on the Ray that the tests share."""

import csv
import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl

from components.records.files import write_text
from components.records.findings import FINDINGS_SCHEMA
from components.records.reasons import REASONS, Reason
from pipelines.export import export_table
from pipelines.folders import staging_folder
from pipelines.prepare import plan_prepare, prepare
from pipelines.recipe import load_recipe
from pipelines.shards import PreparedData

SMALL_IMAGES = ("data.clean.min_size_px=8", "data.split.val=0.2", "data.split.test=0.2")


def prepared(recipe: str, source: Path, *overrides: str, output: Path) -> PreparedData:
    """What the command does with this recipe, but for Ray's start and the display."""
    own = [f"data.source.path={source}", f"output={output}", *overrides]
    loaded = load_recipe(recipe, own)
    with staging_folder(output) as staging:
        return prepare(loaded, plan_prepare(loaded, staging), lambda *_: None)


def exported(data: PreparedData, path: Path) -> list[dict[str, str]]:
    """The rows of `prepare --export`, as text."""
    export_table(data.folder, data.manifest, path)
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def shards(data: PreparedData) -> pl.DataFrame:
    """All prepared records with their split, in the order of their ids."""
    parts = [
        pl.read_parquet(data.folder / shard.path).with_columns(split=pl.lit(shard.split))
        for shard in data.manifest.shards
    ]
    return pl.concat(parts).sort("record_id")


def findings(data: PreparedData) -> list[dict[str, Any]]:
    """Lines of findings.jsonl."""
    return [json.loads(line) for line in (data.folder / "findings.jsonl").open(encoding="utf-8")]


def quarantine(data: PreparedData) -> list[dict[str, Any]]:
    """Records that were set aside."""
    paths = sorted((data.folder / "quarantine").glob("*.parquet"))
    return [row for path in paths for row in pl.read_parquet(path).to_dicts()]


def duplicates(data: PreparedData) -> list[dict[str, Any]]:
    """Copies of prepared records."""
    paths = sorted((data.folder / "duplicates").glob("*.parquet"))
    return [row for path in paths for row in pl.read_parquet(path).to_dicts()]


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a prepared data set but the manifest, which tells the time."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }


def check_books(data: PreparedData) -> None:
    """Every record that was read is in the files exactly once, and every row says what it must."""
    books = data.manifest.accounting
    aside, copies, rows = quarantine(data), duplicates(data), shards(data)
    assert books.read == books.prepared + books.quarantined + books.duplicates
    assert (books.prepared, books.quarantined, books.duplicates) == (
        len(rows),
        len(aside),
        len(copies),
    )
    assert Counter(row["reason"] for row in aside) == books.quarantined_by_reason
    ends = Counter([*rows["origin"], *(row["origin"] for row in [*aside, *copies])])
    assert ends.total() == books.read and set(ends.values()) == {1}
    for row in aside:
        assert set(row) == {"record_id", "origin", "reason", "detail", "other", "preview"}
        assert Reason(row["reason"]) in REASONS and row["detail"] and row["origin"]
        assert row["other"] is not None
    kept = set(rows["origin"])
    assert all(row["kept_origin"] in kept and Reason(row["reason"]) for row in copies)
    lines = findings(data)
    counts: Counter[str] = Counter()
    for line in lines:
        assert set(line) == set(FINDINGS_SCHEMA.names)
        assert line["severity"] == REASONS[Reason(line["reason"])].severity.value
        assert line["origin"] and isinstance(line["other"], list)
        counts[f"{line['reason']}/{line['action']}"] += max(1, line["count"])
    assert counts == data.manifest.findings
    named = {line["origin"] for line in lines if line["action"] == "quarantined"}
    assert {row["origin"] for row in aside} <= named, "each record set aside has its finding"
    for shard in data.manifest.shards:
        path = data.folder / shard.path
        assert hashlib.sha256(path.read_bytes()).hexdigest() == shard.sha256
        assert path.stat().st_size == shard.num_bytes


def write_pictures(
    folder: Path, counts: dict[str, int], *, side_px: int = 16, seed: int = 0
) -> Path:
    """PNGs of noise on a slope, no two alike, one folder per class."""
    rng = np.random.default_rng(seed)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels_HWC = rng.integers(0, 256, (side_px, side_px, 3), np.uint8)
            cv2.imwrite(str(folder / name / f"{number:05d}.png"), pixels_HWC)
    return folder


def write_table(path: Path, frame: pl.DataFrame) -> Path:
    """A CSV file."""
    write_text(path, frame.write_csv())
    return path
