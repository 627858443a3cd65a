"""The fitted transform: plan, fit, encode, decode; on real tables it equals scikit-learn's."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from sklearn.datasets import load_diabetes, load_wine
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from components.errors import DataError, RecipeError
from components.records.identity import record_id
from components.tables.fitting.encode_plan import ColumnEncodeConfig, EncodeConfig, fit_plan
from components.tables.fitting.forward_fill import ForwardFill
from components.tables.fitting.statistics import TableStatistics
from components.tables.fitting.transform import TableTransform, fit_transform_from
from components.tables.schema import RAW_RECORD, ColumnKind, ColumnSchema, TableSchema


def schema_of(frame: pl.DataFrame, **kinds: ColumnKind) -> TableSchema:
    found: dict[type[pl.DataType] | pl.DataType, ColumnKind] = {
        pl.Int64: "integer", pl.Float64: "number", pl.Boolean: "boolean",
        pl.Date: "date", pl.Datetime("us"): "datetime", pl.String: "category",
    }  # fmt: skip
    columns = []
    for series in frame:
        kind = kinds.get(series.name) or found[series.dtype]
        names = sorted(series.drop_nulls().unique().to_list()) if kind == "category" else []
        columns.append(ColumnSchema(name=series.name, kind=kind, categories=tuple(names)))
    return TableSchema(columns=tuple(columns))


def ids_of(frame: pl.DataFrame) -> pl.Series:
    return pl.Series([record_id(str(row).encode()) for row in range(frame.height)])


def fit(
    frame: pl.DataFrame,
    target: str | None = None,
    config: EncodeConfig | None = None,
    *,
    chunk: int = 5000,
    **kinds: ColumnKind,
) -> TableTransform:
    plan = fit_plan(schema_of(frame, **kinds), target, config or EncodeConfig())
    ids = ids_of(frame)
    parts = [
        TableStatistics.of(frame[at : at + chunk], plan.spec, record_ids=ids[at : at + chunk])
        for at in range(0, frame.height, chunk)
    ]
    return fit_transform_from(plan, TableStatistics.sum(parts))


def small() -> pl.DataFrame:
    rng = np.random.default_rng(21)
    count = 400
    gaps = pl.Series(rng.random(count) < 0.2)
    return pl.DataFrame(
        {
            "size": pl.Series(rng.normal(5, 2, count)).set(gaps, None),
            "rooms": rng.integers(1, 9, count),
            "hue": pl.Series(rng.choice(["red", "green", "blue"], count)).set(~gaps & gaps, None),
            "sold": pl.Series(rng.random(count) < 0.7).set(gaps, None),
            "built": pl.Series(rng.integers(0, 19_000, count).astype(np.int32)).cast(pl.Date),
            "plate": [f"p{row}" for row in range(count)],
            "price": rng.normal(200, 40, count),
        }
    )


def real(load: Callable[..., tuple[np.ndarray, np.ndarray]]) -> pl.DataFrame:
    """A table that scikit-learn carries, with a column of names, and gaps in two columns."""
    values, target = load(return_X_y=True)
    columns = {f"c{at}": column for at, column in enumerate(values.T)}
    gaps = pl.Series(np.random.default_rng(4).random(len(values)) < 0.1)
    third = pl.Series((np.argsort(np.argsort(target)) * 3 // len(target)).astype(str))
    frame = pl.DataFrame(columns | {"third": third})
    return frame.with_columns(frame["c1"].set(gaps, None), frame["third"].set(gaps.reverse(), None))


@pytest.mark.parametrize("load", [load_wine, load_diabetes])
def test_real_tables_equal_scikit_learns_pipeline(
    load: Callable[..., tuple[np.ndarray, np.ndarray]],
) -> None:
    frame = real(load)
    transform = fit(frame, config=EncodeConfig(min_frequency=1), chunk=60)
    encoded = transform.encode(frame)
    features = dict(zip(encoded.feature_names, encoded.features.T, strict=True))
    compared = 0
    for series in frame:
        if series.dtype == pl.String:
            values = series.fill_null("-").to_numpy()[:, None]
            theirs = OneHotEncoder(sparse_output=False).fit(values)
            for at, category in enumerate(theirs.categories_[0]):
                if category != "-":
                    expected = theirs.transform(values)[:, at]
                    np.testing.assert_array_equal(features[f"{series.name}={category}"], expected)
                    compared += 1
            continue
        raw = series.cast(pl.Float64).fill_null(np.nan).to_numpy()[:, None]
        # Scaled by what is there, then filled: the fill does not shrink the spread.
        scaler = StandardScaler().fit(raw)
        expected = scaler.transform(SimpleImputer(strategy="median").fit_transform(raw))[:, 0]
        np.testing.assert_allclose(features[series.name], expected, atol=2e-6)
        compared += 1
        if series.null_count():
            missing = series.is_null().to_numpy().astype(np.float32)
            np.testing.assert_array_equal(features[f"{series.name}:missing"], missing)
    assert compared >= 9


def census(count: int) -> pl.DataFrame:
    """People: few kinds of work, many countries, capped hours, a class that hangs on them."""
    rng = np.random.default_rng(8)
    work = rng.choice(["private", "state", "own", "none"], count, p=[0.6, 0.2, 0.15, 0.05])
    years = rng.integers(1, 17, count)
    gaps = pl.Series(rng.random(count) < 0.06)
    return pl.DataFrame(
        {
            "age": rng.integers(17, 91, count),
            "work": pl.Series(work).set(gaps, None),
            "years": years,
            "country": [f"country {n}" for n in np.minimum(rng.geometric(0.12, count), 42)],
            "gain": np.where(rng.random(count) < 0.9, 0, rng.integers(100, 99_999, count)),
            "hours": np.clip(rng.normal(40, 12, count).round(), 1, 99).astype(np.int64),
            "income": np.where(years + rng.normal(0, 3, count) > 11, ">50K", "<=50K"),
        }
    )


def test_a_census_is_encoded_whole_and_comes_back() -> None:
    frame = census(8000)
    target = frame.columns[-1]
    transform = fit(frame, target, EncodeConfig(max_one_hot=20))
    encoded = transform.encode(frame, record_ids=ids_of(frame), training=True)
    assert encoded.features.dtype == np.float32
    assert encoded.codes.shape == (8000, len(encoded.cardinalities))
    assert (encoded.codes.max(0) < np.array(encoded.cardinalities)).all()
    assert len(encoded.code_names) == 1
    labels = transform.encode_target(frame)
    assert transform.decode_target(labels).to_list() == frame[target].to_list()
    back = transform.decode(encoded)
    for series in back:
        same = (series == frame[series.name]).fill_null(True)
        assert same.mean() > 0.99, series.name


def test_the_same_table_gives_the_same_hash_and_json_comes_back() -> None:
    config = EncodeConfig(columns={"hue": ColumnEncodeConfig(encode="target")})
    transform = fit(small(), "price", config, plate="identifier")
    again = fit(small(), "price", config, plate="identifier")
    assert again.hash == transform.hash
    read = TableTransform.from_json(transform.to_json())
    assert read.to_json() == transform.to_json()
    assert read == transform
    frame = small()
    np.testing.assert_array_equal(read.encode(frame).features, transform.encode(frame).features)
    other = fit(small().head(399), "price", config, plate="identifier")
    assert other.hash != transform.hash


def test_a_row_does_not_depend_on_the_others() -> None:
    config = EncodeConfig(columns={"size": ColumnEncodeConfig(impute="model")})
    transform = fit(small(), "price", config, plate="identifier")
    frame = small()[:50]
    whole = transform.encode(frame)
    for row in range(0, 50, 7):
        alone = transform.encode(frame[row : row + 1])
        np.testing.assert_allclose(alone.features[0], whole.features[row], rtol=1e-6, atol=1e-7)


def test_columns_in_another_order_with_more_beside_them_are_the_same() -> None:
    transform = fit(small(), "price", plate="identifier")
    frame = small()
    other = frame.select(reversed(frame.columns)).with_columns(extra=pl.lit("x"))
    np.testing.assert_array_equal(
        transform.encode(other).features, transform.encode(frame).features
    )
    assert "plate" not in transform.input_columns
    assert "price" not in transform.input_columns


def test_unseen_and_missing_values_follow_their_rule() -> None:
    transform = fit(small(), "price", plate="identifier")
    row = small()[:1].with_columns(
        size=pl.lit(None, pl.Float64), hue=pl.lit("ultraviolet"), sold=pl.lit(None, pl.Boolean),
        rooms=pl.lit(None, pl.Int64), built=pl.lit(None, pl.Date),
    )  # fmt: skip
    features = dict(
        zip(transform.feature_names, transform.encode(row).features[0].tolist(), strict=True)
    )
    assert features["size:missing"] == features["sold:missing"] == 1.0
    assert "rooms:missing" not in features
    assert features["hue=red"] == features["hue=green"] == features["hue=blue"] == 0.0
    assert features["sold"] == 1.0
    assert features["built:elapsed"] == features["built:month_sin"] == 0.0
    size = small()["size"].drop_nulls().to_numpy()
    expected = (np.median(size) - size.mean()) / size.std()
    assert features["size"] == pytest.approx(expected, abs=1e-6)


def test_rows_of_train_take_the_target_mean_of_the_other_folds() -> None:
    config = EncodeConfig(columns={"hue": ColumnEncodeConfig(encode="target")})
    frame, ids = small(), ids_of(small())
    transform = fit(frame, "price", config, plate="identifier")
    at = transform.feature_names.index("hue:target")
    train = transform.encode(frame, record_ids=ids, training=True).features[:, at]
    later = transform.encode(frame, record_ids=ids).features[:, at]
    assert len(set(later.tolist())) == 3
    assert len(set(train.tolist())) == 15
    with pytest.raises(DataError, match="need their record ids"):
        transform.encode(frame, training=True)


@pytest.mark.parametrize("impute", ["mean", "median", "mode", "knn", "model"])
def test_what_was_missing_comes_back_as_missing(impute: str) -> None:
    frame = small()
    config = EncodeConfig(impute=impute)
    transform = fit(frame, "price", config, plate="identifier")
    back = transform.decode(transform.encode(frame))
    assert back["size"].is_null().equals(frame["size"].is_null())
    assert back["sold"].equals(frame["sold"])
    assert back["rooms"].equals(frame["rooms"])
    assert back["hue"].equals(frame["hue"])
    assert back["built"].equals(frame["built"])
    np.testing.assert_allclose(
        back["size"].drop_nulls(), frame["size"].drop_nulls(), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(
    "scale",
    ["zscore", "minmax", "robust", "maxabs", "decimal", "log", "yeo_johnson",
     "quantile_uniform", "quantile_normal", "none"],
)  # fmt: skip
def test_every_scaler_goes_both_ways(scale: str) -> None:
    frame = small()
    config = EncodeConfig(numbers=scale, impute="none", drop=("size", "plate"))
    transform = fit(frame, None, config)
    back = transform.decode(transform.encode(frame))
    np.testing.assert_allclose(back["price"], frame["price"], rtol=1e-4)
    assert back["rooms"].equals(frame["rooms"])


@pytest.mark.parametrize(
    ("encode", "width"),
    [("one_hot", 3), ("ordinal", 1), ("hashing", 32), ("frequency", 1), ("embedding", 0)],
)
def test_every_encoder_has_its_features(encode: str, width: int) -> None:
    config = EncodeConfig(
        columns={"hue": ColumnEncodeConfig(encode=encode)},
        drop=("size", "sold", "built", "plate", "rooms"),
    )
    transform = fit(small(), "price", config)
    encoded = transform.encode(small())
    assert encoded.features.shape == (400, width)
    assert encoded.cardinalities == ((4,) if encode == "embedding" else ())


def test_a_number_in_the_target_comes_back_in_its_unit() -> None:
    transform = fit(small(), "price", plate="identifier")
    scaled = transform.encode_target(small())
    assert scaled.dtype == np.float32
    assert abs(float(scaled.mean())) < 1e-6
    np.testing.assert_allclose(transform.decode_target(scaled), small()["price"], rtol=1e-6)


def test_classes_of_the_target_are_sorted_and_others_refused() -> None:
    transform = fit(small(), "hue", plate="identifier")
    assert transform.encode_target(pl.DataFrame({"hue": ["red", "blue"]})).tolist() == [2, 0]
    with pytest.raises(DataError, match="holds 'pink', which the train split has not"):
        transform.encode_target(pl.DataFrame({"hue": ["red", "pink"]}))
    with pytest.raises(DataError, match="1 rows have no 'hue'"):
        transform.encode_target(pl.DataFrame({"hue": ["red", None]}))
    with pytest.raises(DataError, match="has 1 class in train"):
        fit(small().filter(pl.col("hue") == "red"), "hue", plate="identifier")


def forward(**settings: object) -> ForwardFill:
    return ForwardFill.model_validate({"method": "forward", "by": ("hue",), **settings})


def test_what_was_carried_comes_before_the_ordinary_fill() -> None:
    frame = small()
    along = forward(order="built")
    config = EncodeConfig(columns={"size": ColumnEncodeConfig(impute=along)})
    plain, carrying = fit(frame), fit(frame, config=config)
    assert carrying.input_columns == plain.input_columns
    assert plain.carried_columns == () and carrying.carried_columns == ("size__carried",)
    rows = frame.head(4).with_columns(size=pl.Series([None, None, 3.0, 3.0]))
    carried = rows.with_columns(size__carried=pl.Series([7.5, None, None, 9.0]))
    filled = carrying.encode(carried).features
    at, missing = (carrying.feature_names.index(name) for name in ("size", "size:missing"))
    assert filled[:, missing].tolist() == [1, 1, 0, 0], "carried or not, it was missing"
    known = rows.with_columns(size=pl.Series([7.5, frame["size"].median(), 3.0, 3.0]))
    np.testing.assert_array_equal(filled[:, at], plain.encode(known).features[:, at])
    # A row that comes alone has no history.
    np.testing.assert_array_equal(carrying.encode(rows).features, plain.encode(rows).features)


def test_categories_and_other_imputers_see_what_was_carried() -> None:
    frame = small().with_columns(hue=pl.Series([None] * 50 + ["red", "blue"] * 175))
    config = EncodeConfig(
        columns={
            "hue": ColumnEncodeConfig(impute=forward(by=("plate",), order="built", then="mode")),
            "size": ColumnEncodeConfig(impute=forward(by=("plate",), order="built", then="model")),
            "price": ColumnEncodeConfig(impute="model"),
        }
    )
    transform = fit(frame, config=config)
    rows = (
        frame.head(1)
        .with_columns(hue__carried=pl.lit("red"), size__carried=pl.lit(8.0), size=None, price=None)
        .cast({"size": pl.Float64, "price": pl.Float64})
    )
    known = rows.with_columns(hue=pl.lit("red"), size=pl.lit(8.0))
    names = transform.feature_names
    ours, theirs = transform.encode(rows).features[0], transform.encode(known).features[0]
    said = {names[at] for at in np.flatnonzero(ours != theirs)}
    assert said == {"hue:missing", "size:missing"}
    assert "price" in names and "hue=red" in names


def test_all_numbers_are_carried_but_the_key_and_the_time() -> None:
    schema = schema_of(small())
    plan = fit_plan(schema, "price", EncodeConfig(impute=forward(by=("plate",), order="rooms")))
    (carry,) = plan.carries
    assert (carry.by, carry.order, carry.columns) == (("plate",), "rooms", ("size",))
    assert {p.name: p.impute for p in plan.columns}["size"] == "median"
    with pytest.raises(ValueError, match="'size' is carried forward by itself"):
        EncodeConfig(columns={"size": ColumnEncodeConfig(impute=forward(order="size"))})


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e300])
def test_what_is_not_finite_names_column_and_record(bad: float) -> None:
    transform = fit(small(), "price", plate="identifier")
    frame = small()[:3].with_columns(
        size=pl.Series([1.0, bad, 2.0]), **{RAW_RECORD: pl.Series([70, 71, 72])}
    )
    with pytest.raises(DataError, match=r"feature 'size' is not finite .*: record 71, where"):
        transform.encode(frame)


def test_columns_that_do_not_fit_are_refused() -> None:
    transform = fit(small(), "price", plate="identifier")
    with pytest.raises(DataError, match="no column 'size' to encode"):
        transform.encode(small().drop("size"))
    with pytest.raises(DataError, match="column 'rooms' is String; it was fitted as a number"):
        transform.encode(small().with_columns(rooms=pl.lit("three")))
    strict = fit(small().drop_nulls(), "price", EncodeConfig(impute="none"), plate="identifier")
    with pytest.raises(DataError, match="'size' is None; impute missing"):
        strict.encode(small())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (EncodeConfig(drop=("siz",)), "data.encode.drop = 'siz': .* did you mean size"),
        (EncodeConfig(drop=("price",)), "'price' is the target"),
        (EncodeConfig(columns={"hue": ColumnEncodeConfig(encode="number")}), "needs numbers"),
        (EncodeConfig(columns={"hue": ColumnEncodeConfig(encode="date")}), "needs dates"),
        (EncodeConfig(columns={"hue": ColumnEncodeConfig(impute="knn")}), "knn is for numbers"),
        (EncodeConfig(columns={"size": ColumnEncodeConfig(impute="constant")}), "needs `fill`"),
        (
            EncodeConfig(impute=forward(by=("hu",), order="built")),
            r"data.encode.impute.by = 'hu': the table has no such column; did you mean hue\?",
        ),
        (
            EncodeConfig(columns={"size": ColumnEncodeConfig(impute=forward(order="bilt"))}),
            r"data.encode.columns.size.impute.order = 'bilt': .* did you mean built",
        ),
        (EncodeConfig(impute=forward(order="plate")), "'plate' holds identifier, which says"),
        (EncodeConfig(impute=forward(by=("price",), order="built")), "'price' is the target"),
        (
            EncodeConfig(
                columns={
                    "hue": ColumnEncodeConfig(
                        impute=forward(by=("rooms",), order="built", then="mean")
                    )
                }
            ),
            "impute.then: mean is for numbers",
        ),
    ],
)
def test_settings_that_cannot_hold_are_refused(config: EncodeConfig, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        fit_plan(schema_of(small(), plate="identifier"), "price", config)


def test_the_plan_says_what_is_left_out() -> None:
    plan = fit_plan(schema_of(small(), plate="text"), "price", EncodeConfig(drop=("rooms",)))
    assert set(plan.left_out) == {"plate", "rooms"}
    assert plan.task == "tabular_regression"
    assert [column.encode for column in plan.columns] == ["number", "one_hot", "number", "date"]
