"""Imputation: what stands in for a missing number, learned from the train split alone.

scikit-learn is imported where it is used: recipes load without it.
"""

import warnings
from typing import Annotated, Literal, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from components.config import Config
from components.errors import DataError
from components.tables.fitting.sketch import QuantileSketch

ImputerName = Literal["auto", "mean", "median", "mode", "constant", "knn", "model", "none"]
"""`mean`, `median`, `mode`, `constant`: one value for the column. `knn`: mean of the nearest
rows. `model`: a linear model over the other columns (chained). `none`: a missing value stops the
run. `auto`: the median for numbers, for categories no value at all: their encoder has a rule for
null."""

MAX_JOINT_COLUMNS = 200
"""Most columns that `knn` and `model` look at together: the model's size grows with the square."""

_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Row = tuple[_Finite, ...]
Matrix = npt.NDArray[np.float64]


class NeighbourImputer(Config):
    """K nearest rows of a sample of the train split (scikit-learn's KNNImputer on z-scores)."""

    kind: Literal["knn"] = "knn"
    columns: tuple[str, ...]
    centers: _Row
    scales: _Row
    num_neighbours: int = Field(ge=1)
    sample: tuple[tuple[_Finite | None, ...], ...]
    """Rows of z-scores; null where the row itself has no value."""

    def fill(self, numbers_BC: Matrix) -> Matrix:
        """Numbers (B, C) in original units with NaN -> without."""
        from sklearn.impute import KNNImputer

        sample = np.array(self.sample, np.float64)
        imputer = KNNImputer(n_neighbors=self.num_neighbours, keep_empty_features=True).fit(sample)
        return _filled(numbers_BC, self.centers, self.scales, imputer.transform)


class ModelStep(Config):
    """One regression of the chain."""

    column: int
    intercept: _Finite
    weights: _Row
    """One per other column, in order."""


class ModelImputer(Config):
    """A chain of ridge regressions, each column from all others (scikit-learn's IterativeImputer).

    Fitted on z-scores of a sample of the train split; a missing number starts at the mean and is
    predicted again in every round.
    """

    kind: Literal["model"] = "model"
    columns: tuple[str, ...]
    centers: _Row
    scales: _Row
    start: _Row
    """Z-scores that missing numbers start from."""
    steps: tuple[ModelStep, ...]

    def fill(self, numbers_BC: Matrix) -> Matrix:
        """Numbers (B, C) in original units with NaN -> without."""
        return _filled(numbers_BC, self.centers, self.scales, self._chain)

    def _chain(self, scores_BC: Matrix) -> Matrix:
        missing_BC = np.isnan(scores_BC)
        filled_BC = np.where(missing_BC, np.array(self.start), scores_BC)
        for step in self.steps:
            rows = missing_BC[:, step.column]
            others = np.delete(filled_BC[rows], step.column, axis=1)
            # Row by row in the same order of sums, so that a row never depends on its batch.
            predicted = (others * np.array(step.weights)).sum(1) + step.intercept
            filled_BC[rows, step.column] = predicted
        return filled_BC


JointImputer = Annotated[NeighbourImputer | ModelImputer, Field(discriminator="kind")]


def fit_fill(
    name: ImputerName, sketch: QuantileSketch | None, mean: float, constant: float
) -> float:
    """The number that stands for a missing one.

    Where the column had no value missing in train there may be no sketch: the mean then stands
    in for median and mode. The mode is the smallest of the most frequent values (scikit-learn's
    rule), exact up to 4,096 distinct ones.
    """
    if name == "constant":
        return constant
    if name == "mean" or sketch is None or sketch.extremes is None:
        return mean
    if name == "mode":
        return float(sketch.values[int(sketch.weights.argmax())])
    return sketch.quantile(0.5)


def fit_joint(
    name: Literal["knn", "model"],
    sample: pl.DataFrame,
    centers: _Row,
    scales: _Row,
    *,
    num_neighbours: int,
) -> NeighbourImputer | ModelImputer:
    """Fit on sampled rows of the train split.

    Args:
        name: Which imputer.
        sample: Numeric columns in original units, float64, null where missing.
        centers: Mean of each column over the whole train split.
        scales: Standard deviation of each column, above 0.
        num_neighbours: Rows whose mean is taken, for `knn`.

    Raises:
        DataError: There are more than 200 columns.
    """
    if sample.width > MAX_JOINT_COLUMNS:
        raise DataError(
            f"impute: {name} looks at {sample.width} numeric columns together, at most "
            f"{MAX_JOINT_COLUMNS} are possible; use median, or drop columns in data.encode.drop"
        )
    rows = sample.fill_null(np.nan).to_numpy()
    scores = (rows - np.array(centers)) / np.array(scales)
    columns = tuple(sample.columns)
    if name == "knn":
        cells = [[None if np.isnan(cell) else cell for cell in row] for row in scores.tolist()]
        return NeighbourImputer(
            columns=columns, centers=centers, scales=scales, num_neighbours=num_neighbours,
            sample=tuple(tuple(row) for row in cells),
        )  # fmt: skip
    return _fit_model(scores, columns, centers, scales)


def _fit_model(
    scores: Matrix, columns: tuple[str, ...], centers: _Row, scales: _Row
) -> ModelImputer:
    from sklearn.exceptions import ConvergenceWarning

    # Without this import scikit-learn does not offer the next one.
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    with warnings.catch_warnings():
        # Ten rounds are the setting; that they would change a little more is no news to anyone.
        warnings.simplefilter("ignore", ConvergenceWarning)
        imputer = IterativeImputer(random_state=0, keep_empty_features=True).fit(scores)
    steps = tuple(
        ModelStep(
            column=int(step.feat_idx),
            intercept=float(step.estimator.intercept_),
            weights=tuple(step.estimator.coef_.tolist()),
        )
        for step in imputer.imputation_sequence_
    )
    start = tuple(np.nan_to_num(imputer.initial_imputer_.statistics_).tolist())
    return ModelImputer(columns=columns, centers=centers, scales=scales, start=start, steps=steps)


class _Fill(Protocol):
    def __call__(self, scores_BC: Matrix, /) -> Matrix: ...


def _filled(numbers_BC: Matrix, centers: _Row, scales: _Row, fill: _Fill) -> Matrix:
    """Fill the rows that hold a NaN, on the scale of z-scores; other numbers stay as they are."""
    rows = np.flatnonzero(np.isnan(numbers_BC).any(1))
    if not rows.size:
        return numbers_BC
    center_C, scale_C = np.array(centers), np.array(scales)
    filled = fill((numbers_BC[rows] - center_C) / scale_C) * scale_C + center_C
    result = numbers_BC.copy()
    result[rows] = np.where(np.isnan(numbers_BC[rows]), filled, numbers_BC[rows])
    return result
