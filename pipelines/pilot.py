"""A short measurement before a run: what one record costs to prepare, to view and to learn from."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from torch.nn import functional

from components.images.device import to_model_input
from components.images.prepare import build_prepare
from components.models.registry import build_model
from components.records.reasons import RecordRejected
from components.records.sources import read_chunk
from components.training.parallel import channels_last
from pipelines.prepare import PreparePlan
from pipelines.recipe import Recipe
from pipelines.streams.feed import ImageView, picture

_RECORDS = 24
_MAX_BATCH = 64


@dataclass(frozen=True)
class Pilot:
    """Seconds of one core per record; measured on this machine, on a few records.

    Attributes:
        prepare_s: Decode, check, encode. 0 where the data set is prepared already.
        view_s: Decode a stored image and augment it.
        learn_s: Forward and backward pass, on the CPU. None where a GPU will do it.
        stored_bytes: Mean size of a stored image.
    """

    prepare_s: float
    view_s: float
    learn_s: float | None
    stored_bytes: float


def measure(recipe: Recipe, plan: PreparePlan, view: ImageView, *, on_cpu: bool) -> Pilot:
    """Measure on the first records of the source, or of the prepared data set."""
    stored, prepare_s = _stored_images(recipe, plan)
    if not stored:
        return Pilot(0.0, 0.0, None, 0.0)
    picture(view, stored[0], "00", 0)
    view_s = _seconds_each(lambda data: picture(view, data, "00", 0), stored)
    learn_s = _learn_s(recipe, len(plan.listing.declared_classes) or 10) if on_cpu else None
    return Pilot(prepare_s, view_s, learn_s, sum(map(len, stored)) / len(stored))


def _stored_images(recipe: Recipe, plan: PreparePlan) -> tuple[list[bytes], float]:
    if plan.cached is not None:
        shard = plan.target / plan.cached.shards_of("train")[0].path
        batch = next(pq.ParquetFile(shard).iter_batches(batch_size=_RECORDS, columns=["image"]))
        return batch.column("image").to_pylist(), 0.0
    prepare = build_prepare(recipe.data.clean, recipe.data.store)
    chunk = plan.listing_folder() / plan.listing.chunks[0]
    stored: list[bytes] = []
    started_s = time.perf_counter()
    for record in islice(read_chunk(plan.source, plan.listing.root, chunk), _RECORDS):
        if record.data is not None:
            try:
                stored.append(prepare(record.data)["image"])
            except RecordRejected:
                continue  # prepare itself sets it aside and says so
    return stored, (time.perf_counter() - started_s) / max(1, len(stored))


def _seconds_each(function: Callable[[bytes], Any], values: list[bytes]) -> float:
    times = []
    for value in values:
        started_s = time.perf_counter()
        function(value)
        times.append(time.perf_counter() - started_s)
    return float(np.median(times))


def _learn_s(recipe: Recipe, num_classes: int) -> float:
    side, rows = recipe.input.image_px, min(_MAX_BATCH, recipe.train.batch_size)
    model = build_model(recipe.model, num_classes=num_classes, image_px=side, seed=recipe.seed)
    model = channels_last(model).train()
    images_BHWC = torch.zeros((rows, side, side, 3), dtype=torch.uint8)
    images_BCHW = to_model_input(images_BHWC, (0.5,) * 3, (0.5,) * 3, device="cpu")
    labels_B = torch.zeros(rows, dtype=torch.int64)
    times = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for _ in range(4):
        started_s = time.perf_counter()
        loss = functional.cross_entropy(model(images_BCHW), labels_B)
        torch.autograd.backward(loss)
        times.append(time.perf_counter() - started_s)
    torch.set_num_threads(threads)
    return min(times) / rows
