"""Scalers equal scikit-learn's, and their inverse gives the values back."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

from components.tables.fitting.scalers import (
    Affine,
    Scaler,
    ScalerName,
    SignedLog,
    YeoJohnson,
    fit_affine,
    fit_quantile,
    fit_robust,
    fit_yeo_johnson,
    yeo_johnson,
)
from components.tables.fitting.sketch import QuantileSketch

RNG = np.random.default_rng(11)
SMALL = {
    "normal": RNG.normal(100, 15, 3000),
    "lognormal": RNG.lognormal(2, 1, 3000),
    "ties": RNG.poisson(3, 3000).astype(float),
    "negative": -RNG.gamma(2, 3, 3000),
    "both": RNG.standard_t(4, 3000),
    "tiny": RNG.normal(0, 1e-3, 3000),
}
LARGE = {
    "normal": RNG.normal(100, 15, 200_000),
    "lognormal": RNG.lognormal(2, 1, 200_000),
    "negative": -RNG.gamma(2, 3, 200_000),
    "both": RNG.standard_t(4, 200_000),
}


def affine(name: ScalerName, values: np.ndarray) -> Affine:
    moments = (values.mean(), values.std(), values.min(), values.max())
    return fit_affine(name, *map(float, moments))


@pytest.mark.parametrize(
    ("name", "theirs"),
    [("zscore", StandardScaler()), ("minmax", MinMaxScaler()), ("maxabs", MaxAbsScaler())],
)
@pytest.mark.parametrize("values", SMALL.values(), ids=SMALL)
def test_affine_scalers_equal_scikit_learns(
    name: ScalerName, theirs: StandardScaler, values: np.ndarray
) -> None:
    expected = theirs.fit_transform(values[:, None])[:, 0]
    np.testing.assert_allclose(affine(name, values).forward(values), expected, atol=1e-12)


@pytest.mark.parametrize("values", SMALL.values(), ids=SMALL)
def test_robust_equals_scikit_learns_while_exact(values: np.ndarray) -> None:
    scaler = fit_robust(QuantileSketch.of(values))
    expected = RobustScaler().fit_transform(values[:, None])[:, 0]
    np.testing.assert_allclose(scaler.forward(values), expected, atol=1e-12)


@pytest.mark.parametrize("values", LARGE.values(), ids=LARGE)
def test_robust_is_within_half_a_percent_of_scikit_learns_beyond(values: np.ndarray) -> None:
    chunks = np.array_split(values, 20)
    scaler = fit_robust(sum((QuantileSketch.of(chunk) for chunk in chunks), QuantileSketch()))
    theirs = RobustScaler().fit(values[:, None])
    assert abs(scaler.center - theirs.center_[0]) < 0.005 * theirs.scale_[0]
    assert scaler.scale == pytest.approx(theirs.scale_[0], rel=0.005)


@pytest.mark.parametrize("values", SMALL.values(), ids=SMALL)
def test_yeo_johnson_equals_scikit_learns_while_exact(values: np.ndarray) -> None:
    scaler = fit_yeo_johnson(QuantileSketch.of(values))
    theirs = PowerTransformer().fit(values[:, None])
    assert scaler.power == pytest.approx(theirs.lambdas_[0], abs=1e-4)
    expected = theirs.transform(values[:, None])[:, 0]
    np.testing.assert_allclose(scaler.forward(values), expected, atol=1e-4)


@pytest.mark.parametrize("values", LARGE.values(), ids=LARGE)
def test_yeo_johnson_is_close_to_scikit_learns_beyond(values: np.ndarray) -> None:
    chunks = np.array_split(values, 20)
    scaler = fit_yeo_johnson(sum((QuantileSketch.of(chunk) for chunk in chunks), QuantileSketch()))
    theirs = PowerTransformer().fit(values[:, None])
    assert scaler.power == pytest.approx(theirs.lambdas_[0], abs=1e-3)
    middle = values[:20_000]
    expected = theirs.transform(middle[:, None])[:, 0]
    assert np.quantile(np.abs(scaler.forward(middle) - expected), 0.999) < 0.005


@pytest.mark.parametrize("output", ["uniform", "normal"])
@pytest.mark.parametrize("values", SMALL.values(), ids=SMALL)
def test_quantile_equals_scikit_learns(output: str, values: np.ndarray) -> None:
    theirs = QuantileTransformer(n_quantiles=1000, output_distribution=output, subsample=None).fit(
        values[:, None]
    )
    scaler = fit_quantile(QuantileSketch.of(values), normal=output == "normal")
    asked = np.concatenate([values, [values.min() - 1, values.max() + 1]])
    expected = theirs.transform(asked[:, None])[:, 0]
    np.testing.assert_allclose(scaler.forward(asked), expected, atol=1e-6)
    back = theirs.inverse_transform(expected[:, None])[:, 0]
    np.testing.assert_allclose(scaler.inverse(expected), back, rtol=1e-6, atol=1e-9)


def scalers(values: np.ndarray) -> dict[str, Scaler]:
    sketch = QuantileSketch.of(values)
    logs = np.sign(values) * np.log1p(np.abs(values))
    names: tuple[ScalerName, ...] = ("zscore", "minmax", "maxabs", "decimal", "none")
    return {
        **{name: affine(name, values) for name in names},
        "log": SignedLog(after=affine("zscore", logs)),
        "robust": fit_robust(sketch),
        "yeo_johnson": fit_yeo_johnson(sketch),
        "quantile_uniform": fit_quantile(sketch, normal=False),
        "quantile_normal": fit_quantile(sketch, normal=True),
    }


@pytest.mark.parametrize("values", SMALL.values(), ids=SMALL)
def test_the_inverse_gives_values_back(values: np.ndarray) -> None:
    spread = values.max() - values.min()
    for name, scaler in scalers(values).items():
        back = scaler.inverse(scaler.forward(values))
        # Ties of the quantile map, and between its 1,000 points, are the limit there.
        tolerance = 0.2 * spread if name.startswith("quantile") else 1e-9 * spread
        np.testing.assert_allclose(back, values, atol=tolerance, err_msg=name)
        assert np.isnan(scaler.forward(np.array([np.nan]))).all(), name


def test_a_constant_column_is_centered_and_not_scaled() -> None:
    values = np.full(50, 7.0)
    for name, scaler in scalers(values).items():
        assert np.isfinite(scaler.forward(values)).all(), name
    assert scalers(values)["zscore"].forward(values).tolist() == [0.0] * 50
    assert scalers(np.zeros(5))["maxabs"].forward(np.zeros(5)).tolist() == [0.0] * 5


@pytest.mark.parametrize(
    ("largest", "scale"), [(0.5, 1), (1, 10), (9.99, 10), (10, 100), (-730, 1000)]
)
def test_decimal_scaling_brings_all_below_one(largest: float, scale: float) -> None:
    assert affine("decimal", np.array([0.0, largest])).scale == scale


@given(st.floats(-5, 5), st.lists(st.floats(-100, 100), min_size=1, max_size=20))
@example(5e-324, [1.0])
def test_yeo_johnson_rises_and_comes_back(power: float, values: list[float]) -> None:
    ordered = np.sort(np.array(values))
    moved = yeo_johnson(ordered, power)
    assert (np.diff(moved) >= 0).all()
    small = ordered[np.abs(ordered) < 3]
    there = YeoJohnson(power=power, after=Affine())
    np.testing.assert_allclose(there.inverse(there.forward(small)), small, rtol=1e-6, atol=1e-9)
