"""inspect: a prepared data set as text and as one HTML page."""

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from components.images.decode import decode_stored
from components.records.files import write_text
from components.records.manifest import Manifest, read_manifest
from components.records.reasons import REASONS, Reason, Severity
from components.records.split import SPLITS
from components.reports.data import FindingCount, ReportData, Sample
from components.reports.page import render_report
from components.tables.inference.infer import schema_text
from components.tables.schema import TableSchema
from pipelines.folders import shown
from pipelines.recipe_document import dump_document
from pipelines.report import finding_counts, quarantine_examples

_QUARANTINE_EXAMPLES = 24
_SAMPLES = 24
_MAX_CLASSES = 40


def inspect_dataset(dataset: Path, html: Path | None) -> dict[str, Any]:
    """Say what a prepared data set holds.

    Args:
        dataset: Its folder.
        html: File for the page, or None.

    Raises:
        DataError: The folder holds no data set, or a damaged one.
    """
    manifest = read_manifest(dataset)
    findings = sorted(finding_counts(dataset, manifest), key=_severity)
    if html is not None:
        write_text(html, render_report(_page(dataset, manifest, findings)))
    return {
        "dataset": shown(dataset),
        "modality": manifest.modality,
        "created_utc": manifest.created_utc,
        "fingerprint": manifest.fingerprint,
        "source": manifest.lineage.source,
        "counts": manifest.counts,
        "class_counts": manifest.class_counts,
        "accounting": manifest.accounting.model_dump(),
        "findings": [vars(found) | {"examples": list(found.examples)} for found in findings],
        "schema": _schema_lines(manifest),
        "shards": {
            "files": len(manifest.shards),
            "bytes": sum(shard.num_bytes for shard in manifest.shards),
            "row_group_rows": manifest.row_group_rows,
        },
        "transform_hash": manifest.transform_hash,
        "samples": [sample.values for sample in _samples(dataset, manifest, 3)],
        "html": shown(html) if html is not None else None,
    }


def _severity(found: FindingCount) -> tuple[int, int]:
    """The most severe first, of those the most frequent."""
    order = [Severity.ERROR, Severity.WARNING, Severity.INFO]
    return order.index(REASONS[Reason(found.reason)].severity), -found.count


def _schema_lines(manifest: Manifest) -> list[str]:
    if manifest.table_schema is None:
        return [f"{name}: {kind}" for name, kind in manifest.shard_schema.items()]
    return schema_text(TableSchema.model_validate(manifest.table_schema))


def _samples(dataset: Path, manifest: Manifest, count: int) -> list[Sample]:
    """Records from the beginning of each split, in turn."""
    rows = [
        islice(_rows(dataset / manifest.shards_of(split)[0].path), count)
        for split in SPLITS
        if manifest.shards_of(split)
    ]
    names = [split for split in SPLITS if manifest.shards_of(split)]
    found = []
    for split, part in zip(names, rows, strict=True):
        for row in part:
            image = row.pop("image", None)
            label = row.pop("label", None)
            if label is not None:
                row["class"] = manifest.classes[label]
            values = {name: None if v is None else str(v) for name, v in row.items()}
            picture = None if image is None else decode_stored(image)
            found.append(Sample(values | {"split": split}, picture))
    return found


def _rows(shard: Path) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(shard) as file:
        for batch in file.iter_batches(batch_size=64):
            yield from batch.to_pylist()


def _page(dataset: Path, manifest: Manifest, findings: list[FindingCount]) -> ReportData:
    accounting = manifest.accounting
    size = sum(shard.num_bytes for shard in manifest.shards)
    return ReportData(
        title=dataset.name,
        run_id="",
        created_utc=manifest.created_utc,
        headline={
            "records": f"{accounting.prepared:,}",
            "set aside": f"{accounting.quarantined:,}",
            "copies": f"{accounting.duplicates:,}",
            "classes": f"{len(manifest.classes):,}" if manifest.classes else "none",
            "shards": f"{size / 2**20:,.1f} MiB",
        },
        accounting=accounting,
        quarantine_examples=quarantine_examples(dataset, _QUARANTINE_EXAMPLES),
        class_counts={split: counts for split, counts in manifest.class_counts.items()},
        findings=findings,
        samples=_samples(dataset, manifest, _SAMPLES // 3),
        schema_lines=_schema_lines(manifest),
        what="data set",
        recipe_yaml=dump_document(manifest.recipe_data),
        versions=manifest.lineage.versions,
    )


def print_inspection(result: Mapping[str, Any]) -> None:
    """Print what `inspect_dataset` found, for a reader."""
    console = Console(highlight=False)
    accounting = result["accounting"]
    console.print(f"[bold]{result['dataset']}[/]  {result['modality']} from {result['source']}")
    console.print(
        f"{accounting['read']:,} read = {accounting['prepared']:,} prepared + "
        f"{accounting['quarantined']:,} quarantined + {accounting['duplicates']:,} duplicates"
    )
    for split, count in result["counts"].items():
        classes = result["class_counts"].get(split, {})
        by_class = ", ".join(f"{name} {n:,}" for name, n in list(classes.items())[:_MAX_CLASSES])
        console.print(f"  {split:<5} {count:>9,}  {by_class}", markup=False)
    if result["findings"]:
        table = Table("reason", "action", "count", "for example", title="findings")
        for found in result["findings"]:
            example = found["examples"][0] if found["examples"] else ""
            table.add_row(found["reason"], found["action"], f"{found['count']:,}", example[:80])
        console.print(table, markup=False)
    console.print("schema")
    for line in result["schema"]:
        console.print(f"  {line}", markup=False, soft_wrap=True)
    if result["html"]:
        console.print(f"page     {result['html']}", markup=False)
