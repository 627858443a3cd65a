"""Tabular regression: encoded columns in, one number out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from components.errors import DataError
from components.tables.fitting.columns import NumberTarget
from components.tables.fitting.scalers import Affine
from components.tables.fitting.transform import TableTransform
from components.tables.schema import TableSchema
from components.tasks.names import TaskName
from components.tasks.regression import Regression
from components.tasks.tabular import Tabular, parts_of


@dataclass(frozen=True)
class TabularRegression(Tabular, Regression):
    """Rows of a table, encoded by the fitted transform, each with a number.

    Attributes:
        schema: What the columns hold.
        transform: Fitted on the train split; knows mean and deviation of the target.
        loss: Of scaled targets, see `RegressionTrainConfig`.
        huber_delta: See `RegressionTrainConfig`.
        seed: The recipe's seed.
    """

    schema: TableSchema
    transform: TableTransform
    loss: Literal["mse", "huber"] = "mse"
    huber_delta: float = 1.0
    seed: int = 0
    name: ClassVar[TaskName] = "tabular_regression"

    @property
    def scaler(self) -> Affine:
        """How the target is scaled.

        Raises:
            DataError: The target names classes.
        """
        target = self.transform.target
        if not isinstance(target, NumberTarget):
            raise DataError(f"the target {self.target!r} was fitted as a class, not as a number")
        return target.scaler

    def values(self, rows: pa.Table) -> npt.NDArray[np.float64]:
        """The target of prepared rows, (N,)."""
        column = pl.Series(self.target, pl.from_arrow(rows.column(self.target)))
        return column.cast(pl.Float64).to_numpy()

    def files(self) -> dict[str, Any]:
        """The fitted transform, the schema with target and output, and no classes."""
        value = {"dtype": "float64", "loss": self.loss, "huber_delta": self.huber_delta}
        return self.written({"value": value}) | {"classes": []}

    @classmethod
    def from_files(cls, files: Mapping[str, Any]) -> Self:
        """Read back what `files` gave.

        Raises:
            LookupError: A part is missing.
            ValueError: A part is damaged.
        """
        value = files["schema"]["output"]["value"]
        loss, delta = value["loss"], float(value["huber_delta"])
        return cls(*parts_of(files), loss=loss, huber_delta=delta)
