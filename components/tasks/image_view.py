"""How prepared pictures become what the model sees: decoded, brought to size, augmented."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from components.errors import DataError
from components.images.augment import AugmentConfig, Augmenter, augment_seed, build_augmenter
from components.images.decode import decode_stored
from components.images.geometry import Geometry, to_input
from components.records.reasons import RecordRejected


@dataclass(frozen=True)
class ImageView:
    """How a stored image becomes what the model sees.

    Attributes:
        image_px: Side of the model's input.
        geometry: How an image is brought there without augmentation.
        augment: Changes to training images.
        seed: The recipe's seed.
    """

    image_px: int
    geometry: Geometry
    augment: AugmentConfig
    seed: int
    columns: ClassVar[tuple[str, ...]] = ("image", "label")
    task_rows: ClassVar[int] = 512

    @property
    def row_bytes(self) -> int:
        """Bytes of one image in a batch."""
        return self.image_px * self.image_px * 3

    def arrays(self, rows: pa.Table, epoch: int | None) -> dict[str, npt.NDArray[Any]]:
        """Return `image`: uint8 RGB (N, image_px, image_px, 3).

        Raises:
            DataError: The stored bytes of a picture cannot be decoded any more.
        """
        images_BHWC = np.empty((rows.num_rows, self.image_px, self.image_px, 3), np.uint8)
        stored = rows.column("image").combine_chunks()
        for number, identity in enumerate(rows.column("record_id").to_pylist()):
            images_BHWC[number] = picture(self, stored[number].as_buffer(), identity, epoch)
        return {"image": images_BHWC}

    def targets(self, rows: pa.Table) -> npt.NDArray[np.int64]:
        """Return class indices (N,)."""
        labels_B: npt.NDArray[np.int64] = rows.column("label").cast(pa.int64()).to_numpy()
        return labels_B


def picture(
    view: ImageView, stored: Any, record_id: str, epoch: int | None
) -> npt.NDArray[np.uint8]:
    """What the model sees of one record.

    Args:
        view: Size, geometry, augmentation and seed.
        stored: Bytes of the image as prepared.
        record_id: Decides, with seed and epoch, what the augmentation draws.
        epoch: Training epoch; None gives the deterministic view of evaluation.

    Returns:
        uint8 RGB (image_px, image_px, 3).

    Raises:
        DataError: The stored bytes cannot be decoded any more.
    """
    try:
        image_HWC = decode_stored(np.frombuffer(stored, np.uint8))
    except RecordRejected as problem:
        raise DataError(
            f"record {record_id} was prepared but cannot be decoded any more ({problem}); its "
            "shard is damaged: delete the prepared data set and run prepare again"
        ) from problem
    if epoch is None:
        return to_input(image_HWC, image_px=view.image_px, geometry=view.geometry)
    augment = _augmenter(view.augment.model_dump_json(), view.image_px, view.geometry)
    return augment(image_HWC, augment_seed(view.seed, epoch, record_id))


@lru_cache(maxsize=4)
def _augmenter(augment_json: str, image_px: int, geometry: Geometry) -> Augmenter:
    # Built once per worker process: the first build imports albumentations, 1.5 s.
    config = AugmentConfig.model_validate_json(augment_json)
    return build_augmenter(config, image_px=image_px, geometry=geometry)
