"""How prepared pictures become what the model sees: decoded, brought to size, augmented."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from components.errors import DataError
from components.images.augment import (
    AugmentConfig,
    Augmenter,
    augment_seed,
    build_augmenter,
    build_batch_augmenter,
)
from components.images.batchwise import BatchAugmenter
from components.images.decode import decode_stored
from components.images.geometry import Geometry, to_input
from components.images.raw import decode_raw_batch, encode_raw, is_raw
from components.images.reduced import decode_reduced
from components.records.identity import record_uniforms, repeat_id
from components.records.reasons import RecordRejected
from components.training.stopwatch import Stopwatch

ImageArray = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ImageView:
    """How a stored image becomes what the model sees; made by `of`.

    Attributes:
        image_px: Side of the model's input.
        geometry: How an image is brought there without augmentation.
        augment: Changes to training images.
        seed: The recipe's seed.
        batchwise: What makes them a batch at a time; None where they are made one by one.
    """

    image_px: int
    geometry: Geometry
    augment: AugmentConfig
    seed: int
    batchwise: BatchAugmenter | None
    columns: ClassVar[tuple[str, ...]] = ("image", "label", "height_px", "width_px")
    task_rows: ClassVar[int] = 512

    @classmethod
    def of(cls, image_px: int, geometry: Geometry, augment: AugmentConfig, seed: int) -> Self:
        """Make a view; imports albumentations here, so that the feed's processes need not."""
        batchwise = build_batch_augmenter(augment, image_px=image_px)
        return cls(image_px, geometry, augment, seed, batchwise)

    @property
    def row_bytes(self) -> int:
        """Bytes of one image in a batch."""
        return self.image_px * self.image_px * 3

    def arrays(
        self,
        rows: pa.Table,
        epoch: int | None,
        watch: Stopwatch | None = None,
        places: npt.NDArray[np.int64] | None = None,
        repeats: npt.NDArray[np.int64] | None = None,
    ) -> dict[str, npt.NDArray[Any]]:
        """Return `image`: uint8 RGB (N, image_px, image_px, 3).

        Args:
            rows: `record_id` and `columns`.
            epoch: Training epoch; None gives the deterministic view of evaluation.
            watch: Told what the stages `decode` and `augment` took.
            places: Which of the rows, in this order, (N,); None: all.
            repeats: 0 the first time that an epoch has a picture, another number each further
                time, (N,); None is 0. To the augmentation each is a picture of its own.

        Raises:
            DataError: The stored bytes of a picture cannot be decoded any more.
        """
        watch = watch or Stopwatch()
        stored = _Stored(rows, places, watch)
        if epoch is None:
            return {"image": self._plain(stored)}
        keys = _draw_keys(stored.ids, repeats)
        if self.batchwise is None:
            return {"image": self._one_by_one(stored, keys, epoch)}
        draws = record_uniforms(self.seed, epoch, keys, self.batchwise.num_draws)
        if self.batchwise.crop is None:
            images_BHWC = self._plain(stored)
        else:
            images_BHWC = self._empty(len(stored.ids))
            heights_px, widths_px = stored.numbers("height_px"), stored.numbers("width_px")
            with watch.stage("augment"):
                self.batchwise.fill(images_BHWC, stored.reduced, heights_px, widths_px, draws)
        with watch.stage("augment"):
            self.batchwise.change(images_BHWC, draws)
        return {"image": images_BHWC}

    def targets(
        self, rows: pa.Table, places: npt.NDArray[np.int64] | None = None
    ) -> npt.NDArray[np.int64]:
        """Return class indices (N,)."""
        labels_B: npt.NDArray[np.int64] = rows.column("label").cast(pa.int64()).to_numpy()
        return labels_B if places is None else labels_B[places]

    def decoded(self, rows: pa.Table, watch: Stopwatch | None = None) -> pa.Table | None:
        """The pictures as raw ones; None where they are raw, or might be decoded at a reduced size.

        A picture is decoded at a half of its size where a crop of it is to be shrunk to a half, so
        that it has twice the model's side at least.
        """
        stored = _Stored(rows, None, watch or Stopwatch())
        short_sides_px = np.minimum(stored.numbers("height_px"), stored.numbers("width_px"))
        if stored.has_raw or (short_sides_px >= 2 * self.image_px).any():
            return None
        raw = [encode_raw(stored.whole(row)) for row in range(len(stored.ids))]
        return rows.set_column(rows.column_names.index("image"), "image", pa.array(raw))

    def _plain(self, stored: "_Stored") -> ImageArray:
        """The view of evaluation; in one step where pictures are raw and of the model's size."""
        decoded_BHWC = stored.all_raw()
        side_px = self.image_px
        if decoded_BHWC is not None and decoded_BHWC.shape[1:3] == (side_px, side_px):
            return decoded_BHWC
        images_BHWC = self._empty(len(stored.ids))
        with stored.watch.stage("augment"):
            for row in range(len(stored.ids)):
                image_HWC = stored.whole(row)
                images_BHWC[row] = to_input(image_HWC, image_px=side_px, geometry=self.geometry)
        return images_BHWC

    def _one_by_one(self, stored: "_Stored", keys: list[str], epoch: int) -> ImageArray:
        augment = _augmenter(self.augment.model_dump_json(), self.image_px, self.geometry)
        images_BHWC = self._empty(len(stored.ids))
        with stored.watch.stage("augment"):
            for row, key in enumerate(keys):
                rng_seed = augment_seed(self.seed, epoch, key)
                images_BHWC[row] = augment(stored.whole(row), rng_seed)
        return images_BHWC

    def _empty(self, count: int) -> ImageArray:
        return np.empty((count, self.image_px, self.image_px, 3), np.uint8)


def _draw_keys(ids: list[str], repeats: npt.NDArray[np.int64] | None) -> list[str]:
    if repeats is None or not repeats.any():
        return ids
    numbered = zip(ids, repeats.tolist(), strict=True)
    return [repeat_id(identity, repeat) if repeat else identity for identity, repeat in numbered]


class _Stored:
    """The stored pictures of some rows, decoded one by one or all at once, on the clock.

    Their bytes are read where they lie: pictures are not copied to be put in order.
    """

    def __init__(
        self, rows: pa.Table, places: npt.NDArray[np.int64] | None, watch: Stopwatch
    ) -> None:
        self._rows, self._places, self.watch = rows, places, watch
        self._column = rows.column("image")
        self._chunks = self._column.chunks
        self._chunk_starts = np.cumsum([0, *(len(chunk) for chunk in self._chunks)])[:-1]
        ids = rows.column("record_id")
        self.ids: list[str] = (ids if places is None else ids.take(places)).to_pylist()

    def numbers(self, name: str) -> npt.NDArray[np.int64]:
        """A column of integers."""
        values: npt.NDArray[np.int64] = self._rows.column(name).to_numpy().astype(np.int64)
        return values if self._places is None else values[self._places]

    @property
    def has_raw(self) -> bool:
        """Whether the first of them is raw; a data set is stored in one format."""
        return len(self.ids) > 0 and is_raw(self._encoded(0))

    def all_raw(self) -> ImageArray | None:
        """All of them, where they are raw and of one size."""
        with self.watch.stage("decode"):
            return decode_raw_batch(self._column, self._places)

    def whole(self, row: int) -> ImageArray:
        """One of them at its own size."""
        return self._decoded(row, decode_stored)

    def reduced(self, row: int, height_px: int, width_px: int) -> ImageArray:
        """One of them at the size that is enough."""
        return self._decoded(row, lambda encoded: decode_reduced(encoded, height_px, width_px))

    def _decoded(self, row: int, decode: Callable[[ImageArray], ImageArray]) -> ImageArray:
        try:
            with self.watch.stage("decode"):
                return decode(self._encoded(row))
        except RecordRejected as problem:
            raise DataError(
                f"record {self.ids[row]} was prepared but cannot be decoded any more ({problem}); "
                "its shard is damaged: delete the prepared data set and run prepare again"
            ) from problem

    def _encoded(self, row: int) -> ImageArray:
        place = row if self._places is None else int(self._places[row])
        chunk = int(np.searchsorted(self._chunk_starts, place, side="right")) - 1
        value = self._chunks[chunk][place - int(self._chunk_starts[chunk])]
        encoded: ImageArray = np.frombuffer(value.as_buffer(), np.uint8)
        return encoded


@lru_cache(maxsize=4)
def _augmenter(augment_json: str, image_px: int, geometry: Geometry) -> Augmenter:
    # Built once per worker process: the first build imports albumentations, 1.5 s.
    config = AugmentConfig.model_validate_json(augment_json)
    return build_augmenter(config, image_px=image_px, geometry=geometry)
