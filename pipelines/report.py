"""report: gather what a run left behind and render its one HTML page."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from components.errors import DataError
from components.images.decode import decode_canonical, decode_stored
from components.records.files import write_text
from components.records.manifest import Manifest
from components.records.reasons import REMEDIES, Reason, RecordRejected
from components.reports.data import (
    AugmentedExample,
    Image,
    Mistake,
    QuarantineExample,
    ReportData,
)
from components.reports.page import render_report
from pipelines.evaluate import Evaluation, worst_mistakes
from pipelines.folders import RunFolder
from pipelines.prepare import PreparedData
from pipelines.recipe import Recipe, public_recipe, resolved_yaml
from pipelines.streams.feed import ImageView, picture
from pipelines.train import Trained, image_view

_QUARANTINE_EXAMPLES = 12
_AUGMENTED_RECORDS = 6
_AUGMENTED_EPOCHS = 5
_MISTAKES = 18
_PREVIEW_MAX_PIXELS = 50_000_000


def write_report(
    recipe: Recipe,
    data: PreparedData,
    trained: Trained,
    evaluations: Sequence[Evaluation],
    folder: RunFolder,
    *,
    run_id: str,
    timings_s: Mapping[str, float],
    data_wait_share: float,
    git_commit: str,
    versions: Mapping[str, str],
) -> Path:
    """Write `report.html` of a run."""
    manifest = data.manifest
    judged = evaluations[-1]
    page = ReportData(
        title=recipe.name,
        run_id=run_id,
        created_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        headline=_headline(evaluations, trained, manifest, timings_s, data_wait_share),
        accounting=manifest.accounting,
        quarantine_examples=quarantine_examples(data.folder, _QUARANTINE_EXAMPLES),
        class_counts={split: counts for split, counts in manifest.counts.items()},
        augmented=augmented_examples(data, image_view(recipe), _AUGMENTED_RECORDS),
        history=trained.history,
        kept=trained.history[trained.kept_epoch],
        monitor=recipe.train.monitor,
        steps=trained.steps,
        confusion={evaluation.split: evaluation.confusion_KK for evaluation in evaluations},
        classes=manifest.classes,
        metrics={evaluation.split: evaluation.metrics for evaluation in evaluations},
        per_class={evaluation.split: evaluation.per_class for evaluation in evaluations},
        mistakes=_mistakes(data, judged),
        timings_s=timings_s,
        data_wait_share=data_wait_share,
        recipe_yaml=resolved_yaml(public_recipe(recipe)),
        versions=versions,
        git_commit=git_commit,
    )
    write_text(folder.report, render_report(page))
    return folder.report


def _headline(
    evaluations: Sequence[Evaluation],
    trained: Trained,
    manifest: Manifest,
    timings_s: Mapping[str, float],
    data_wait_share: float,
) -> dict[str, str]:
    headline = {
        f"{evaluation.split} accuracy": f"{evaluation.metrics['accuracy']:.2%}"
        for evaluation in evaluations
    }
    speed = float(np.median([row["images_per_s"] for row in trained.history]))
    return headline | {
        "records": f"{manifest.accounting.prepared:,}",
        "images/s in training": f"{speed:,.0f}",
        "waiting for data": f"{data_wait_share:.1%}",
        "time": f"{sum(timings_s.values()):.0f} s",
    }


def quarantine_examples(dataset: Path, count: int) -> list[QuarantineExample]:
    """The first records that were set aside, of as many different reasons as there are."""
    by_reason: dict[str, list[QuarantineExample]] = {}
    for path in sorted((dataset / "quarantine").glob("*.parquet")):
        for row in pq.read_table(path).to_pylist():
            found = by_reason.setdefault(row["reason"], [])
            if len(found) < count:
                found.append(
                    QuarantineExample(
                        origin=row["origin"],
                        reason=row["reason"],
                        detail=row["detail"],
                        remedy=REMEDIES[Reason(row["reason"])],
                        thumbnail_HWC=_preview(row["preview"]),
                    )
                )
    share = max(1, count // max(1, len(by_reason)))
    return [example for found in by_reason.values() for example in found[:share]]


def _preview(data: bytes | None) -> Image | None:
    if data is None:
        return None
    try:
        return decode_canonical(data, max_pixels=_PREVIEW_MAX_PIXELS).image_HWC
    except RecordRejected:
        return None


def augmented_examples(data: PreparedData, view: ImageView, count: int) -> list[AugmentedExample]:
    """Training records beside what the model saw of them in the first epochs."""
    shard = data.folder / data.manifest.shards_of("train")[0].path
    columns = ["record_id", "image", "label"]
    batch = next(pq.ParquetFile(shard).iter_batches(batch_size=count, columns=columns))
    return [
        AugmentedExample(
            record_id=row["record_id"],
            label=data.manifest.classes[row["label"]],
            original_HWC=decode_stored(row["image"]),
            augmented_HWC=[
                picture(view, row["image"], row["record_id"], epoch)
                for epoch in range(_AUGMENTED_EPOCHS)
            ],
        )
        for row in batch.to_pylist()
    ]


def _mistakes(data: PreparedData, evaluation: Evaluation) -> list[Mistake]:
    rows = worst_mistakes(evaluation.predictions, _MISTAKES)
    images = _stored_images(data, evaluation, [row["record_id"] for row in rows])
    classes = data.manifest.classes
    return [
        Mistake(
            record_id=row["record_id"],
            origin=row["origin"],
            label=classes[row["label"]],
            predicted=classes[row["predicted"]],
            confidence=row["confidence"],
            loss=row["loss"],
            image_HWC=decode_stored(images[row["record_id"]]),
        )
        for row in rows
    ]


def _stored_images(
    data: PreparedData, evaluation: Evaluation, wanted: list[str]
) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    if not wanted:
        return found
    for shard in data.manifest.shards_of(evaluation.split):
        table = pq.read_table(
            data.folder / shard.path,
            columns=["record_id", "image"],
            filters=[("record_id", "in", wanted)],
        )
        found |= {row["record_id"]: row["image"] for row in table.to_pylist()}
    missing = set(wanted) - set(found)
    if missing:
        raise DataError(f"{data.folder} lost the records {sorted(missing)[:3]}; prepare again")
    return found
