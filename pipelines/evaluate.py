"""evaluate: a model package and a prepared split -> metrics and one prediction per record."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from clusters.resources import ResourcePlan
from components.errors import DataError
from components.images.decode import decode_stored
from components.images.geometry import to_input
from components.models.package import ModelPackage, load_package
from components.records.files import atomic_path, storage_errors
from components.records.manifest import Manifest, read_manifest
from components.records.split import Split
from components.training.metrics import ClassificationSums, ClassScore
from pipelines.prepare import Progress
from pipelines.streams.tasks import TaskSource, stream_tables

PREDICTIONS_SCHEMA = pa.schema(
    {
        "record_id": pa.string(),
        "origin": pa.string(),
        "label": pa.int32(),
        "predicted": pa.int32(),
        "confidence": pa.float32(),
        "loss": pa.float32(),
    }
)
_BATCH_ROWS = 256
_TASK_ROWS = 1024


@dataclass(frozen=True)
class Evaluation:
    """What a package does on one split; every record counted once."""

    split: Split
    metrics: dict[str, float]
    per_class: list[ClassScore]
    confusion_KK: np.ndarray
    predictions: Path


@dataclass(frozen=True)
class _Task:
    shard: str
    first_group: int
    last_group: int


def evaluate(
    package: Path,
    dataset: Path,
    split: Split,
    predictions: Path,
    resources: ResourcePlan,
    progress: Progress,
) -> Evaluation:
    """Predict every record of a split once, on all CPUs (or GPUs) that the plan has.

    Reads the package and the prepared data set and nothing else.

    Args:
        package: Folder of the model package.
        dataset: Folder of the prepared data set.
        split: Which of its splits.
        predictions: Parquet file to write, one row per record.
        resources: What may be used; Ray must be up.
        progress: Told (stage, records done, records in all).

    Raises:
        DataError: The split is empty, or the package belongs to other classes.
    """
    manifest = read_manifest(dataset)
    total = manifest.num_records(split)
    if not total:
        raise DataError(f"{dataset} has no {split} split; raise data.split.{split} and prepare")
    classes = _checked_classes(package, manifest)
    sums = ClassificationSums.zero(len(classes))
    source = TaskSource(
        "Predict",
        partial(_predict, package=str(package.absolute()), device=resources.device),
        lambda: _tasks(dataset, manifest, split),
    )
    num_gpus = 1.0 if resources.device == "cuda" else 0.0
    done = 0
    with _writer(predictions) as writer:
        for table in stream_tables(source, "evaluation", num_gpus=num_gpus):
            sums = sums + _sums(table, len(classes))
            writer.write_table(table.select(PREDICTIONS_SCHEMA.names).cast(PREDICTIONS_SCHEMA))
            done += table.num_rows
            progress(f"evaluate: {split}", done, total)
    return Evaluation(
        split, sums.metrics(), sums.per_class(classes), sums.confusion_KK.numpy(), predictions
    )


def _checked_classes(package: Path, manifest: Manifest) -> list[str]:
    classes = list(load_package(package).classes)
    if classes != manifest.classes:
        raise DataError(
            f"the package at {package} knows the classes {', '.join(classes[:5])} and the data set "
            f"has {', '.join(manifest.classes[:5])}; evaluate on data with the same classes"
        )
    return classes


def _tasks(dataset: Path, manifest: Manifest, split: Split) -> list[_Task]:
    groups_per_task = max(1, _TASK_ROWS // manifest.row_group_rows)
    tasks: list[_Task] = []
    for shard in manifest.shards_of(split):
        groups = -(-shard.num_rows // manifest.row_group_rows)
        path = str((dataset / shard.path).absolute())
        for first in range(0, groups, groups_per_task):
            tasks.append(_Task(path, first, min(first + groups_per_task, groups)))
    return tasks


def _predict(task: _Task, *, package: str, device: str) -> Iterator[pa.Table]:
    loaded = _package(package, device)
    file = pq.ParquetFile(task.shard, memory_map=True)
    groups = list(range(task.first_group, task.last_group))
    columns = ["record_id", "origin", "label", "image"]
    for batch in file.iter_batches(batch_size=_BATCH_ROWS, row_groups=groups, columns=columns):
        images_BHWC = np.stack(
            [
                to_input(
                    decode_stored(np.frombuffer(image.as_buffer(), np.uint8)),
                    image_px=loaded.input_config.image_px,
                    geometry=loaded.input_config.geometry,
                )
                for image in batch.column("image")
            ]
        )
        yield _scored(batch, loaded.predict(images_BHWC, batch_size=_BATCH_ROWS))


def _scored(batch: pa.RecordBatch, probabilities_BK: np.ndarray) -> pa.Table:
    labels = batch.column("label").to_numpy()
    predicted = probabilities_BK.argmax(axis=1)
    rows = np.arange(len(labels))
    true = np.maximum(probabilities_BK[rows, labels], np.finfo(np.float32).tiny)
    return pa.table(
        {
            "record_id": batch.column("record_id"),
            "origin": batch.column("origin"),
            "label": labels,
            "predicted": predicted.astype(np.int32),
            "confidence": probabilities_BK[rows, predicted],
            "loss": -np.log(true),
        }
    )


@lru_cache(maxsize=2)
def _package(path: str, device: str) -> ModelPackage:
    # Once per worker process; one thread each, as there is a task for every core.
    torch.set_num_threads(1)
    return load_package(Path(path), device=device)


def _sums(table: pa.Table, num_classes: int) -> ClassificationSums:
    labels = table.column("label").to_numpy().astype(np.int64)
    predicted = table.column("predicted").to_numpy().astype(np.int64)
    cells = np.bincount(labels * num_classes + predicted, minlength=num_classes**2)
    confusion_KK = torch.from_numpy(cells.reshape(num_classes, num_classes))
    loss_sum = float(table.column("loss").to_numpy().astype(np.float64).sum())
    return ClassificationSums(confusion_KK, loss_sum)


@contextmanager
def _writer(path: Path) -> Iterator[pq.ParquetWriter]:
    with (
        storage_errors(str(path.parent)),
        atomic_path(path) as partial_path,
        pq.ParquetWriter(partial_path, PREDICTIONS_SCHEMA) as writer,
    ):
        yield writer


def worst_mistakes(predictions: Path, count: int) -> list[dict[str, Any]]:
    """The records that a model got wrong with the largest loss, worst first."""
    worst = pa.Table.from_pylist([], schema=PREDICTIONS_SCHEMA)
    with pq.ParquetFile(predictions) as file:
        for batch in file.iter_batches():
            table = pa.Table.from_batches([batch])
            wrong = table.filter(pa.compute.not_equal(table["label"], table["predicted"]))
            worst = pa.concat_tables([worst, wrong]).sort_by([("loss", "descending")])
            worst = worst.slice(0, count)
    rows: list[dict[str, Any]] = worst.to_pylist()
    return rows
