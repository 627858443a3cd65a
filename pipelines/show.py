"""show: what the model saw of one record in an epoch; a function of seed, epoch and record."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from components.errors import DataError
from components.images.decode import decode_stored
from components.records.files import storage_errors
from components.records.manifest import Manifest
from pipelines.folders import shown
from pipelines.modality import build_task, training_view
from pipelines.recipe import ImageRecipe, Recipe

_GAP_PX = 8
_BACKGROUND = 255


@dataclass(frozen=True)
class Shown:
    """One record as it is stored and as the model saw it.

    Attributes:
        row: The stored record; of pictures, without their bytes.
        split: Where it belongs.
        seen: Epoch -> input of the model -> its values; of tables and pictures.
        picture: The file drawn, of pictures: the stored one, then each epoch's.
    """

    row: dict[str, Any]
    split: str
    seen: dict[int, dict[str, Any]]
    picture: Path | None


def show_record(
    recipe: Recipe, manifest: Manifest, dataset: Path, record: str, epochs: Sequence[int]
) -> Shown:
    """Make what the training made, or will make, of a record in some epochs.

    Args:
        recipe: The recipe of the training.
        manifest: Of the prepared data set.
        dataset: Its folder.
        record: Record id, or the first digits of one.
        epochs: From 0.

    Raises:
        DataError: No record, or more than one, begins with these digits.
        StorageError: The picture cannot be written.
    """
    split, stored = _find(manifest, dataset, record)
    view = training_view(recipe, build_task(recipe, manifest, dataset))
    arrays = {epoch: view.arrays(stored, epoch) for epoch in epochs}
    (row,) = stored.to_pylist()
    if not isinstance(recipe, ImageRecipe):
        seen = {
            e: {name: a[0].tolist() for name, a in named.items()} for e, named in arrays.items()
        }
        return Shown(row, split, seen, None)
    original_HWC = decode_stored(row.pop("image"))
    pictures = [original_HWC, *(named["image"][0] for named in arrays.values())]
    numbers = "-".join(str(epoch) for epoch in epochs)
    target = Path(recipe.output) / "shown" / f"{row['record_id'][:12]}-epoch-{numbers}.png"
    with storage_errors(str(target.parent)):
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(_side_by_side(pictures)).save(target)
    return Shown(row, split, {}, target)


def as_dict(found: Shown) -> dict[str, Any]:
    """What `--json` prints."""
    return {
        "record": found.row,
        "split": found.split,
        "seen": found.seen,
        "picture": None if found.picture is None else shown(found.picture),
    }


def _find(manifest: Manifest, dataset: Path, record: str) -> tuple[str, pa.Table]:
    found: list[tuple[str, pa.Table]] = []
    for shard in manifest.shards:
        file = pq.ParquetFile(dataset / shard.path, memory_map=True)
        ids = file.read(columns=["record_id"]).column("record_id")
        for place in np.flatnonzero(pc.starts_with(ids, record).to_numpy()).tolist():
            group, row = divmod(place, manifest.row_group_rows)
            found.append((shard.split, file.read_row_group(group).slice(row, 1)))
        if len(found) > 1:
            raise DataError(f"more than one record begins with {record!r}; give more digits")
    if not found:
        raise DataError(
            f"{shown(dataset)} has no record {record!r}; ids stand in its shards, in the report "
            "and in the files of predictions"
        )
    return found[0]


def _side_by_side(pictures: Sequence[Any]) -> Any:
    """Pictures in a row, each enlarged by a whole number to about the height of the tallest."""
    height_px = max(128, *(picture.shape[0] for picture in pictures))
    tiles = [
        np.kron(p, np.ones((max(1, height_px // len(p)),) * 2 + (1,), np.uint8)) for p in pictures
    ]
    page = np.full(
        (max(len(t) for t in tiles), sum(t.shape[1] + _GAP_PX for t in tiles) - _GAP_PX, 3),
        _BACKGROUND,
        np.uint8,
    )
    left = 0
    for tile in tiles:
        page[: len(tile), left : left + tile.shape[1]] = tile
        left += tile.shape[1] + _GAP_PX
    return page
