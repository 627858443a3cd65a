"""The fitted transform of a table: rows in, float features and embedding codes out, and back."""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from components.errors import DataError
from components.records.fitted import FittedTransform
from components.tables.fitting.arrays import Float64s, Int64s
from components.tables.fitting.columns import (
    EncodedColumn,
    NumberColumn,
    NumberTarget,
    TableColumn,
    TableTarget,
    as_numbers,
    column_features,
    decode_column,
    filled,
    scaled_numbers,
    wanted_type,
)
from components.tables.fitting.crosses import record_folds
from components.tables.fitting.encode_plan import EncodeConfig, EncodePlan, fit_plan
from components.tables.fitting.encoders import Embedding, Ordinal
from components.tables.fitting.fit import fit_columns, fit_imputers, fit_target
from components.tables.fitting.forward_fill import carried_name
from components.tables.fitting.impute import JointImputer
from components.tables.fitting.statistics import TableStatistics
from components.tables.fitting.target_means import TargetMeans
from components.tables.schema import RAW_RECORD

__all__ = [
    "EncodeConfig",
    "EncodePlan",
    "Encoded",
    "TableTransform",
    "fit_plan",
    "fit_transform_from",
]


@dataclass(frozen=True)
class Encoded:
    """Rows as arrays."""

    features: npt.NDArray[np.float32]
    """(B, F)."""
    codes: Int64s
    """(B, E): codes for embedding tables; E may be 0."""
    feature_names: tuple[str, ...]
    code_names: tuple[str, ...]
    cardinalities: tuple[int, ...]
    """Rows of each embedding table, code 0 (rare, unseen, missing) included."""


class TableTransform(FittedTransform):
    """The encoding of rows fitted on the train split.

    Unseen categories and missing values follow the rule of their encoder (see
    components/tables/fitting/encoders.py); a row's encoding depends on nothing but the row. What
    was carried forward into it lies beside it, as NAME__carried: a row that has no such column, as
    one to be predicted, has no history, and its missing value gets the column's ordinary fill.
    """

    kind: Literal["table"] = "table"
    columns: tuple[Annotated[TableColumn, Field(discriminator="kind")], ...]
    imputers: tuple[JointImputer, ...] = ()
    target: Annotated[TableTarget, Field(discriminator="kind")] | None = None
    num_rows: int = Field(ge=1)
    """Rows of the train split that it was fitted on."""

    @property
    def input_columns(self) -> tuple[str, ...]:
        """Columns that `encode` reads."""
        return tuple(column.name for column in self.columns)

    @property
    def carried_columns(self) -> tuple[str, ...]:
        """Columns of the shards that `encode` reads where they are there."""
        return tuple(carried_name(column.name) for column in self.columns if column.carried)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """One name per feature."""
        return tuple(name for column in self.columns for name in column_features(column))

    @property
    def code_names(self) -> tuple[str, ...]:
        """Columns that are codes for embedding tables."""
        return tuple(column.name for column, _ in self._embedded)

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Rows of each embedding table, code 0 included."""
        return tuple(encoder.size for _, encoder in self._embedded)

    def encode(
        self, frame: pl.DataFrame, *, record_ids: pl.Series | None = None, training: bool = False
    ) -> Encoded:
        """Turn cleaned rows into features.

        Args:
            frame: Typed rows as cleaning gives them; columns in any order, more are ignored.
            record_ids: 32 hex digits per row; name rows in errors, and give the folds.
            training: Whether these are the rows of the train split that it was fitted on: target
                encoding then leaves out the row's own fold, and needs the record ids.

        Raises:
            DataError: A column is missing or of another type, or a feature is not finite.
        """
        self._check_columns(frame)
        known = self._with_carried(frame)
        joint = self._imputed(known)
        folds = self._folds(record_ids) if training else None
        # Filled feature by feature, which lie far apart in rows: turned around at the end.
        features_FB = np.empty((len(self.feature_names), frame.height), np.float32)
        at = 0
        for column in self.columns:
            block = self._block(column, known[column.name], joint, folds)
            if column.indicator:
                block = np.column_stack([block, frame[column.name].is_null().to_numpy()])
            with np.errstate(over="ignore"):
                features_FB[at : at + block.shape[1]] = block.T
            at += block.shape[1]
        features_BF = np.ascontiguousarray(features_FB.T)
        self._check_finite(features_BF, frame, record_ids)
        codes = [
            encoder.codes(filled(column, known[column.name])) for column, encoder in self._embedded
        ]
        return Encoded(
            features=features_BF,
            codes=np.stack(codes, axis=1) if codes else np.empty((frame.height, 0), np.int64),
            feature_names=self.feature_names,
            code_names=self.code_names,
            cardinalities=self.cardinalities,
        )

    def decode(self, encoded: Encoded) -> pl.DataFrame:
        """Original columns, as far as their encoding has an inverse.

        Numbers, booleans, one-hot, ordinal, embeddings and dates without time have one (to
        float32's precision, and without what an encoder treats as unseen); hashing, frequency and
        target encoding have none. What was missing comes back as null where there is an
        indicator.
        """
        series, at, code = [], 0, 0
        for column in self.columns:
            num_features = len(column.feature_names())
            block = encoded.features[:, at : at + num_features].astype(np.float64)
            at += num_features
            values = decode_column(column, block, encoded.codes[:, code : code + 1])
            code += isinstance(column, EncodedColumn) and isinstance(column.encoder, Embedding)
            if column.indicator:
                missing = pl.Series(encoded.features[:, at] >= 0.5)
                at += 1
                values = values if values is None else values.set(missing, None)
            if values is not None:
                series.append(values.alias(column.name))
        return pl.DataFrame(series)

    def encode_target(self, frame: pl.DataFrame) -> npt.NDArray[np.int64] | npt.NDArray[np.float32]:
        """Labels (B,) int64, or z-scores (B,) float32.

        Raises:
            DataError: There is no target, or a row's is missing or a class that train has not.
        """
        target = self._target()
        values = frame[target.name]
        if values.null_count():
            raise DataError(f"{values.null_count()} rows have no {target.name!r}, the target")
        if isinstance(target, NumberTarget):
            return target.scaler.forward(values.cast(pl.Float64).to_numpy()).astype(np.float32)
        labels = Ordinal(categories=target.classes).encode(values)[:, 0].astype(np.int64)
        if (labels < 0).any():
            unknown = values[int(np.argmin(labels))]
            raise DataError(
                f"target {target.name!r} holds {unknown!r}, which the train split has not; its "
                f"classes are {', '.join(target.classes[:20])}"
            )
        return labels

    def decode_target(self, predicted: npt.NDArray[np.number]) -> pl.Series:
        """Class names of labels (B,), or numbers in the original unit of z-scores (B,)."""
        target = self._target()
        if isinstance(target, NumberTarget):
            return pl.Series(target.name, target.scaler.inverse(predicted.astype(np.float64)))
        return pl.Series(target.name, target.classes, pl.String).gather(predicted)

    @property
    def _embedded(self) -> list[tuple[EncodedColumn, Embedding]]:
        encoded = [column for column in self.columns if isinstance(column, EncodedColumn)]
        return [(c, c.encoder) for c in encoded if isinstance(c.encoder, Embedding)]

    def _target(self) -> TableTarget:
        if self.target is None:
            raise DataError("the transform was fitted without a target; name one in the recipe")
        return self.target

    def _check_columns(self, frame: pl.DataFrame) -> None:
        # Read once: polars builds the schema anew at each call.
        schema = frame.schema
        for column in self.columns:
            dtype = schema.get(column.name)
            if dtype is None:
                there = ", ".join(schema)
                raise DataError(f"no column {column.name!r} to encode; there are {there}")
            wanted = wanted_type(column)
            fits = {
                "a number": dtype.is_numeric() or dtype in (pl.Boolean, pl.Null),
                "a date": dtype.is_temporal() or dtype == pl.Null,
            }
            if not fits.get(wanted, True):
                raise DataError(f"column {column.name!r} is {dtype}; it was fitted as {wanted}")

    def _folds(self, record_ids: pl.Series | None) -> Int64s | None:
        """Folds of train rows, where a column is encoded by the target."""
        encoders = [c.encoder for c in self.columns if isinstance(c, EncodedColumn)]
        crossed = [encoder for encoder in encoders if isinstance(encoder, TargetMeans)]
        if not crossed:
            return None
        if record_ids is None:
            raise DataError("train rows need their record ids: target encoding goes by their folds")
        return record_folds(record_ids, crossed[0].num_folds).to_numpy()

    def _with_carried(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The rows with what was carried forward in the place of missing values."""
        names = [column.name for column in self.columns if column.carried]
        there = [name for name in names if carried_name(name) in frame.columns]
        return frame.with_columns(pl.coalesce(name, carried_name(name)) for name in there)

    def _imputed(self, frame: pl.DataFrame) -> dict[str, Float64s]:
        """The columns that imputers over several columns fill."""
        columns = {}
        for imputer in self.imputers:
            numbers = np.column_stack([as_numbers(frame[name]) for name in imputer.columns])
            filled_BC = imputer.fill(numbers)
            for at, name in enumerate(imputer.columns):
                columns[f"{imputer.kind}/{name}"] = filled_BC[:, at]
        return columns

    def _block(
        self,
        column: TableColumn,
        values: pl.Series,
        joint: dict[str, Float64s],
        folds: Int64s | None,
    ) -> Float64s:
        if isinstance(column, NumberColumn):
            block = scaled_numbers(column, values, joint)
        elif isinstance(column.encoder, Embedding):
            block = np.empty((len(values), 0))
        elif isinstance(column.encoder, TargetMeans):
            block = column.encoder.encode(filled(column, values), folds)
        else:
            block = column.encoder.encode(filled(column, values))
        return block

    def _check_finite(
        self,
        features_BF: npt.NDArray[np.float32],
        frame: pl.DataFrame,
        record_ids: pl.Series | None,
    ) -> None:
        # The sum is finite unless a feature is not, or in the rarest case: then look closely.
        if np.isfinite(features_BF.sum(dtype=np.float64)):
            return
        bad = np.argwhere(~np.isfinite(features_BF))
        if not len(bad):
            return
        row, feature = int(bad[0, 0]), int(bad[0, 1])
        names = [column.name for column in self.columns for _ in column_features(column)]
        record = f"row {row}"
        if record_ids is not None:
            record = f"record {record_ids[row]}"
        elif RAW_RECORD in frame.columns:
            record = f"record {frame[RAW_RECORD][row]}"
        raise DataError(
            f"feature {self.feature_names[feature]!r} is not finite in {len(bad)} cells; first: "
            f"{record}, where {names[feature]!r} is {frame[names[feature]][row]}; impute missing "
            "values, set extreme ones aside, or choose another scaler"
        )


def fit_transform_from(plan: EncodePlan, statistics: TableStatistics) -> TableTransform:
    """The transform that the plan asks for, fitted on the statistics of the train split.

    Raises:
        DataError: The train split is empty, or its target has fewer than two classes.
    """
    if statistics.num_rows == 0:
        raise DataError("no rows to fit on: the train split has 0 records; add data")
    return TableTransform(
        columns=fit_columns(plan, statistics),
        imputers=fit_imputers(plan, statistics),
        target=fit_target(plan, statistics),
        num_rows=statistics.num_rows,
    )
