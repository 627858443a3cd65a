"""A batch as it leaves the feed: arrays of one step on one rank; without torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray[Any]]
"""What the model sees of some records, by name: `image`, or `features` and `codes`; the first
dimension of each is the record."""

Targets = npt.NDArray[np.int64] | npt.NDArray[np.float32]
"""Class indices, or scaled numbers."""


@dataclass(frozen=True)
class Batch:
    """One rank's rows of one step.

    Attributes:
        epoch: Epoch number, from 0.
        training: Whether the rows are learned from.
        step: Step in the epoch, from 0.
        inputs: As the view of the task made them: uint8 RGB pictures, or encoded columns.
        targets_B: What is to be predicted.
        weights_B: 1 for a row that counts, 0 for padding, float32.
        record_ids: (B,) strings.
        global_rows: Rows that count over all ranks.
        spent_s: Stage of the feed -> seconds that its processes worked on this batch.
    """

    epoch: int
    training: bool
    step: int
    inputs: Arrays
    targets_B: Targets
    weights_B: npt.NDArray[np.float32]
    record_ids: npt.NDArray[np.object_]
    global_rows: int
    spent_s: Mapping[str, float] = field(default_factory=dict)
