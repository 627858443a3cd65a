"""Arrays and frames as fields of a config: lists in JSON, bit for bit the same when read back."""

from collections.abc import Mapping
from typing import Annotated

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BeforeValidator, PlainSerializer
from pydantic.json_schema import WithJsonSchema

Float64s = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]

_DTYPES = {"String": pl.String, "Int64": pl.Int64, "Float64": pl.Float64}


def _floats(values: object) -> Float64s:
    return np.asarray(values, np.float64)


def _integers(values: object) -> Int64s:
    return np.asarray(values, np.int64)


def _to_list(values: npt.NDArray[np.generic]) -> object:
    return values.tolist()


def _frame(values: object) -> object:
    if not isinstance(values, Mapping):
        return values
    series = [
        pl.Series(name, column["values"], _DTYPES[column["dtype"]])
        for name, column in values.items()
    ]
    return pl.DataFrame(series)


def _to_columns(frame: pl.DataFrame) -> dict[str, dict[str, object]]:
    return {
        series.name: {"dtype": str(series.dtype), "values": series.to_list()} for series in frame
    }


FloatArray = Annotated[
    Float64s,
    BeforeValidator(_floats),
    PlainSerializer(_to_list),
    WithJsonSchema({"type": "array", "items": {"type": "number"}}),
]
"""A float64 array."""
IntegerArray = Annotated[
    Int64s,
    BeforeValidator(_integers),
    PlainSerializer(_to_list),
    WithJsonSchema({"type": "array", "items": {"type": "integer"}}),
]
"""An int64 array."""
Frame = Annotated[
    pl.DataFrame,
    BeforeValidator(_frame),
    PlainSerializer(_to_columns),
    WithJsonSchema({"type": "object"}),
]
"""A polars frame of String, Int64 and Float64 columns."""
