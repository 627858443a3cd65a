"""A compressed package beside the one that it came from: what both cost and are worth."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from components.compression.measure import (
    Interval,
    Latency,
    artifact_bytes,
    bootstrap,
    flops_per_record,
    latency,
    paired_difference,
    parameters,
    peak_bytes,
)
from components.compression.trace import Inputs
from components.errors import DataError
from components.models.package import ModelPackage, load_package
from components.tasks.task import Task
from pipelines.shards import PreparedData

LATENCY_BATCH = 32
_BATCH_ROWS = 64
_THREADS = 1
_LATENCY_S = 10.0
_FEWEST_ROUNDS, _MOST_ROUNDS = 5, 50


@dataclass(frozen=True)
class Costs:
    """What a package costs, as it was loaded from disk, on the CPU of this machine."""

    package_bytes: int
    """Of all files of the package."""
    parameters: int
    """Weights and biases; integer ones as well."""
    non_zero: int
    """Those that are not 0."""
    flops: int
    """Floating-point operations of one record; of integers: what as many would be in float."""
    peak_bytes: int
    """Memory that a forward pass of the largest batch of `latency` holds beside the weights."""
    latency: dict[int, Latency]
    """By records in the batch; taken in turns with the other package."""


@dataclass(frozen=True)
class Compared:
    """One split judged by both packages, record by record."""

    score: str
    """`accuracy`, or `mae` (mean absolute error) where values are predicted."""
    records: int
    base: Interval
    compressed: Interval
    difference: Interval
    """Compressed less base, on the same records."""


def train_batches(task: Task, data: PreparedData, num_records: int) -> Iterator[Inputs]:
    """Yield what the model takes of the first records of train, without augmentation.

    Shards are in the order of record ids, which are digests: the first records are a fair sample.

    Args:
        task: Of the package.
        data: The prepared data set.
        num_records: Fewer come where train has fewer.
    """
    view = task.view()
    rows = _first_rows(data, list(dict.fromkeys(["record_id", *view.columns])), num_records)
    for start in range(0, rows.num_rows, _BATCH_ROWS):
        arrays = view.arrays(rows.slice(start, _BATCH_ROWS), None)
        yield task.to_inputs(arrays, torch.device("cpu"))


def _first_rows(data: PreparedData, columns: Sequence[str], num_records: int) -> pa.Table:
    parts: list[pa.Table] = []
    left = num_records
    for shard in data.manifest.shards_of("train"):
        path = data.folder / shard.path
        with pq.ParquetFile(path, memory_map=True, page_checksum_verification=True) as file:
            for group in range(file.num_row_groups):
                if left > 0:
                    parts.append(file.read_row_group(group, columns=list(columns)))
                    left -= parts[-1].num_rows
    return pa.concat_tables(parts).slice(0, num_records)


def measure_costs(
    base: Path, compressed: Path, float_twin: Path, data: PreparedData
) -> dict[str, Costs]:
    """Return the costs of both packages, as `base` and `compressed`.

    Args:
        base: Folder of the package before compression.
        compressed: Folder of the one after it.
        float_twin: Folder of one that does the same operations as `compressed`, in float.
        data: The prepared data set, for records to measure with.
    """
    packages = {"base": load_package(base), "compressed": load_package(compressed)}
    twins = {"base": packages["base"], "compressed": load_package(float_twin)}
    folders = {"base": base, "compressed": compressed}
    (inputs,) = train_batches(packages["base"].task, data, LATENCY_BATCH)
    latencies = _latencies(packages, inputs)
    costs = {}
    for name, package in packages.items():
        count = parameters(package.model)
        costs[name] = Costs(
            package_bytes=artifact_bytes(folders[name]),
            parameters=count.all,
            non_zero=count.non_zero,
            flops=flops_per_record(twins[name].model, inputs),
            peak_bytes=peak_bytes(package.model, inputs),
            latency={size: by_name[name] for size, by_name in latencies.items()},
        )
    return costs


def _latencies(packages: dict[str, ModelPackage], inputs: Inputs) -> dict[int, dict[str, Latency]]:
    models = {name: package.model for name, package in packages.items()}
    measured = {}
    for size in sorted({1, len(inputs[0])}):
        batch = [values[:size] for values in inputs]
        once = latency(models, batch, threads=_THREADS, warm_up=1, rounds=1)
        round_s = sum(one.median_ms for one in once.values()) / 1000.0
        rounds = int(np.clip(_LATENCY_S / round_s, _FEWEST_ROUNDS, _MOST_ROUNDS))
        measured[size] = latency(models, batch, threads=_THREADS, rounds=rounds)
    return measured


def compare_predictions(base: Path, compressed: Path, *, seed: int) -> Compared:
    """Compare what two packages predict of one split, with 95 % bootstrap intervals.

    Args:
        base: Predictions that `evaluate` wrote.
        compressed: The same of the other package, on the same split: in the same order.
        seed: Of the resampling.

    Raises:
        DataError: A prediction is not finite.
    """
    score, base_N = _scores(base)
    _, compressed_N = _scores(compressed)
    return Compared(
        score=score,
        records=len(base_N),
        base=bootstrap(base_N, seed=seed),
        compressed=bootstrap(compressed_N, seed=seed),
        difference=paired_difference(compressed_N, base_N, seed=seed),
    )


def _scores(predictions: Path) -> tuple[str, npt.NDArray[np.float64]]:
    # Two numbers a record are all that comes to the driver.
    if "label" in pq.read_schema(predictions).names:
        judged = pq.read_table(predictions, columns=["label", "predicted"])
        hits = pc.equal(judged["label"], judged["predicted"])
        return "accuracy", hits.to_numpy().astype(np.float64)
    judged = pq.read_table(predictions, columns=["target", "predicted"])
    errors_N = np.abs(judged["predicted"].to_numpy() - judged["target"].to_numpy())
    if not np.isfinite(errors_N).all():
        raise DataError(
            f"{predictions.name}: {int((~np.isfinite(errors_N)).sum())} of {len(errors_N)} "
            "predictions are not finite; the training diverged: lower the learning rate"
        )
    return "mae", errors_N


def as_metrics(costs: Costs) -> dict[str, float]:
    """The costs as numbers by name, for a tracker."""
    numbers: dict[str, Any] = {
        name: getattr(costs, name)
        for name in ("package_bytes", "parameters", "non_zero", "flops", "peak_bytes")
    }
    times = {f"latency_ms_batch_{size}": took.median_ms for size, took in costs.latency.items()}
    return {name: float(value) for name, value in (numbers | times).items()}
