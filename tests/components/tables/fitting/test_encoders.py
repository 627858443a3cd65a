"""Encoders of categories and dates: the rule for unseen and missing values, and the way back."""

import datetime as dt
import math

import numpy as np
import polars as pl
import pytest
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, TargetEncoder

from components.records.identity import record_id
from components.tables.fitting.crosses import add_crosses, cross, record_folds
from components.tables.fitting.encoders import (
    DateParts,
    Embedding,
    Frequency,
    Hashed,
    OneHot,
    Ordinal,
    stable_hash,
)
from components.tables.fitting.scalers import Affine
from components.tables.fitting.target_means import TargetMeans, fit_target_means

CATEGORIES = ("blue", "green", "red")
VALUES = pl.Series(["red", "blue", None, "pink", "green", "red"])


def test_one_hot_equals_scikit_learns_and_unseen_and_missing_are_zeros() -> None:
    encoder = OneHot(categories=CATEGORIES)
    known = VALUES.filter(VALUES.is_in(CATEGORIES))
    theirs = OneHotEncoder(sparse_output=False).fit(np.array(CATEGORIES)[:, None])
    expected = theirs.transform(known.to_numpy()[:, None])
    np.testing.assert_array_equal(encoder.encode(known), expected)
    features = encoder.encode(VALUES)
    assert features[2].tolist() == features[3].tolist() == [0, 0, 0]
    assert encoder.feature_names("hue") == ("hue=blue", "hue=green", "hue=red")
    assert encoder.decode(features).to_list() == ["red", "blue", None, None, "green", "red"]


def test_rare_and_unseen_values_share_a_column() -> None:
    encoder = OneHot(categories=CATEGORIES, infrequent=True)
    features = encoder.encode(VALUES)
    assert features[3].tolist() == [0, 0, 0, 1]
    assert features[2].tolist() == [0, 0, 0, 0]
    assert encoder.feature_names("hue")[-1] == "hue=infrequent"
    assert encoder.decode(features).to_list() == ["red", "blue", None, None, "green", "red"]


def test_ordinal_equals_scikit_learns() -> None:
    theirs = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    theirs.fit(np.array(CATEGORIES)[:, None])
    encoder = Ordinal(categories=CATEGORIES)
    features = encoder.encode(VALUES)
    known = VALUES.fill_null("?").to_numpy()[:, None]
    np.testing.assert_array_equal(features, theirs.transform(known))
    assert encoder.decode(features).to_list() == ["red", "blue", None, None, "green", "red"]


def test_hashes_are_stable_and_spread() -> None:
    # printf Köln | b2sum -l 64
    assert stable_hash("Köln") == 0xA9B862CE85040280
    names = pl.Series([f"v{at}" for at in range(5000)])
    features = Hashed(num_buckets=10).encode(names)
    assert np.abs(features).sum(1).tolist() == [1.0] * 5000
    assert np.abs(features).sum(0).min() > 400
    assert abs(features.sum()) < 250
    one = Hashed(num_buckets=10).encode(pl.Series(["v7", None]))
    np.testing.assert_array_equal(one, [features[7], np.zeros(10)])


def test_frequency_is_the_share_in_train() -> None:
    encoder = Frequency(categories=CATEGORIES, shares=(0.5, 0.25, 0.125))
    assert encoder.encode(VALUES)[:, 0].tolist() == [0.125, 0.5, 0, 0, 0.25, 0.125]


def test_embedding_codes_keep_0_for_all_else() -> None:
    encoder = Embedding(categories=CATEGORIES)
    codes = encoder.codes(VALUES)
    assert codes.tolist() == [3, 1, 0, 0, 2, 3]
    assert encoder.size == 4
    assert encoder.decode(codes).to_list() == ["red", "blue", None, None, "green", "red"]


def dates(parts: tuple[str, ...]) -> DateParts:
    ours = Affine(center=10_000, scale=100)
    return DateParts(parts=parts, elapsed=ours, year=Affine(center=2000, scale=10))


def test_dates_lie_on_circles() -> None:
    values = pl.Series([dt.datetime(2024, 4, 1, 6), None, dt.datetime(2023, 12, 31, 23, 59, 59)])
    encoder = dates(("elapsed", "year", "month", "weekday", "day_of_year", "hour"))
    features = dict(zip(encoder.feature_names("t"), encoder.encode(values).T, strict=True))
    days = (dt.datetime(2024, 4, 1, 6) - dt.datetime(1970, 1, 1)).total_seconds() / 86400
    assert features["t:elapsed"][0] == pytest.approx((days - 10_000) / 100, rel=1e-12)
    assert features["t:year"].tolist() == [2.4, 0.0, 2.3]
    assert features["t:month_sin"][0] == pytest.approx(1.0)
    assert features["t:weekday_cos"][0] == pytest.approx(1.0)
    assert features["t:hour_sin"][0] == pytest.approx(1.0)
    assert features["t:hour_cos"][2] == pytest.approx(1.0, abs=1e-8)
    angle = 2 * math.pi * 91 / 365.25
    assert features["t:day_of_year_sin"][0] == pytest.approx(math.sin(angle))
    assert [column[1] for column in features.values()] == [0.0] * 10


def test_dates_come_back_by_their_elapsed_days() -> None:
    values = pl.Series([dt.date(1903, 3, 5), dt.date(1970, 1, 1), dt.date(2077, 10, 23)])
    encoder = dates(("month", "elapsed"))
    features = encoder.encode(values).astype(np.float32).astype(np.float64)
    decoded = encoder.decode(features)
    assert decoded is not None
    assert decoded.to_list() == values.to_list()
    assert dates(("month",)).decode(features) is None


def target_rows(count: int = 2000) -> tuple[pl.Series, pl.Series]:
    rng = np.random.default_rng(8)
    codes = np.minimum(rng.geometric(0.2, count), 12)
    values = pl.Series([f"v{code}" for code in codes])
    ids = pl.Series([record_id(str(at).encode()) for at in range(count)])
    return values, ids


def fit(values: pl.Series, y: pl.Series, ids: pl.Series, smoothing: float | None) -> TargetMeans:
    classes = y.dtype == pl.String
    folds = record_folds(ids, 5)
    parts = [
        cross(values[at : at + 300], y[at : at + 300], folds[at : at + 300], classes=classes)
        for at in range(0, len(values), 300)
    ]
    crosses = parts[0]
    for part in parts[1:]:
        crosses = add_crosses(crosses, part)
    names = tuple(sorted(values.drop_nulls().unique()))
    labels = tuple(sorted(y.unique())) if classes else ()
    return fit_target_means(crosses, names, labels, 5, smoothing)


def targets(values: pl.Series, kind: str) -> pl.Series:
    rng = np.random.default_rng(9)
    base = values.str.slice(1).cast(pl.Float64).to_numpy()
    score = base + rng.normal(0, 3, len(values))
    if kind == "number":
        return pl.Series(1000 + score)
    cuts = [4.0] if kind == "two" else [2.0, 5.0]
    return pl.Series(np.array(["a", "b", "c"])[np.digitize(score, cuts)])


@pytest.mark.parametrize("kind", ["number", "two", "three"])
@pytest.mark.parametrize("smoothing", [None, 10.0])
def test_target_means_equal_scikit_learns(kind: str, smoothing: float | None) -> None:
    values, ids = target_rows()
    y = targets(values, kind)
    encoder = fit(values, y, ids, smoothing)
    smooth = "auto" if smoothing is None else smoothing
    asked = pl.Series(["v1", "v5", "never", "v12"])

    def theirs(keep: np.ndarray) -> np.ndarray:
        found = TargetEncoder(smooth=smooth, target_type="auto")
        found.fit(values.to_numpy()[keep, None], y.to_numpy()[keep])
        return np.asarray(found.transform(asked.to_numpy()[:, None]))

    everything = np.ones(len(values), bool)
    np.testing.assert_allclose(encoder.encode(asked), theirs(everything), rtol=1e-9)
    folds = record_folds(ids, 5).to_numpy()
    for fold in range(5):
        ours = encoder.encode(asked, np.full(4, fold))
        np.testing.assert_allclose(ours, theirs(folds != fold), rtol=1e-9)


def test_a_row_of_train_never_sees_its_own_target() -> None:
    values, ids = target_rows(400)
    y = targets(values, "number")
    changed = y.clone()
    changed[17] = 1e6
    folds = record_folds(ids, 5).to_numpy()
    before = fit(values, y, ids, None).encode(values, folds)
    after = fit(values, changed, ids, None).encode(values, folds)
    same_fold = folds == folds[17]
    np.testing.assert_array_equal(before[same_fold], after[same_fold])
    assert (before[~same_fold] != after[~same_fold]).all()


def test_missing_values_have_a_mean_of_their_own() -> None:
    values, ids = target_rows(400)
    values = values.set(values == "v1", None)
    y = pl.Series(np.where(values.is_null(), 5.0, 1.0)) + pl.Series(np.arange(400) / 1e6)
    encoder = fit(values, y, ids, 0.0)
    assert encoder.encode(pl.Series([None], dtype=pl.String))[0, 0] == pytest.approx(5.0, abs=1e-3)
