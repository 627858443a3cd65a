"""What the feed asks of a modality: how prepared rows become arrays; without torch."""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from components.training.batch import Targets
from components.training.stopwatch import Stopwatch


class View(Protocol):
    """How prepared rows become what the model sees. It travels to the feed's processes."""

    @property
    def seed(self) -> int:
        """The recipe's seed; decides, with epoch and record id, everything random."""
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the shards that are read beside the record id."""
        ...

    @property
    def row_bytes(self) -> int:
        """Bytes of one record in a batch."""
        ...

    @property
    def task_rows(self) -> int:
        """Records that are worth one task of the feed."""
        ...

    def arrays(
        self,
        rows: pa.Table,
        epoch: int | None,
        watch: Stopwatch | None = None,
        places: npt.NDArray[np.int64] | None = None,
        repeats: npt.NDArray[np.int64] | None = None,
    ) -> dict[str, npt.NDArray[Any]]:
        """The inputs of the model, each (N, ...).

        Args:
            rows: `record_id` and `columns`.
            epoch: Training epoch; None gives the deterministic view of evaluation.
            watch: Told what the stages `decode` and `augment` took.
            places: Which of the rows, in this order, (N,); None: all.
            repeats: 0 the first time that an epoch has a record, another number each further time,
                (N,); None is 0. What is random is drawn anew for each.

        Raises:
            DataError: A row cannot be read any more.
        """
        ...

    def targets(self, rows: pa.Table, places: npt.NDArray[np.int64] | None = None) -> Targets:
        """What is to be predicted of those rows, (N,)."""
        ...

    def decoded(self, rows: pa.Table, watch: Stopwatch | None = None) -> pa.Table | None:
        """Rows that give the same arrays for less work and more memory; None where none do."""
        ...
