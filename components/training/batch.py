"""A batch as it leaves the feed: arrays of one step on one rank; without torch."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Batch:
    """One rank's rows of one step.

    Attributes:
        epoch: Epoch number, from 0.
        training: Whether the rows are learned from.
        step: Step in the epoch, from 0.
        images_BHWC: uint8 RGB.
        labels_B: Class indices, int64.
        weights_B: 1 for a row that counts, 0 for padding, float32.
        record_ids: (B,) strings.
        global_rows: Rows that count over all ranks.
    """

    epoch: int
    training: bool
    step: int
    images_BHWC: npt.NDArray[np.uint8]
    labels_B: npt.NDArray[np.int64]
    weights_B: npt.NDArray[np.float32]
    record_ids: npt.NDArray[np.object_]
    global_rows: int
