"""Weighing the rows of prepared shards: one column is read, twice, and only sums come back."""

from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.errors import DataError, RecipeError
from components.records.manifest import Manifest
from components.records.row_order import ShardLayout
from components.records.sampling import (
    MAX_STRATA,
    RecordWeights,
    SamplingConfig,
    WeighedGroups,
    strata,
    stratum_weights,
)
from components.records.weighted_order import Visits
from pipelines.streams.tasks import run_tasks


def require_sampling(config: SamplingConfig, manifest: Manifest) -> None:
    """Refuse what this data set cannot be sampled by.

    Raises:
        RecipeError: It has no such column, or no labels.
    """
    if config.is_weighted:
        _column(config, manifest)


def weigh(config: SamplingConfig, manifest: Manifest, layout: ShardLayout) -> WeighedGroups | None:
    """The weights of the train split; Ray must be up. None where every record has the same.

    Raises:
        RecipeError: The settings do not fit the data.
        DataError: A weight is no number above 0, or there are too many values for shares.
    """
    if not config.is_weighted:
        return None
    weights, largest = _weights(config, manifest, layout)
    visits = Visits.for_weights_up_to(largest)
    function = partial(_masses, weights, visits)
    masses = [m for found in run_tasks("Weigh", function, layout.paths, list) for m in found]
    return WeighedGroups.of(weights, visits, np.array(masses).T)


def _weights(
    config: SamplingConfig, manifest: Manifest, layout: ShardLayout
) -> tuple[RecordWeights, float]:
    """The weight of a record, and the largest."""
    column = _column(config, manifest)
    if config.weight_column is not None:
        total, largest = 0.0, 0.0
        function = partial(_total_and_largest, column)
        for part, most in run_tasks("SumWeights", function, layout.paths, list):
            total, largest = total + part, max(largest, most)
        if not total:
            raise DataError(
                f"train.sampling.weight_column = {column!r}: all weights of train are 0, so no "
                "record would be seen; name another column"
            )
        scale = layout.num_rows / total
        return RecordWeights(column, scale=scale), largest * scale
    plain = RecordWeights(
        column,
        names=tuple(manifest.classes) if column == "label" else (),
        top_only=column == "origin",
    )
    counts: Counter[str] = Counter()
    if column == "label":
        counts.update(manifest.class_counts["train"])
    else:
        for found in run_tasks("CountStrata", partial(_counts, plain), layout.paths, dict):
            counts.update(found)
    by_value = stratum_weights(counts, config)
    return replace(plain, by_value=by_value), max(by_value.values())


def _column(config: SamplingConfig, manifest: Manifest) -> str:
    """The column of the shards that decides weights."""
    columns = manifest.shard_schema
    if config.weight_column is not None:
        setting, column = "weight_column", config.weight_column
    else:
        setting, column = "by", config.by
        if column == "label" and manifest.modality == "tables":
            if not manifest.classes or manifest.target is None:
                raise RecipeError(
                    "train.sampling.by = 'label': this task predicts numbers, which have no "
                    "classes; name a column or origin"
                )
            column = manifest.target
    of_pictures = manifest.modality == "images" and column not in ("label", "origin")
    if column not in columns or of_pictures or (setting == "weight_column" and column == "label"):
        known = ["label", "origin"]
        if manifest.modality == "tables":
            known = sorted(columns.keys() - {"record_id"})
        raise RecipeError(
            f"train.sampling.{setting} = {column!r}: the prepared records have no such column to "
            f"weigh them by; they have {', '.join(known[:12])}"
        )
    return column


def _row_groups(column: str, path: str) -> list[pa.ChunkedArray]:
    with pq.ParquetFile(path, memory_map=True) as file:
        return [
            file.read_row_group(number, columns=[column]).column(column)
            for number in range(file.num_row_groups)
        ]


def _counts(weights: RecordWeights, path: str) -> dict[str, int]:
    values = pq.read_table(path, columns=[weights.column]).column(weights.column)
    codes, texts = strata(values, names=weights.names, top_only=weights.top_only)
    if len(texts) > MAX_STRATA:
        # Enough to be refused by; the counts of a column of numbers would be as long as it.
        texts, codes = texts[: MAX_STRATA + 1], codes[codes <= MAX_STRATA]
    counted = np.bincount(codes, minlength=len(texts))
    return dict(zip(texts, counted.tolist(), strict=True))


def _total_and_largest(column: str, path: str) -> list[float]:
    values = pq.read_table(path, columns=[column]).column(column)
    try:
        numbers = values.cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"train.sampling.weight_column = {column!r}: {error}; name a column of numbers"
        ) from error
    good = pc.and_(pc.is_finite(numbers), pc.greater_equal(numbers, 0.0)).fill_null(False)
    num_bad = len(numbers) - (pc.sum(good).as_py() or 0)
    if num_bad:
        raise DataError(
            f"train.sampling.weight_column = {column!r}: {num_bad:,} of {len(numbers):,} records "
            "of one shard have no weight of 0 or more; give each record one"
        )
    return [pc.sum(numbers).as_py() or 0.0, pc.max(numbers).as_py() or 0.0]


def _masses(weights: RecordWeights, visits: Visits, path: str) -> list[list[float]]:
    groups = _row_groups(weights.column, path)
    return [visits.masses(weights.of(values)).tolist() for values in groups]
