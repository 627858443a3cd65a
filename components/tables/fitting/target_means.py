"""Target encoding, cross-fitted: smoothed means of the target per category and fold."""

from typing import Annotated, Literal

import numpy as np
import polars as pl
from pydantic import Field

from components.config import Config
from components.tables.fitting.arrays import Float64s, Int64s
from components.tables.fitting.encoders import category_codes

_Finite = Annotated[float, Field(allow_inf_nan=False)]


class TargetMeans(Config):
    """Smoothed mean of the target per category (Micci-Barreca 2001; scikit-learn's TargetEncoder).

    Rows of the train split take the value learned without their own fold, so that a row's target
    never reaches its own features; all other rows take the one learned from the whole split.
    Missing values are a category of their own; an unseen value takes the target's mean.
    """

    kind: Literal["target"] = "target"
    categories: tuple[str, ...]
    outputs: tuple[str, ...] = ("",)
    """One per number learned: "" for a regression or two classes, else the classes."""
    means: tuple[tuple[tuple[_Finite, ...], ...], ...]
    """By fold left out (first: none), then category (then missing, then unseen), then output."""

    def feature_names(self, name: str) -> tuple[str, ...]:
        """NAME:target, or NAME:target=CLASS for each class."""
        return tuple(f"{name}:target={out}" if out else f"{name}:target" for out in self.outputs)

    @property
    def num_folds(self) -> int:
        """Folds of the train split."""
        return len(self.means) - 1

    def encode(self, values: pl.Series, folds: Int64s | None = None) -> Float64s:
        """Features (B, outputs); `folds` are those of train rows, None for all others."""
        codes = category_codes(values, self.categories)
        codes = np.where(codes < 0, len(self.categories) + 1, codes)
        codes = np.where(values.is_null().to_numpy(), len(self.categories), codes)
        rows = np.zeros_like(codes) if folds is None else folds + 1
        means: Float64s = np.array(self.means, np.float64)
        return means[rows, codes]


def fit_target_means(
    crosses: pl.DataFrame,
    categories: tuple[str, ...],
    classes: tuple[str, ...],
    num_folds: int,
    smoothing: float | None,
) -> TargetMeans:
    """Learn the means from `cross` tables added up over the train split.

    Args:
        crosses: Result of `cross`, `add_crosses`.
        categories: Those that get a mean of their own.
        classes: Classes of the target, sorted; empty where it is a number.
        num_folds: Folds of the train split.
        smoothing: Rows that the overall mean counts for in each category; None: by the ratio of
            variances, as scikit-learn's "auto".
    """
    outputs = classes if len(classes) > 2 else classes[-1:] or ("",)
    shape = (len(categories) + 2, num_folds)
    values = crosses["value"]
    rows = category_codes(values, categories)
    rows = np.where(rows < 0, shape[0] - 1, rows)
    rows = np.where(values.is_null().to_numpy(), shape[0] - 2, rows)
    cells = rows * num_folds + crosses["fold"].to_numpy()
    # What has no mean of its own still counts for the overall mean.
    tables = [_cell_moments(crosses, cells, shape, out if classes else None) for out in outputs]
    means = np.stack([_smoothed(*table, smoothing) for table in tables], axis=-1)
    nested = tuple(tuple(tuple(row) for row in fold) for fold in means.tolist())
    return TargetMeans(
        categories=categories, outputs=outputs if len(outputs) > 1 else ("",), means=nested
    )


def _cell_moments(
    crosses: pl.DataFrame, cells: Int64s, shape: tuple[int, int], wanted: str | None
) -> tuple[Float64s, Float64s, Float64s]:
    """Count, mean and squared deviations (values, folds); of a class, those of 0 and 1."""
    size = shape[0] * shape[1]
    weights = crosses["count"].to_numpy().astype(np.float64)
    counts: Float64s = np.bincount(cells, weights, size).astype(np.float64)
    if wanted is None:
        numbers, squares = crosses["mean"].to_numpy(), crosses["m2"].to_numpy()
    else:
        numbers = (crosses["class"] == wanted).to_numpy().astype(np.float64)
        squares = np.zeros(len(cells))
    means = np.bincount(cells, weights * numbers, size) / np.maximum(counts, 1)
    spread = squares + weights * (numbers - means[cells]) ** 2
    spreads: Float64s = np.bincount(cells, spread, size).astype(np.float64)
    return counts.reshape(shape), means.reshape(shape), spreads.reshape(shape)


def _smoothed(
    counts: Float64s, means: Float64s, squares: Float64s, smoothing: float | None
) -> Float64s:
    """Smoothed means (1 + folds, values): of all folds, and with each fold left out."""
    num_folds = counts.shape[1]
    kept = np.vstack([np.ones(num_folds), 1 - np.eye(num_folds)])
    rows = [_smoothed_over(counts * keep, means, squares * keep, smoothing) for keep in kept]
    return np.stack(rows)


def _smoothed_over(
    counts: Float64s, means: Float64s, squares: Float64s, smoothing: float | None
) -> Float64s:
    count, mean, square = _pooled(counts, means, squares, axis=1)
    total, overall, spread = _pooled(count[None], mean[None], square[None], axis=1)
    if smoothing is None:
        # scikit-learn, _target_encoder_fast.pyx: y_var n / (y_var n + var of the category).
        across = spread[0] / max(total[0], 1) * count
        within = square / np.maximum(count, 1)
        trust = np.divide(across, across + within, out=np.zeros_like(count), where=across > 0)
    else:
        trust = np.divide(count, count + smoothing, out=np.zeros_like(count), where=count > 0)
    smoothed: Float64s = trust * mean + (1 - trust) * overall[0]
    smoothed[-1] = overall[0]
    return smoothed


def _pooled(
    counts: Float64s, means: Float64s, squares: Float64s, *, axis: int
) -> tuple[Float64s, Float64s, Float64s]:
    count = counts.sum(axis)
    mean = (counts * means).sum(axis) / np.maximum(count, 1)
    spread = (counts * (means - np.expand_dims(mean, axis)) ** 2).sum(axis)
    return count, mean, squares.sum(axis) + spread
