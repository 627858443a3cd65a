"""Imputers equal scikit-learn's, go through JSON, and treat each row by itself."""

import numpy as np
import polars as pl
import pytest
from sklearn.experimental import enable_iterative_imputer
from sklearn.impute import IterativeImputer, KNNImputer

from components.errors import DataError
from components.tables.fitting.impute import (
    MAX_JOINT_COLUMNS,
    ModelImputer,
    NeighbourImputer,
    fit_fill,
    fit_joint,
)
from components.tables.fitting.sketch import QuantileSketch

assert enable_iterative_imputer
COLUMNS = ("a", "b", "c", "d")


def numbers(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    a, noise = rng.normal(50, 10, count), rng.normal(0, 1, (count, 3))
    full = np.column_stack([a, 2 * a + noise[:, 0], -a + noise[:, 1], 1e-3 * noise[:, 2]])
    full[rng.random(full.shape) < 0.15] = np.nan
    return full


def fitted(name: str) -> tuple[NeighbourImputer | ModelImputer, np.ndarray]:
    train = numbers(300, 1)
    sample = pl.DataFrame(train, schema=list(COLUMNS)).fill_nan(None)
    centers, scales = np.nanmean(train, 0), np.nanstd(train, 0)
    imputer = fit_joint(
        "knn" if name == "knn" else "model",
        sample, tuple(centers.tolist()), tuple(scales.tolist()), num_neighbours=5,
    )  # fmt: skip
    return imputer, train


@pytest.mark.filterwarnings("ignore:.*Early stopping")
@pytest.mark.parametrize("name", ["knn", "model"])
def test_joint_imputers_equal_scikit_learns(name: str) -> None:
    imputer, train = fitted(name)
    theirs = KNNImputer() if name == "knn" else IterativeImputer(random_state=0)
    center, scale = np.nanmean(train, 0), np.nanstd(train, 0)
    theirs.fit((train - center) / scale)
    new = numbers(200, 2)
    expected = theirs.transform((new - center) / scale) * scale + center
    np.testing.assert_allclose(imputer.fill(new), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["knn", "model"])
def test_joint_imputers_go_through_json_and_keep_what_is_there(name: str) -> None:
    imputer, _ = fitted(name)
    new = numbers(100, 3)
    filled = type(imputer).model_validate_json(imputer.model_dump_json()).fill(new)
    np.testing.assert_array_equal(filled, imputer.fill(new))
    there = ~np.isnan(new)
    np.testing.assert_array_equal(filled[there], new[there])
    assert np.isfinite(filled).all()


@pytest.mark.parametrize("name", ["knn", "model"])
def test_a_row_does_not_depend_on_the_rows_beside_it(name: str) -> None:
    imputer, _ = fitted(name)
    new = numbers(60, 4)
    alone = np.concatenate([imputer.fill(row[None]) for row in new])
    np.testing.assert_allclose(imputer.fill(new), alone, rtol=1e-12)


def test_a_model_beats_the_mean() -> None:
    imputer, _ = fitted("model")
    rows = np.array([[60.0, np.nan, -60.0, 0.0], [40.0, np.nan, -40.0, 0.0]])
    np.testing.assert_allclose(imputer.fill(rows)[:, 1], [120.0, 80.0], atol=2.0)


def test_too_many_columns_are_refused_with_a_remedy() -> None:
    width = MAX_JOINT_COLUMNS + 1
    sample = pl.DataFrame(np.zeros((10, width)), schema=[f"c{at}" for at in range(width)])
    zeros, ones = (0.0,) * width, (1.0,) * width
    with pytest.raises(DataError, match="201 numeric columns together, at most 200"):
        fit_joint("knn", sample, zeros, ones, num_neighbours=5)


def test_single_values_are_those_of_the_column() -> None:
    values = np.array([5.0, 1.0, 1.0, 3.0, 5.0, 9.0])
    sketch = QuantileSketch.of(values)
    assert fit_fill("median", sketch, 4.0, 0.0) == np.median(values) == 4.0
    assert fit_fill("mode", sketch, 4.0, 0.0) == 1.0
    assert fit_fill("mean", sketch, 4.0, 0.0) == 4.0
    assert fit_fill("constant", sketch, 4.0, -1.0) == -1.0
    assert fit_fill("median", None, 4.5, 0.0) == 4.5
