"""What tasks on tables share: encoded columns in, and the written form of the schema."""

import json
from abc import ABC
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
import torch

from components.errors import DataError
from components.models.shapes import TableShape
from components.tables.fitting.transform import TableTransform
from components.tables.schema import ColumnSchema, TableSchema
from components.tasks.table_view import TableView, encoded
from components.training.batch import Arrays

_DTYPES: dict[str, pl.DataType] = {
    "integer": pl.Int64(),
    "number": pl.Float64(),
    "boolean": pl.Boolean(),
    "date": pl.Date(),
    "datetime": pl.Datetime("us"),
}


class Tabular(ABC):
    """The input of every model of a table.

    Those who inherit give the fields.
    """

    schema: TableSchema
    transform: TableTransform
    seed: int

    @property
    def target(self) -> str:
        """Column that is predicted."""
        if self.transform.target is None:
            raise DataError("the transform was fitted without a target; name one in data.target")
        return self.transform.target.name

    @property
    def shape(self) -> TableShape:
        """Features and codes of the fitted transform."""
        return TableShape(len(self.transform.feature_names), self.transform.cardinalities)

    @property
    def transform_hash(self) -> str:
        """Of the fitted transform."""
        return self.transform.hash

    def view(self) -> TableView:
        """How prepared rows are encoded."""
        return TableView(self.transform.to_json(), self.seed)

    def to_inputs(self, arrays: Arrays, device: torch.device) -> tuple[torch.Tensor, ...]:
        """Bring float32 features (B, F) and int64 codes (B, E) to the device."""
        num_rows = len(next(iter(arrays.values())))
        empty = {"features": np.float32, "codes": np.int64}
        tensors = []
        for name, dtype in empty.items():
            values = np.array(arrays[name]) if name in arrays else np.zeros((num_rows, 0), dtype)
            tensor = torch.from_numpy(values)
            tensor = tensor.pin_memory() if device.type == "cuda" else tensor
            tensors.append(tensor.to(device, non_blocking=True))
        return tuple(tensors)

    def arrays_of(self, records: Any) -> Arrays:
        """Encode a table (polars, pandas or a mapping of columns) of cleaned, typed columns.

        Columns that the transform does not read may be there or not; the target need not be.

        Raises:
            ValueError: A column is missing, or holds what cannot be brought to its type.
        """
        frame = records if isinstance(records, pl.DataFrame) else pl.DataFrame(records)
        wanted = self.transform.input_columns
        lost = [name for name in wanted if name not in frame.columns]
        if lost:
            raise ValueError(
                f"the table has no column {lost[0]!r}; the model was trained on {', '.join(wanted)}"
            )
        typed = frame.select(_typed(frame[name], self._column(name)) for name in wanted)
        return encoded(self.transform, typed, None, training=False)

    def _column(self, name: str) -> ColumnSchema | None:
        return next((column for column in self.schema.columns if column.name == name), None)

    def written(self, output: Mapping[str, Any]) -> dict[str, Any]:
        """The fitted transform, and the schema with what comes out, for the model package."""
        columns = self.schema.model_dump(mode="json")
        return {
            "transform": self.transform.model_dump(mode="json"),
            "schema": {"table": columns, "target": self.target, "output": dict(output)},
        }


def parts_of(files: Mapping[str, Any]) -> tuple[TableSchema, TableTransform]:
    """Read back schema and transform of a model package.

    Raises:
        LookupError: A part is missing.
        ValueError: A part is damaged.
    """
    schema = TableSchema.model_validate_json(json.dumps(files["schema"]["table"]))
    return schema, TableTransform.from_json(json.dumps(files["transform"]))


def _typed(column: pl.Series, schema: ColumnSchema | None) -> pl.Series:
    """Bring a column to the type that the shards have; dates may be ISO 8601 text."""
    wanted = pl.String() if schema is None else _DTYPES.get(schema.kind, pl.String())
    if schema is None or column.dtype == wanted:
        return column
    try:
        if column.dtype == pl.String and wanted.is_temporal():
            return column.str.to_datetime(time_unit="us").cast(wanted)
        return column.cast(wanted)
    except pl.exceptions.PolarsError as error:
        first = str(error).splitlines()[0]
        raise ValueError(
            f"column {column.name!r} is {column.dtype} and must be {wanted}: {first}"
        ) from error
