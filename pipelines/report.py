"""report: gather what a run left behind and render its one HTML page."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from components.errors import DataError
from components.images.decode import decode_canonical, decode_stored
from components.records.files import write_text
from components.records.manifest import Manifest
from components.records.reasons import REASONS, Reason, RecordRejected
from components.reports.bound import Bound
from components.reports.data import (
    AugmentedExample,
    FindingCount,
    Image,
    Mistake,
    QuarantineExample,
    ReportData,
    Values,
    WorstRecord,
)
from components.reports.page import render_report
from components.reports.summary import number_text
from components.tasks.image_view import ImageView
from pipelines.evaluate import Evaluation, worst_mistakes
from pipelines.folders import RunFolder
from pipelines.modality import image_view
from pipelines.recipe import ImageRecipe, Recipe, public_recipe, resolved_yaml
from pipelines.shards import PreparedData
from pipelines.train import Trained

_QUARANTINE_EXAMPLES = 12
_AUGMENTED_RECORDS = 6
_AUGMENTED_EPOCHS = 5
_MISTAKES = 18
_PREVIEW_MAX_PIXELS = 50_000_000
_FINDING_EXAMPLES = 3
# Examples are looked for in so many lines; the counts are those of all.
_FINDING_LINES = 100_000
_VALUES = 5_000
_SHOWN_CHARACTERS = 40
_NO_COLUMNS_OF_THE_SOURCE = frozenset({"record_id", "origin", "label"})


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
    bound: Bound | None,
    git_commit: str,
    versions: Mapping[str, str],
) -> Path:
    """Write `report.html` of a run."""
    manifest = data.manifest
    confusion: dict[str, npt.NDArray[np.int64]] = {
        e.split: e.confusion_KK for e in evaluations if e.confusion_KK is not None
    }
    page = ReportData(
        title=recipe.name,
        run_id=run_id,
        created_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        headline=_headline(evaluations, trained, manifest, timings_s, data_wait_share),
        accounting=manifest.accounting,
        quarantine_examples=quarantine_examples(data.folder, _QUARANTINE_EXAMPLES),
        class_counts={split: counts for split, counts in manifest.class_counts.items() if counts},
        findings=finding_counts(data.folder, manifest),
        history=trained.history,
        kept=trained.history[trained.kept_epoch],
        monitor=recipe.train.monitor,
        steps=trained.steps,
        confusion=confusion,
        classes=manifest.classes,
        metrics={evaluation.split: evaluation.metrics for evaluation in evaluations},
        per_class={evaluation.split: evaluation.per_class for evaluation in evaluations},
        timings_s=timings_s,
        data_wait_share=data_wait_share,
        bound=bound,
        recipe_yaml=resolved_yaml(public_recipe(recipe)),
        versions=versions,
        git_commit=git_commit,
        **_of_the_modality(recipe, data, evaluations),
    )
    write_text(folder.report, render_report(page))
    return folder.report


def _of_the_modality(
    recipe: Recipe, data: PreparedData, evaluations: Sequence[Evaluation]
) -> dict[str, Any]:
    """What a page shows of single records."""
    judged = evaluations[-1]
    rows = worst_mistakes(judged.predictions, _MISTAKES)
    if isinstance(recipe, ImageRecipe):
        view = image_view(recipe)
        examples = augmented_examples(data, view, _AUGMENTED_RECORDS)
        return {"augmented": examples, "mistakes": _mistakes(data, judged, rows)}
    values = {e.split: _values(e, data.manifest) for e in evaluations if e.confusion_KK is None}
    return {"values": values, "worst": _worst(data, judged, rows)}


def _headline(
    evaluations: Sequence[Evaluation],
    trained: Trained,
    manifest: Manifest,
    timings_s: Mapping[str, float],
    data_wait_share: float,
) -> dict[str, str]:
    headline: dict[str, str] = {}
    for evaluation in evaluations:
        metrics = evaluation.metrics
        if "accuracy" in metrics:
            headline[f"{evaluation.split} accuracy"] = f"{metrics['accuracy']:.2%}"
        else:
            headline[f"{evaluation.split} RMSE"] = number_text(metrics["rmse"])
    if "r2" in evaluations[-1].metrics:
        # In the place of the time, which has a section of its own.
        headline[f"{evaluations[-1].split} R²"] = f"{evaluations[-1].metrics['r2']:.3f}"
    speed = float(np.median([row["records_per_s"] for row in trained.history]))
    headline |= {
        "records": f"{manifest.accounting.prepared:,}",
        "records/s in training": f"{speed:,.0f}",
        "waiting for data": f"{data_wait_share:.1%}",
        "time": f"{sum(timings_s.values()):.0f} s",
    }
    return dict(islice(headline.items(), 6))


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
                        remedy=REASONS[Reason(row["reason"])].remedy,
                        thumbnail_HWC=_preview(row.get("preview")),
                    )
                )
    share = max(1, count // max(1, len(by_reason)))
    return [example for found in by_reason.values() for example in found[:share]]


def finding_counts(dataset: Path, manifest: Manifest) -> list[FindingCount]:
    """What was found, by reason and action, with some examples."""
    examples: dict[str, list[str]] = {kind: [] for kind in manifest.findings}
    path = dataset / "findings.jsonl"
    if path.is_file():
        with path.open(encoding="utf-8", errors="surrogateescape") as lines:
            for line in islice(lines, _FINDING_LINES):
                row = json.loads(line)
                told = examples.setdefault(f"{row['reason']}/{row['action']}", [])
                if len(told) < _FINDING_EXAMPLES:
                    told.append(_in_words(row))
    counts = []
    for kind, count in manifest.findings.items():
        reason, _, action = kind.partition("/")
        remedy = REASONS[Reason(reason)].remedy
        counts.append(FindingCount(reason, action, count, remedy, examples[kind]))
    return counts


def _in_words(row: Mapping[str, Any]) -> str:
    place = row["origin"] + (f" {row['column']}" if row.get("column") else "")
    change = ""
    if row.get("before") is not None and (row.get("column") or row.get("after") is not None):
        after = "missing" if row.get("after") is None else repr(row["after"])
        change = f"{_short(repr(row['before']))} → {_short(after)}"
    words = "; ".join(part for part in (change, row.get("detail")) if part)
    # Names that are no UTF-8 are shown as far as they can be.
    return f"{place}: {words}".encode("utf-8", "replace").decode("utf-8")


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
    columns = ["record_id", *view.columns]
    batch = next(pq.ParquetFile(shard).iter_batches(batch_size=count, columns=columns))
    rows = pa.Table.from_batches([batch])
    epochs = [view.arrays(rows, epoch)["image"] for epoch in range(_AUGMENTED_EPOCHS)]
    return [
        AugmentedExample(
            record_id=row["record_id"],
            label=data.manifest.classes[row["label"]],
            original_HWC=decode_stored(row["image"]),
            augmented_HWC=[images_BHWC[number] for images_BHWC in epochs],
        )
        for number, row in enumerate(rows.to_pylist())
    ]


def _mistakes(
    data: PreparedData, evaluation: Evaluation, rows: Sequence[Mapping[str, Any]]
) -> list[Mistake]:
    records = _stored_records(data, evaluation, [row["record_id"] for row in rows], ["image"])
    classes = data.manifest.classes
    return [
        Mistake(
            record_id=row["record_id"],
            origin=row["origin"],
            label=classes[row["label"]],
            predicted=classes[row["predicted"]],
            confidence=row["confidence"],
            loss=row["loss"],
            image_HWC=decode_stored(records[row["record_id"]]["image"]),
        )
        for row in rows
    ]


def _worst(
    data: PreparedData, evaluation: Evaluation, rows: Sequence[Mapping[str, Any]]
) -> list[WorstRecord]:
    target, classes = data.manifest.target, data.manifest.classes
    hidden = _NO_COLUMNS_OF_THE_SOURCE | {target}
    columns = [name for name in data.manifest.shard_schema if name not in hidden]
    records = _stored_records(data, evaluation, [row["record_id"] for row in rows], columns)
    worst = []
    for row in rows:
        if classes:
            true, said = classes[row["label"]], classes[row["predicted"]]
            said = f"{said} ({row['confidence']:.0%})"
        else:
            true, said = number_text(row["target"]), number_text(row["predicted"])
        values = {name: _text(records[row["record_id"]][name]) for name in columns}
        worst.append(WorstRecord(row["record_id"], row["origin"], true, said, row["loss"], values))
    return worst


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return f"{value:.6g}" if isinstance(value, float) else _short(str(value))


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


def _values(evaluation: Evaluation, manifest: Manifest) -> Values:
    """True and predicted values of records from all over a split."""
    with pq.ParquetFile(evaluation.predictions) as file:
        stride = max(1, file.metadata.num_rows // _VALUES)
        parts, at = [], 0
        for batch in file.iter_batches(columns=["target", "predicted"]):
            pair_N2 = np.column_stack([column.to_numpy() for column in batch.columns])
            parts.append(pair_N2[-at % stride :: stride])
            at += len(pair_N2)
    pairs_N2 = np.concatenate([np.zeros((0, 2)), *parts])
    return Values(manifest.target or "value", pairs_N2[:, 0], pairs_N2[:, 1])


def _stored_records(
    data: PreparedData, evaluation: Evaluation, wanted: list[str], columns: list[str]
) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    if not wanted:
        return found
    for shard in data.manifest.shards_of(evaluation.split):
        table = pq.read_table(
            data.folder / shard.path,
            columns=["record_id", *columns],
            filters=[("record_id", "in", wanted)],
        )
        found |= {row["record_id"]: row for row in table.to_pylist()}
    missing = set(wanted) - set(found)
    if missing:
        raise DataError(f"{data.folder} lost the records {sorted(missing)[:3]}; prepare again")
    return found
