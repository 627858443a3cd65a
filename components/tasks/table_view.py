"""How prepared rows of a table become what the model sees: encoded by the fitted transform."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from components.tables.fitting.transform import TableTransform
from components.training.batch import Targets
from components.training.stopwatch import Stopwatch


@dataclass(frozen=True)
class TableView:
    """How the columns of a record become features, codes and a target.

    Attributes:
        transform_json: The fitted transform, as text: it travels to the feed's processes.
        seed: The recipe's seed.
    """

    transform_json: str
    seed: int
    task_rows: ClassVar[int] = 8192

    @property
    def transform(self) -> TableTransform:
        """The fitted transform, read once per process."""
        return _transform(self.transform_json)

    @property
    def columns(self) -> tuple[str, ...]:
        """What the transform reads, what was carried forward for it, and the target."""
        names, target = self.transform.input_columns, self.transform.target
        names = (*names, *self.transform.carried_columns)
        return (*names, target.name) if target is not None else names

    @property
    def row_bytes(self) -> int:
        """Bytes of one encoded record."""
        transform = self.transform
        return 4 * len(transform.feature_names) + 8 * len(transform.cardinalities)

    def arrays(
        self,
        rows: pa.Table,
        epoch: int | None,
        watch: Stopwatch | None = None,
        places: npt.NDArray[np.int64] | None = None,
        repeats: npt.NDArray[np.int64] | None = None,
    ) -> dict[str, npt.NDArray[Any]]:
        """Return `features`: float32 (N, F), and `codes`: int64 (N, E), where there are any.

        While training, what an encoder learned from the target of a record's own fold is left
        out of its encoding. Nothing in it is random.
        """
        with (watch or Stopwatch()).stage("decode"):
            frame = pl.DataFrame(pl.from_arrow(rows if places is None else rows.take(places)))
            return encoded(self.transform, frame, frame["record_id"], training=epoch is not None)

    def targets(self, rows: pa.Table, places: npt.NDArray[np.int64] | None = None) -> Targets:
        """Return labels int64 (N,), or z-scores float32 (N,).

        Raises:
            DataError: A record has no target, or one of no known class.
        """
        taken = rows if places is None else rows.take(places)
        return self.transform.encode_target(pl.DataFrame(pl.from_arrow(taken)))

    def decoded(self, rows: pa.Table, watch: Stopwatch | None = None) -> None:
        """None: columns are stored decoded."""
        return


def encoded(
    transform: TableTransform, frame: pl.DataFrame, record_ids: pl.Series | None, *, training: bool
) -> dict[str, npt.NDArray[Any]]:
    """Encode rows; an input of no columns is left out, as Arrow has no tensors of width 0."""
    rows = transform.encode(frame, record_ids=record_ids, training=training)
    named: dict[str, npt.NDArray[Any]] = {"features": rows.features, "codes": rows.codes}
    return {name: values for name, values in named.items() if values.shape[1]}


@lru_cache(maxsize=4)
def _transform(transform_json: str) -> TableTransform:
    return TableTransform.from_json(transform_json)
