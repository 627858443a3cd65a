"""evaluate: a model package and a prepared split -> metrics and one prediction per record."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from clusters.resources import ResourcePlan
from components.errors import DataError
from components.models.package import ModelPackage, load_package
from components.records.files import atomic_path, storage_errors
from components.records.manifest import Manifest, read_manifest
from components.records.split import Split
from components.tasks.task import Task
from components.training.metrics import ClassificationSums, ClassScore
from pipelines.shards import Progress
from pipelines.streams.tasks import TaskSource, stream_tables

_IDENTITY = pa.schema({"record_id": pa.string(), "origin": pa.string()})
_BATCH_ROWS = 256
_TASK_ROWS = 1024


@dataclass(frozen=True)
class Evaluation:
    """What a package does on one split; every record counted once.

    Attributes:
        split: Which one.
        metrics: By name.
        predictions: Parquet file, one row per record.
        per_class: Scores of each class; empty where nothing is classified.
        confusion_KK: Counts, rows true, columns predicted; None where nothing is classified.
    """

    split: Split
    metrics: dict[str, float]
    predictions: Path
    per_class: list[ClassScore] = field(default_factory=list)
    confusion_KK: npt.NDArray[np.int64] | None = None


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
    task = _checked_task(package, manifest)
    sums = task.new_sums()
    source = TaskSource(
        "Predict",
        partial(_predict, package=str(package.absolute()), device=resources.device),
        lambda: _tasks(dataset, manifest, split, task.view().task_rows),
    )
    num_gpus = 1.0 if resources.device == "cuda" else 0.0
    done = 0
    schema = pa.unify_schemas([_IDENTITY, task.prediction_columns])
    with _writer(predictions, schema) as writer:
        for table in stream_tables(source, "evaluation", num_gpus=num_gpus):
            sums = sums + task.sums_of(table)
            writer.write_table(table.select(schema.names).cast(schema))
            done += table.num_rows
            progress(f"evaluate: {split}", done, total)
    metrics = sums.metrics()
    if not isinstance(sums, ClassificationSums):
        return Evaluation(split, metrics, predictions)
    confusion_KK = sums.confusion_KK.numpy()
    return Evaluation(split, metrics, predictions, sums.per_class(task.classes), confusion_KK)


def _checked_task(package: Path, manifest: Manifest) -> Task:
    task = load_package(package).task
    if list(task.classes) != manifest.classes:
        raise DataError(
            f"the package at {package} knows {_named(task.classes)} and the data set has "
            f"{_named(manifest.classes)}; evaluate on data with the same classes"
        )
    lost = [name for name in task.view().columns if name not in manifest.shard_schema]
    if lost:
        raise DataError(
            f"the package at {package} needs the column {lost[0]!r}, which the data set does not "
            f"have; evaluate on data with the same columns"
        )
    return task


def _named(classes: Sequence[str]) -> str:
    return f"the classes {', '.join(classes[:5])}" if classes else "no classes"


def _tasks(dataset: Path, manifest: Manifest, split: Split, task_rows: int) -> list[_Task]:
    groups_per_task = max(1, 2 * task_rows // manifest.row_group_rows)
    tasks: list[_Task] = []
    for shard in manifest.shards_of(split):
        groups = -(-shard.num_rows // manifest.row_group_rows)
        path = str((dataset / shard.path).absolute())
        for first in range(0, groups, groups_per_task):
            tasks.append(_Task(path, first, min(first + groups_per_task, groups)))
    return tasks


def _predict(task: _Task, *, package: str, device: str) -> Iterator[pa.Table]:
    loaded = _package(package, device)
    view = loaded.task.view()
    file = pq.ParquetFile(task.shard, memory_map=True, page_checksum_verification=True)
    groups = list(range(task.first_group, task.last_group))
    columns = list(dict.fromkeys([*_IDENTITY.names, *view.columns]))
    batch_rows = max(_BATCH_ROWS, view.task_rows // 2)
    for batch in file.iter_batches(batch_size=batch_rows, row_groups=groups, columns=columns):
        rows = pa.Table.from_batches([batch])
        predictions = loaded.predict_arrays(view.arrays(rows, None), batch_size=batch_rows)
        judged = loaded.task.judged(predictions, rows)
        yield pa.table({name: rows.column(name) for name in _IDENTITY.names} | judged)


@lru_cache(maxsize=2)
def _package(path: str, device: str) -> ModelPackage:
    # Once per worker process; one thread each, as there is a task for every core.
    torch.set_num_threads(1)
    return load_package(Path(path), device=device)


@contextmanager
def _writer(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    with (
        storage_errors(str(path.parent)),
        atomic_path(path) as partial_path,
        pq.ParquetWriter(partial_path, schema) as writer,
    ):
        yield writer


def worst_mistakes(predictions: Path, count: int) -> list[dict[str, Any]]:
    """The records with the largest loss, worst first; of classes, only those that are wrong."""
    worst: pa.Table | None = None
    with pq.ParquetFile(predictions) as file:
        for batch in file.iter_batches():
            table = pa.Table.from_batches([batch])
            if "label" in table.column_names:
                wrong = pa.compute.not_equal(table["label"], table["predicted"])
                table = table.filter(wrong)
            found = table if worst is None else pa.concat_tables([worst, table])
            worst = found.sort_by([("loss", "descending")]).slice(0, count)
    rows: list[dict[str, Any]] = [] if worst is None else worst.to_pylist()
    return rows
