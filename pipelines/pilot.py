"""A short measurement before a run: what one record costs to prepare, to view and to learn from."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import nn

from components.images.prepare import build_prepare
from components.models.registry import build_model
from components.models.shapes import ImageShape, InputShape
from components.records.reasons import RecordRejected
from components.sources.listing import Listing, read_chunk
from components.tasks.task import Task
from components.tasks.view import View
from components.training.parallel import channels_last
from pipelines.modality import image_view, training_view
from pipelines.prepare import PreparePlan
from pipelines.recipe import ImageRecipe, Recipe

_IMAGES = 24
_MAX_BATCH = 64
_MAX_TABLE_BATCH = 4096
# Measured on two cores: reading, cleaning and storing one row of a dozen columns.
_TABLE_PREPARE_S = 10e-6


@dataclass(frozen=True)
class Pilot:
    """Seconds of one core per record; measured on this machine, on a few records.

    Attributes:
        prepare_s: Read, check, store; of tables a usual value. 0 where it is done already.
        view_s: From a stored record to what the model sees. 0 where nothing is stored yet.
        learn_s: Forward and backward pass, on the CPU. None where a GPU will do it, or where only
            prepare can tell how large the model is.
        stored_bytes: Mean size of a stored record.
        decoded_bytes: Mean size of a record that is kept decoded; 0 where that would spare nothing.
    """

    prepare_s: float
    view_s: float
    learn_s: float | None
    stored_bytes: float
    decoded_bytes: float = 0.0


def measure(
    recipe: Recipe,
    plan: PreparePlan,
    task: Task | None,
    model: tuple[InputShape, int] | None,
    *,
    on_cpu: bool,
) -> Pilot:
    """Measure on the first records of the prepared data set, or of the source.

    Args:
        recipe: The recipe.
        plan: Its source, and its data set where it is prepared.
        task: Its task, where it is prepared.
        model: What the model takes, and how much it puts out, where that is known.
        on_cpu: Whether the model learns on the CPU.
    """
    learn_s = _learn_s(recipe, *model) if on_cpu and model else None
    if task is not None and plan.cached is not None:
        view = training_view(recipe, task)
        prepared = _prepared_rows(plan, view)
        view_s, decoded_bytes = _view_s(view, prepared), _decoded_bytes(view, prepared)
        return Pilot(0.0, view_s, learn_s, plan.cached.mean_record_bytes, decoded_bytes)
    if not isinstance(recipe, ImageRecipe):
        row_bytes = plan.listing.num_bytes / max(1, plan.num_records)
        return Pilot(_TABLE_PREPARE_S, 0.0, learn_s, row_bytes)
    rows, prepare_s = _first_images(recipe, plan)
    if not rows:
        return Pilot(0.0, 0.0, None, 0.0)
    view, table = image_view(recipe), pa.Table.from_pylist(rows)
    view_s, decoded_bytes = _view_s(view, table), _decoded_bytes(view, table)
    stored_bytes = sum(len(row["image"]) for row in rows) / len(rows)
    return Pilot(prepare_s, view_s, learn_s, stored_bytes, decoded_bytes)


def _prepared_rows(plan: PreparePlan, view: View) -> pa.Table:
    assert plan.cached is not None
    shard = plan.target / plan.cached.shards_of("train")[0].path
    columns = list(dict.fromkeys(["record_id", *view.columns]))
    # Pictures take milliseconds each, encoded rows of a table microseconds.
    count = max(_IMAGES, view.task_rows // 20)
    with pq.ParquetFile(shard) as file:
        batch = next(file.iter_batches(batch_size=count, columns=columns))
    return pa.Table.from_batches([batch])


def _decoded_bytes(view: View, rows: pa.Table) -> float:
    decoded = view.decoded(rows)
    return 0.0 if decoded is None else float(decoded.nbytes) / max(1, int(rows.num_rows))


def _view_s(view: View, rows: pa.Table) -> float:
    view.arrays(rows.slice(0, 1), 0)
    seconds = _best_s(lambda: view.arrays(rows, 0), repeat=2)
    return seconds / max(1, int(rows.num_rows))


def _first_images(recipe: ImageRecipe, plan: PreparePlan) -> tuple[list[dict[str, Any]], float]:
    """The first records as they would be stored, and the seconds that each took."""
    assert isinstance(plan.listing, Listing) and plan.source is not None
    prepare = build_prepare(recipe.data.clean, recipe.data.store)
    chunk = plan.listing_folder / plan.listing.chunks[0]
    rows: list[dict[str, Any]] = []
    started_s = time.perf_counter()
    for record in islice(read_chunk(plan.source, plan.listing.root, chunk), _IMAGES):
        if record.data is not None:
            try:
                prepared = prepare(record.data, record.origin)
                rows.append({"record_id": prepared.record_id} | dict(prepared.columns))
            except RecordRejected:
                continue  # prepare itself sets it aside and says so
    return rows, (time.perf_counter() - started_s) / max(1, len(rows))


def _best_s(function: Callable[[], Any], *, repeat: int) -> float:
    times: list[float] = []
    for _ in range(repeat):
        started_s = time.perf_counter()
        function()
        times.append(time.perf_counter() - started_s)
    return min(times)


def _learn_s(recipe: Recipe, shape: InputShape, num_outputs: int) -> float:
    model = build_model(recipe.model, shape, num_outputs=num_outputs, seed=recipe.seed)
    inputs = _blank(shape, recipe.train.batch_size)
    model = channels_last(model).train()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _best_s(lambda: _learn(model, inputs), repeat=4) / len(inputs[0])
    finally:
        torch.set_num_threads(threads)


def _learn(model: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    torch.autograd.backward(model(*inputs).square().mean())


def _blank(shape: InputShape, batch_size: int) -> tuple[torch.Tensor, ...]:
    if isinstance(shape, ImageShape):
        side, rows = shape.image_px, min(_MAX_BATCH, batch_size)
        return (torch.zeros(rows, 3, side, side).to(memory_format=torch.channels_last),)
    rows = min(_MAX_TABLE_BATCH, batch_size)
    codes_BE = torch.zeros(rows, len(shape.cardinalities), dtype=torch.int64)
    return torch.zeros(rows, shape.num_features), codes_BE
