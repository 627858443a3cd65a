"""diff: what changed between two prepared data sets."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console

from components.errors import DataError
from components.records.manifest import Manifest, read_manifest
from components.records.split import SPLITS
from components.tracking.params import flatten
from pipelines.folders import shown

_EXAMPLES = 5
_CHANGED_LINES = 40


def diff_datasets(one: Path, other: Path) -> dict[str, Any]:
    """Compare two prepared data sets: settings, books, schema, fit and records.

    Records are compared by id, so that a moved or renamed file is the same record.

    Raises:
        DataError: A folder holds no data set, or they are of different modalities.
    """
    first, second = read_manifest(one), read_manifest(other)
    if first.modality != second.modality:
        raise DataError(
            f"{shown(one)} holds {first.modality} and {shown(other)} holds {second.modality}; "
            "only data sets of one kind can be compared"
        )
    return {
        "one": shown(one),
        "other": shown(other),
        "same": first.fingerprint == second.fingerprint,
        "changed": _changed(_described(first), _described(second)),
        "records": _records(one, first, other, second),
    }


def _described(manifest: Manifest) -> dict[str, object]:
    """What is compared value by value; not when it was made, nor where the shards are cut."""
    return {
        "recipe": manifest.recipe_data,
        "source": manifest.lineage.model_dump(exclude={"versions", "code_sha256"}),
        "code": manifest.lineage.code_sha256[:12],
        "versions": manifest.lineage.versions,
        "classes": {name: "" for name in manifest.classes},
        "schema": _columns(manifest),
        "counts": manifest.counts,
        "class_counts": manifest.class_counts,
        "accounting": manifest.accounting.model_dump(),
        "findings": manifest.findings,
        "transform": manifest.transform,
    }


def _columns(manifest: Manifest) -> dict[str, object]:
    if manifest.table_schema is None:
        return dict(manifest.shard_schema)
    columns = manifest.table_schema["columns"]
    assert isinstance(columns, list)
    return {column["name"]: {k: v for k, v in column.items() if k != "name"} for column in columns}


def _changed(one: Mapping[str, object], other: Mapping[str, object]) -> list[dict[str, Any]]:
    before, after = flatten(one), flatten(other)
    return [
        {"what": key, "one": before.get(key), "other": after.get(key)}
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


def _records(one: Path, first: Manifest, other: Path, second: Manifest) -> dict[str, Any]:
    joined = _ids(one, first).join(
        _ids(other, second), on="record_id", how="full", coalesce=True, suffix="_other"
    )
    here, there = pl.col("split").is_not_null(), pl.col("split_other").is_not_null()
    kinds = {
        "only_in_one": here & ~there,
        "only_in_other": there & ~here,
        "moved": here & there & (pl.col("split") != pl.col("split_other")),
    }
    counts = joined.select(
        (here & there).sum().alias("in_both"), *[kind.sum().alias(k) for k, kind in kinds.items()]
    )
    found: dict[str, Any] = counts.collect(engine="streaming").row(0, named=True)
    for name, kind in kinds.items():
        rows = joined.filter(kind).select(pl.coalesce("origin", "origin_other").alias("origin"))
        first_rows = rows.sort("origin").head(_EXAMPLES).collect(engine="streaming")
        found[f"{name}_examples"] = first_rows["origin"].to_list()
    return found


def _ids(folder: Path, manifest: Manifest) -> pl.LazyFrame:
    parts = [
        pl.scan_parquet(folder / shard.path).select(
            "record_id", "origin", pl.lit(shard.split).alias("split")
        )
        for split in SPLITS
        for shard in manifest.shards_of(split)
    ]
    return pl.concat(parts)


def print_diff(result: Mapping[str, Any]) -> None:
    """Print the differences for a reader."""
    console = Console()
    if result["same"]:
        console.print("the same data set: one fingerprint", highlight=False)
        return
    for change in result["changed"][:_CHANGED_LINES]:
        values = [json.dumps(change[side], ensure_ascii=False) for side in ("one", "other")]
        console.print(
            f"{change['what']}: {values[0]} -> {values[1]}", highlight=False, markup=False
        )
    left = len(result["changed"]) - _CHANGED_LINES
    if left > 0:
        console.print(f"... and {left} more; --json has them all", highlight=False)
    records = result["records"]
    console.print(
        f"records: {records['in_both']:,} in both, {records['moved']:,} of them in another split; "
        f"{records['only_in_one']:,} only in {result['one']}, "
        f"{records['only_in_other']:,} only in {result['other']}",
        highlight=False,
        markup=False,
    )
    for name in ("only_in_one", "only_in_other", "moved"):
        for origin in records[f"{name}_examples"]:
            console.print(f"  {name.replace('_', ' ')}: {origin}", highlight=False, markup=False)
